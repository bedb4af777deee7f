"""From where a pose is looked at: camera-frame poses onto the plane of a picture, upright and without perspective.

Poses are root-relative metres in the camera frame (x right, y down, z forward). The picture shows them from the
camera's own side, raised a little so that the floor is seen. Orthographic: a metre is as long everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from common.geometry.camera import Camera, quaternion_rotate

ELEVATION = 15.0  # degrees above the horizon, as the field draws its poses
_NO_ROTATION = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class View:
    """Directions as unit row vectors in the camera frame."""

    plane: np.ndarray  # (3, 3): the picture's right, its up, and away from the viewer
    ground: np.ndarray  # (2, 3): the world's two level axes, along which the floor's grid runs
    vertical: np.ndarray  # (3,): up

    def project(self, points: np.ndarray) -> np.ndarray:
        """Camera-frame points (..., 3) to (right, up, away) (..., 3), metres."""
        return points @ self.plane.T

    def height(self, points: np.ndarray) -> np.ndarray:
        """Height of camera-frame points (..., 3) above the frame's origin (...,), metres."""
        return points @ self.vertical


def view_from(camera: Camera | None = None, elevation: float | None = ELEVATION, turn: float = 0.0) -> View:
    """The view from the camera's side.

    camera: gives the upright; without one, or with one whose rotation is unknown (the identity would be a camera that
    looks straight up), the camera is taken as level. elevation: degrees above the horizon, None for the camera's own.
    turn: degrees to walk around the person, counter-clockwise seen from above; 90 shows what the camera cannot, depth.
    """
    if camera is None or tuple(camera.rotation) == _NO_ROTATION:
        to_world = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # x right, y forward, z up
        to_world = _about_z(np.radians(30)) @ to_world  # which way the grid runs is free: not edge-on
    else:
        rotation = torch.tensor(camera.rotation, dtype=torch.float64)
        to_world = quaternion_rotate(rotation, torch.eye(3, dtype=torch.float64)).numpy().T  # (3, 3)
    forward = to_world[:, 2]
    level = forward * [1, 1, 0]
    if np.linalg.norm(level) < 1e-3:  # a camera that looks straight down: the top of its picture is ahead
        level = -to_world[:, 1] * [1, 1, 0]
    level = _about_z(np.radians(turn)) @ (level / np.linalg.norm(level))
    angle = np.arcsin(np.clip(-forward[2], -1, 1)) if elevation is None else np.radians(elevation)
    up = np.array([0.0, 0.0, 1.0])
    away = np.cos(angle) * level - np.sin(angle) * up
    plane = np.stack([np.cross(level, up), np.sin(angle) * level + np.cos(angle) * up, away])  # (3, 3), in the world
    return View(plane @ to_world, to_world[:2], to_world[2])


def _about_z(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def floor_heights(view: View, poses: np.ndarray, smooth: int = 1) -> np.ndarray:
    """Height of the floor under each root-relative pose (T, J, 3): its lowest joint. Returns (T,), metres, below zero.

    Nothing in a root-relative pose tells how high it jumps. smooth: frames of a moving mean, against jitter.
    """
    lowest = view.height(poses).min(-1)  # (T,)
    if smooth > 1:
        smooth = min(smooth | 1, 2 * len(lowest) - 1)
        lowest = np.pad(lowest, smooth // 2, mode="edge")
        lowest = np.convolve(lowest, np.full(smooth, 1 / smooth), mode="valid")
    return lowest
