"""MPI-INF-3DHP's test annotations: `TS*/annot_data.mat`, MAT v7.3, and the names that its scores are told by."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files.hdf5 import write_mat73
from common.files.reading import open_hdf5
from common.geometry.skeleton import MPI_INF_3DHP_17

SKELETON = MPI_INF_3DHP_17
SEQUENCES = ("TS1", "TS2", "TS3", "TS4", "TS5", "TS6")
LABELS = ("annot3", "univ_annot3")
ACTIVITIES = (
    "Standing/Walking",
    "Exercising",
    "Sitting",
    "Reaching/Crouching",
    "On The Floor",
    "Sports",
    "Miscellaneous",
)


def _official(joint: str) -> str:
    """'RShoulder' -> 'right_shoulder', 'HeadTop' -> 'head_top': the benchmark's spelling."""
    sided = re.sub(r"^([LR])(?=[A-Z])", lambda m: {"L": "Left", "R": "Right"}[m[1]], joint)
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", sided).lower()


JOINT_NAMES = tuple(_official(joint) for joint in SKELETON.joints)
# The 14 joints that PCK and AUC count; pelvis, spine and head count in MPJPE only.
GROUPS = {
    "Head": ("HeadTop",),
    "Neck": ("Neck",),
    "Shou": ("RShoulder", "LShoulder"),
    "Elbow": ("RElbow", "LElbow"),
    "Wrist": ("RWrist", "LWrist"),
    "Hip": ("RHip", "LHip"),
    "Knee": ("RKnee", "LKnee"),
    "Ankle": ("RAnkle", "LAnkle"),
}
GROUP_JOINTS = {name: [SKELETON.index(joint) for joint in joints] for name, joints in GROUPS.items()}


@dataclass(frozen=True)
class Annotation:
    """One test sequence of F frames: poses (F, 17, 3) mm, camera axes, absolute; valid (F,) bool; activity (F,)."""

    sequence: str
    poses: np.ndarray
    valid: np.ndarray
    activity: np.ndarray  # 1..7 on valid frames
    md5: str

    def __len__(self) -> int:
        return len(self.poses)


def missing_annotations(folder: Path) -> str:
    """Which of the six sequences cannot be scored from this folder, in words; empty where all can."""
    missing = [name for name in SEQUENCES if not (Path(folder) / name / "annot_data.mat").is_file()]
    names = "TS*" if len(missing) == len(SEQUENCES) else ", ".join(missing)
    return f"{names}/annot_data.mat" if missing else ""


def read_annotation(folder: Path, sequence: str, labels: str = "annot3") -> Annotation:
    """Read `folder/sequence/annot_data.mat`. `labels` is the label set, annot3 or univ_annot3.

    Raises UserError for a missing or damaged file, and for a valid frame whose annotation is not finite.
    """
    if labels not in LABELS:
        raise UserError(f"--labels {labels}: no such label set; there are {' and '.join(LABELS)}")
    path = Path(folder) / sequence / "annot_data.mat"
    if not path.is_file():
        raise UserError(f"{path}: no such file; the test set of MPI-INF-3DHP has it (docs/3dhp.md)")
    with open_hdf5(path) as file:
        missing = [key for key in (labels, "valid_frame", "activity_annotation") if key not in file]
        if missing:
            raise UserError(f"{path}: no {', '.join(missing)}; not an annotation of the 3DHP test set")
        # HDF5 shows MATLAB's dimensions reversed: 3 x 17 x 1 x F comes as (F, 1, 17, 3).
        poses = file.array(labels).astype(np.float64)
        valid = file.array("valid_frame").reshape(-1) == 1
        activity = file.array("activity_annotation").reshape(-1)
    if poses.ndim != 4 or poses.shape[1:] != (1, len(SKELETON), 3):
        raise UserError(f"{path}: {labels} has shape {poses.shape[::-1]}, expected (3, {len(SKELETON)}, 1, F)")
    poses = poses[:, 0]  # (F, 17, 3)
    if not len(poses) == len(valid) == len(activity):
        raise UserError(f"{path}: {len(poses)} poses, {len(valid)} valid flags, {len(activity)} activities")
    if not np.isin(activity[valid], range(1, len(ACTIVITIES) + 1)).all():
        raise UserError(f"{path}: the activity of a valid frame is none of 1 to {len(ACTIVITIES)}")
    if not np.isfinite(poses[valid]).all():
        raise UserError(f"{path}: {labels} is NaN or infinite on a valid frame")
    activity = np.nan_to_num(activity).clip(0, len(ACTIVITIES)).astype(int)
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return Annotation(sequence, poses, valid, activity, digest)


def write_annotation(
    folder: Path,
    sequence: str,
    keypoints: np.ndarray,
    labels: dict[str, np.ndarray],
    valid: np.ndarray,
    activity: np.ndarray,
) -> Path:
    """Write `folder/sequence/annot_data.mat` as the official files are: MAT v7.3, every official key.

    keypoints (F, 17, 2) pixels; labels {'annot3', 'univ_annot3'}: (F, 17, 3) mm, camera axes, absolute; valid (F,);
    activity (F,), 1..7. `bb_crop`, which nothing here reads, is a cell of 34 zeros a frame.
    """
    path = Path(folder) / sequence / "annot_data.mat"
    poses = {"annot2": keypoints, **labels}
    arrays = {key: np.asarray(array, np.float64)[:, None] for key, array in poses.items()}  # (F, 1, 17, D)
    arrays |= {"valid_frame": np.asarray(valid, np.float64)[:, None]}
    arrays |= {"activity_annotation": np.asarray(activity, np.float64)[:, None]}
    write_mat73(path, arrays, {"bb_crop": (np.zeros((34, 1)), len(keypoints))})
    return path
