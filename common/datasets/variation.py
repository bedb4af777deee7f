"""New bodies and motions from recorded ones: other proportions, other arms to the same legs, another speed, limbs bent
as in postures that nobody recorded.

Poses are (T, J, 3), world, metres, z up. Every joint but the root is its parent plus a bone: bones are scaled,
turned or exchanged, and the body is put together again from the root outwards.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from common.geometry.skeleton import Skeleton

PARTS = {  # bones that grow together, by the joint at their end, without its side
    "Hip": "hips",
    "Knee": "thighs",
    "Foot": "shins",
    "Spine": "trunk",
    "Thorax": "trunk",
    "Nose": "head",
    "Head": "head",
    "Shoulder": "shoulders",
    "Elbow": "arms",
    "Wrist": "arms",
}
# Of a part's log length.
SPREAD = {"hips": 0.1, "thighs": 0.05, "shins": 0.05, "trunk": 0.06, "head": 0.1, "shoulders": 0.08, "arms": 0.06}
OTHERS = 0.06  # of a bone that is none of these
ADULT = (0.0, 0.06)  # mean and spread of an adult's log size
CHILD = (0.55, 0.95)  # a child's size, as shares of the usual
CHILDREN = 0.1  # of all people
# A child's parts are its size to this power, roughly: the sitting height of a six-year-old is 55 % of the whole, an
# adult's 52 %, and the head is nearly grown.
GROWTH = {
    "hips": 0.95,
    "thighs": 1.12,
    "shins": 1.12,
    "trunk": 0.92,
    "head": 0.4,
    "shoulders": 0.95,
    "arms": 1.05,
}


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
    """The part of a bone that ends in this joint; a joint of another layout is a part of its own, with its twin's."""
    bare = joint[1:] if joint[0] in "LR" else joint
    return PARTS.get(bare) or PARTS.get(joint) or bare


def with_proportions(
    poses: np.ndarray, skeleton: Skeleton, rng: np.random.Generator, *, upright: bool = True
) -> np.ndarray:
    """The same motion by another body: of another size, a child's now and then, with limbs of other lengths.

    Left and right stay alike. Feet that stood still may slide by a little; the root's height goes with the legs', or,
    where z is not upwards (`upright` False), the root stays.
    """
    child = rng.random() < CHILDREN
    size = rng.uniform(*CHILD) if child else np.exp(rng.normal(*ADULT))
    factors = {
        part: (size ** GROWTH[part] if child else size) * np.exp(rng.normal(0, spread))
        for part, spread in SPREAD.items()
    }
    parts = bones(poses, skeleton)
    for joint, _ in skeleton.edges:
        part = _part(skeleton.joints[joint])
        if part not in factors:
            factors[part] = size * np.exp(rng.normal(0, OTHERS))
        parts[:, joint] *= factors[part]
    if upright:
        parts[:, skeleton.root] *= (factors["thighs"] + factors["shins"]) / 2
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
        if _part(skeleton.joints[joint]) not in ("hips", "thighs", "shins"):
            bone = np.einsum("tij,tj->ti", rotation, lent[:, joint])
            parts[:, joint] = _unit(bone) * lengths[:, joint]
    return assembled(parts, skeleton)


def at_speed(poses: np.ndarray, factor: float) -> np.ndarray:
    """The motion `factor` times as fast, at the same frame rate."""
    times = np.arange(0, len(poses) - 1 + 1e-9, factor)
    before = np.floor(times).astype(int).clip(0, max(len(poses) - 2, 0))
    share = (times - before)[:, None, None]
    return poses[before] * (1 - share) + poses[np.minimum(before + 1, len(poses) - 1)] * share


# Degrees, (least, greatest): hip flexion and abduction, knee flexion, turn of the leg about the thigh (outwards).
POSTURES = (
    ((60, 110), (0, 30), (55, 115), (-15, 15)),  # on a chair
    ((70, 110), (35, 65), (95, 145), (60, 90)),  # cross-legged
    ((-10, 90), (0, 30), (90, 150), (-20, 20)),  # kneeling
    ((80, 125), (0, 40), (100, 150), (-20, 20)),  # squatting
    ((-20, 100), (-10, 50), (0, 120), (-30, 40)),  # anything
)
ALIKE = 0.6  # share of the postures in which both legs have one
HOLD, WANDER, WANDER_SECONDS = 8.0, 6.0, 0.7  # degrees between alike legs, and over time
RAISED, AROUND, BENT = (0, 160), (-40, 110), (0, 145)  # degrees: the upper arm from hanging, from forward; the elbow


def with_posture(poses: np.ndarray, fps: float, skeleton: Skeleton, rng: np.random.Generator) -> np.ndarray:
    """The same pelvis and trunk with legs, arms or both bent as in a posture drawn at random, held but for a wander."""
    parts = bones(poses, skeleton)
    legs, arms = ((True, True), (True, False), (False, True))[rng.integers(3)]
    if legs:
        across = poses[:, skeleton.index("LHip")] - poses[:, skeleton.index("RHip")]
        frame = _frame(across, poses[:, skeleton.index("Spine")] - poses[:, skeleton.root])
        first = _posture(rng)
        second = first + rng.normal(0, HOLD, 4) if rng.random() < ALIKE else _posture(rng)
        for side, angles in zip("LR", (first, second), strict=True):
            directions = _leg(frame, side, _held(angles, len(poses), fps, rng))
            _point(parts, skeleton, (side + "Knee", side + "Foot"), directions)
    if arms:
        across = poses[:, skeleton.index("LShoulder")] - poses[:, skeleton.index("RShoulder")]
        frame = _frame(across, poses[:, skeleton.index("Thorax")] - poses[:, skeleton.index("Spine")])
        for side in "LR":
            angles = np.array([rng.uniform(*RAISED), rng.uniform(*AROUND), rng.uniform(*BENT)])
            directions = _arm(frame, side, _held(angles, len(poses), fps, rng), rng)
            _point(parts, skeleton, (side + "Elbow", side + "Wrist"), directions)
    return assembled(parts, skeleton)


def _posture(rng: np.random.Generator) -> np.ndarray:
    return np.array([rng.uniform(*span) for span in POSTURES[rng.integers(len(POSTURES))]])


def _frame(across: np.ndarray, upwards: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The body's (left, up, forward), each (T, 3), perpendicular."""
    left = _unit(across)
    forward = _unit(np.cross(left, upwards))
    return left, np.cross(forward, left), forward


def _leg(frame, side: str, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directions (T, 3) of thigh and shin for angles (T, 4), radians: flexion, abduction, knee, outward turn."""
    left, up, forward = frame
    outwards = left if side == "L" else -left
    flexion, abduction, knee, turn = (a[:, None] for a in angles.T)
    thigh = np.cos(abduction) * (np.sin(flexion) * forward - np.cos(flexion) * up) + np.sin(abduction) * outwards
    hinge = _unit(left - (left * thigh).sum(-1, keepdims=True) * thigh)
    turn = turn if side == "R" else -turn
    hinge = np.cos(turn) * hinge + np.sin(turn) * np.cross(thigh, hinge)
    return thigh, np.cos(knee) * thigh + np.sin(knee) * np.cross(hinge, thigh)


def _arm(frame, side: str, angles: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Directions (T, 3) of upper arm and forearm for angles (T, 3), radians; elbows bend forwards, inwards, upwards."""
    left, up, forward = frame
    outwards = left if side == "L" else -left
    raised, around, bent = (a[:, None] for a in angles.T)
    upper = np.sin(raised) * (np.cos(around) * forward + np.sin(around) * outwards) - np.cos(raised) * up
    towards = forward - 0.3 * outwards + 0.5 * up + rng.normal(0, 0.5, 3)
    towards = _unit(towards - (towards * upper).sum(-1, keepdims=True) * upper)
    return upper, np.cos(bent) * upper + np.sin(bent) * towards


def _held(degrees: np.ndarray, frames: int, fps: float, rng: np.random.Generator) -> np.ndarray:
    """Angles (T, N), radians, that stay near the given ones."""
    return np.radians(degrees + WANDER * smooth_noise((frames, len(degrees)), WANDER_SECONDS, fps, rng))


def smooth_noise(shape: tuple[int, ...], seconds: float, fps: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of unit variance along the first axis, smooth, that forgets itself within some `seconds`."""
    spread = seconds * fps
    white = rng.standard_normal((shape[0] + 2 * int(3 * spread + 1), *shape[1:]))
    smooth = gaussian_filter1d(white, spread, axis=0)[int(3 * spread + 1) :][: shape[0]]
    return smooth * np.sqrt(2 * spread * np.sqrt(np.pi))


def _point(parts: np.ndarray, skeleton: Skeleton, joints: tuple[str, ...], directions: tuple[np.ndarray, ...]) -> None:
    """Turn the bones that end in these joints; they keep their lengths. In place."""
    for joint, direction in zip(map(skeleton.index, joints), directions, strict=True):
        parts[:, joint] = direction * np.linalg.norm(parts[:, joint], axis=-1, keepdims=True)


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)
