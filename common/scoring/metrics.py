"""Errors of 3D poses: batched, differentiable, on the tensors' own device. Poses (..., J, 3) in one length unit."""

from __future__ import annotations

import torch
from torch import Tensor


def joint_errors(predicted: Tensor, target: Tensor) -> Tensor:
    """Euclidean distance of each joint (..., J), in the poses' unit."""
    return torch.linalg.vector_norm(predicted - target, dim=-1)


def mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean per-joint position error of each pose (...,): protocol 1."""
    return joint_errors(predicted, target).mean(-1)


def procrustes_align(predicted: Tensor, target: Tensor) -> Tensor:
    """Move, turn and scale each predicted pose onto its target (Schoenemann 1966; Kabsch 1976 for the reflection).

    predicted (..., J, 3) and target broadcast; returns the aligned poses. One SVD of a 3x3 matrix a pose.
    """
    predicted, target = torch.broadcast_tensors(predicted, target)
    mean_x, mean_y = target.mean(-2, keepdim=True), predicted.mean(-2, keepdim=True)
    x, y = target - mean_x, predicted - mean_y
    norm_x = torch.linalg.matrix_norm(x, keepdim=True)
    norm_y = torch.linalg.matrix_norm(y, keepdim=True).clamp_min(1e-12)
    u, s, vh = torch.linalg.svd((y / norm_y).mT @ (x / norm_x.clamp_min(1e-12)))  # (..., 3, 3)
    sign = torch.linalg.det(u @ vh).sign().unsqueeze(-1)
    s = torch.cat([s[..., :2], s[..., 2:] * sign], -1)
    u = torch.cat([u[..., :2], u[..., 2:] * sign.unsqueeze(-1)], -1)
    scale = s.sum(-1)[..., None, None] * norm_x / norm_y
    return scale * (y @ (u @ vh)) + mean_x


def p_mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """MPJPE after Procrustes alignment of each pose (...,): protocol 2."""
    return mpjpe(procrustes_align(predicted, target), target)


def n_mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """MPJPE after the best scale of each pose (...,): protocol 3 (Rhodin et al. 2018)."""
    scale = (target * predicted).sum((-2, -1), keepdim=True) / (predicted**2).sum((-2, -1), keepdim=True)
    return mpjpe(scale * predicted, target)


def mpjve(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean per-joint velocity error of each frame step: sequences (..., F, J, 3) to (..., F - 1), unit per frame."""
    return mpjpe(predicted.diff(dim=-3), target.diff(dim=-3))


def pck(errors: Tensor, threshold: float = 150.0) -> Tensor:
    """Share in percent of joint errors (..., J) below the threshold, strictly: (...,). 150 mm is the field's value."""
    return (errors < threshold).to(errors.dtype).mean(-1) * 100


def auc(errors: Tensor, first: float = 0.0, last: float = 150.0, step: float = 5.0) -> Tensor:
    """Mean of the PCK curve over thresholds 0, 5, ..., 150 mm (Mehta et al. 2017), in percent: (...,)."""
    thresholds = torch.arange(first, last + step / 2, step, device=errors.device, dtype=errors.dtype)
    return torch.stack([pck(errors, float(t)) for t in thresholds]).mean(0)
