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

from common.geometry.skeleton import Skeleton
from common.wild.cleaning import runs
from common.wild.smoothing import penalised, strength_of

# How far a camera is from level, and how far the mean axis of upright people is from the vertical: degrees, one
# standard deviation of pitch and of roll. Chosen on training performers under random cameras.
CAMERA_PITCH, CAMERA_ROLL = 15.0, 2.5
PEOPLE_PITCH, PEOPLE_ROLL = 7.0, 6.0
LEAST_UPRIGHT = 0.5  # seconds of upright posture below which people tell nothing of the vertical
STILL, STILL_END = 0.25, 0.45  # metres a second: a foot slower than the first stands until it is faster than the second
QUICK = 2.0  # metres a second that the pose may say of a standing foot: its depth shakes
SHORTEST = 0.1  # seconds of a contact
REACH = 0.15  # metres above the lower foot, and above the floor, in which a foot may stand
UNEVEN = 0.1  # metres by which steps lie off one plane
PICTURE = 6.0  # Hz at which a foot's way in the picture is smoothed before its speed is taken
ACROSS, ALONG, SMOOTH, STAND = 1.0, 0.1, 1000.0, 300.0  # costs of a person's shift, see `anchored`
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


def upright(positions: np.ndarray, legs: Legs) -> tuple[np.ndarray, np.ndarray]:
    """Body axes (T, 3), unit, from the feet to the chest, and which frames (T,) show somebody who stands or walks."""
    feet, chest = positions[:, legs.feet].mean(1), positions[:, legs.high]
    axis = unit(chest - feet)
    trunk = unit(chest - positions[:, legs.low])
    thigh = positions[:, legs.knees] - positions[:, legs.hips]
    shin = positions[:, legs.feet] - positions[:, legs.knees]
    length = np.linalg.norm(thigh, axis=-1) + np.linalg.norm(shin, axis=-1)
    straight = (np.linalg.norm(thigh + shin, axis=-1) / np.maximum(length, 1e-9)).max(1)  # of the straighter leg
    apart = np.linalg.norm(positions[:, legs.feet[0]] - positions[:, legs.feet[1]], axis=-1)
    return axis, (straight > 0.94) & ((axis * trunk).sum(-1) > np.cos(np.radians(30))) & (apart < 0.9 * length.mean(1))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def level_axes(axes: np.ndarray) -> np.ndarray:
    """Those of the axes (N, 3) that a camera held upright can see of people who are upright: no handstands."""
    return axes[axes @ up_of(0, 0) > 0.6]


def vertical(axes: np.ndarray, seconds: float, steps: Sequence[np.ndarray], pitch: float | None = None) -> np.ndarray:
    """The up direction (3,) in the camera's frame, from what is known of cameras, people and floors.

    axes (N, 3): of upright people, `seconds` of them; steps, each (M, 3): places where one person's feet stood; pitch:
    degrees that the camera looks down, where it is known. The most probable pitch and roll where cameras are level,
    people upright and each person's steps on one plane, all to within the standard deviations above.
    """
    if pitch is not None:
        return up_of(np.radians(pitch), 0.0)
    told = np.zeros(2)
    people = np.inf
    if seconds >= LEAST_UPRIGHT:
        mean = unit(np.median(axes, 0))
        told, people = np.array([np.arctan2(-mean[2], -mean[1]), np.arcsin(np.clip(mean[0], -1, 1))]), 1.0
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
    across = np.linalg.norm(np.gradient(calm, axis=0), axis=-1) * fps * positions[:, feet, 2]  # metres a second
    height = positions[:, feet] @ up  # (T, 2)
    pace = np.linalg.norm(np.gradient(positions[:, feet], axis=0), axis=-1) * fps
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
