"""A parametric human body over the Human3.6M 17-joint tree: proportions, pose channels, forward kinematics.

A pose is the pelvis on a path, two ankle targets, and the channels below. The trunk and arms turn by the channels;
each leg reaches from its hip to its ankle target with two bones (the law of cosines), so a planted foot stands still
and every bone keeps its length by construction. World: metres, z up; heading 0 looks along +x, left is +y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.geometry.skeleton import H36M_17

SIDES = ("l", "r")

# Pose channels with their neutral value and limits. Angles in degrees, offsets as fractions of the leg's length.
#   forward, side     pelvis ahead of / to the left of its place on the path
#   height            hip height above the ankles, 1 is a straight leg
#   pitch, roll, yaw  pelvis tilted forward, to the right, turned to the left
#   bend, lean, twist     thorax against the pelvis: forward, to the right, turned to the left
#   nod, tilt, turn       head against the thorax, likewise
#   l_/r_ flex, out   upper arm swung from hanging towards the front and away from the side
#   l_/r_ spin        upper arm turned inward about itself: at 0 the elbow brings the hand to the front
#   l_/r_ elbow       flexion, 0 is straight
_TRUNK = {
    "forward": (0, -0.6, 0.3),
    "side": (0, -0.2, 0.2),
    "height": (0.99, 0.3, 0.997),
    "pitch": (2, -12, 60),
    "roll": (0, -12, 12),
    "yaw": (0, -40, 40),
    "bend": (4, -15, 65),
    "lean": (0, -25, 25),
    "twist": (0, -45, 45),
    "nod": (4, -30, 45),
    "tilt": (0, -25, 25),
    "turn": (0, -65, 65),
}
_ARM = {"flex": (2, -55, 165), "out": (9, -35, 150), "spin": (15, -95, 95), "elbow": (22, 6, 148)}
_TABLE = _TRUNK | {f"{side}_{name}": row for side in SIDES for name, row in _ARM.items()}

CHANNELS = tuple(_TABLE)
NEUTRAL, LOWEST, HIGHEST = (np.array(column, float) for column in zip(*_TABLE.values(), strict=True))  # (C,) each

STRAIGHTEST_KNEE = 10.0  # degrees of flexion that always remain
TIGHTEST_KNEE = 152.0


@dataclass(frozen=True)
class Body:
    """Bone lengths of one person, metres. Left and right are equal."""

    name: str
    stature: float
    hip: float  # pelvis to hip joint, sideways
    thigh: float
    shank: float
    ankle: float  # height of the ankle of a planted foot
    spine: float  # pelvis to spine
    chest: float  # spine to thorax
    neck: float  # thorax to nose
    head: float  # nose to head
    shoulder: float  # thorax to shoulder
    upper_arm: float
    forearm: float

    @property
    def leg(self) -> float:
        return self.thigh + self.shank


def make_body(name: str, stature: float, legs=1.0, arms=1.0, shoulders=1.0, hips=1.0, shank=1.0) -> Body:
    """A person of a stature (metres) whose limb ratios are scaled from the average adult's.

    Average ratios: Drillis and Contini (1966), as printed in Winter, Biomechanics and Motor Control of Human Movement.
    Longer legs shorten the trunk, so that the stature stays.
    """
    thigh, lower = 0.243 * legs * stature, 0.240 * legs * shank * stature
    trunk = (0.773 - 0.483) * stature + (0.483 * stature - thigh - lower)
    return Body(
        name=name,
        stature=stature,
        hip=0.066 * hips * stature,
        thigh=thigh,
        shank=lower,
        ankle=0.045 * stature,
        spine=0.46 * trunk,
        chest=0.54 * trunk,
        neck=0.070 * stature,
        head=0.065 * stature,
        shoulder=0.092 * shoulders * stature,
        upper_arm=0.172 * arms * stature,
        forearm=0.146 * arms * stature,
    )


# Named as the Human3.6M subjects whose cameras see them; they are none of them.
BODIES = {
    body.name: body
    for body in (
        make_body("S1", 1.60, legs=0.96, arms=0.95, shoulders=0.93, hips=1.08),
        make_body("S5", 1.56, legs=1.03, arms=0.98, shoulders=0.90, hips=1.06, shank=0.97),
        make_body("S6", 1.76, legs=1.00, arms=1.02, shoulders=1.05, hips=0.97),
        make_body("S7", 1.86, legs=0.96, arms=1.05, shoulders=1.10, hips=0.98, shank=1.03),
        make_body("S8", 1.93, legs=1.04, arms=1.03, shoulders=1.02, hips=0.94),
        make_body("S9", 1.69, legs=1.02, arms=0.97, shoulders=0.98, hips=1.02, shank=1.02),
        make_body("S11", 1.81, legs=0.98, arms=1.00, shoulders=1.06, hips=0.96, shank=0.98),
    )
}


def channel(name: str) -> int:
    return CHANNELS.index(name)


def rotation(pitch: np.ndarray, roll: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Rotation matrices (T, 3, 3) from degrees: forward pitch, roll to the right, then yaw to the left."""
    (cp, cr, cy), (sp, sr, sy) = ([f(np.radians(a)) for a in (pitch, roll, yaw)] for f in (np.cos, np.sin))
    zero, one = np.zeros_like(cp), np.ones_like(cp)
    about_y = np.stack([cp, zero, sp, zero, one, zero, -sp, zero, cp], -1).reshape(-1, 3, 3)
    about_x = np.stack([one, zero, zero, zero, cr, -sr, zero, sr, cr], -1).reshape(-1, 3, 3)
    about_z = np.stack([cy, -sy, zero, sy, cy, zero, zero, zero, one], -1).reshape(-1, 3, 3)
    return about_z @ about_y @ about_x


def forward_kinematics(
    body: Body, channels: np.ndarray, place: np.ndarray, heading: np.ndarray, ankles: np.ndarray, toes: np.ndarray
) -> np.ndarray:
    """Joint positions (T, 17, 3), world metres, in the order of H36M_17.

    channels (T, C) of CHANNELS, clipped to their limits; place (T, 2) metres and heading (T,) degrees of the pelvis
    on its path; ankles (T, 2, 3) left and right targets, world metres; toes (T, 2) where the feet point, degrees.
    The pelvis is lowered where a leg would otherwise be overstretched.
    """
    pose = dict(zip(CHANNELS, np.clip(channels, LOWEST, HIGHEST).T, strict=True))
    joints = np.zeros((len(pose["pitch"]), len(H36M_17), 3))  # (T, 17, 3)
    put = {name: joints[:, i] for i, name in enumerate(H36M_17.joints)}

    pelvis = rotation(pose["pitch"], pose["roll"], heading + pose["yaw"])  # (T, 3, 3)
    level = rotation(0 * heading, 0 * heading, heading)
    offset = np.stack([pose["forward"], pose["side"], 0 * heading], -1) * body.leg
    put["Hip"][:, :2] = place + (level @ offset[..., None])[:, :2, 0]
    put["Hip"][:, 2] = body.ankle + pose["height"] * body.leg
    hips = [pelvis @ np.array([0, sign * body.hip, 0]) for sign in (1, -1)]  # (T, 3) each, from the pelvis
    put["Hip"][:, 2] = _reachable_height(body, put["Hip"], hips, ankles)

    for side, name in enumerate("LR"):
        put[f"{name}Hip"][:] = put["Hip"] + hips[side]
        # The knee points between the toes and the pelvis' front, a little outward.
        outward = (1, -1)[side] * 8.0
        point = rotation(0 * heading, 0 * heading, toes[:, side] + outward)[..., 0]
        point = point + rotation(0 * heading, 0 * heading, heading + pose["yaw"] + outward)[..., 0]  # (T, 3)
        put[f"{name}Knee"][:] = _two_bone_joint(
            put[f"{name}Hip"], ankles[:, side], body.thigh, body.shank, point + [0, 0, 0.15]
        )
        put[f"{name}Foot"][:] = ankles[:, side]

    # The bend is shared: the lower spine takes a third of it.
    lower = pelvis @ rotation(pose["bend"] / 3, pose["lean"] / 3, pose["twist"] / 3)
    thorax = pelvis @ rotation(pose["bend"], pose["lean"], pose["twist"])
    head = thorax @ rotation(pose["nod"], pose["tilt"], pose["turn"])
    put["Spine"][:] = put["Hip"] + lower @ _along(-0.05, 0, 1, body.spine)
    put["Thorax"][:] = put["Spine"] + thorax @ _along(-0.03, 0, 1, body.chest)
    put["Nose"][:] = put["Thorax"] + head @ _along(0.45, 0, 1, body.neck)
    put["Head"][:] = put["Nose"] + head @ _along(-0.25, 0, 1, body.head)
    for side, name in zip(SIDES, "LR", strict=True):
        arm = {part: pose[f"{side}_{part}"] for part in _ARM}
        shoulder, upper, forearm = _arm(body, **arm)  # (T, 3) each, front, outward, up
        for vector in (shoulder, upper, forearm):
            vector[:, 1] *= 1 if name == "L" else -1
        put[f"{name}Shoulder"][:] = put["Thorax"] + (thorax @ shoulder[..., None])[..., 0]
        put[f"{name}Elbow"][:] = put[f"{name}Shoulder"] + (thorax @ upper[..., None])[..., 0]
        put[f"{name}Wrist"][:] = put[f"{name}Elbow"] + (thorax @ forearm[..., None])[..., 0]
    return joints


def _along(x: float, y: float, z: float, length: float) -> np.ndarray:
    vector = np.array([x, y, z], float)
    return vector * (length / np.linalg.norm(vector))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _reach(body: Body, flexion: float) -> float:
    """Distance from hip to ankle at a knee flexion in degrees."""
    return np.sqrt(body.thigh**2 + body.shank**2 + 2 * body.thigh * body.shank * np.cos(np.radians(flexion)))


def _reachable_height(body: Body, pelvis: np.ndarray, hips: list[np.ndarray], ankles: np.ndarray) -> np.ndarray:
    """The wanted pelvis height (T,), lowered smoothly to where both legs reach their ankles."""
    longest = _reach(body, STRAIGHTEST_KNEE)
    heights = [pelvis[:, 2]]
    for side, hip in enumerate(hips):
        flat = np.linalg.norm((pelvis + hip - ankles[:, side])[:, :2], axis=-1)
        heights.append(ankles[:, side, 2] + np.sqrt(np.maximum(longest**2 - flat**2, 0)) - hip[:, 2])
    softness = 0.008 * body.leg  # a smooth minimum that is never above the smallest
    return -softness * np.logaddexp.reduce(-np.stack(heights) / softness)


def _two_bone_joint(start: np.ndarray, end: np.ndarray, first: float, second: float, point: np.ndarray) -> np.ndarray:
    """The joint (T, 3) between two bones that span start to end, bent towards `point`."""
    axis = end - start
    reach = np.linalg.norm(axis, axis=-1, keepdims=True)
    axis = axis / reach
    along = (reach**2 + first**2 - second**2) / (2 * reach)
    aside = np.sqrt(np.maximum(first**2 - along**2, 0))
    return start + along * axis + aside * _unit(point - (point * axis).sum(-1, keepdims=True) * axis)


def _arm(body: Body, flex, out, spin, elbow) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shoulder, upper arm and forearm vectors (T, 3), metres, in the thorax frame: front, outward, up."""
    flex, out, spin, elbow = (np.radians(a) for a in (flex, out, spin, elbow))
    swing = np.hypot(flex, out)
    # The shoulder blade rises and comes forward with the arm.
    lift, ahead = 0.28 * np.clip(swing - 0.5, 0, None), 0.14 * flex
    shoulder = np.stack([np.sin(ahead), np.cos(ahead), np.tan(lift - 0.25)], -1)
    shoulder = _unit(shoulder) * body.shoulder
    # Forearm of a hanging arm, then both bones swung about the horizontal axis (sin p, -cos p, 0).
    hanging = np.stack([np.sin(elbow) * np.cos(spin), -np.sin(elbow) * np.sin(spin), -np.cos(elbow)], -1)
    plane = np.arctan2(out, flex)
    axis = np.stack([np.sin(plane), -np.cos(plane), 0 * plane], -1)
    down = np.broadcast_to(np.array([0.0, 0.0, -1.0]), hanging.shape)
    upper, forearm = (_turn(v, axis, swing) for v in (down, hanging))
    return shoulder, body.upper_arm * upper, body.forearm * forearm


def _turn(vectors: np.ndarray, axis: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rotate vectors (T, 3) about unit axes by radians (Rodrigues)."""
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    along = (axis * vectors).sum(-1, keepdims=True) * axis
    return cos * vectors + sin * np.cross(axis, vectors) + (1 - cos) * along
