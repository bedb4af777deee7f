"""Where a person stands: the root in the camera's frame, from root-relative poses and their 2D.

The depth comes from the size of the person in the image, so each frame's estimate shakes with the pose's errors along
the line of sight: by decimetres, where the person moves by centimetres. What the image fixes well is the direction. So
the depth alone is smoothed, and the sideways place is then solved anew for the smooth depth.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import median_filter

from common.geometry.camera import fit_root, undistort

LEAST = 0.02  # weight of a joint that was not seen: it only counts where none was


def place_roots(
    poses: np.ndarray,
    screen: np.ndarray,
    confidence: np.ndarray,
    intrinsics: tuple[float, ...],
    fps: float,
    *,
    smoothing: float = 0.5,
) -> np.ndarray:
    """Roots (T, 1, 3), camera frame, metres, of root-relative poses (T, J, 3), metres.

    screen (T, J, 2), screen units; confidence (T, J) weighs the joints. Per frame a least-squares fit to the 2D; over
    `smoothing` seconds (0: not at all) the depth goes through a running median against outliers and a Savitzky-Golay
    filter of second order, which keeps steady approach and speed as they are; the sideways place through a filter of a
    third of that length.
    """
    rays = undistort(torch.from_numpy(screen), torch.tensor(intrinsics, dtype=torch.float32)).numpy()  # (T, J, 2)
    weights = np.maximum(confidence, LEAST).astype(np.float32)
    roots = fit_root(*(torch.from_numpy(np.ascontiguousarray(x, np.float32)) for x in (poses, rays, weights)))
    depth = roots[:, 0, 2].numpy().astype(np.float64)  # (T,)
    span = _odd(smoothing * fps, len(depth))
    if span >= 5:
        depth = np.exp(_smooth(np.log(median_filter(depth, span, mode="nearest")), span))  # a share of the distance
    share = weights / weights.sum(-1, keepdims=True)
    there = rays * (poses[..., 2:] + depth[:, None, None]) - poses[..., :2]  # (T, J, 2): what each joint asks for
    sideways = (share[..., None] * there).sum(1)  # (T, 2)
    short = _odd(smoothing * fps / 3, len(depth))
    if short >= 5:
        sideways = _smooth(sideways, short)
    return np.concatenate([sideways, depth[:, None]], -1)[:, None].astype(np.float32)


def _smooth(x: np.ndarray, span: int) -> np.ndarray:
    """x (T,) or (T, D) through a Savitzky-Golay filter of second order over `span` frames, an odd number up to T.

    Each frame is read off the parabola through its neighbours, the ends off those of the first and the last `span`.
    scipy.signal has it too, and takes 0.7 s and 60 MB to load.
    """
    half = span // 2
    powers = np.arange(-half, half + 1)[:, None] ** np.arange(3)  # (span, 3)
    fit = np.linalg.pinv(powers)  # (3, span): values to the parabola's coefficients
    middle = np.lib.stride_tricks.sliding_window_view(x, span, axis=0) @ fit[0]
    return np.concatenate([powers[:half] @ (fit @ x[:span]), middle, powers[half + 1 :] @ (fit @ x[-span:])])


def _odd(frames: float, available: int) -> int:
    """The largest odd number up to both."""
    count = min(int(round(frames)), available)
    return count if count % 2 else count - 1
