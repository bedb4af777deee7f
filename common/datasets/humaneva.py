"""HumanEva-I in VideoPose3D's layout: `data_3d_humaneva15.npz` and `data_2d_humaneva15_NAME.npz`.

Subjects are named with their split: 'Train/S1' ... 'Validate/S3'. Actions carry their take and their chunk: 'Walking
1 chunk0'; corrupted mocap frames cut a take into chunks, some of them shorter than a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.datasets.checks import check_metres, check_pixels, check_pose_array, require_file, select_subjects
from common.datasets.clips import Clip
from common.datasets.humaneva_cameras import HUMANEVA_PEOPLE, humaneva_cameras
from common.datasets.humaneva_intrinsics import told, with_intrinsics
from common.errors import UserError
from common.files.reading import load_archive, understanding
from common.geometry.camera import Camera, pixels_to_screen
from common.geometry.skeleton import COCO_17, H36M_17, HUMANEVA_15, Skeleton, joint_map

SKELETON = HUMANEVA_15
FPS = 60.0
TRAIN_SUBJECTS = ("Train/S1", "Train/S2", "Train/S3")
TEST_SUBJECTS = ("Validate/S1", "Validate/S2", "Validate/S3")
HOW_FITTED = "fitted from the ground-truth 2D and 3D"
WHERE = "data/README.MD says how to get it; `python main_humaneva.py --demo` needs no data"


def load_humaneva(root: Path, keypoints: str, subjects: Sequence[str]) -> list[Clip]:
    """Clips of the subjects ('Train/S1', ...), each chunk seen by three cameras: 60 fps, 15 joints, metres.

    `keypoints` names the 2D source: 'gt', or 'detectron_pt_coco', which is mapped from COCO's joints. Positions are
    in the camera frame. The cameras have intrinsics where `calibrate` can fit them.
    """
    root = Path(root)
    path_3d = require_file(root / "data_3d_humaneva15.npz", WHERE)
    path_2d = require_file(root / f"data_2d_humaneva15_{keypoints}.npz", _sources(root))
    positions = _member(path_3d, "positions_3d")
    detections = _member(path_2d, "positions_2d")
    layout = COCO_17 if keypoints.endswith("coco") else HUMANEVA_15
    fitted = {person: cameras for person, (cameras, _) in calibrate(root).items()}
    clips: list[Clip] = []
    with understanding(f"{path_3d}, {path_2d.name}", "pair of HumanEva files"):
        for subject in select_subjects(positions, subjects, path_3d.name):
            if subject not in detections:
                raise UserError(f"{path_2d.name}: no subject {subject}; it has {', '.join(detections)}")
            for action, world in positions[subject].items():
                cameras = fitted.get(_person(subject)) or humaneva_cameras(subject)
                clips += _views(subject, action, world, detections[subject], layout, path_2d.name, cameras)
    return clips


def _member(path: Path, name: str) -> dict:
    archive = load_archive(path)
    if not isinstance(archive.get(name), dict):
        raise UserError(f"{path}: not in the HumanEva layout, it has no dictionary '{name}'")
    return archive[name]


def read_world(subject: str, action: str, world: np.ndarray) -> np.ndarray:
    """One chunk of the 3D file (T, 15, 3), world, metres. Raises UserError."""
    world = check_pose_array(f"data_3d_humaneva15.npz {subject} {action}", world, len(SKELETON), 3)
    check_metres(f"data_3d_humaneva15.npz {subject} {action}", world)
    return world


def _views(
    subject: str, action: str, world, detections: dict, layout: Skeleton, source: str, cameras: list[Camera]
) -> list[Clip]:
    world = read_world(subject, action, world)
    if action not in detections:
        raise UserError(f"{source}: {subject} has no action {action}")
    name = f"{source} {subject} {action}"
    if len(detections[action]) != len(cameras):
        raise UserError(f"{name}: {len(detections[action])} cameras, expected {len(cameras)}")
    clips = []
    for camera, pixels in zip(cameras, detections[action], strict=True):
        pixels = check_pose_array(name, pixels, len(layout), 2)
        if len(pixels) < len(world):
            raise UserError(f"{name}: {len(pixels)} frames of 2D for {len(world)} of 3D")
        pixels = pixels[: len(world)]
        check_pixels(name, pixels)
        screen = pixels_to_screen(torch.from_numpy(pixels), camera.width, camera.height).numpy()
        if layout is not SKELETON:
            screen = joint_map(layout, SKELETON) @ screen  # the map is affine, so it may follow the change of units
        points = camera.world_to_camera(torch.from_numpy(world)).numpy()
        clips.append(Clip(subject, action, camera, FPS, screen, points, np.ones(len(world), bool)))
    return clips


def _person(subject: str) -> str:
    """'S1' of 'Validate/S1'."""
    return subject.rpartition("/")[2]


def calibrate(root: Path) -> dict[str, tuple[list[Camera], list[dict]]]:
    """Each person's cameras with intrinsics fitted from the ground-truth 2D and 3D, and what was fitted, one a camera.

    The training takes are read; those of another split only for a person who has none. Without the ground-truth
    2D file there is nothing to fit.
    """
    files = [Path(root) / f"data_{kind}.npz" for kind in ("3d_humaneva15", "2d_humaneva15_gt")]
    if not all(path.is_file() for path in files):
        return {}
    return _calibrate(*((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files))


@cache
def _calibrate(file_3d: tuple, file_2d: tuple) -> dict[str, tuple[list[Camera], list[dict]]]:
    """`calibrate`, once for files as they are: (path, time, size) each."""
    positions, detections = _member(file_3d[0], "positions_3d"), _member(file_2d[0], "positions_2d")
    subjects = sorted((s for s in positions if s in detections), key=lambda s: not s.startswith("Train/"))
    chosen: dict[str, str] = {}
    for subject in subjects:
        if _person(subject) in HUMANEVA_PEOPLE:
            chosen.setdefault(_person(subject), subject)
    with understanding(f"{file_3d[0]}, {file_2d[0].name}", "pair of HumanEva files"):
        return {person: _fitted(positions[subject], detections[subject], person) for person, subject in chosen.items()}


def _fitted(worlds: dict, views: dict, person: str) -> tuple[list[Camera], list[dict]]:
    cameras, facts = [], []
    for number, camera in enumerate(humaneva_cameras(person)):
        points, pixels = [], []
        for action, world in worlds.items():
            if action in views and len(views[action]) > number:
                world = np.asarray(world, np.float32)
                flat = np.asarray(views[action][number], np.float32)[: len(world), :, :2]
                if world.shape[:-1] == flat.shape[:-1]:  # what is of another shape is told by the loader
                    points.append(camera.world_to_camera(torch.from_numpy(world)).numpy())
                    pixels.append(flat)
        camera, fact = with_intrinsics(camera, points, pixels)
        cameras.append(camera)
        facts.append(fact)
    return cameras, facts


def fitted_intrinsics(root: Path) -> dict[str, Any] | None:
    """What was fitted, for the report: {'how', 'people': {'S1': [{'camera', 'focal_px', ...}, ...]}}; None: nothing."""
    people = {person: facts for person, (_, facts) in calibrate(root).items()}
    return {"how": HOW_FITTED, "people": people} if people else None


def about_intrinsics(root: Path) -> str:
    """What was fitted, in one line, or why nothing was."""
    lines = [f"{person}: {'; '.join(map(told, facts))}" for person, (_, facts) in calibrate(root).items()]
    if not lines:
        return f"no intrinsics: they are fitted where data_2d_humaneva15_gt.npz lies beside the 3D, in {root}"
    return f"intrinsics {HOW_FITTED}: {' | '.join(lines)}"


def h36m_as_humaneva(clips: list[Clip]) -> list[Clip]:
    """Human3.6M clips with HumanEva's 15 joints, for pre-training (`-h36mpre`).

    The 2D may be Human3.6M's 17 joints, as `load_h36m` returns them for every source. Rates and cameras stay.
    """
    matrix = joint_map(H36M_17, HUMANEVA_15)  # (15, 17)
    return [
        replace(clip, keypoints_2d=matrix @ clip.keypoints_2d, positions_3d=matrix @ clip.positions_3d, confidence=None)
        for clip in clips
    ]


def _sources(root: Path) -> str:
    prefix = "data_2d_humaneva15_"
    there = sorted(p.stem.removeprefix(prefix) for p in root.glob(f"{prefix}*.npz"))
    return f"2D sources in {root}: {', '.join(there)}" if there else WHERE
