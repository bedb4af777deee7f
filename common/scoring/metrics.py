"""Errors of 3D poses: batched, differentiable, on the tensors' own device. Poses (..., J, 3) in one length unit."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST = 1e-12  # a pose whose coordinates' root sum of squares is less has no size, in metres or millimetres


def joint_errors(predicted: Tensor, target: Tensor) -> Tensor:
    """Euclidean distance of each joint (..., J), in the poses' unit."""
    return torch.linalg.vector_norm(predicted - target, dim=-1)


def mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean per-joint position error of each pose (...,): protocol 1."""
    return joint_errors(predicted, target).mean(-1)


def procrustes_align(predicted: Tensor, target: Tensor) -> Tensor:
    """Move, turn and scale each predicted pose onto its target (Schoenemann 1966; Kabsch 1976 for the reflection).

    predicted (..., J, 3) and target broadcast; returns the aligned poses. One SVD of a 3x3 matrix a pose. A pose with
    a NaN or an infinity, in either argument, becomes NaN and leaves the others of the batch alone. Where all joints of
    a pose lie on one point, every joint of the answer is at the target's mean. Gradients are finite for every finite
    pose: a turn that the poses do not tell (both on a line, say) has gradient zero.
    """
    mean_x, mean_y = target.mean(-2, keepdim=True), predicted.mean(-2, keepdim=True)
    x, y = target - mean_x, predicted - mean_y
    y = y / torch.linalg.matrix_norm(y, keepdim=True).clamp_min(SMALLEST)
    covariance = y.mT @ x  # (..., 3, 3)
    rotation = nearest_rotation(covariance)
    scale = (rotation * covariance).sum((-2, -1), keepdim=True)  # (..., 1, 1): of the pose of unit size
    return scale * (y @ rotation) + mean_x


def nearest_rotation(matrix: Tensor) -> Tensor:
    """The rotation nearest to each 3x3 matrix (..., 3, 3), which maximises trace(R^T M); NaN where one is not finite.

    An SVD has no derivative where two singular values are alike; the rotation has one unless both are zero. So it is
    found without gradients, and its derivative R Omega is put there: Omega, skew, solves S Omega + Omega S =
    skew(R^T dM) for the symmetric S = R^T M (Bregier 2021, section 3.3), and is zero where the sum of two of S's
    eigenvalues is.
    """
    finite = torch.isfinite(matrix).flatten(-2).all(-1)[..., None, None]
    matrix = torch.where(finite, matrix, 0.0)  # LAPACK gives up on NaN, and with it on the whole batch
    with torch.no_grad():
        u, s, vh = torch.linalg.svd(matrix)  # (..., 3, 3), (..., 3), (..., 3, 3)
        sign = torch.ones_like(s)
        sign[..., 2] = torch.linalg.det(u @ vh).sign()  # -1: U V^T is a reflection, so the weakest axis is turned round
        s = s * sign
        rotation = (u * sign[..., None, :]) @ vh
    if matrix.requires_grad:
        seen = rotation.mT @ matrix
        skew = vh @ (seen - seen.mT) @ vh.mT  # in the eigenvectors of S; zero but for rounding
        pairs = s[..., :, None] + s[..., None, :]
        told = pairs > 1e-6 * s[..., :1, None]
        omega = vh.mT @ torch.where(told, skew / torch.where(told, pairs, 1.0), 0.0) @ vh
        rotation = rotation + rotation @ (omega - omega.detach())
    return torch.where(finite, rotation, torch.nan)


def p_mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """MPJPE after Procrustes alignment of each pose (...,): protocol 2."""
    return mpjpe(procrustes_align(predicted, target), target)


def n_mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """MPJPE after the best scale of each pose (...,): protocol 3 (Rhodin et al. 2018).

    A predicted pose of zeros stays one, whatever the scale, and its gradient is zero.
    """
    direction = predicted / torch.linalg.matrix_norm(predicted, keepdim=True).clamp_min(SMALLEST)
    return mpjpe((target * direction).sum((-2, -1), keepdim=True) * direction, target)


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
