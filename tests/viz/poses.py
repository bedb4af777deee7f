"""Poses for the drawing tests: a person with raised arms, and a random body for any skeleton."""

import numpy as np

from common.geometry.skeleton import H36M_17, Skeleton

_PLACES = {
    "Hip": (0, 0, 0), "RHip": (-0.13, 0, 0), "RKnee": (-0.15, 0.45, -0.1), "RFoot": (-0.16, 0.9, 0.05),
    "LHip": (0.13, 0, 0), "LKnee": (0.16, 0.45, -0.2), "LFoot": (0.18, 0.88, 0.1), "Spine": (0, -0.23, 0.02),
    "Thorax": (0, -0.48, 0.03), "Nose": (0, -0.57, -0.05), "Head": (0, -0.68, 0), "LShoulder": (0.15, -0.46, 0.02),
    "LElbow": (0.4, -0.6, 0), "LWrist": (0.62, -0.75, -0.1), "RShoulder": (-0.15, -0.46, 0.02),
    "RElbow": (-0.3, -0.25, -0.1), "RWrist": (-0.2, -0.05, -0.3),
}  # fmt: skip
STANDING = np.array([_PLACES[joint] for joint in H36M_17.joints])  # (17, 3), camera frame, metres


def clip(frames: int, seed: int = 0) -> np.ndarray:
    """A standing person that sways, root-relative (T, 17, 3)."""
    sway = np.random.default_rng(seed).normal(0, 0.02, (frames, 17, 3)).cumsum(0)
    return STANDING + sway - sway[:, :1]


def random_body(skeleton: Skeleton, seed: int = 0) -> np.ndarray:
    """A pose (J, 3) of any layout, root-relative, metres."""
    pose = np.random.default_rng(seed).normal(0, 0.4, (len(skeleton), 3))
    return pose - pose[skeleton.root]
