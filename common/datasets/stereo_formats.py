"""The label files of the two-view data sets: names, splits and record layouts, as published. Units: mm, pixels.

A label file is `np.save` of a dict: `subject_names`, `action_names`, `camera_names`, `cameras`, `table` (and
`reptition_names`, so spelled, for MHAD). A box is (top, left, bottom, right); zeros mean that the view is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.files.writing import save_npy

_H36M_SCENARIOS = (
    "Directions Discussion Eating Greeting Phoning Posing Purchases Sitting SittingDown Smoking TakingPhoto Waiting "
    "Walking WalkingDog WalkingTogether"
)
H36M_ACTIONS = tuple(f"{action}-{trial}" for action in _H36M_SCENARIOS.split() for trial in (1, 2))
# Sequences of S9 whose recorded poses stand about 200 mm beside the person.
DAMAGED = {("S9", "Greeting-2"), ("S9", "SittingDown-2"), ("S9", "Waiting-1")}


@dataclass(frozen=True)
class StereoFormat:
    """A published data set: its subjects, its split, its actions."""

    name: str
    subjects: tuple[str, ...]
    train: tuple[str, ...]
    test: tuple[str, ...]
    actions: tuple[str, ...]


H36M = StereoFormat(
    "h36m",
    ("S1", "S5", "S6", "S7", "S8", "S9", "S11"),
    ("S1", "S5", "S6", "S7", "S8"),
    ("S9", "S11"),
    H36M_ACTIONS,
)
_MHAD_SUBJECTS = tuple(f"S{i:02d}" for i in range(1, 13))
MHAD = StereoFormat(
    "mhad",
    _MHAD_SUBJECTS,
    tuple(s for s in _MHAD_SUBJECTS if s not in ("S08", "S11")),
    ("S08", "S11"),
    tuple(f"A{i:02d}" for i in range(1, 12)),
)
MHAD_REPETITIONS = tuple(f"R{i:02d}" for i in range(1, 6))
DATA_SETS = {d.name: d for d in (H36M, MHAD)}
ACTION_SCALE = 11  # the published reader divides the action's index by 11, also for Human3.6M's 30 trials


def camera_dtype() -> np.dtype:
    """One calibrated camera; R, t and K after rectification, H the homography that rectifies its image."""
    matrix, vector = ("f4", (3, 3)), ("f4", (3, 1))
    return np.dtype([("R", *matrix), ("T", *vector), ("t", *vector), ("K", *matrix), ("dist", "f4", 5), ("H", *matrix)])


def table_dtype(data_set: str, views: int = 2, joints: int = 17) -> np.dtype:
    """One frame of a label table."""
    fields = [("subject_idx", "i1"), ("action_idx", "i1"), ("frame_idx", "i2")]
    if data_set == "mhad":
        fields += [("reptition_idx", "i1"), ("group_idx", "i1")]
        fields += [("keypoints_2d", "f4", (views, joints, 3)), ("occlusion_2d", "i1", (joints,))]
    fields += [("keypoints", "f4", (joints, 3)), ("bbox_by_camera_tlbr", "i2", (views, 4)), ("disparity_min", "i2")]
    return np.dtype(fields)


def label_file(data_set: str, cameras: np.ndarray, table: np.ndarray, camera_names: list, *, subjects=None) -> dict:
    """The dict of a label file. cameras: H36M (subjects, views), MHAD (groups, views), of `camera_dtype`."""
    known = DATA_SETS[data_set]
    labels = {
        "subject_names": list(subjects or known.subjects),
        "action_names": list(known.actions),
        "camera_names": camera_names,
        "cameras": cameras,
        "table": table,
    }
    if data_set == "mhad":
        labels["reptition_names"] = list(MHAD_REPETITIONS)
    return labels


def save_labels(path: str | Path, labels: dict) -> None:
    save_npy(path, np.array(labels, dtype=object))
