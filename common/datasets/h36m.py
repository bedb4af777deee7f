"""Human3.6M in VideoPose3D's layout: `data_3d_h36m.npz` and `data_2d_h36m_NAME.npz`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from common.datasets.checks import (
    check_metres,
    check_pixels,
    check_pose_array,
    require_file,
    scores_of,
    select_subjects,
)
from common.datasets.clips import Clip
from common.datasets.h36m_cameras import h36m_cameras
from common.errors import UserError
from common.files.reading import load_archive, understanding
from common.files.writing import save_npz
from common.geometry.camera import pixels_to_screen
from common.geometry.skeleton import COCO_17, H36M_17, H36M_17_OF_32, Skeleton, joint_map

SKELETON = H36M_17
FPS = 50.0
WHERE = "data/README.MD says how to get it; `python main.py --demo` needs no data"


def load_h36m(root: Path, keypoints: str, subjects: Sequence[str]) -> list[Clip]:
    """Clips of the subjects, each action seen by four cameras: 50 fps, 17 joints, metres, camera frame.

    `keypoints` names the 2D source: 'gt', 'cpn_ft_h36m_dbb', ... ; `detectron_pt_coco` is mapped from COCO's joints.
    2D files may hold more frames than the 3D; the rest is cut.
    """
    path_3d = require_file(root / "data_3d_h36m.npz", WHERE)
    path_2d = require_file(root / f"data_2d_h36m_{keypoints}.npz", _sources(root, keypoints))
    positions, detections = load_archive(path_3d), load_archive(path_2d)
    if "positions_3d" not in positions or "positions_2d" not in detections:
        raise UserError(f"{path_3d if 'positions_3d' not in positions else path_2d}: not in the Human3.6M layout")
    positions, detections = positions["positions_3d"], detections["positions_2d"]
    layout = COCO_17 if keypoints.endswith("coco") else H36M_17
    clips: list[Clip] = []
    with understanding(f"{path_3d}, {path_2d.name}", "pair of Human3.6M files"):
        for subject in select_subjects(positions, subjects, path_3d.name):
            if subject not in detections:
                raise UserError(f"{path_2d.name}: no subject {subject}; it has {', '.join(detections)}")
            for action, world in positions[subject].items():
                clips += _views(subject, action, world, detections[subject], layout, path_2d.name)
    if not clips:
        raise UserError(f"{path_3d}: no action of {subjects if isinstance(subjects, str) else ', '.join(subjects)}")
    return clips


def read_world(subject: str, action: str, world: np.ndarray) -> np.ndarray:
    """One action of the 3D file (T, 17 or 32, 3) as 17 joints, world, metres. Raises UserError."""
    name = f"data_3d_h36m.npz {subject} {action}"
    world = check_pose_array(name, world, 17 if np.shape(world)[1:2] == (17,) else 32, 3)
    world = world if world.shape[1] == 17 else world[:, H36M_17_OF_32]
    check_metres(name, world)
    return world


def _views(subject: str, action: str, world, detections: dict, layout: Skeleton, source: str) -> list[Clip]:
    world = read_world(subject, action, world)
    if action not in detections:
        raise UserError(f"{source}: {subject} has no action {action}")
    cameras = h36m_cameras(subject)
    if len(detections[action]) != len(cameras):
        raise UserError(f"{source} {subject} {action}: {len(detections[action])} cameras, expected {len(cameras)}")
    clips = []
    for camera, pixels in zip(cameras, detections[action], strict=True):
        scores = scores_of(pixels, layout, H36M_17)
        pixels = check_pose_array(f"{source} {subject} {action}", pixels, len(layout), 2)
        if len(pixels) < len(world):
            raise UserError(f"{source} {subject} {action}: {len(pixels)} frames of 2D for {len(world)} of 3D")
        pixels = pixels[: len(world)]
        check_pixels(f"{source} {subject} {action}", pixels)
        scores = None if scores is None else scores[: len(world)]
        screen = pixels_to_screen(torch.from_numpy(pixels), camera.width, camera.height).numpy()
        if layout is not H36M_17:
            screen = joint_map(layout, H36M_17) @ screen
        points = camera.world_to_camera(torch.from_numpy(world)).numpy()
        clips.append(Clip(subject, action, camera, FPS, screen, points, np.ones(len(world), bool), scores))
    return clips


def _sources(root: Path, keypoints: str) -> str:
    there = sorted(p.stem.removeprefix("data_2d_h36m_") for p in root.glob("data_2d_h36m_*.npz"))
    return f"2D sources in {root}: {', '.join(there)}" if there else WHERE


def write_h36m_files(folder: Path, positions: dict, views: dict[str, dict], **more) -> list[Path]:
    """Write `data_3d_h36m.npz` and, for each 2D source, `data_2d_h36m_NAME.npz`; returns their paths.

    positions: {subject: {action: (T, 32, 3)}}, world metres; views: {source: {subject: {action: four (T, 17, 2)}}},
    pixels. Other members go into every file.
    """
    symmetry = [list(SKELETON.left), list(SKELETON.right)]
    metadata = {"layout_name": "h36m", "num_joints": len(SKELETON), "keypoints_symmetry": symmetry}
    paths = [save_npz(folder / "data_3d_h36m.npz", positions_3d=positions, **more)]
    for source, keypoints in views.items():
        path = folder / f"data_2d_h36m_{source}.npz"
        paths.append(save_npz(path, positions_2d=keypoints, metadata=metadata, **more))
    return paths
