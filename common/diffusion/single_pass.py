"""The loss of single-pass training. The lifter's own loss is MPJPE (lifter.py)."""

from __future__ import annotations

from torch import Tensor

from common.geometry.skeleton import HUMANEVA_15, Skeleton
from common.scoring.metrics import joint_errors, mpjpe

# How much a joint's error counts, by the joint's name without its side; the rest (hips and trunk) count once.
JOINT_WEIGHTS = {
    **dict.fromkeys(("Knee", "Foot", "Ankle"), 2.5),
    **dict.fromkeys(("Shoulder", "Head", "HeadTop"), 1.5),
    **dict.fromkeys(("Elbow", "Wrist"), 4.0),
}
# Human3.6M's list, two joints short, as the published code lays it over HumanEva's order: head 4, left elbow 2.5.
_PUBLISHED_HUMANEVA = (1, 1, 2.5, 2.5, 1, 2.5, 2.5, 1, 1.5, 1.5, 4, 4, 1.5, 4, 4)


def joint_weights(skeleton: Skeleton, published: bool = False) -> list[float]:
    """The weight of each joint. `published` keeps the published list for HumanEva, which weighs other joints."""
    if published and skeleton == HUMANEVA_15:
        return list(_PUBLISHED_HUMANEVA)
    sided = {joint for pair in (skeleton.left, skeleton.right) for joint in pair}
    names = [name[1:] if j in sided else name for j, name in enumerate(skeleton.joints)]
    return [JOINT_WEIGHTS.get(name, 1.0) for name in names]


def single_pass_loss(predicted: Tensor, target: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
    """Sum over the real frames of the loss of each, a scalar: divide by `mask.sum()`.

    predicted and target (B, F, J, 3), root-relative metres; mask (B, F); weights (J,). The loss is the weighted MPJPE
    + 0.5 x weighted squared speed of the prediction + 2 x mean per-joint velocity error (MPJVE). Where every frame is
    real this is the published mean times B F; a step counts where both its frames are real.
    """
    position = ((weights * joint_errors(predicted, target)).mean(-1) * mask).sum()
    frames = predicted.shape[1]
    if frames == 1:
        return position
    steps, true_steps = predicted.diff(dim=1), target.diff(dim=1)  # (B, F-1, J, 3)
    smoothness = (weights[:, None] * steps**2).mean((-2, -1))  # (B, F-1)
    velocity = mpjpe(steps, true_steps)
    # A window has one step fewer than frames: scaled, so that both means keep their weight after the division.
    real = (mask[:, 1:] & mask[:, :-1]) * (frames / (frames - 1))
    return position + ((0.5 * smoothness + 2.0 * velocity) * real).sum()


def single_pass_training_loss(lifter, batch, published: bool = False) -> Tensor:
    """`single_pass_loss` of a batch through `lifter.denoiser`, which sees nothing but the keypoints."""
    predicted = lifter.denoiser(batch.keypoints_2d, None, None, lifter.denoiser.condition(batch)).squeeze(1)
    weights = predicted.new_tensor(joint_weights(lifter.skeleton, published))
    return single_pass_loss(predicted, batch.positions_3d, batch.mask, weights)
