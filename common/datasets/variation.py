"""New bodies and motions from recorded ones: other proportions, other arms to the same legs, another speed.

Poses are (T, J, 3), world, metres, z up. Every joint but the root is its parent plus a bone: bones are scaled,
turned or exchanged, and the body is put together again from the root outwards.
"""

from __future__ import annotations

import numpy as np

from common.geometry.skeleton import Skeleton

PARTS = {  # bones that grow together, by the joint at their end, without its side
    "Hip": "hips",
    "Knee": "legs",
    "Foot": "legs",
    "Spine": "trunk",
    "Thorax": "trunk",
    "Nose": "head",
    "Head": "head",
    "Shoulder": "shoulders",
    "Elbow": "arms",
    "Wrist": "arms",
}
SPREAD = {"hips": 0.1, "legs": 0.05, "trunk": 0.06, "head": 0.1, "shoulders": 0.08, "arms": 0.06}  # of log length
ADULT, CHILD = (
    (0.0, 0.06),
    (0.55, 0.95),
)  # mean and spread of an adult's log size; a child's size, as shares of the usual
CHILDREN = 0.15  # of all people
HEAD_KEEPS = 0.6  # a child of half the size has a head 0.5 ** (1 - 0.6) as large as an adult's


def bones(poses: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(T, J, 3): each joint relative to its parent; the root stays where it is."""
    out = np.array(poses, np.float64)
    for joint, parent in skeleton.edges:
        out[:, joint] -= poses[:, parent]
    return out


def assembled(parts: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """The poses whose `bones` these are."""
    out = np.array(parts)
    done = {skeleton.root}
    while len(done) < len(skeleton):
        for joint, parent in skeleton.edges:
            if parent in done and joint not in done:
                out[:, joint] = out[:, parent] + parts[:, joint]
                done.add(joint)
    return out


def _part(joint: str) -> str:
    return PARTS[joint[1:] if joint[0] in "LR" and joint[1:] in PARTS else joint]


def with_proportions(poses: np.ndarray, skeleton: Skeleton, rng: np.random.Generator) -> np.ndarray:
    """The same motion by another body: of another size, a child's now and then, with limbs of other lengths.

    Left and right stay alike. Feet that stood still may slide by a little; the root's height goes with the legs'.
    """
    child = rng.random() < CHILDREN
    size = rng.uniform(*CHILD) if child else np.exp(rng.normal(*ADULT))
    factors = {part: size * np.exp(rng.normal(0, spread)) for part, spread in SPREAD.items()}
    factors["head"] *= size**-HEAD_KEEPS if child else 1.0
    parts = bones(poses, skeleton)
    for joint, _ in skeleton.edges:
        parts[:, joint] *= factors[_part(skeleton.joints[joint])]
    parts[:, skeleton.root] *= factors["legs"]
    return assembled(parts, skeleton)


def heading(poses: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(T,) radians: the direction from the right hip to the left one, seen from above."""
    across = poses[:, skeleton.index("LHip")] - poses[:, skeleton.index("RHip")]
    return np.arctan2(across[:, 1], across[:, 0])


def with_other_arms(poses: np.ndarray, other: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """The legs and the way of `poses`, the trunk, head and arms of `other` (as many frames), turned to face alike."""
    turn = heading(poses, skeleton) - heading(other, skeleton)
    cos, sin = np.cos(turn), np.sin(turn)
    rotation = np.zeros((len(turn), 3, 3))
    rotation[:, 0, 0], rotation[:, 0, 1], rotation[:, 1, 0], rotation[:, 1, 1], rotation[:, 2, 2] = (
        cos,
        -sin,
        sin,
        cos,
        1,
    )
    parts, lent = bones(poses, skeleton), bones(other, skeleton)
    lengths = np.linalg.norm(parts, axis=-1, keepdims=True)
    for joint, _ in skeleton.edges:
        if _part(skeleton.joints[joint]) not in ("hips", "legs"):
            bone = np.einsum("tij,tj->ti", rotation, lent[:, joint])
            parts[:, joint] = bone / np.maximum(np.linalg.norm(bone, axis=-1, keepdims=True), 1e-9) * lengths[:, joint]
    return assembled(parts, skeleton)


def at_speed(poses: np.ndarray, factor: float) -> np.ndarray:
    """The motion `factor` times as fast, at the same frame rate."""
    times = np.arange(0, len(poses) - 1 + 1e-9, factor)
    before = np.floor(times).astype(int).clip(0, max(len(poses) - 2, 0))
    share = (times - before)[:, None, None]
    return poses[before] * (1 - share) + poses[np.minimum(before + 1, len(poses) - 1)] * share
