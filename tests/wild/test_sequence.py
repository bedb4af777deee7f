"""No seam at window borders, any length and rate, bounded delay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.wild.sequence import (
    at_times,
    blend,
    cut,
    match_hypotheses,
    resample,
    resample_times,
    stream,
    window_starts,
    window_weights,
)
from tests.people import walker


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 60))
def test_cut_and_blend_give_back_the_sequence(frames, length, step):
    step = min(step, length)
    x = np.random.default_rng(frames).normal(size=(frames, 3, 2))
    starts = window_starts(frames, length, step)
    np.testing.assert_allclose(blend(cut(x, length, starts), starts, frames), x, atol=1e-12)


def jumps(x):
    """Frame-to-frame motion (T - 1,), mean over the joints."""
    return np.linalg.norm(np.diff(x, axis=0), axis=-1).reshape(len(x) - 1, -1).mean(-1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([9, 27, 81]), st.integers(100, 600), st.floats(0, 1))
def test_jump_at_a_border_is_bounded_whatever_the_windows_say(seed, length, frames, disagreement):
    """At a border the blend moves as the windows do, plus at most the entering and leaving weights' change."""
    rng = np.random.default_rng(seed)
    starts = window_starts(frames, length)
    windows = rng.normal(0, disagreement, (len(starts), 1, 4, 3)) + rng.normal(0, 0.01, (len(starts), length, 4, 3))
    out = blend(windows, starts, frames)
    inside = np.linalg.norm(np.diff(windows, axis=1), axis=-1).max()
    apart = 2 * np.linalg.norm(windows, axis=-1).max()
    share = 2 * window_weights(length)[1] / 0.85  # two windows change by this much of the total weight, at most
    borders = np.array([b for s in starts for b in (s, s + length) if 0 < b < frames])
    seams = np.linalg.norm(np.diff(out, axis=0), axis=-1)[borders - 1]
    assert seams.max() <= inside + share * apart


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("length", [27, 81, 243])
def test_no_seam_with_a_noisy_lifter(seed, length):
    """Each window comes back with its own offset, drift and frame noise, as samples of a diffusion model do.

    Borders are the frames where a window begins or ends. A jump there is no larger than those inside the windows as
    the lifter gave them. Laid end to end, the same windows show jumps several times as large.
    """
    rng = np.random.default_rng(seed)
    truth = walker(1000)
    truth = truth - truth[:, :1]
    given = []

    def lift(windows):
        n = len(windows)
        offset = rng.normal(0, 0.02, (n, 1, 17, 3))
        drift = rng.normal(0, 0.01, (n, 1, 17, 3)) * np.linspace(-1, 1, length)[:, None, None]
        given.append(windows + offset + drift + rng.normal(0, 0.002, windows.shape))
        return given[-1]

    starts = window_starts(len(truth), length)
    out = blend(lift(cut(truth, length, starts)), starts, len(truth))
    inside = np.concatenate([jumps(w) for w in given[0]])
    borders = np.array([b for s in starts for b in (s, s + length) if 0 < b < len(truth)])
    seams = jumps(out)[borders - 1]
    assert seams.max() <= inside.max()
    extra, extra_inside = jumps(out - truth), jumps((given[0] - cut(truth, length, starts)).swapaxes(0, 1))
    assert np.median(extra[borders - 1]) <= 1.1 * np.median(extra_inside)
    hard_starts = list(range(0, len(truth) - length + 1, length))
    laid = np.concatenate(list(lift(cut(truth, length, hard_starts))))
    seams_laid = jumps(laid)[[s - 1 for s in hard_starts[1:]]]
    assert np.median(seams_laid) > 3 * np.median(seams)


@pytest.mark.parametrize("length", [9, 27, 81, 243])
def test_weights_are_near_zero_at_the_ends_and_sum_to_one(length):
    weights = window_weights(length)
    assert weights[0] < 0.04 and weights[-1] < 0.04
    starts = window_starts(10 * length, length, length // 2)
    total = np.zeros(10 * length + 2 * length)
    for s in starts:
        total[s + length : s + 2 * length] += weights
    middle = total[2 * length : -2 * length]
    assert middle.min() > 0.85 and middle.max() < 1.2


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 200), st.sampled_from([12.5, 24, 25, 29.97, 30, 50, 60, 120]))
def test_resampling_linear_motion_is_exact_and_returns(frames, fps):
    x = np.arange(frames)[:, None] * np.array([1.0, -2.0]) + 5
    y = resample(x, fps, 50)
    times = resample_times(frames, fps, 50)
    assert abs((len(y) - 1) / 50 - (frames - 1) / fps) <= 1 / 50
    np.testing.assert_allclose(y[:, 0], 5 + times, atol=1e-9)
    back = at_times(y, np.arange(frames) * 50 / fps)
    inside = np.arange(frames) * 50 / fps <= len(y) - 1
    np.testing.assert_allclose(back[inside], x[inside], atol=1e-9)


def test_masks_need_both_neighbours():
    assert at_times(np.array([True, False, True]), np.array([0, 0.5, 1, 1.5, 2])).tolist() == [True, *[False] * 3, True]


def test_hypotheses_are_matched_across_windows():
    rng = np.random.default_rng(0)
    tracks = rng.normal(size=(4, 1, 17, 3)) + rng.normal(size=(1, 60, 17, 3))  # four parallel ways, (H, T, J, 3)
    starts = window_starts(60, 20)
    windows = np.stack([cut(tracks.swapaxes(0, 1), 20, [s])[0].swapaxes(0, 1) for s in starts])  # (N, H, F, J, 3)
    shuffled = np.stack([w[rng.permutation(4)] for w in windows])
    matched = match_hypotheses(shuffled, starts)
    out = blend(matched.swapaxes(1, 2), starts, 60)  # (T, H, J, 3)
    first = [int(np.abs(matched[0][h] - windows[0]).sum((1, 2, 3)).argmin()) for h in range(4)]
    np.testing.assert_allclose(out.swapaxes(0, 1), tracks[first], atol=1e-9)


@pytest.mark.parametrize(("frames", "delay", "step"), [(1, 4, 1), (3, 4, 1), (60, 4, 1), (60, 0, 1), (61, 5, 4)])
def test_stream_gives_every_frame_once_with_bounded_delay(frames, delay, step):
    x = walker(frames)
    newest = -1

    def source():
        nonlocal newest
        for frame in x:
            newest += 1
            yield frame

    out = []
    for number, pose, seconds in stream(source(), lambda w: w, 27, delay=delay, step=step):
        assert newest - number <= delay + step - 1 and seconds >= 0
        out.append((number, pose))
    assert [n for n, _ in out] == list(range(frames))
    np.testing.assert_allclose(np.stack([p for _, p in out]), x, atol=1e-12)


def test_stream_is_smooth_with_a_noisy_lifter():
    rng = np.random.default_rng(0)
    x = walker(200) - walker(200)[:, :1]

    def lift(windows):
        return windows + rng.normal(0, 0.02, (1, 1, 17, 3))

    rough = np.stack([p for _, p, _ in stream(x, lift, 27, delay=8, step=1, blended=1)])
    smooth = np.stack([p for _, p, _ in stream(x, lift, 27, delay=8, step=1, blended=9)])
    extra = [np.abs(np.diff(p - x, axis=0)).mean() for p in (rough, smooth)]
    assert extra[1] < extra[0] / 4


def test_stream_refuses_a_delay_beyond_the_window():
    with pytest.raises(ValueError, match="delay"):
        list(stream(walker(5), lambda w: w, 9, delay=9))
