"""COCO's 17 points of a body that is known by Human3.6M's 17 joints: the face is put on, the rest is there.

Motion capture knows no nose, eyes and ears. They are placed about the upper end of the head, on a head of adult size
scaled with the trunk, that looks where the chest does, but for a turn that wanders. Sizes: Farkas, Anthropometry of the
Head and Face (1994), to the centimetre.
"""

from __future__ import annotations

import numpy as np

from common.datasets.variation import smooth_noise
from common.geometry.skeleton import COCO_17, H36M_17

# Metres from the middle between the ears: left, up, forward.
FACE = {
    "Nose": (0.0, -0.015, 0.115),
    "LEye": (0.032, 0.025, 0.09),
    "REye": (-0.032, 0.025, 0.09),
    "LEar": (0.075, 0.0, 0.0),
    "REar": (-0.075, 0.0, 0.0),
}
EARS = 0.6  # of the way from the neck's upper end to the head's: where the middle between the ears lies
TRUNK = 0.50  # metres from hips to shoulders, of the body whose head that is
CHILD = 0.4  # the head grows with this power of the trunk
HIPS = (0.9, 1.35)  # how much further apart than motion capture's a detector's hips lie
TURN, NOD, SECONDS = 0.45, 0.2, 1.0  # radians about the vertical and the sideways axis; how long a turn lasts


def coco_points(poses: np.ndarray, fps: float, rng: np.random.Generator) -> np.ndarray:
    """COCO's points (T, 17, 3) of Human3.6M's joints (T, 17, 3), metres, any frame of right-handed axes."""
    at = {name: poses[:, j] for j, name in enumerate(H36M_17.joints)}
    shoulders, hips = (at["LShoulder"] + at["RShoulder"]) / 2, (at["LHip"] + at["RHip"]) / 2
    trunk = np.median(np.linalg.norm(shoulders - hips, axis=-1))
    scale = (trunk / TRUNK) ** CHILD
    up = _unit(at["Head"] - at["Thorax"])  # (T, 3)
    left = _unit(at["LShoulder"] - at["RShoulder"])
    forward = _unit(np.cross(left, up))
    left = np.cross(up, forward)
    turn, nod = np.array([TURN, NOD])[:, None] * smooth_noise((len(poses), 2), SECONDS, fps, rng).T
    forward, left = _turned(forward, left, turn)
    forward, up = _turned(forward, up, nod)
    middle = at["Nose"] + EARS * (at["Head"] - at["Nose"])
    out = np.empty((len(poses), len(COCO_17), 3))
    for j, name in enumerate(COCO_17.joints):
        if name in FACE:
            a, b, c = (scale * v for v in FACE[name])
            out[:, j] = middle + a * left + b * up + c * forward
        else:
            out[:, j] = at[{"Ankle": f"{name[0]}Foot"}.get(name[1:], name)]
    across = (at["LHip"] - at["RHip"]) * (rng.uniform(*HIPS) - 1) / 2
    out[:, COCO_17.index("LHip")] += across
    out[:, COCO_17.index("RHip")] -= across
    return out


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def _turned(a: np.ndarray, b: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two perpendicular directions (T, 3) turned in their plane by angles (T,)."""
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return cos * a + sin * b, cos * b - sin * a
