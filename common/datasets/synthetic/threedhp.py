"""A synthetic data set in the layout of MPI-INF-3DHP: our own moving people seen by made-up training cameras and by
the six test cameras.

It lets training, evaluation, export and both scorers run where no data is at hand. Scores on it say nothing about 3DHP.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common.datasets.actions import ACTIONS, synthetic_motion
from common.datasets.synthetic.body import Body, make_body
from common.datasets.threedhp_cameras import pixel_intrinsics
from common.datasets.threedhp_layout import (
    SKELETON,
    TEST_FPS,
    TEST_SIZES,
    TRAIN_CAMERAS,
    TRAIN_SEQUENCES,
    archive_name,
)
from common.errors import UserError
from common.files.writing import save_npz, save_text
from common.geometry.skeleton import H36M_17, joint_map
from common.scoring.annotations import ACTIVITIES, LABELS, write_annotation

MARKER = "SYNTHETIC_3DHP.txt"
UNIVERSAL_STATURE = 1.70  # metres: univ_annot3 is everyone scaled to it about the pelvis

# What is done in each test sequence, the activity that it counts as, and its frames. TS5 is shorter than the demo's
# window of 9 frames. 'Exercising', 'On The Floor' and 'Sports' never occur: their rows stay empty.
TEST_TAKES = {
    "TS1": ("Walking", "Standing/Walking", 150),
    "TS2": ("Posing", "Miscellaneous", 140),
    "TS3": ("SittingDown", "Sitting", 130),
    "TS4": ("Purchases", "Reaching/Crouching", 120),
    "TS5": ("Discussion", "Miscellaneous", 7),
    "TS6": ("Waiting", "Standing/Walking", 100),
}

_NOTICE = """SYNTHETIC data, no recording of anyone.

A parametric body moves through made-up actions. The sequences' and activities' names are MPI-INF-3DHP's only so that
the files fit. Training cameras are made up; the test cameras have the calibration of the real ones. 2D keypoints are
exact projections. Scores on this say nothing about MPI-INF-3DHP.

seed {seed}, {seconds:g} s a training sequence
"""

Motion = Callable[..., np.ndarray]  # (body, action, frames, rng, fps=...)


def write_threedhp(
    folder: Path,
    annotations: Path,
    *,
    seed: int = 0,
    seconds: float = 6.0,
    motion: Motion = synthetic_motion,
    progress: bool = True,
) -> None:
    """Write the four npz files of both label sets into `folder` and TS1 ... TS6/annot_data.mat into `annotations`.

    Training: 16 sequences at their 25 or 50 frames a second, 8 cameras, `seconds` each. `motion` gives (T, 17, 3),
    H36M joints, metres, z up, within 1.5 m of the origin. The same seed writes the same data. Raises UserError rather
    than write over files that are not synthetic.
    """
    folder, annotations = Path(folder), Path(annotations)
    for place, pattern in ((folder, "data_*_3dhp*.npz"), (annotations, "TS*/annot_data.mat")):
        there = next(place.glob(pattern), None)
        if there and not (place / MARKER).is_file():
            raise UserError(f"{there}: is not synthetic; the synthetic set does not write over it")
        place.mkdir(parents=True, exist_ok=True)
        save_text(place / MARKER, _NOTICE.format(seed=seed, seconds=seconds))

    train, cameras = {labels: {} for labels in LABELS}, {}
    names = list(TRAIN_SEQUENCES)
    for name in tqdm(names, desc="SYNTHETIC 3DHP, training", unit="sequence", disable=not progress):
        fps = TRAIN_SEQUENCES[name][1]
        rng, body = _rng(seed, name), _person(seed, name.split(" ")[0])
        action = ACTIONS[names.index(name) % len(ACTIONS)]
        world = _as_3dhp(motion(body, action, max(2, round(seconds * fps)), rng, fps=fps))
        cameras[name] = {camera: _made_up_intrinsics(rng) for camera in TRAIN_CAMERAS}
        views = {labels: {} for labels in LABELS}
        for i, (camera, intrinsics) in enumerate(cameras[name].items()):
            points = _seen_from(world, 45.0 * i + rng.uniform(-10, 10), rng.uniform(3.8, 4.6), rng.uniform(0.6, 2.2))
            pixels, poses = _project(points, intrinsics), _label_sets(points, body)
            for labels in LABELS:
                views[labels][camera] = {"data_2d": pixels, "data_3d": poses[labels]}
        for labels in LABELS:
            train[labels][name] = [views[labels], int(fps)]

    test = {labels: {} for labels in LABELS}
    for name, (action, activity, frames) in TEST_TAKES.items():
        rng, body = _rng(seed, name), _person(seed, name)
        world = _as_3dhp(motion(body, action, frames, rng, fps=TEST_FPS))
        distance = rng.uniform(5.6, 6.2) if TEST_SIZES[name] == (1920, 1080) else rng.uniform(3.8, 4.6)
        points = _seen_from(world, rng.uniform(0, 360), distance, rng.uniform(0.9, 1.6))
        pixels, poses = _project(points, np.array(pixel_intrinsics(name))), _label_sets(points, body)
        valid = np.ones(frames)
        valid[frames // 3 : frames // 2] = 0  # a run in the middle, as in the recordings
        for labels in LABELS:
            test[labels][name] = {"data_2d": pixels, "data_3d": poses[labels], "valid": valid}
        write_annotation(annotations, name, pixels, poses, valid, np.full(frames, ACTIVITIES.index(activity) + 1))

    for labels in LABELS:
        save_npz(folder / archive_name("train", labels), data=train[labels], cameras=cameras, labels=labels)
        save_npz(folder / archive_name("test", labels), data=test[labels], labels=labels)


def _rng(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _person(seed: int, name: str) -> Body:
    """Everyone has a body of their own; test people are none of the training people."""
    rng = _rng(seed, f"body of {name}")
    return make_body(name, rng.uniform(1.56, 1.92), *rng.uniform(0.95, 1.05, 5))


def _as_3dhp(joints: np.ndarray) -> np.ndarray:
    """H36M joints (T, 17, 3) to the 17 of MPI-INF-3DHP."""
    return joint_map(H36M_17, SKELETON).astype(np.float64) @ joints


def _made_up_intrinsics(rng: np.random.Generator) -> np.ndarray:
    """(fx, fy, cx, cy) in pixels of a 2048 x 2048 image."""
    focal = rng.uniform(1480, 1520)
    return np.array([focal, focal * rng.uniform(0.998, 1.002), *rng.uniform(1000, 1048, 2)])


def _seen_from(world: np.ndarray, azimuth: float, distance: float, height: float) -> np.ndarray:
    """World points, metres, z up, in the frame of a level-headed camera that looks at the origin from there."""
    angle = np.radians(azimuth)
    centre = np.array([distance * np.cos(angle), distance * np.sin(angle), height])
    forward = np.array([0.0, 0.0, 0.9]) - centre
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return (world - centre) @ np.stack([right, np.cross(forward, right), forward], -1)


def _project(points: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Camera-frame points to pixels; a linear lens."""
    return (points[..., :2] / points[..., 2:] * intrinsics[:2] + intrinsics[2:]).astype(np.float32)


def _label_sets(points: np.ndarray, body: Body) -> dict[str, np.ndarray]:
    """Both label sets in millimetres: metric, and scaled about the pelvis to one stature."""
    root = points[:, [SKELETON.root]]
    scaled = root + (points - root) * (UNIVERSAL_STATURE / body.stature)
    return {"annot3": (1000 * points).astype(np.float32), "univ_annot3": (1000 * scaled).astype(np.float32)}
