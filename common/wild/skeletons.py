"""One skeleton a person: bones as long in every frame as they are over the whole recording."""

from __future__ import annotations

import numpy as np

from common.geometry.skeleton import Skeleton
from common.wild.standing import legs_of

ROUNDS = 30
# Shares of a person's height: from the ankle to the hip, from the hips' middle to the shoulders' (Drillis and Contini
# 1966, in Winter, Biomechanics and Motor Control of Human Movement).
LEG, TRUNK = 0.491, 0.288


def median_lengths(poses: np.ndarray, skeleton: Skeleton, known: np.ndarray | None = None) -> np.ndarray:
    """Lengths (J,) of the bones to each joint from its parent, metres; 0 at the root. Left and right are alike.

    The median over hypotheses and frames of poses (H, T, J, 3): a mean of poses has shortened bones, its parts have
    not. known (T, J): frames in which a joint is a guess count only where there is nothing else.
    """
    lengths = np.zeros(len(skeleton))
    mirror = skeleton.mirror
    for joint, parent in skeleton.edges:
        values = np.linalg.norm(poses[..., joint, :] - poses[..., parent, :], axis=-1)  # (H, T)
        good = np.ones(values.shape[-1], bool) if known is None else known[:, joint] & known[:, parent]
        lengths[joint] = np.median(values[..., good] if good.any() else values)
    return (lengths + lengths[mirror]) / 2


def stature(poses: np.ndarray, skeleton: Skeleton, known: np.ndarray) -> float | None:
    """How tall somebody with poses (H, T, J, 3) stands, in their unit, by the lengths of legs and trunk.

    known (T, J): where the legs are a guess in every frame the trunk tells alone; None where it is one, too, and for a
    skeleton without hips or chest.
    """
    legs = legs_of(skeleton)
    if legs is None:
        return None
    bones, trunk = median_lengths(poses, skeleton, known), [legs.high]
    while trunk[-1] not in (legs.low, skeleton.root):
        trunk.append(skeleton.parents[trunk[-1]])
    parts = (
        (trunk[:-1], trunk, TRUNK),
        ([legs.knees[0], legs.feet[0]], [*legs.hips, *legs.knees, *legs.feet], LEG),
    )
    told = [(bones[own].sum(), share) for own, seen, share in parts if known[:, seen].all(1).any()]
    return float(sum(length for length, _ in told) / sum(share for _, share in told)) if told else None


def nearest_with_lengths(poses: np.ndarray, lengths: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Poses (T, J, 3) moved as little as possible until their bones have these lengths (J,); the root stays.

    Every bone in turn pulls or pushes both its ends by half of what it lacks (position based dynamics, Mueller et al.
    2007), which approaches the nearest such pose; at last the chain is laid out from the root, so that the lengths are
    exact.
    """
    out = np.array(poses, float)
    chain = skeleton.chain
    for _ in range(ROUNDS):
        for joint, parent in chain:
            bone = out[:, joint] - out[:, parent]
            now = np.maximum(np.linalg.norm(bone, axis=-1, keepdims=True), 1e-9)
            step = bone / now * (lengths[joint] - now)
            if parent == skeleton.root:
                out[:, joint] += step
            else:
                out[:, joint] += step / 2
                out[:, parent] -= step / 2
    laid = out.copy()
    for joint, parent in chain:
        bone = out[:, joint] - out[:, parent]
        length = np.maximum(np.linalg.norm(bone, axis=-1, keepdims=True), 1e-9)
        laid[:, joint] = laid[:, parent] + bone / length * lengths[joint]
    return laid
