"""Motion smoothed without lag, the fast parts less than the slow ones.

A Whittaker smoother (Whittaker 1923; Eilers 2003, "A perfect smoother") minimises the distance to the data plus a
penalty on the third difference in time. Its strength follows the speed as the cut-off of the one-euro filter does
(Casiez et al. 2012): what stands still is held still, a kick keeps its height.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_banded

ORDER = 3
_DIFFERENCE = np.array([-1.0, 3.0, -3.0, 1.0])


def penalised(x: np.ndarray, strength: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """x (T, D) smoothed: the least sum of weights (T,) times squared distance and strength (T - 3,) times squared
    third difference. Frames of weight 0 are filled by the smoothest curve.

    Solved for x and, between its frames, the root of strength times the third difference: at high frame rates the
    strengths are so great that x alone would drown in rounding.
    """
    frames = len(x)
    if frames <= ORDER:
        return np.array(x, float)
    width = 2 * ORDER - 1  # band[width + r - c, c] is the element (r, c)
    band, right = np.zeros((2 * width + 1, 2 * frames)), np.zeros((2 * frames, x.shape[1]))
    band[width, ::2] = 1e-9 + (np.ones(frames) if weights is None else weights)
    band[width, 1::2] = -1
    for k, factor in enumerate(_DIFFERENCE):
        at, coupling = np.arange(frames - ORDER), factor * np.sqrt(strength)
        band[width + 2 * k - 1, 2 * at + 1] = coupling
        band[width + 1 - 2 * k, 2 * (at + k)] = coupling
    right[::2] = x if weights is None else np.where(weights[:, None] > 0, x, 0) * weights[:, None]
    return solve_banded((width, width), band, right, check_finite=False)[::2]


def strength_of(cutoff: np.ndarray | float, fps: float) -> np.ndarray:
    """The penalty that halves a wave of `cutoff` Hz."""
    pulse = 2 * np.pi * np.minimum(np.asarray(cutoff, float), fps / 2) / fps
    return (2 - 2 * np.cos(pulse)) ** -float(ORDER)


def smooth(
    x: np.ndarray, fps: float, slowest: float, per_speed: float, weights: np.ndarray | None = None, first: float = 3.0
) -> np.ndarray:
    """Curves x (T, J, D), metres, each smoothed with the cut-off slowest + per_speed * speed (Hz, speed in m/s).

    weights (T, J) of the data; the speed is that of the curve smoothed at `first` Hz.
    """
    x = np.asarray(x, float)
    if len(x) <= ORDER:
        return x.copy()
    out = np.empty_like(x)
    for joint in range(x.shape[1]):
        own = None if weights is None else np.asarray(weights[:, joint], float)
        calm = penalised(x[:, joint], np.full(len(x) - ORDER, strength_of(first, fps)), own)
        speed = np.linalg.norm(np.gradient(calm, axis=0), axis=-1) * fps
        cutoff = slowest + per_speed * speed
        middle = np.array([cutoff[k : len(x) - ORDER + k] for k in range(ORDER + 1)]).mean(0)
        out[:, joint] = penalised(x[:, joint], strength_of(middle, fps), own)
    return out
