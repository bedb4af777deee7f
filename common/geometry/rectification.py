"""Stereo rectification of two calibrated cameras, from their geometry alone.

Both cameras are turned about their centres to one common orientation whose x axis is the baseline, so that a point has
the same row in both images (Hartley and Zisserman, section 11.12, for known cameras; Fusiello et al. 2000). New
intrinsics share the focal length and the row of the principal point, and have no skew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.errors import UserError

# A baseline within about 17 degrees of the common line of sight cannot be rectified in any useful way.
LEAST_SINE = 0.3
LEAST_BASELINE = 1.0  # millimetres


@dataclass(frozen=True)
class Rig:
    """Calibrated cameras: pixel = K (R x + t). x and t in millimetres of the world.

    Raises UserError where two of them stand in one place: such views tell no depth.
    """

    intrinsics: np.ndarray  # (V, 3, 3)
    rotation: np.ndarray  # (V, 3, 3), world to camera
    translation: np.ndarray  # (V, 3)
    sizes: np.ndarray  # (V, 2), width and height of the images, pixels

    def __post_init__(self):
        for n, centre in enumerate(self.centres):
            if not (np.linalg.norm(self.centres[:n] - centre, axis=-1) >= LEAST_BASELINE).all():
                raise UserError("two cameras of a pair stand in one place; two such views tell no depth")

    @property
    def centres(self) -> np.ndarray:
        """Camera centres (V, 3) in the world, millimetres."""
        return -np.einsum("vji,vj->vi", self.rotation, self.translation)

    def camera_points(self, points: np.ndarray) -> np.ndarray:
        """World points (N, J, 3) in every camera's frame: (N, V, J, 3)."""
        return np.einsum("vik,njk->nvji", self.rotation, points) + self.translation[:, None]

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (N, J, 3) to pixels (N, V, J, 2) of ideal images, without lens distortion."""
        h = np.einsum("vik,nvjk->nvji", self.intrinsics, self.camera_points(points))
        return h[..., :2] / h[..., 2:]


def rectify(rig: Rig) -> tuple[Rig, np.ndarray]:
    """The rectified rig of two cameras, and the homographies (2, 3, 3) from undistorted to rectified pixels.

    Raises UserError where the cameras stand behind one another.
    """
    first, second = rig.centres
    x = (second - first) / np.linalg.norm(second - first)
    if x @ rig.rotation[:, 0].sum(0) < 0:  # the baseline from right to left: keep images the right way round
        x = -x
    forward = rig.rotation[:, 2].sum(0)
    z = forward - (forward @ x) * x
    if np.linalg.norm(z) < LEAST_SINE * np.linalg.norm(forward) or np.linalg.norm(forward) < 0.2:
        raise UserError("these two cameras cannot be rectified: they look along the line that joins them")
    z = z / np.linalg.norm(z)
    rotation = np.stack([x, np.cross(z, x), z])  # rows: right, down, forward

    focal = float(rig.intrinsics[:, [0, 1], [0, 1]].mean())
    inverse = np.linalg.inv(rig.intrinsics)
    turn = np.einsum("ik,vjk->vij", rotation, rig.rotation)  # old camera frame to new
    middle = np.concatenate([rig.sizes / 2, np.ones((2, 1))], 1)
    ray = np.einsum("vij,vjk,vk->vi", turn, inverse, middle)  # where each image's middle looks
    offset = focal * ray[:, :2] / ray[:, 2:]
    centre = rig.sizes / 2 - offset
    centre[:, 1] = centre[:, 1].mean()  # one row for both
    intrinsics = np.zeros((2, 3, 3))
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    intrinsics[:, :2, 2] = centre
    intrinsics[:, 2, 2] = 1
    shift = -np.einsum("ij,vj->vi", rotation, rig.centres)
    new = Rig(intrinsics, np.stack([rotation, rotation]), shift, rig.sizes)
    return new, intrinsics @ turn @ inverse
