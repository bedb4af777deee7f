"""HumanEva-I's intrinsics, which are in no file of the field: fitted from its own ground-truth 2D and 3D.

The extrinsics are known, so every joint gives two linear equations in (fx, cx) and (fy, cy): pixel = f (x / z) + c.
They are solved by least squares, with weights that fall off with the residual (Huber 1964). No lens is fitted: on the
real files the residuals are 0.34 to 1.88 px without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from common.geometry.camera import Camera, screen_intrinsics

LARGEST = 5.0  # mean residual, px, beyond which the 2D is no projection of the 3D
FEWEST = 100  # joints seen, below which nothing is fitted
ROUNDS = 20
HUBER = 1.345  # standard deviations beyond which a residual counts less: 95 % efficient on normal ones


def fit_intrinsics(points: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Focal lengths (2,) and centre (2,) in pixels, and the mean residual in px; None where they cannot be told.

    points (N, 3) in the camera frame, metres; pixels (N, 2). Points behind the camera and missing ones are left out.
    """
    seen = np.isfinite(points).all(1) & np.isfinite(pixels).all(1) & (points[:, 2] > 0.1)
    if seen.sum() < FEWEST:
        return None
    points, pixels = points[seen].astype(np.float64), pixels[seen].astype(np.float64)
    rays = points[:, :2] / points[:, 2:]  # (N, 2)
    if (rays.std(0) < 1e-3).any():  # one ray says nothing of the focal length
        return None
    weights = np.ones(len(rays))
    for _ in range(ROUNDS):
        w = weights / weights.sum()
        ray, pixel = w @ rays, w @ pixels  # (2,) each: weighted means
        focal = (w @ ((rays - ray) * (pixels - pixel))) / (w @ (rays - ray) ** 2)
        centre = pixel - focal * ray
        residuals = np.linalg.norm(focal * rays + centre - pixels, axis=1)
        scale = max(1.4826 * float(np.median(residuals)), 1e-9)
        weights = np.minimum(1, HUBER * scale / np.maximum(residuals, 1e-12))
    return focal, centre, float(residuals.mean())


def with_intrinsics(
    camera: Camera, points: Sequence[np.ndarray], pixels: Sequence[np.ndarray]
) -> tuple[Camera, dict[str, object]]:
    """The camera with fitted intrinsics and what was fitted; the camera as it is, and why, where the fit is refused.

    points (T, J, 3) and pixels (T, J, 2) of every take that it has seen. What was fitted: {'camera', 'focal_px',
    'centre_px', 'residual_px', 'joints'}, or {'camera', 'refused'}.
    """
    every_point = np.concatenate([np.zeros((0, 3)), *(p.reshape(-1, 3) for p in points)])
    every_pixel = np.concatenate([np.zeros((0, 2)), *(p.reshape(-1, 2) for p in pixels)])
    fitted = fit_intrinsics(every_point, every_pixel)
    if fitted is None:
        return camera, {"camera": camera.name, "refused": "too little 2D and 3D to fit intrinsics"}
    focal, centre, residual = fitted
    inside = (centre > 0).all() and centre[0] < camera.width and centre[1] < camera.height
    if residual > LARGEST or (focal <= 0).any() or not inside:
        why = f"no intrinsics, the 2D is {residual:.1f} px from any projection of the 3D"
        return camera, {"camera": camera.name, "refused": why}
    numbers = screen_intrinsics(focal.tolist(), centre.tolist(), (0.0,) * 3, (0.0,) * 2, camera.width, camera.height)
    facts = {"camera": camera.name, "focal_px": focal.tolist(), "centre_px": centre.tolist(), "residual_px": residual}
    return replace(camera, intrinsics=tuple(float(n) for n in numbers)), facts | {"joints": len(every_point)}


def told(facts: dict[str, object]) -> str:
    """What was fitted, in words."""
    if "refused" in facts:
        return f"{facts['camera']}: {facts['refused']}"
    (fx, fy), (cx, cy) = facts["focal_px"], facts["centre_px"]
    return f"{facts['camera']}: f {fx:.0f}, {fy:.0f}, centre {cx:.0f}, {cy:.0f}, residual {facts['residual_px']:.2f} px"
