"""A walking stick figure for the tests of this folder, made of sines: real enough to move, the same every time."""

import numpy as np
import pytest

from common.geometry.skeleton import H36M_17

STANDING = {
    "Hip": (0, 0, 0.95), "RHip": (-0.13, 0, 0.95), "RKnee": (-0.13, 0, 0.5), "RFoot": (-0.13, 0, 0.06),
    "LHip": (0.13, 0, 0.95), "LKnee": (0.13, 0, 0.5), "LFoot": (0.13, 0, 0.06), "Spine": (0, 0, 1.18),
    "Thorax": (0, 0, 1.43), "Nose": (0, -0.06, 1.53), "Head": (0, 0, 1.64), "LShoulder": (0.17, 0, 1.4),
    "LElbow": (0.2, 0, 1.12), "LWrist": (0.22, -0.02, 0.88), "RShoulder": (-0.17, 0, 1.4),
    "RElbow": (-0.2, 0, 1.12), "RWrist": (-0.22, -0.02, 0.88),
}  # fmt: skip


def rotate(vectors, axis, angle):
    """Rotate (T, 3) about one axis by angles (T,)."""
    axis = np.asarray(axis, float)
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    along = (vectors @ axis)[:, None] * axis
    return along + (vectors - along) * c + np.cross(axis, vectors) * s


def walker(frames=120, fps=50.0, phase=0.0, place=(0.0, 0.0), bend=-1.0):
    """(T, 17, 3), world metres, z up, every bone of constant length.

    bend: 1 bends knees and elbows as people's bend, -1 the other way, which geometry does not mind and a lifter does.
    """
    time = np.arange(frames) / fps
    swing = np.sin(2 * np.pi * 0.9 * time + phase)
    sign = {"R": 1.0, "L": -1.0}
    turn = {j: np.zeros(frames) for j in H36M_17.joints}
    for side, s in sign.items():
        turn[f"{side}Knee"] = 0.5 * s * swing
        turn[f"{side}Foot"] = 0.5 * s * swing + bend * 0.3 * (1 + swing * s)
        turn[f"{side}Elbow"] = -0.5 * s * swing
        turn[f"{side}Wrist"] = -0.5 * s * swing - bend * 0.5
    pose = np.zeros((frames, 17, 3))
    pose[:, 0] = np.array(STANDING["Hip"]) + [place[0], place[1], 0]
    pose[:, 0, 1] -= 1.1 * time
    pose[:, 0, 2] += 0.02 * np.cos(4 * np.pi * 0.9 * time)
    yaw, lean = 0.15 * swing, 0.1 + 0.05 * swing
    order = [j for j in H36M_17.joints if j != "Hip"]
    for name in order:
        j = H36M_17.index(name)
        p = H36M_17.parents[j]
        bone = np.array(STANDING[name]) - np.array(STANDING[H36M_17.joints[p]])
        bone = rotate(np.broadcast_to(bone, (frames, 3)), (1, 0, 0), turn[name])
        if name in ("Spine", "Thorax", "Nose", "Head") or "Shoulder" in name:
            bone = rotate(bone, (1, 0, 0), lean)
        pose[:, j] = pose[:, p] + rotate(bone, (0, 0, 1), yaw if "Shoulder" in name else -yaw)
    return pose


def in_camera(world, distance=5.0, height=1.2):
    """World poses as a level camera in front sees them: x right, y down, z forward, metres."""
    world = np.asarray(world)
    return np.stack([world[..., 0], height - world[..., 2], world[..., 1] + distance], -1)


def pixels(camera, width=1280, height=720, focal=1100.0):
    """Pinhole projection of camera-frame points to pixels."""
    return camera[..., :2] / camera[..., 2:] * focal + [width / 2, height / 2]


@pytest.fixture
def walk():
    return walker()
