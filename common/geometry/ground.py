"""The ground under people that a camera sees, and the frame that stands on it: x right, y ahead, z up, metres."""

from __future__ import annotations

import numpy as np


def ground_axes(up: np.ndarray) -> np.ndarray:
    """Rows (3, 3): right, ahead and up of the ground's frame in the camera's (x right, y down, z forward)."""
    up = np.asarray(up, float) / np.linalg.norm(up)
    right = np.cross([0.0, 0.0, 1.0], up)
    if np.linalg.norm(right) < 1e-3:  # a camera that looks straight up or down: its own right is right
        right = np.array([1.0, 0.0, 0.0]) - up[0] * up
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(up, right), up])


def on_ground(points: np.ndarray, up: np.ndarray, floor: float) -> np.ndarray:
    """Points (..., 3) of the camera's frame in the ground's: z is the height above the floor."""
    return np.asarray(points) @ ground_axes(up).T - [0.0, 0.0, floor]
