"""Sequences of any length and rate through a network of one length and rate. Arrays have time as their first axis.

Windows overlap by half or more and are blended with weights that are zero at a window's ends: none enters or leaves
with a step. For streaming, a sliding window reads frames with a bounded delay.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from scipy.optimize import linear_sum_assignment

# Windows (N, F, ...) to estimates (N, F, ...) of the same frames.
Lift = Callable[[np.ndarray], np.ndarray]


def resample_times(frames: int, source_fps: float, target_fps: float) -> np.ndarray:
    """Positions in source frames, (T',), of a sequence resampled to another rate; the first frame stays."""
    if source_fps <= 0 or target_fps <= 0:
        raise ValueError("frame rates are positive")
    count = int(np.floor((frames - 1) * target_fps / source_fps + 1e-6)) + 1
    return np.minimum(np.arange(count) * (source_fps / target_fps), frames - 1)


def at_times(x: np.ndarray, times: np.ndarray) -> np.ndarray:
    """x (T, ...) read at fractional frames (T',), linear between its frames, held beyond its ends.

    Boolean arrays are True where both neighbours are.
    """
    x = np.asarray(x)
    times = np.clip(times, 0, len(x) - 1)
    before = np.floor(times + 1e-6).astype(int)
    share = np.clip(times - before, 0, 1)
    after = np.minimum(before + (share > 1e-6), len(x) - 1)
    if x.dtype == bool:
        return x[before] & x[after]
    share = share.reshape(-1, *[1] * (x.ndim - 1)).astype(x.dtype)
    return x[before] * (1 - share) + x[after] * share


def resample(x: np.ndarray, source_fps: float, target_fps: float) -> np.ndarray:
    """x (T, ...) at another frame rate. `at_times(y, np.arange(T) * target / source)` brings results back."""
    if source_fps == target_fps:
        return np.asarray(x)
    return at_times(x, resample_times(len(x), source_fps, target_fps))


def window_starts(frames: int, length: int, step: int | None = None) -> list[int]:
    """First frames of windows that cover a sequence, `step` apart; the ends stick out alike.

    The step is half a window; a quarter of a short one, for a crossfade within a few frames is itself a jump.
    """
    step = step or max(1, length // (2 if length >= 27 else 4))
    count = max(0, -(-(frames - length) // step)) + 1
    overhang = ((count - 1) * step + length - frames) // 2
    return [k * step - overhang for k in range(count)]


def cut(x: np.ndarray, length: int, starts: list[int]) -> np.ndarray:
    """Windows (N, F, ...) of a sequence (T, ...); beyond its ends the edge is repeated."""
    x = np.asarray(x)
    index = np.clip(np.array(starts)[:, None] + np.arange(length), 0, len(x) - 1)
    return x[index]


def window_weights(length: int) -> np.ndarray:
    """A window's weights (F,): a squared sine, next to nothing at both ends, which sums to one at half overlap."""
    return np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2


def blend(windows: np.ndarray, starts: list[int], frames: int) -> np.ndarray:
    """Windows (N, F, ...) to one sequence (T, ...): each frame is the weighted mean of the windows that hold it."""
    length = windows.shape[1]
    shape = (length, *[1] * (windows.ndim - 2))
    weights = window_weights(length)
    total = np.zeros((frames, *windows.shape[2:]), np.float64)
    weight = np.zeros(frames)
    for window, start in zip(windows, starts, strict=True):
        inside = slice(max(start, 0), min(start + length, frames))
        own = slice(inside.start - start, inside.stop - start)
        total[inside] += weights.reshape(shape)[own] * window[own]
        weight[inside] += weights[own]
    return (total / weight.reshape(-1, *[1] * (windows.ndim - 2))).astype(windows.dtype)


def match_hypotheses(windows: np.ndarray, starts: list[int]) -> np.ndarray:
    """Reorder the hypotheses of windows (N, H, F, J, 3) so that each continues its nearest one of the window before.

    Hypotheses of two windows are drawn apart; blended in any order, unlike ones would average out. The order is the
    one with the least total distance over the frames that both windows hold.
    """
    windows = np.array(windows)
    length = windows.shape[2]
    for n in range(1, len(windows)):
        shift = starts[n] - starts[n - 1]
        if shift >= length:
            continue
        before, after = windows[n - 1][:, shift:], windows[n][:, : length - shift]  # (H, overlap, J, 3)
        distance = np.stack([np.linalg.norm(h - after, axis=-1).mean((1, 2)) for h in before])  # (H, H)
        windows[n] = windows[n][linear_sum_assignment(distance)[1]]
    return windows


def stream(
    frames: Iterable[np.ndarray], lift: Lift, length: int, *, delay: int = 8, step: int = 1, blended: int = 8
) -> Iterator[tuple[int, np.ndarray, float]]:
    """Lift frames as they come: yields (frame number, estimate, seconds that its computation took).

    The window is the last `length` frames (the first frame is repeated while there are fewer); it is lifted after
    every `step` new frames. A frame comes out when `delay` to `delay + step - 1` newer ones are in, as the mean of
    the last `blended` lifts that hold it, the later the heavier: no lift enters or leaves with a step.
    """
    if not 0 <= delay < length - step:
        raise ValueError(f"the delay must lie between 0 and {length - step - 1} frames")
    window: deque[np.ndarray] = deque(maxlen=length)
    lifts: deque[tuple[int, np.ndarray]] = deque(maxlen=max(1, blended))
    given, last = 0, -1  # the next frame to give out, and the newest frame in
    for last, frame in enumerate(frames):
        window.extend([frame] * (length if last == 0 else 1))
        if (last + 1) % step:
            continue
        start = time.perf_counter()
        lifts.append((last, lift(np.stack(window)[None])[0]))
        seconds = time.perf_counter() - start
        for number in range(given, last - delay + 1):
            yield number, _newest(lifts, number, length), seconds
        given = max(given, last - delay + 1)
    if last >= given:  # the end: nothing newer comes
        start = time.perf_counter()
        if not lifts or lifts[-1][0] != last:
            lifts.append((last, lift(np.stack(window)[None])[0]))
        seconds = time.perf_counter() - start
        for number in range(given, last + 1):
            yield number, _newest(lifts, number, length), seconds


def _newest(lifts: deque, number: int, length: int) -> np.ndarray:
    """The mean of the lifts that hold a frame; the oldest weighs least, and the newest, just in, as little."""
    rows = [(n, estimate[number - end + length - 1]) for n, (end, estimate) in enumerate(lifts) if end >= number]
    rows = [(n, row) for n, row in rows if number - lifts[n][0] + length - 1 >= 0]
    count = len(lifts)
    weights = np.array([min(n + 1, count - n) for n, _ in rows], float)
    return np.tensordot(weights / weights.sum(), np.stack([row for _, row in rows]), 1)
