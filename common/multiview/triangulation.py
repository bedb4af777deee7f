"""Joints seen by several calibrated cameras to 3D: robust, weighted, with the spread of the error.

Errors are measured as shares of the person's size in each picture, so that near and far cameras count alike. Arrays
have the views first: V views, T frames, J joints. World: the calibration's.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from common.geometry.camera import Camera, pixels_to_screen, quaternion_conjugate, quaternion_rotate, undistort
from common.geometry.camera import triangulate as triangulate_linear

SCALE = 0.03  # of the person's size: an error of this much halves a view's weight
OUTLIER = 0.12  # of the person's size: a view that is farther off counts as wrong
ROUNDS = 12


@dataclass(frozen=True)
class Triangulated:
    """points (T, J, 3), NaN where fewer than two views agree; errors (V, T, J, 2), keypoint minus reprojection as
    shares of the person's size, NaN where a view has no keypoint; used (V, T, J) bool, the views that count;
    covariance (T, J, 3, 3) for errors of one person size, to be scaled by the noise's variance."""

    points: np.ndarray
    errors: np.ndarray
    used: np.ndarray
    covariance: np.ndarray

    def noise(self) -> float:
        """The standard deviation of one coordinate's error, a share of the person's size, from the errors of the
        views that count and what the fit has taken of them: two of the coordinates' three degrees a point."""
        squared = np.where(self.used[..., None], self.errors, 0) ** 2
        free = 2 * self.used.sum() - 3 * np.isfinite(self.points[..., 0]).sum()
        return float(np.sqrt(np.nansum(squared) / max(free, 1)))

    def spread(self, noise: float) -> np.ndarray:
        """(T, J), world units: the root of the mean square distance that such noise moves a point by."""
        return noise * np.sqrt(np.trace(self.covariance, axis1=-2, axis2=-1))


def extrinsics(cameras: list[Camera]) -> np.ndarray:
    """(V, 3, 4) world to camera."""
    out = []
    for camera in cameras:
        inverse = quaternion_conjugate(torch.tensor(camera.rotation, dtype=torch.float64))
        columns = quaternion_rotate(inverse, torch.eye(3, dtype=torch.float64)).numpy().T
        out.append(np.column_stack([columns, -columns @ np.array(camera.translation)]))
    return np.array(out)


def rays(pixels: np.ndarray, camera: Camera) -> np.ndarray:
    """Pixels (..., J, 2) to the ideal image plane, the lens undone."""
    screen = pixels_to_screen(torch.from_numpy(np.asarray(pixels, np.float64)), camera.width, camera.height)
    return undistort(screen, torch.tensor(camera.intrinsics, dtype=torch.float64), 25).numpy()


def reproject(points: np.ndarray, camera: Camera) -> np.ndarray:
    """World points (..., J, 3) to pixels (..., J, 2); NaN behind the camera and where a point is NaN."""
    seen = camera.world_to_camera(torch.from_numpy(np.asarray(points, np.float64)))
    pixels = camera.project(seen).numpy()
    pixels[~(seen[..., 2].numpy() > 0)] = np.nan
    return pixels


def person_sizes(pixels: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(...,) pixels: the diagonal of the box around the seen (..., J) of keypoints (..., J, 2); at least 1."""
    low = np.where(seen[..., None], pixels, np.inf).min(-2)
    high = np.where(seen[..., None], pixels, -np.inf).max(-2)
    return np.where(seen.any(-1), np.maximum(np.linalg.norm(np.where(high > low, high - low, 0), axis=-1), 1.0), 1.0)


def triangulate(
    keypoints: np.ndarray, confidence: np.ndarray, cameras: list[Camera], sizes: np.ndarray
) -> Triangulated:
    """3D from keypoints (V, T, J, 2), pixels, with confidence (V, T, J), 0 where missing.

    sizes (V, T): the person's size in each picture, pixels. Starts from the pair of views that most views agree with,
    then Gauss-Newton on the reprojection error, each view weighed by its confidence and by how well it agrees
    (Geman and McClure's weights); a view that is off by more than OUTLIER of the size counts no more.
    """
    views = extrinsics(cameras)
    seen = (confidence > 0) & np.isfinite(keypoints).all(-1)
    flat = np.where(seen[..., None], keypoints, 0)
    ideal = np.stack([rays(points, camera) for points, camera in zip(flat, cameras, strict=True)])  # (V, T, J, 2)
    focal = np.array([np.mean(c.intrinsics[:2]) * c.width / 2 for c in cameras])
    unit = focal[:, None, None] / sizes[:, :, None] * np.ones_like(confidence)  # ideal plane to shares of the size
    weights = np.where(seen, confidence, 0)
    points = _start(ideal, weights, unit, views)
    for _ in range(ROUNDS):
        error, slope, depth = _residuals(points, ideal, unit, views)
        agree = _robust(error, depth) * weights  # (V, T, J)
        normal = np.einsum("vtj,vtjki,vtjkl->tjil", agree, slope, slope)
        normal += 1e-9 * np.trace(normal, axis1=-2, axis2=-1)[..., None, None] * np.eye(3) + 1e-12 * np.eye(3)
        points = (
            points + np.linalg.solve(normal, np.einsum("vtj,vtjki,vtjk->tji", agree, slope, error)[..., None])[..., 0]
        )
    error, slope, depth = _residuals(points, ideal, unit, views)
    used = seen & (np.linalg.norm(error, axis=-1) < OUTLIER) & (depth > 0)
    good = used.sum(0) >= 2
    used &= good
    agree = _robust(error, depth) * weights * used
    normal = np.einsum("vtj,vtjki,vtjkl->tjil", agree, slope, slope)
    spread = np.einsum("vtj,vtjki,vtjkl->tjil", agree**2, slope, slope)
    inverse = np.linalg.pinv(normal, hermitian=True)
    covariance = inverse @ spread @ inverse  # of the weighted estimate, for noise that is the same in all views
    covariance[~good] = np.nan
    points = np.where(good[..., None], points, np.nan)
    errors = np.where(seen[..., None], error, np.nan)
    return Triangulated(points, errors, used, covariance)


def _robust(error: np.ndarray, depth: np.ndarray) -> np.ndarray:
    return np.where(depth > 0, 1 / (1 + (error**2).sum(-1) / SCALE**2) ** 2, 0)


def _residuals(points: np.ndarray, ideal: np.ndarray, unit: np.ndarray, views: np.ndarray):
    """Error (V, T, J, 2) in sizes, keypoint minus projection; its slope (V, T, J, 2, 3); depth (V, T, J)."""
    turn, shift = views[:, :, :3], views[:, :, 3]
    local = np.einsum("vik,tjk->vtji", turn, points) + shift[:, None, None]  # (V, T, J, 3)
    depth = local[..., 2]
    safe = np.where(np.abs(depth) > 1e-6, depth, 1e-6)
    plane = local[..., :2] / safe[..., None]
    slope = (turn[:, None, None, :2] - plane[..., None] * turn[:, None, None, 2:]) / safe[..., None, None]
    return (ideal - plane) * unit[..., None], slope * unit[..., None, None], depth


def _start(ideal: np.ndarray, weights: np.ndarray, unit: np.ndarray, views: np.ndarray) -> np.ndarray:
    """(T, J, 3): of all pairs of views, and all views together, the point with the least capped error."""
    everyone = tuple(range(len(views)))
    best = np.full(weights.shape[1:], np.inf)
    points = np.zeros((*weights.shape[1:], 3))
    for chosen in dict.fromkeys([everyone, *combinations(everyone, 2)]):
        part = list(chosen)
        found = triangulate_linear(
            torch.from_numpy(ideal[part].transpose(1, 0, 2, 3)),
            torch.from_numpy(views[part]),
            torch.from_numpy(weights[part].transpose(1, 0, 2)),
        ).numpy()  # (T, J, 3)
        found = np.where(np.isfinite(found), found, 0)
        error, _, depth = _residuals(found, ideal, unit, views)
        capped = np.where(depth > 0, np.minimum((error**2).sum(-1), OUTLIER**2), OUTLIER**2)
        cost = (capped * weights).sum(0)  # (T, J)
        if len(part) < len(views):
            cost = np.where((weights[part] > 0).all(0), cost, np.inf)
        better = cost < best
        best, points = np.where(better, cost, best), np.where(better[..., None], found, points)
    return points
