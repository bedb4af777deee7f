"""From the landmark network's raw output to a person's joints in its crop."""

from __future__ import annotations

import numpy as np

INPUT = 256  # pixels a side
JOINTS = 33
CENTRE, RIM = 33, 34  # the two points behind the joints that place the next frame's crop
REACH = 4  # cells of the heat map around a landmark that correct it
SURE = 0.5  # of the heat map's peak there; below it corrects nothing


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -80, 80)))


def decode(raw: np.ndarray, heat: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Points (39, 2), 0..1 of the crop, and the visibility and presence (39, 2) of each, 0..1.

    raw (39, 5): x, y, z in pixels of the network's input, and two logits; heat (64, 64, 39): the heat maps' logits, or
    None to leave the points where the regression puts them.
    """
    points = raw[:, :2].astype(np.float64) / INPUT
    return (points if heat is None else refine(points, heat)), sigmoid(raw[:, 3:5])


def refine(points: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Each point (39, 2) moved to the centre of mass of its heat map within `REACH` cells, where that has a peak."""
    points = points.copy()
    height, width, _ = heat.shape
    for n, (x, y) in enumerate(points):
        column, row = int(x * width), int(y * height)
        if not (0 <= column < width and 0 <= row < height):
            continue
        left, top = max(column - REACH, 0), max(row - REACH, 0)
        mass = sigmoid(heat[top : row + REACH + 1, left : column + REACH + 1, n])
        if mass.max() >= SURE:
            rows, columns = np.mgrid[top : top + mass.shape[0], left : left + mass.shape[1]]
            points[n] = (columns * mass).sum() / mass.sum() / width, (rows * mass).sum() / mass.sum() / height
    return points
