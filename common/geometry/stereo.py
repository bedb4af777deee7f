"""Cropped cameras of two or more views: from calibration and boxes to projection matrices, and back from 2D to 3D.

World points are in metres. Image points are crop units: the crop spans [-1, 1] in x, and y is scaled by the same
factor. Poses in 2D are (..., V, J, 2), one row a view; published arrays are (..., J, 2V) (`to_channels`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from common.geometry import camera


def to_channels(views: Tensor) -> Tensor:
    """(..., V, J, 2) to the published layout (..., J, 2V)."""
    return views.transpose(-3, -2).flatten(-2)


def crop_intrinsics(intrinsics: Tensor, box: Tensor, size: tuple[int, int], legacy_skew: bool = False) -> Tensor:
    """Pixel intrinsics (..., 3, 3) of a full image to those of its resized crop in crop units.

    box (..., 4) is (top, left, bottom, right) in pixels; size is (height, width) of the resized crop. `legacy_skew`
    leaves the skew unscaled by the resize, as the published code does.
    """
    top, left, bottom, right = box.to(intrinsics).unbind(-1)
    height, width = size
    scale_x, scale_y = width / (right - left), height / (bottom - top)  # full pixels to crop pixels
    unit = 2 / width  # crop pixels to crop units
    k = torch.zeros_like(intrinsics)
    k[..., 0, 0] = intrinsics[..., 0, 0] * scale_x * unit
    k[..., 0, 1] = intrinsics[..., 0, 1] * (1.0 if legacy_skew else scale_x) * unit
    k[..., 0, 2] = (intrinsics[..., 0, 2] - left) * scale_x * unit - 1
    k[..., 1, 1] = intrinsics[..., 1, 1] * scale_y * unit
    k[..., 1, 2] = (intrinsics[..., 1, 2] - top) * scale_y * unit - height / width
    k[..., 2, 2] = 1
    return k


def pixels_to_crop_units(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop pixels (..., 2) to crop units; size is (height, width)."""
    return camera.pixels_to_screen(pixels, width=size[1], height=size[0])


def crop_units_to_pixels(points: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop units (..., 2) to crop pixels; size is (height, width)."""
    return camera.screen_to_pixels(points, width=size[1], height=size[0])


def project(points: Tensor, projections: Tensor, nearest: float = 0.0) -> Tensor:
    """World points (..., J, 3) into all views: (..., V, J, 2), crop units. projections (..., V, 3, 4).

    `nearest` keeps depths at least that far in front of the camera, in metres: a training loss needs it, because a
    point that passes the image plane sends the loss to infinity. With 0, points behind stay behind; only within a
    micrometre of the camera's centre depths count as a micrometre in front, so that the centre itself stays finite.
    """
    h = torch.einsum("...vik,...jk->...vji", projections[..., :3], points) + projections[..., None, :, 3]
    depth = h[..., 2:].clamp_min(nearest) if nearest else camera.away_from_zero(h[..., 2:], camera.NEAREST)
    return h[..., :2] / depth


def triangulate(points: Tensor, projections: Tensor, weights: Tensor | None = None) -> Tensor:
    """Linear triangulation in float64, as published: plain equations. (..., V, J, 2) to (..., J, 3), world metres."""
    return camera.triangulate(points, projections, weights, unit_rows=False)


def camera_centres(extrinsics: Tensor) -> Tensor:
    """Centres (..., 3) of cameras [R | t] (..., 3, 4) in the world: -R^T t, in the unit of t."""
    return -(extrinsics[..., :3].mT @ extrinsics[..., 3:]).squeeze(-1)


def baseline(extrinsics: Tensor) -> Tensor:
    """Distance (...,) between the first two cameras of (..., V, 3, 4), in the unit of t."""
    centres = camera_centres(extrinsics)
    return torch.linalg.vector_norm(centres[..., 0, :] - centres[..., 1, :], dim=-1)


def depth_axis(extrinsics: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """The direction (..., 3) and offset (...,) whose `axis . x + offset` is called depth, for cameras (..., V, 3, 4).

    `camera`: along the first camera's optical axis, from its centre. `world_z`: the world's z, as published; on
    Human3.6M that is the height above the floor.
    """
    if kind == "camera":
        return extrinsics[..., 0, 2, :3], extrinsics[..., 0, 2, 3]
    if kind == "world_z":
        axis = torch.zeros_like(extrinsics[..., 0, 2, :3])
        axis[..., 2] = 1
        return axis, torch.zeros_like(axis[..., 0])
    raise ValueError(f"depth axis {kind!r}")


def stretch(points: Tensor, axis: Tensor, factor: Tensor) -> Tensor:
    """Scale points (B, J, 3) by factor (B,) along the unit direction axis (B, 3)."""
    along = torch.einsum("bjc,bc->bj", points, axis)
    return points + ((factor - 1)[:, None] * along)[..., None] * axis[:, None]
