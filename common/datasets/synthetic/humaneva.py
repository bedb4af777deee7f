"""A synthetic data set in the HumanEva-I file layout: the parametric people before the three HumanEva cameras.

As in the recorded set, the first part of a take is its Validate split, the rest its Train split, and corrupted frames
cut both into chunks, one of them shorter than a window. Errors measured on it say nothing about HumanEva-I.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common.datasets.actions import synthetic_motion
from common.datasets.humaneva import FPS
from common.datasets.humaneva_cameras import humaneva_cameras
from common.datasets.synthetic.detector import detect, detect_old
from common.datasets.synthetic.h36m import capture_centre, project_all
from common.files.writing import save_npz, save_text
from common.geometry.camera import Camera, screen_intrinsics
from common.geometry.skeleton import COCO_17, H36M_17, HUMANEVA_15, joint_map

PEOPLE = {"S1": "S7", "S2": "S5", "S3": "S9"}  # subject and the synthetic body that plays it
# Take, what the body does for it, and how much faster it does it.
TAKES = {
    "Walking 1": ("Walking", 1.0),
    "Jog 1": ("Walking", 1.7),
    "Box 1": ("Posing", 1.3),
    "Gestures 1": ("Directions", 1.0),
}
FOCAL = 640.0  # pixels; HumanEva's own intrinsics are in no file of the field, so these stay in here
SHORT = 20  # frames of the short chunk: fewer than the published window of 27
GAP = 3  # corrupted frames between chunks

_NOTICE = """SYNTHETIC data, no recording of anyone.

A parametric body moves through made-up actions before cameras that stand where HumanEva-I's stood. The names are
HumanEva-I's only so that the files fit; a jog is the walk made faster. data_2d_humaneva15_gt.npz holds exact
projections; data_2d_humaneva15_detectron_pt_coco.npz holds COCO joints as a made detector ('{detector}') finds them.
Errors measured on this say nothing about HumanEva-I.

seed {seed}, {seconds:g} s a split, {frames} frames in {chunks} chunks, seen by 3 cameras
"""


def write_humaneva(
    folder: Path, *, seed: int = 0, seconds: float = 3.0, progress: bool = True, detector: str = "fitted"
) -> None:
    """Write the three HumanEva files and SYNTHETIC.txt into a folder, which is made where it is missing.

    3D: (T, 15, 3) float32, world metres; 2D: three arrays (T, 15 or 17, 2) float32 pixels, one a camera. The same
    seed writes the same data. `seconds` is the length of each split of each take, at 60 frames a second.
    """
    positions, exact, detected = {}, {}, {}
    takes = [(subject, take) for subject in PEOPLE for take in TAKES]
    frames = max(SHORT + GAP + 2, round(seconds * FPS))
    for subject, take in tqdm(takes, desc="SYNTHETIC people", unit="take", disable=not progress):
        rng = np.random.default_rng([seed, zlib.crc32(f"humaneva {subject} {take}".encode())])
        cameras = [with_intrinsics(camera) for camera in humaneva_cameras(subject)]
        world = _take(PEOPLE[subject], take, 2 * frames, rng, cameras)  # (2T, 17, 3)
        joints = joint_map(H36M_17, HUMANEVA_15) @ world  # (2T, 15, 3)
        truth, seen = project_all(joints, cameras), detect_coco(world, cameras, rng, detector)
        for split, first in (("Validate", 0), ("Train", frames)):
            name = f"{split}/{subject}"
            for number, start, end in chunk_bounds(frames):
                part, key = slice(first + start, first + end), f"{take} chunk{number}"
                positions.setdefault(name, {})[key] = joints[part].astype(np.float32)
                exact.setdefault(name, {})[key] = [view[part].astype(np.float32) for view in truth]
                detected.setdefault(name, {})[key] = [view[part].astype(np.float32) for view in seen]
    folder = Path(folder)
    save_npz(folder / "data_3d_humaneva15.npz", positions_3d=positions)
    for source, views, skeleton in (("gt", exact, HUMANEVA_15), ("detectron_pt_coco", detected, COCO_17)):
        symmetry = [list(skeleton.left), list(skeleton.right)]
        layout = {"layout_name": "coco" if skeleton is COCO_17 else "humaneva15", "num_joints": len(skeleton)}
        metadata = layout | {"keypoints_symmetry": symmetry}
        save_npz(folder / f"data_2d_humaneva15_{source}.npz", positions_2d=views, metadata=metadata)
    sizes = [len(chunk) for actions in positions.values() for chunk in actions.values()]
    notice = _NOTICE.format(seed=seed, seconds=seconds, detector=detector, frames=sum(sizes), chunks=len(sizes))
    save_text(folder / "SYNTHETIC.txt", notice)


def chunk_bounds(frames: int) -> list[tuple[int, int, int]]:
    """(number, start, end) of a split's chunks: a short one, then the rest; the corrupted run between is number 1."""
    return [(0, 0, SHORT), (2, SHORT + GAP, frames)]


def with_intrinsics(camera: Camera) -> Camera:
    """The camera with made-up intrinsics and no lens distortion: only to make keypoints here."""
    centre = (camera.width / 2, camera.height / 2)
    numbers = screen_intrinsics((FOCAL, FOCAL), centre, (0.0,) * 3, (0.0,) * 2, camera.width, camera.height)
    return replace(camera, intrinsics=numbers)


def _take(body: str, take: str, frames: int, rng: np.random.Generator, cameras: list[Camera]) -> np.ndarray:
    """Joints (T, 17, 3) in the order of H36M_17, world metres, around the point that the cameras look at."""
    action, speed = TAKES[take]
    joints = synthetic_motion(body, action, frames, rng, fps=FPS / speed, radius=1.0)
    return joints.astype(np.float32) + np.array([*capture_centre(cameras), 0], np.float32)


def detect_coco(
    world: np.ndarray, cameras: list[Camera], rng: np.random.Generator, detector: str = "fitted"
) -> list[np.ndarray]:
    """Detector-like COCO keypoints (T, 17, 2) pixels of each camera, from H36M_17 joints (T, 17, 3)."""
    nose, head, left, right = (world[:, H36M_17.index(j)] for j in ("Nose", "Head", "LShoulder", "RShoulder"))
    side = (left - right) / np.linalg.norm(left - right, axis=-1, keepdims=True)  # (T, 3), to the person's left
    face = {  # how far up from the nose to the top of the head, and how far aside, metres
        f"{s}{part}": nose + up * (head - nose) + sign * aside * side
        for s, sign in (("L", 1), ("R", -1))
        for part, up, aside in (("Eye", 0.25, 0.03), ("Ear", 0.2, 0.07))
    }
    points = face | {joint.replace("Foot", "Ankle"): world[:, i] for i, joint in enumerate(H36M_17.joints)}
    exact = project_all(np.stack([points[joint] for joint in COCO_17.joints], 1), cameras)
    if detector == "fitted":
        return [
            detect(pixels, COCO_17, (camera.width, camera.height), FPS, rng)[0]
            for camera, pixels in zip(cameras, exact, strict=True)
        ]
    views = []
    for camera, body, pixels in zip(cameras, project_all(world, cameras), exact, strict=True):
        size = camera.width / 1000  # the noise is made for images 1000 pixels wide
        noisy = detect_old(body / size, H36M_17, (1000, 1000), FPS, rng)[0] * size
        shift = (noisy - body)[:, [H36M_17.index("Nose")]]  # the face goes with the nose
        of_body = [H36M_17.joints.index(j.replace("Ankle", "Foot")) if j not in face else -1 for j in COCO_17.joints]
        views.append(np.where([[[i < 0] for i in of_body]], pixels + shift, noisy[:, of_body]))
    return views
