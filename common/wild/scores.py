"""Confidences that detectors mean differently, brought to one scale; and depths that stand where they belong."""

from __future__ import annotations

import numpy as np

from common.errors import UserError

LARGEST_SHARE = 1.5  # scores up to here are probabilities, some a little over 1 by their filter
PERCENT = 10.0  # the largest score of a file from which on it counts in percent
# Detectron2's scores have no upper end; its own pictures show joints from 0.05 on, which becomes 0.3 here.
DETECTRON_HALF = 0.05 * 0.7 / 0.3


def on_one_scale(frames: list[np.ndarray]) -> tuple[list[np.ndarray], str]:
    """People (N, J, 3) of every frame with confidences in 0 to 1, and what to say about a change ('' for none).

    Confidences that are 0 everywhere were not given, so that every joint with a place counts as seen. Scores beyond 1
    are percent, or Detectron2's, which are mapped to c / (c + `DETECTRON_HALF`).
    """
    scores = np.concatenate([frame[..., 2].ravel() for frame in frames] or [np.zeros(0)])
    if not len(scores):
        return frames, ""
    if not (scores > 0).any():
        given = [np.concatenate([f[..., :2], (f[..., :2] != 0).any(-1, keepdims=True)], -1) for f in frames]
        return [f.astype(np.float32) for f in given], "confidence is 0 everywhere: taken as not given, all joints count"
    top = float(scores.max())
    if top <= LARGEST_SHARE:
        return frames, ""
    if top > PERCENT:
        return [_with(f, f[..., 2] / 100) for f in frames], f"scores go up to {top:.0f}: taken as percent"
    scaled = [_with(f, np.maximum(f[..., 2], 0) / (np.maximum(f[..., 2], 0) + DETECTRON_HALF)) for f in frames]
    return scaled, f"scores go up to {top:.1f}: taken as Detectron2's and scaled to 0 to 1"


def _with(frame: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return np.concatenate([frame[..., :2], np.clip(scores, 0, 1)[..., None]], -1).astype(np.float32)


def refuse_depth(array: np.ndarray, source: str) -> None:
    """Raise UserError where the third number of (..., 3) joints is no confidence but a depth: 3D handed in as 2D."""
    good = np.isfinite(array).all(-1) & (array != 0).any(-1)
    if not good.any():
        return
    third, plane = array[good][:, 2], np.abs(array[good][:, :2])
    below = (third < -0.05).mean() > 0.01
    metres = np.quantile(plane, 0.9) < 20 and np.median(third) > LARGEST_SHARE
    if below or metres or np.median(third) > 100:
        raise UserError(
            f"{source}: the third number of the joints runs from {third.min():.4g} to {third.max():.4g}: a depth, no "
            "confidence. These are 3D joints already; 2D is lifted here: pixels x, y and, if there is one, a confidence"
        )
