"""From many hypotheses to one pose. `AGGREGATIONS` is the table: what each is called, does, and reads of the truth.

Shapes: poses (..., H, F, J, 3), root-relative metres; an aggregate (..., F, J, 3). An aggregation receives an
`Evidence` that holds the 2D input and the camera, and of the ground truth only what its row says it reads: what is
called free of truth cannot look.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from common.geometry.camera import fit_root, project, undistort
from common.geometry.skeleton import Skeleton
from common.scoring.metrics import bone_lengths, joint_errors, mpjpe

# Chosen on held-out training clips (docs/protocol.md); errors are in screen units.
R_AGG_TEMPERATURE = 0.01
# Screen units, 0.01 pixel of an image 1000 wide: far below what a detector tells, far above rounding (about 1e-7).
TIE = 2e-5
# Of S_Agg, chosen on training performers (docs/aggregation.md).
CUT_OFF = 3.0  # Hz
ORDER = 3  # of its smoother
NO_BONE = 1e-6  # metres: a shorter bone has no direction
LEAST_SPREAD = 0.01  # metres: hypotheses that agree better are no surer than that
FILLED = 1e-9  # weight of a frame that only fills the window


@dataclass(frozen=True)
class Evidence:
    """What an aggregation may look at beside the hypotheses; the leading dimensions broadcast with theirs."""

    keypoints_2d: Tensor  # (..., F, J, 2), screen units: the network's input
    intrinsics: Tensor | None = None  # (..., 9), screen units; None where the camera is unknown
    root: Tensor | None = None  # (..., F, 1, 3), true root, camera frame, metres
    pose: Tensor | None = None  # (..., F, J, 3), true pose, root-relative, metres
    temperature: float = R_AGG_TEMPERATURE
    fps: Tensor | None = None  # (...,), frames a second; None where the poses must not be smoothed in time
    skeleton: Skeleton | None = None  # the tree of the joints; None where bones must keep the lengths that they have
    mask: Tensor | None = None  # (..., F), False for frames that only fill the window; None: all were seen


def assemble(poses: Tensor, shares: Tensor) -> Tensor:
    """Each joint (..., F, J, 3) as the mean of the hypotheses (..., H, F, J, 3) weighted by shares (..., H, F, J)."""
    return (shares.unsqueeze(-1) * poses).sum(-4)


def only_least(errors: Tensor) -> Tensor:
    """Shares (..., H, F, J) that give each joint to the hypothesis of least error, the first of equal ones."""
    return torch.zeros_like(errors).scatter_(-3, errors.argmin(-3, keepdim=True), 1.0)


def near_least(errors: Tensor, tie: float) -> Tensor:
    """Shares (..., H, F, J): all to the hypothesis of least error, or among those that are less than `tie` worse.

    A share falls evenly with the error, to nothing at `tie`. So the pose is a continuous function of the errors: their
    rounding, which changes with the batch and the device, cannot make a joint jump from one hypothesis to another.
    """
    shares = (1 - (errors - errors.amin(-3, keepdim=True)) / tie).clamp_min(0)
    return shares / shares.sum(-3, keepdim=True)


def fitted_roots(poses: Tensor, evidence: Evidence) -> Tensor:
    """The root of each hypothesis (..., H, F, 1, 3) from the 2D input and the camera, by least squares."""
    rays = undistort(evidence.keypoints_2d, evidence.intrinsics.unsqueeze(-2))  # (..., F, J, 2)
    return fit_root(poses, rays.unsqueeze(-4).expand(*poses.shape[:-1], 2))


def reprojection_errors(poses: Tensor, roots: Tensor, evidence: Evidence) -> Tensor:
    """Distance (..., H, F, J) in screen units between the 2D input and each hypothesis placed at its root."""
    screen = project(poses + roots, evidence.intrinsics[..., None, None, :])
    return joint_errors(screen, evidence.keypoints_2d.unsqueeze(-4))


def average_repeats(poses: Tensor, repeats: int) -> Tensor:
    """The mean of every `repeats` neighbouring hypotheses: (B, K, H * R, F, J, 3) to (B, K, H, F, J, 3)."""
    return poses.unflatten(2, (-1, repeats)).mean(3)


def p_agg(poses: Tensor, evidence: Evidence) -> Tensor:
    """The mean of the hypotheses (D3DP, section 3.4)."""
    return poses.mean(-4)


def r_agg(poses: Tensor, evidence: Evidence) -> Tensor:
    """The mean weighted per joint by a softmax over reprojection errors, each hypothesis at its fitted root."""
    errors = reprojection_errors(poses, fitted_roots(poses, evidence), evidence)
    return assemble(poses, torch.softmax(-errors / evidence.temperature, dim=-3))


def s_agg(poses: Tensor, evidence: Evidence) -> Tensor:
    """The mean, smoothed in time, its bones as long as the hypotheses'. No camera is asked, so none can be wrong.

    What the hypotheses agree on from frame to frame, but moves faster than `CUT_OFF`, is mostly the 2D's noise. Where
    they disagree a frame counts less. A mean of poses has shortened bones, its parts have not: each bone keeps its
    direction and gets the median length over hypotheses and frames.
    """
    pose = poses.mean(-4)
    if evidence.fps is not None and poses.shape[-3] > ORDER:
        spread = (poses - pose.unsqueeze(-4)).square().sum(-1).mean((-3, -1))  # (..., F), metres squared
        weights = 1 / (spread + LEAST_SPREAD**2)
        seen = torch.ones_like(weights) if evidence.mask is None else evidence.mask.to(weights).expand_as(weights)
        weights = weights * seen.clamp_min(FILLED)
        share = (weights.sum(-1) / seen.sum(-1).clamp_min(1)).unsqueeze(-1)  # of mean 1 over the frames that were seen
        pose = smoothed(pose, weights / share, evidence.fps)
    if evidence.skeleton is None:
        return pose
    lengths = bone_lengths(poses, evidence.skeleton)  # (..., H, F, bones)
    return with_lengths(pose, lengths.flatten(-3, -2).median(-2, keepdim=True).values, evidence.skeleton)


def smoothed(pose: Tensor, weights: Tensor, fps: Tensor) -> Tensor:
    """Poses (..., F, J, 3) through a Whittaker smoother of third order that halves a wave of `CUT_OFF` Hz.

    The least weighted sum of squared distances, weights (..., F) about 1, plus a penalty on the third differences
    (Whittaker 1923; Eilers 2003); what moves evenly, or speeds up evenly, stays. fps (...,). The matrix that it comes
    to is made on the CPU in float64, which not every device has, for the penalty is steep; by QR, for the normal
    equations lose what is left of it at 1,000 frames a second.
    """
    fps, weights = fps.cpu().double(), weights.cpu().double()
    pulse = 2 * torch.pi * torch.minimum(torch.full_like(fps, CUT_OFF), fps / 2) / fps
    strength = (2 - 2 * torch.cos(pulse)) ** -ORDER
    difference = torch.eye(pose.shape[-3], dtype=torch.float64)
    for _ in range(ORDER):
        difference = difference.diff(dim=0)
    data = torch.diag_embed(weights.sqrt())  # (..., F, F)
    penalty = strength.sqrt()[..., None, None] * difference  # (..., F - ORDER, F)
    penalty = penalty.expand(*data.shape[:-2], *penalty.shape[-2:])
    q, r = torch.linalg.qr(torch.cat([penalty, data], -2))
    matrix = torch.linalg.solve_triangular(r, q[..., penalty.shape[-2] :, :].mT @ data, upper=True)
    return (matrix.to(pose) @ pose.flatten(-2)).unflatten(-1, pose.shape[-2:])


def with_lengths(pose: Tensor, lengths: Tensor, skeleton: Skeleton) -> Tensor:
    """The pose (..., F, J, 3) with bones of these lengths (..., F, bones), each in the direction that it had."""
    number = {edge: n for n, edge in enumerate(skeleton.edges)}
    joints = [pose[..., joint, :] for joint in range(len(skeleton))]
    for joint, parent in skeleton.chain:
        bone = torch.nn.functional.normalize(pose[..., joint, :] - pose[..., parent, :], dim=-1, eps=NO_BONE)
        joints[joint] = joints[parent] + lengths[..., number[joint, parent], None] * bone
    return torch.stack(joints, -2)


def p_best(poses: Tensor, evidence: Evidence) -> Tensor:
    """The hypothesis nearest the truth, chosen per pose: an oracle."""
    errors = mpjpe(poses, evidence.pose.unsqueeze(-4)).unsqueeze(-1)  # (..., H, F, 1)
    return assemble(poses, only_least(errors))


def j_agg(poses: Tensor, evidence: Evidence) -> Tensor:
    """JPMA (D3DP, section 3.4, eq. 9): each joint from the hypothesis that reprojects best, at the TRUE root."""
    return only_least(reprojection_errors(poses, evidence.root.unsqueeze(-4), evidence))


def j_agg_fit(poses: Tensor, evidence: Evidence) -> Tensor:
    """JPMA at the fitted root: nothing of the ground truth. Hypotheses that reproject alike (`TIE`) share a joint."""
    return near_least(reprojection_errors(poses, fitted_roots(poses, evidence), evidence), TIE)


def j_best(poses: Tensor, evidence: Evidence) -> Tensor:
    """Each joint from the hypothesis nearest the truth: an oracle."""
    return only_least(joint_errors(poses, evidence.pose.unsqueeze(-4)))


@dataclass(frozen=True)
class Aggregation:
    """A row of the table. An aggregation that assembles joints gives the shares (..., H, F, J) that each hypothesis
    has in each joint, any other the pose (..., F, J, 3)."""

    function: Callable[[Tensor, Evidence], Tensor]
    reads: tuple[str, ...] = ()  # of the ground truth: 'root', 'pose'
    camera: bool = False  # needs intrinsics
    assembles: bool = False  # gives shares: a choice, which is made by the poses as they were, not as aligned

    @property
    def oracle(self) -> bool:
        return "pose" in self.reads

    def __call__(self, poses: Tensor, evidence: Evidence) -> Tensor:
        """The aggregate (..., F, J, 3) of hypotheses (..., H, F, J, 3)."""
        found = self._blindly(poses, evidence)
        return assemble(poses, found) if self.assembles else found

    def of_aligned(self, poses: Tensor, aligned: Tensor, evidence: Evidence) -> Tensor:
        """The aggregate of hypotheses that were aligned with the truth one by one. An oracle chooses among the aligned
        ones; any other decides by the poses as they were."""
        if self.oracle or not self.assembles:
            return self(aligned, evidence)
        return assemble(aligned, self._blindly(poses, evidence))

    def _blindly(self, poses: Tensor, evidence: Evidence) -> Tensor:
        hidden = {f.name: None for f in fields(evidence) if f.name in ("root", "pose") and f.name not in self.reads}
        return self.function(poses, replace(evidence, **hidden))


AGGREGATIONS: dict[str, Aggregation] = {
    "P_Agg": Aggregation(p_agg),
    "R_Agg": Aggregation(r_agg, camera=True),
    "S_Agg": Aggregation(s_agg),
    "J_Agg_fit": Aggregation(j_agg_fit, camera=True, assembles=True),
    "J_Agg": Aggregation(j_agg, reads=("root",), camera=True, assembles=True),
    "P_Best": Aggregation(p_best, reads=("pose",)),
    "J_Best": Aggregation(j_best, reads=("pose",), assembles=True),
}


ONE_POSE = "S_Agg"  # the row that is taken where one pose is wanted


def available(has_camera: bool) -> dict[str, Aggregation]:
    """The rows of the table that can be computed with or without a camera."""
    return {name: a for name, a in AGGREGATIONS.items() if has_camera or not a.camera}
