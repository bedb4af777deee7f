"""Which way is up, where is the floor, and feet that stand where they stand.

Positions are in the camera's frame (x right, y down, z forward), metres. The camera does not move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.sparse import block_diag, diags, eye, kron
from scipy.sparse.linalg import spsolve

from common.geometry.gaps import runs
from common.geometry.skeleton import Skeleton
from common.wild.smoothing import penalised, strength_of

# How far cameras are from level, clamped or in a hand, and how far the axes of upright people are from the vertical:
# degrees, one standard deviation of pitch and of roll.
CAMERA_PITCH, CAMERA_ROLL = 20.0, 10.0
PEOPLE_PITCH, PEOPLE_ROLL = 5.0, 5.0
LEAST_UPRIGHT = 0.25  # seconds of upright posture below which people tell nothing of the vertical
# Shares of the body's mass between two joints, and where between them it lies (de Leva 1996, forearm with hand, shank
# with foot).
MASSES = (
    ("Hip", "Thorax", 0.497, 0.5), ("Thorax", "Head", 0.081, 0.7),
    *((f"{s}{a}", f"{s}{b}", mass, at) for s in "LR" for a, b, mass, at in (
        ("Hip", "Knee", 0.1, 0.433), ("Knee", "Foot", 0.061, 0.6), ("Shoulder", "Elbow", 0.028, 0.436),
        ("Elbow", "Wrist", 0.022, 0.68))),
)  # fmt: skip
AHEAD = 0.05  # metres that a body's support lies in front of its ankles
STILL, STILL_END = 0.25, 0.45  # metres a second: a foot slower than the first stands until it is faster than the second
QUICK = 2.0  # metres a second that the pose may say of a standing foot: its depth shakes
SHORTEST = 0.1  # seconds of a contact
REACH = 0.15  # metres above the lower foot, and above the floor, in which a foot may stand
UNEVEN = 0.1  # metres by which steps lie off one plane
PICTURE = 6.0  # Hz at which a foot's way in the picture is smoothed before its speed is taken
ACROSS, ALONG, SMOOTH, STAND = 1.0, 0.1, 1000.0, 300.0  # costs of a person's shift, see `anchored`
SETTLE = 1.0  # Hz at which a person's height is brought to the floor
BLEND = 0.12  # seconds in which a corrected foot comes and goes


@dataclass(frozen=True)
class Legs:
    """Indices of hips, knees and feet, left then right, and of the trunk's ends."""

    hips: tuple[int, int]
    knees: tuple[int, int]
    feet: tuple[int, int]
    low: int
    high: int


def legs_of(skeleton: Skeleton) -> Legs | None:
    """The legs of a layout by the names of its joints; None where it has none."""
    names = skeleton.joints

    def pair(*words: str) -> tuple[int, int] | None:
        found = [[names.index(s + w) for w in words if s + w in names] for s in "LR"]
        return (found[0][0], found[1][0]) if all(found) else None

    def one(*words: str) -> int | None:
        return next((names.index(w) for w in words if w in names), None)

    parts = pair("Hip"), pair("Knee"), pair("Foot", "Ankle"), one("Hip", "Pelvis"), one("Thorax", "Neck")
    return None if any(part is None for part in parts) else Legs(*parts)


def upright(positions: np.ndarray, stands: np.ndarray, skeleton: Skeleton, legs: Legs) -> tuple[np.ndarray, np.ndarray]:
    """Body axes (T, 3), unit, upwards, and which frames (T,) show somebody who stands, walks or balances.

    One axis goes from the feet to the chest, where legs and trunk are straight; one from the support to the centre of
    mass, which is above it in whatever slow posture, where a standing leg is straight. stands (T, 2).
    """
    feet, hips, knees = (positions[:, list(part)] for part in (legs.feet, legs.hips, legs.knees))  # (T, 2, 3)
    chest = positions[:, legs.high]
    body, trunk = unit(chest - feet.mean(1)), unit(chest - positions[:, legs.low])
    length = np.linalg.norm(knees - hips, axis=-1) + np.linalg.norm(feet - knees, axis=-1)
    straight = np.linalg.norm(feet - hips, axis=-1) / np.maximum(length, 1e-9)  # (T, 2)
    apart = np.linalg.norm(feet[:, 0] - feet[:, 1], axis=-1)
    erect = (straight.max(1) > 0.94) & ((body * trunk).sum(-1) > np.cos(np.radians(30)))
    erect &= apart < 0.9 * length.mean(1)
    ahead = unit(np.cross(hips[:, 0] - hips[:, 1], body))
    support = (feet * stands[..., None]).sum(1) / np.maximum(stands.sum(1), 1)[:, None] + AHEAD * ahead
    weight = weight_of(skeleton)
    balance = unit(np.tensordot(positions, weight, ([1], [0])) - support)
    balanced = (np.where(stands, straight, 0).max(1) > 0.9) & (weight.sum() > 0.99)
    return unit(body * erect[:, None] + balance * balanced[:, None]), erect | balanced


def weight_of(skeleton: Skeleton) -> np.ndarray:
    """The share (J,) of each joint in the centre of mass; zeros for a layout that lacks one of the joints."""
    names = {"Pelvis": "Hip", "Neck": "Thorax", "LAnkle": "LFoot", "RAnkle": "RFoot", "HeadTop": "Head"}
    joints = [names.get(j, j) for j in skeleton.joints]
    out = np.zeros(len(joints))
    if not {end for a, b, *_ in MASSES for end in (a, b)} <= set(joints):
        return out
    for a, b, mass, at in MASSES:
        out[joints.index(a)] += mass * (1 - at)
        out[joints.index(b)] += mass * at
    return out / out.sum()


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def level_axes(axes: np.ndarray) -> np.ndarray:
    """Those of the axes (N, 3) that a camera held upright can see of people who are upright: no handstands."""
    return axes[axes @ up_of(0, 0) > 0.6]


def vertical(
    axes: np.ndarray, seconds: float, share: float, steps: Sequence[np.ndarray], pitch: float | None = None
) -> np.ndarray:
    """The up direction (3,) in the camera's frame, from what is known of cameras, people and floors.

    axes (N, 3): of upright people, `seconds` of them, `share` of the time; steps, each (M, 3): places where one
    person's feet stood; pitch: degrees that the camera looks down, where it is known. The most probable pitch and roll
    where cameras are level, people upright and each person's steps on one plane, all to within the standard deviations
    above; people who are seldom upright tell less.
    """
    if pitch is not None:
        return up_of(np.radians(pitch), 0.0)
    told, people = np.zeros(2), np.inf
    if seconds >= LEAST_UPRIGHT:
        mean, people = unit(np.median(axes, 0)), share**-0.5
        told = np.array([np.arctan2(-mean[2], -mean[1]), np.arcsin(np.clip(mean[0], -1, 1))])
    camera, persons = np.radians([CAMERA_PITCH, CAMERA_ROLL]), np.radians([PEOPLE_PITCH, PEOPLE_ROLL]) * people
    around = np.concatenate([np.zeros((0, 3)), *(places - places.mean(0) for places in steps if len(places))])

    def errors(x: np.ndarray) -> np.ndarray:
        return np.concatenate([x / camera, (x - told) / persons, around @ up_of(*x) / UNEVEN])

    return up_of(*least_squares(errors, told, loss="soft_l1").x)


def up_of(pitch: float, roll: float) -> np.ndarray:
    """Up (3,) for a camera that looks down by `pitch` and is turned by `roll`, radians: level is (0, -1, 0)."""
    return np.array([np.sin(roll), -np.cos(roll) * np.cos(pitch), -np.cos(roll) * np.sin(pitch)])


def contacts(
    positions: np.ndarray, rays: np.ndarray, seen: np.ndarray, fps: float, up: np.ndarray, legs: Legs,
    floor: float | None = None,
) -> np.ndarray:  # fmt: skip
    """Which feet stand, (T, 2) bool, left then right.

    rays (T, J, 2): the 2D on the ideal image plane; seen (T, J). A foot stands while it is slow in the picture, which
    tells its motion across the line of sight far better than the pose does, not fast in the pose, and not much higher
    than the other one or, where the floor's height along `up` is known, than the floor.
    """
    feet = list(legs.feet)
    weights = np.where(seen[:, feet], 1.0, 0.0)
    calm = np.stack([
        penalised(rays[:, f], np.full(max(len(rays) - 3, 0), strength_of(PICTURE, fps)), weights[:, n])
        for n, f in enumerate(feet)
    ], 1)  # fmt: skip
    across = speed(calm, fps) * positions[:, feet, 2]  # metres a second
    height = positions[:, feet] @ up  # (T, 2)
    pace = speed(positions[:, feet], fps)
    low = height < height.min(1, keepdims=True) + REACH
    if floor is not None:
        low &= height < floor + REACH
    out = np.zeros((len(positions), 2), bool)
    for n in range(2):
        usable = low[:, n] & (weights[:, n] > 0) & (pace[:, n] < QUICK)
        start = usable & (across[:, n] < STILL)
        hold = usable & (across[:, n] < STILL_END)
        for first, end in runs(hold):
            if start[first:end].any() and end - first >= SHORTEST * fps:
                out[first:end, n] = True
    return out


def speed(x: np.ndarray, fps: float) -> np.ndarray:
    """Speeds (T, N) of points (T, N, D), their unit a second; 0 of a single frame."""
    return np.linalg.norm(np.gradient(x, axis=0), axis=-1) * fps if len(x) > 1 else np.zeros(x.shape[:2])


def steps_of(positions: np.ndarray, stands: np.ndarray, legs: Legs) -> np.ndarray:
    """One place (M, 3) for each stretch in which a foot stands."""
    places = [
        np.median(positions[first:end, foot], 0)
        for n, foot in enumerate(legs.feet)
        for first, end in runs(stands[:, n])
    ]
    return np.array(places).reshape(-1, 3)


def anchored(positions: np.ndarray, stands: np.ndarray, legs: Legs) -> np.ndarray:
    """Shifts (T, 3) of a person that let standing feet stand: small, smooth, and rather along the line of sight.

    Least squares over the whole recording: what a standing foot still moves from frame to frame, against the shift
    itself, which costs `ACROSS` to the sides and `ALONG` in depth, where the picture hardly tells the place, and
    against its second difference.
    """
    count = len(positions)
    if count < 3 or not stands.any():
        return np.zeros((count, 3))
    sight = unit(positions.mean(1))  # (T, 3)
    outer = sight[:, :, None] * sight[:, None]  # (T, 3, 3)
    anchor = block_diag(list(ACROSS * (np.eye(3) - outer) + ALONG * outer))
    second = diags([1.0, -2.0, 1.0], [0, 1, 2], shape=(count - 2, count))
    step = diags([-1.0, 1.0], [0, 1], shape=(count - 1, count))
    system = anchor + kron(SMOOTH * second.T @ second, eye(3))
    right = np.zeros(3 * count)
    for n, foot in enumerate(legs.feet):
        weight = (stands[1:, n] & stands[:-1, n]).astype(float)
        moved = np.diff(positions[:, foot], axis=0)  # (T - 1, 3)
        system = system + kron(STAND * step.T @ diags(weight) @ step, eye(3))
        right -= STAND * (step.T @ (weight[:, None] * moved)).ravel()
    return spsolve(system.tocsc(), right).reshape(count, 3)


def lowered(
    positions: np.ndarray, stands: np.ndarray, fps: float, up: np.ndarray, floor: float, legs: Legs
) -> np.ndarray:
    """Shifts (T, 3) along `up` that bring standing feet to the floor, slowly: what is left of the person's distance."""
    above = positions[:, list(legs.feet)] @ up - floor  # (T, 2)
    near = stands & (np.abs(above) < 2 * REACH)
    there = near.any(1)
    if not there.any():
        return np.zeros((len(positions), 3))
    mean = (above * near).sum(1) / np.maximum(near.sum(1), 1)
    frames = np.arange(len(positions))
    away = np.interp(frames, frames[there], mean[there])[:, None]
    calm = penalised(away, np.full(max(len(away) - 3, 0), strength_of(SETTLE, fps)))
    return -calm * up


def planted(positions: np.ndarray, stands: np.ndarray, fps: float, legs: Legs) -> np.ndarray:
    """Positions (T, J, 3) whose standing feet rest where they stood in the mean; legs follow with their lengths kept.

    A foot's correction comes and goes over `BLEND` seconds beside its stand.
    """
    out = positions.copy()
    ramp = max(1, round(BLEND * fps))
    for n, (hip, knee, foot) in enumerate(zip(legs.hips, legs.knees, legs.feet, strict=True)):
        shift, weight = np.zeros((len(out), 3)), np.zeros(len(out))
        for first, end in runs(stands[:, n]):
            target = positions[first:end, foot].mean(0)
            for frame in range(max(0, first - ramp), min(len(out), end + ramp)):
                inside = min(max(frame, first), end - 1)
                away = abs(frame - inside) / (ramp + 1)
                share = 0.5 + 0.5 * np.cos(np.pi * away)
                if share > weight[frame]:
                    weight[frame], shift[frame] = share, share * (target - positions[inside, foot])
        out[:, knee], out[:, foot] = two_bones(out[:, hip], out[:, knee], out[:, foot], out[:, foot] + shift)
    return out


def two_bones(hip: np.ndarray, knee: np.ndarray, foot: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knee and foot (T, 3) of legs that reach for a target, both bones as long as before, the knee bent the same way.

    Where the target is out of reach the leg is straight.
    """
    thigh, shin = np.linalg.norm(knee - hip, axis=-1), np.linalg.norm(foot - knee, axis=-1)
    direction, distance = target - hip, np.linalg.norm(target - hip, axis=-1)
    before = np.linalg.norm(foot - hip, axis=-1)
    longest = np.maximum(0.999 * (thigh + shin), np.minimum(before, thigh + shin))
    distance = np.clip(distance, np.abs(thigh - shin) + 1e-6, longest)
    along = unit(direction)
    bend = knee - hip
    bend = bend - (bend * along).sum(-1, keepdims=True) * along
    share = (thigh**2 - shin**2 + distance**2) / (2 * np.maximum(distance, 1e-9))
    aside = np.sqrt(np.maximum(thigh**2 - share**2, 0))
    new_knee = hip + share[:, None] * along + aside[:, None] * unit(bend)
    return new_knee, hip + distance[:, None] * along
