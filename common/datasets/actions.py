"""What the parametric body does: tables of key poses for each kind of action, and the motion made of them.

The names are Human3.6M's. A take draws its person's manner, speed, size of gesture, hand, place and heading from a
seeded generator, so no two takes are alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.datasets.synthetic.body import BODIES, CHANNELS, HIGHEST, LOWEST, NEUTRAL, Body, channel, forward_kinematics
from common.datasets.synthetic.motion import Gait, Path, footsteps, key_curve, loop_path, standing_path, wander
from common.errors import UserError

# Key poses, written for the right hand: a_ is the acting arm, o_ the other, b_ both. Channels not named are neutral.
# A left-handed take swaps the arms and mirrors what turns or leans.
_STAND = {}
_CAMERA = {"b_flex": 72, "b_out": 12, "b_spin": 27, "b_elbow": 128, "nod": 6}
_PHONE = {"a_flex": 72, "a_out": 30, "a_spin": 5, "a_elbow": 142, "tilt": 8}
_SEATED = {"height": 0.52, "forward": -0.47, "pitch": 4, "bend": 9, "b_flex": 24, "b_elbow": 48, "b_out": 10}
_STOOP = {"height": 0.72, "forward": -0.24, "pitch": 46, "bend": 32, "nod": -8}
_ARMS = ("flex", "out", "spin", "elbow")

POSES: dict[str, list[dict]] = {
    "Directions": [
        {"a_flex": 82, "a_out": 18, "a_elbow": 14, "turn": -12},
        {"a_flex": 25, "a_out": 82, "a_spin": 0, "a_elbow": 12, "turn": -48, "twist": -18},
        {"a_flex": 72, "a_out": -18, "a_spin": 30, "a_elbow": 22, "turn": 30, "twist": 20},
        {"a_flex": 128, "a_out": 30, "a_elbow": 16, "nod": -22, "bend": -3},
        {"a_flex": 62, "a_elbow": 14, "bend": 30, "pitch": 14, "nod": 14, "forward": -0.06},
        {"a_flex": 48, "a_out": 18, "a_spin": 10, "a_elbow": 88},
    ],
    "Greeting": [
        {"a_out": 68, "a_flex": 24, "a_spin": -62, "a_elbow": 84, "turn": -8},
        {"a_out": 70, "a_flex": 24, "a_spin": -92, "a_elbow": 104, "tilt": 6},
        {"a_out": 66, "a_flex": 26, "a_spin": -55, "a_elbow": 74},
        {"a_out": 72, "a_flex": 22, "a_spin": -90, "a_elbow": 98},
        {"a_flex": 44, "a_elbow": 52, "a_out": 4, "bend": 10},
        {"bend": 34, "pitch": 14, "nod": 22, "forward": -0.06},
        {"b_out": 62, "b_flex": 55, "b_spin": -30, "b_elbow": 48},
    ],
    "Photo": [
        _CAMERA,
        _CAMERA | {"height": 0.58, "forward": -0.16, "pitch": 22, "bend": 14},
        _CAMERA | {"height": 0.48, "forward": -0.2, "pitch": 20, "bend": 18, "nod": -6},
        _CAMERA | {"bend": -6, "nod": -16, "b_flex": 92, "twist": -16},
        {"b_flex": 20, "b_elbow": 88, "b_spin": 25, "nod": 32, "bend": 10},
        _STAND,
    ],
    "Purchases": [
        _STOOP | {"a_flex": 72, "a_elbow": 14, "o_flex": 30, "o_elbow": 40, "twist": 8},
        {"b_flex": 12, "b_elbow": 86, "b_spin": 18, "nod": 14},
        {"a_flex": 112, "a_out": 22, "a_elbow": 26, "o_flex": 10, "o_elbow": 80, "nod": -12},
        _STOOP | {"height": 0.56, "pitch": 36, "b_flex": 74, "b_elbow": 18, "b_spin": 0},
        {"b_flex": 66, "b_elbow": 34, "b_out": 4, "bend": 12},
        _STAND,
    ],
    "SittingDown": [
        _SEATED,
        _STAND,
        _SEATED | {"bend": 34, "pitch": 12, "b_flex": 30, "b_elbow": 72, "b_spin": 24, "nod": -6},
        _SEATED | {"a_flex": 40, "a_elbow": 92, "a_spin": -5, "turn": -22},
        _SEATED | {"pitch": -9, "bend": 16, "height": 0.5, "b_elbow": 30},
        _STAND,
    ],
    "Waiting": [
        {"side": 0.07, "roll": -5, "lean": 5, "turn": 40},
        {"side": -0.07, "roll": 5, "lean": -5, "turn": -45},
        {"b_out": 44, "b_flex": -22, "b_spin": 66, "b_elbow": 94},
        {"b_flex": 34, "b_out": 8, "b_spin": 82, "b_elbow": 98, "side": 0.05, "bend": 7},
        {"a_flex": 44, "a_out": 10, "a_spin": 58, "a_elbow": 92, "nod": 28},
        {"b_flex": -22, "b_out": 14, "b_spin": 60, "b_elbow": 36, "nod": -6},
        _STAND,
    ],
    "Phoning": [
        _PHONE,
        _PHONE | {"o_flex": 32, "o_elbow": 82, "turn": 18},
        _PHONE | {"o_flex": 20, "o_out": 34, "o_elbow": 60, "o_spin": -10, "twist": 12},
        _PHONE | {"nod": 22, "bend": 12, "turn": -16},
        _PHONE | {"o_out": 44, "o_flex": -20, "o_spin": 66, "o_elbow": 94},
        {"a_flex": 34, "a_elbow": 98, "a_spin": 22, "nod": 28},
    ],
    "Posing": [
        {"a_out": 78, "a_flex": -18, "a_spin": -84, "a_elbow": 92, "twist": -34, "yaw": -14, "bend": -6, "o_flex": 58},
        {"a_flex": 108, "a_out": 26, "a_spin": 5, "a_elbow": 18, "twist": 24, "yaw": 12, "bend": 16, "forward": 0.06},
        {"a_flex": 42, "a_out": -8, "a_spin": 40, "a_elbow": 26, "twist": 28, "yaw": 16, "bend": 30, "height": 0.93},
        {"b_out": 84, "b_flex": 12, "b_spin": 0, "b_elbow": 14},
        {"b_out": 92, "b_flex": 92, "b_spin": -20, "b_elbow": 24, "nod": -12},
        _STAND,
    ],
}
# Walking swings its arms and Discussion talks with its hands: both are made below. Who sits stays at one place.
_SEATED_KINDS = ("SittingDown",)
# A hand at the ear or a camera at the eyes leaves little room for larger or smaller gestures.
_EXACT_KINDS = ("Phoning", "Photo")
# Poses run through in the written order (a throw, a wave); the others come in any order.
_IN_ORDER = ("Greeting", "Posing", "SittingDown")
# How fast the quickest channel may turn on average, degrees a second.
_RATE = {"Greeting": 150.0, "Posing": 170.0, "Discussion": 130.0}
_TURNS = {"Waiting": 130.0, "Discussion": 60.0, "Directions": 80.0, "Phoning": 90.0, "Purchases": 90.0}

ACTIONS = ("Walking", *POSES, "Discussion")


@dataclass(frozen=True)
class SyntheticTake:
    """One recording: joints (T, 17, 3) world metres, and which of the left and right foot stands still (T, 2)."""

    joints: np.ndarray
    planted: np.ndarray


def synthetic_motion(
    body: str | Body, action: str, frames: int, rng: np.random.Generator, *, fps: float = 50, radius: float = 1.25
) -> np.ndarray:
    """Joint positions (T, 17, 3) of one take: world metres, z up, floor at 0, the order of H36M_17.

    body: a name of BODIES, or a Body. action: a name of ACTIONS; a take number after it ("Walking 1") is for the
    reader, the take differs by `rng`. The person stays within `radius` metres of the origin and may look anywhere.
    Raises UserError for an unknown name. `skeleton.joint_map` turns the result into other layouts.
    """
    return synthetic_take(body, action, frames, rng, fps=fps, radius=radius).joints


def synthetic_take(
    body: str | Body, action: str, frames: int, rng: np.random.Generator, *, fps: float = 50, radius: float = 1.25
) -> SyntheticTake:
    """As `synthetic_motion`, with the frames in which each foot is planted."""
    if isinstance(body, str):
        if body not in BODIES:
            raise UserError(f"no synthetic body is called {body!r}; there are {', '.join(BODIES)}")
        body = BODIES[body]
    kind = action.split(" ")[0]
    if kind not in ACTIONS:
        raise UserError(f"the synthetic people cannot do {action!r}; they know {', '.join(ACTIONS)}")
    t = rng.uniform(0, 8) + np.arange(frames) / fps
    manner = _manner(rng)
    if kind == "Walking":
        channels, path, gait = _walk(body, t, rng, manner, radius, rng.uniform(0.8, 1.3))
    elif kind == "Phoning" and rng.random() < 0.4:  # on the phone one paces
        channels, path, gait = _walk(body, t, rng, manner, radius, rng.uniform(0.45, 0.7))
        channels = _hold_phone(channels, _gestures(kind, t, rng, manner))
    else:
        channels = _gestures(kind, t, rng, manner)
        path, gait = _stand(body, kind, t, rng, radius)
    channels = channels + wander(t, rng, _WANDER)
    ankles, toes, planted = footsteps(body, path, gait, t)
    joints = forward_kinematics(body, channels, path.place(t), path.heading(t), ankles, toes)
    return SyntheticTake(joints, planted)


def _per_channel(trunk: float, head: float, arm: float, offset: float) -> np.ndarray:
    scale = np.full(len(CHANNELS), trunk)
    for i, name in enumerate(CHANNELS):
        if name in ("nod", "tilt", "turn"):
            scale[i] = head
        elif name[:2] in ("l_", "r_"):
            scale[i] = arm
        elif name in ("forward", "side", "height"):
            scale[i] = offset
    return scale


_WANDER = _per_channel(trunk=1.3, head=3.5, arm=2.0, offset=0.006)
_MANNER = _per_channel(trunk=2.0, head=3.0, arm=4.0, offset=0.004)


def _manner(rng: np.random.Generator) -> np.ndarray:
    """The neutral pose (C,) of this person today: how upright, how the arms hang."""
    return NEUTRAL + rng.standard_normal(len(CHANNELS)) * _MANNER


def _key_pose(pose: dict, manner: np.ndarray, amplitude: float, right_handed: bool) -> np.ndarray:
    """A written pose as channel values (C,), scaled about the manner, for the acting hand."""
    values = manner.copy()
    acting, other = ("r", "l") if right_handed else ("l", "r")
    mirrored = ("side", "roll", "yaw", "lean", "twist", "tilt", "turn")
    for name, value in sorted(pose.items(), key=lambda item: not item[0].startswith("b_")):  # a_ and o_ overrule b_
        prefix, _, part = name.partition("_")
        sides = {"a": (acting,), "o": (other,), "b": ("l", "r")}.get(prefix) if part in _ARMS else None
        if name in mirrored and not right_handed:
            value = -value
        for i in [channel(f"{side}_{part}") for side in sides] if sides else [channel(name)]:
            change = value - NEUTRAL[i]
            values[i] = manner[i] + change * (1.0 if name in ("height", "forward") else amplitude)
    return values


def _gestures(kind: str, t: np.ndarray, rng: np.random.Generator, manner: np.ndarray) -> np.ndarray:
    """Channels (T, C) that move from key pose to key pose, resting at each."""
    speed, right_handed = rng.uniform(0.8, 1.2), rng.random() < 0.7
    amplitude = rng.uniform(0.96, 1.03) if kind in _EXACT_KINDS else rng.uniform(0.82, 1.1)
    angles = np.array([name not in ("forward", "side", "height") for name in CHANNELS])
    values, times, turn = [manner], [-3.0], int(rng.integers(8))
    while times[-1] < t[-1] + 1:
        pose = _next_pose(kind, turn, rng)
        value = _key_pose(pose, manner, amplitude, right_handed) + rng.standard_normal(len(CHANNELS)) * _MANNER
        value = np.clip(value, LOWEST, HIGHEST)
        change = np.abs(value - values[-1])
        heights = change[channel("height")] / 0.4  # seconds to stand up or sit down, and to lean for it
        needed = max(change[angles].max() / _RATE.get(kind, 110.0), heights, rng.uniform(0.3, 0.6))
        times += [times[-1] + needed / speed]
        values += [value]
        if rng.random() < 0.6:
            times += [times[-1] + rng.uniform(0.1, 0.7)]
            values += [value + rng.standard_normal(len(CHANNELS)) * _MANNER * 0.4]
        turn += 1
    channels = key_curve(np.array(times), np.array(values))(t)
    # Rising and sitting down, the trunk leans forward over the feet while the hips move.
    hips = np.gradient(channels[:, channel("height")], t)
    channels[:, channel("pitch")] += 26 * np.abs(hips) * (kind in _SEATED_KINDS)
    return channels


def _next_pose(kind: str, turn: int, rng: np.random.Generator) -> dict:
    if kind == "Discussion":  # each hand on its own, palms towards the listener
        hands = {
            f"{hand}_{part}": rng.uniform(*bounds)
            for hand in "ao"
            for part, bounds in {"flex": (5, 58), "out": (6, 34), "spin": (-15, 48), "elbow": (35, 112)}.items()
        }
        return hands | {"twist": rng.uniform(-14, 14), "turn": rng.uniform(-32, 32), "nod": rng.uniform(-5, 14)}
    poses = POSES[kind]
    return poses[turn % len(poses)] if kind in _IN_ORDER else poses[rng.integers(len(poses))]


def _stand(body: Body, kind: str, t: np.ndarray, rng: np.random.Generator, radius: float) -> tuple[Path, Gait]:
    """A place to stand; who is not bound to a seat turns and steps now and then."""
    strides = 0.25 if kind in ("Discussion", "Waiting", "Purchases") else 0.08
    still = kind in _SEATED_KINDS
    path = standing_path(
        rng, radius * 0.75, t[-1], turns=0 if still else _TURNS.get(kind, 40.0), strides=0 if still else strides
    )
    period = rng.uniform(0.95, 1.2)
    stagger = rng.choice([-1, 1]) * rng.uniform(0.03, 0.08) if kind == "Posing" else rng.uniform(-0.03, 0.03)
    wide = rng.uniform(1.05, 1.6) * body.hip
    return path, Gait(period, rng.uniform(0, period), stance=0.52, width=wide, stagger=stagger)


def _walk(body: Body, t: np.ndarray, rng, manner: np.ndarray, radius: float, speed: float):
    """Walking round the room: channels (T, C) in step with the feet, the path and the gait."""
    speed = speed * np.sqrt(body.leg / 0.86)  # longer legs walk faster at the same effort
    period = 1.12 * np.sqrt(body.leg / 0.86) * (1.1 / speed) ** 0.45 * rng.uniform(0.95, 1.05)
    path = loop_path(rng, radius, speed)
    gait = Gait(period, rng.uniform(0, period), stance=0.42, width=rng.uniform(0.65, 1.0) * body.hip)
    beat = 2 * np.pi * (t - gait.start) / period
    left_ahead = np.cos(beat - 2 * np.pi * 0.56)  # 1 when the left foot lands ahead
    on_left = np.cos(beat - 2 * np.pi * 0.79)  # 1 when the left foot carries
    vigour = speed / 1.1 * rng.uniform(0.75, 1.25)
    channels = np.tile(manner, (len(t), 1))  # (T, C)
    swings = {
        "height": -0.03 + 0.008 * np.cos(2 * (beat - 2 * np.pi * 0.79)),
        "pitch": 2.5 * vigour,
        "side": 0.022 * on_left,
        "roll": 2.5 * on_left,
        "yaw": -5 * vigour * left_ahead,
        "twist": 8 * vigour * left_ahead,
        "turn": -5 * vigour * left_ahead,
        "l_flex": -4 - 13 * vigour * left_ahead,
        "r_flex": -4 + 13 * vigour * left_ahead,
        "l_elbow": 4 - 6 * vigour * left_ahead,
        "r_elbow": 4 + 6 * vigour * left_ahead,
    }
    for name, swing in swings.items():
        channels[:, channel(name)] += swing
    return channels, path, gait


def _hold_phone(walking: np.ndarray, phoning: np.ndarray) -> np.ndarray:
    """The legs and trunk of a walk with the arms and head of a call."""
    upper = [i for i, name in enumerate(CHANNELS) if name[:2] in ("l_", "r_") or name in ("nod", "tilt", "turn")]
    walking[:, upper] = phoning[:, upper] + 0.15 * (walking[:, upper] - walking[:, upper].mean(0))
    return walking
