"""The two losses of adaptation (PoSynDA, sections 3.2 and 3.4; published code). Pixels and millimetres, as there.

Poses (B, K, H, F, J, 3) are root-relative metres, roots broadcast to (B, K, H, F, 1, 3), camera frame, metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from common.geometry.camera import fit_root, project, undistort
from common.scoring.metrics import joint_errors


@dataclass(frozen=True)
class Observed:
    """What a camera saw of B windows, and which frames are real."""

    keypoints_2d: Tensor  # (B, F, J, 2), screen units
    intrinsics: Tensor  # (B, 9), screen units
    width: Tensor  # (B,), pixels of the image
    mask: Tensor  # (B, F)


@dataclass(frozen=True)
class Loss:
    total: Tensor
    pixels: Tensor  # the 2D term
    millimetres: Tensor  # the 3D term


def fitted_root(poses: Tensor, view: Observed) -> Tensor:
    """The root of each hypothesis (B, K, H, F, 1, 3) by least squares on the 2D: nothing of the truth."""
    rays = undistort(view.keypoints_2d, view.intrinsics[:, None])  # (B, F, J, 2)
    return fit_root(poses, rays[:, None, None].expand(*poses.shape[:-1], 2))


def reprojection_errors(poses: Tensor, root: Tensor, view: Observed) -> Tensor:
    """Distance (B, K, H, F, J) in pixels between the 2D and each hypothesis placed at its root."""
    screen = project(poses + root, view.intrinsics[:, None, None, None])
    return joint_errors(screen, view.keypoints_2d[:, None, None]) * (view.width / 2)[:, None, None, None, None]


def best_joints(poses: Tensor, errors: Tensor) -> Tensor:
    """Each joint from the hypothesis that reprojects best (JPMA's rule): (B, K, F, J, 3)."""
    index = errors.argmin(2)[:, :, None, :, :, None]  # (B, K, 1, F, J, 1)
    return poses.gather(2, index.expand(*poses.shape[:2], 1, *poses.shape[3:])).squeeze(2)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of (B, ..., F, J) over the frames with mask (B, F)."""
    mask = mask.view(len(mask), *[1] * (values.dim() - 3), -1, 1)
    return torch.where(mask, values, 0).sum() / mask.expand(values.shape).sum().clamp_min(1)


def target_loss(
    poses: Tensor,
    root: Tensor,
    view: Observed,
    *,
    weights: tuple[float, float] = (0.5, 1.0),
    pseudo_label: Tensor | None = None,
    attached: bool = False,
) -> Loss:
    """w_2d * mean of the least reprojection error a joint + w_3d * mean distance to the pseudo label.

    The pseudo label (B, K, F, J, 3) is the assembly of best joints, or a teacher's. No gradient flows through it
    unless `attached` (the published code).
    """
    errors = reprojection_errors(poses, root, view)
    label = best_joints(poses, errors) if pseudo_label is None else pseudo_label
    label = label if attached else label.detach()
    pixels = masked_mean(errors.min(2).values, view.mask)
    return _loss(poses, label.unsqueeze(2), pixels, view, weights)


def source_loss(
    poses: Tensor, root: Tensor, label: Tensor, view: Observed, *, weights: tuple[float, float] = (0.1, 1.0)
) -> Loss:
    """w_2d * mean of the least reprojection error a joint + w_3d * mean distance to the true pose (B, F, J, 3)."""
    pixels = masked_mean(reprojection_errors(poses, root, view).min(2).values, view.mask)
    return _loss(poses, label[:, None, None], pixels, view, weights)


def _loss(poses: Tensor, label: Tensor, pixels: Tensor, view: Observed, weights: tuple[float, float]) -> Loss:
    millimetres = 1000 * masked_mean(joint_errors(poses, label), view.mask)
    return Loss(weights[0] * pixels + weights[1] * millimetres, pixels, millimetres)
