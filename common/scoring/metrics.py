"""Errors of 3D poses: batched, differentiable, on the tensors' own device. Poses (..., J, 3) in one length unit.

`METRICS` lists what an evaluation can report; a row there is all that a new metric needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from common.errors import UserError
from common.geometry.skeleton import Skeleton

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


def scale_align(predicted: Tensor, target: Tensor) -> Tensor:
    """Scale each predicted pose to its target, by least squares. A pose of zeros stays one, with gradient zero."""
    direction = predicted / torch.linalg.matrix_norm(predicted, keepdim=True).clamp_min(SMALLEST)
    return (target * direction).sum((-2, -1), keepdim=True) * direction


def n_mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """MPJPE after the best scale of each pose (...,): protocol 3 (Rhodin et al. 2018)."""
    return mpjpe(scale_align(predicted, target), target)


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


def acceleration_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Error of the joints' second differences (Kanazawa et al. 2019): (..., F, J, 3) to (..., F - 2), unit/frame^2."""
    return mpjpe(predicted.diff(n=2, dim=-3), target.diff(n=2, dim=-3))


def bone_lengths(poses: Tensor, skeleton: Skeleton) -> Tensor:
    """Lengths (..., bones) of the skeleton's edges, in the poses' unit."""
    joints, parents = zip(*skeleton.edges, strict=True)
    return torch.linalg.vector_norm(poses[..., joints, :] - poses[..., parents, :], dim=-1)


def bone_length_error(predicted: Tensor, target: Tensor, skeleton: Skeleton) -> Tensor:
    """Mean absolute error of the bones' lengths of each pose (...,)."""
    return (bone_lengths(predicted, skeleton) - bone_lengths(target, skeleton)).abs().mean(-1)


def asymmetry(poses: Tensor, skeleton: Skeleton) -> Tensor:
    """Mean absolute difference in length of the bones of the left and of the right side, of each pose (...,)."""
    lengths, mirror = bone_lengths(poses, skeleton), skeleton.mirror
    place = {edge: n for n, edge in enumerate(skeleton.edges)}
    pairs = [(place[j, p], place[mirror[j], mirror[p]]) for j, p in skeleton.edges if j in skeleton.left]
    left, right = zip(*pairs, strict=True)
    return (lengths[..., left] - lengths[..., right]).abs().mean(-1)


def _without_root(poses: Tensor, target: Tensor, skeleton: Skeleton) -> Tensor:
    kept = [j for j in range(len(skeleton)) if j != skeleton.root]
    return joint_errors(poses[..., kept, :], target[..., kept, :])


@dataclass(frozen=True)
class Metric:
    """A row of METRICS: how poses (..., F, J, 3), root-relative in metres, are scored against the truth.

    `of(poses, target, skeleton)` gives (..., F - lost); times `factor` it is in `unit`. With `lost` frames, a value is
    taken over neighbouring frames of the whole clip. `align(poses, target)` is done first; then whole poses that are
    chosen by the truth are chosen among the aligned ones.
    """

    key: str  # in report.json
    title: str
    unit: str
    of: Callable[[Tensor, Tensor, Skeleton], Tensor]
    factor: float = 1000.0
    lost: int = 0
    align: Callable[[Tensor, Tensor], Tensor] | None = None
    average: str = ""  # its name in the log's averages, where the published log has another

    @property
    def average_title(self) -> str:
        return self.average or self.title


def _mpjpe(poses: Tensor, target: Tensor, skeleton: Skeleton) -> Tensor:
    return mpjpe(poses, target)


METRICS: dict[str, Metric] = {
    "mpjpe": Metric("protocol_1", "Protocol #1 Error (MPJPE)", "mm", _mpjpe, average="Protocol #1   (MPJPE)"),
    "p_mpjpe": Metric(
        "protocol_2",
        "Protocol #2 Error (P-MPJPE)",
        "mm",
        _mpjpe,
        align=procrustes_align,
        average="Protocol #2 (P-MPJPE)",
    ),
    "n_mpjpe": Metric("n_mpjpe", "N-MPJPE", "mm", _mpjpe, align=scale_align),
    "mpjve": Metric("mpjve", "MPJVE", "mm/frame", lambda x, y, _: mpjve(x, y), lost=1),
    "acceleration": Metric(
        "acceleration", "Acceleration error", "mm/frame^2", lambda x, y, _: acceleration_error(x, y), lost=2
    ),
    "pck": Metric("pck", "PCK, 150 mm", "%", lambda x, y, s: pck(_without_root(x, y, s), 0.15), factor=1.0),
    "auc": Metric("auc", "AUC, 0 to 150 mm", "%", lambda x, y, s: auc(1000 * _without_root(x, y, s)), factor=1.0),
    "bone_length": Metric("bone_length", "Bone length error", "mm", bone_length_error),
    "symmetry": Metric("symmetry", "Left-right bone difference", "mm", lambda x, y, s: asymmetry(x, s)),
}


def metrics_named(names: Iterable[str]) -> dict[str, Metric]:
    """Rows of METRICS, MPJPE always the first. Raises UserError for a name that is not there."""
    wanted = dict.fromkeys(("mpjpe", *names))
    if unknown := [name for name in wanted if name not in METRICS]:
        raise UserError(f"--metrics {unknown[0]}: unknown; there are {', '.join(METRICS)}")
    return {name: METRICS[name] for name in METRICS if name in wanted}
