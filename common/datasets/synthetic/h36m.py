"""A synthetic data set in the Human3.6M file layout: our own moving people seen by the four Human3.6M cameras.

It lets the whole program run where no data is at hand. Errors measured on it say nothing about Human3.6M.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from common.datasets.actions import ACTIONS, synthetic_motion
from common.datasets.h36m import write_h36m_files
from common.datasets.h36m_cameras import H36M_SUBJECTS, h36m_cameras
from common.datasets.synthetic.body import BODIES
from common.datasets.synthetic.detector import DETECTORS
from common.files.writing import save_text
from common.geometry.camera import Camera
from common.geometry.skeleton import H36M_17, H36M_17_OF_32

FPS = 50
TAKES = ("", " 1")  # two takes an action, named as Human3.6M names them
# The parents of the 32 recorded joints: the ones that are not used copy their nearest used ancestor.
_PARENTS_32 = (
    *(-1, 0, 1, 2, 3, 4, 0, 6, 7, 8, 9, 0, 11, 12, 13, 14),
    *(12, 16, 17, 18, 19, 20, 19, 22, 12, 24, 25, 26, 27, 28, 27, 30),
)

_NOTICE = """SYNTHETIC data, no recording of anyone.

A parametric body moves through made-up actions; the four Human3.6M cameras see it. The subjects' and actions' names
are Human3.6M's only so that the files fit. data_2d_h36m_gt.npz holds exact projections;
data_2d_h36m_cpn_ft_h36m_dbb.npz holds what a made detector ('{detector}') does with them, which is none.
Errors measured on this say nothing about Human3.6M.

seed {seed}, {seconds:g} s a take, {frames} frames in {takes} takes, seen by 4 cameras
"""


def write_h36m(
    folder: Path, *, seed: int = 0, seconds: float = 2.0, progress: bool = True, detector: str = "fitted"
) -> None:
    """Write the three Human3.6M files and SYNTHETIC.txt into a folder, which is made where it is missing.

    Seven subjects, two takes of each of ACTIONS, `seconds` each at 50 frames a second. 3D: (T, 32, 3) float32, world
    metres; 2D: four arrays (T, 17, 2) float32 pixels, one a camera. `detector` is one of `DETECTORS`. The same seed
    writes the same data.
    """
    positions, exact, detected = {}, {}, {}
    takes = [(subject, action + take) for subject in H36M_SUBJECTS for action in ACTIONS for take in TAKES]
    frames = max(2, round(seconds * FPS))
    for subject, action in tqdm(takes, desc="SYNTHETIC people", unit="take", disable=not progress):
        # A take's numbers depend on its name alone, not on which takes were made before it.
        rng = np.random.default_rng([seed, zlib.crc32(f"{subject} {action}".encode())])
        cameras = h36m_cameras(subject)
        joints = synthetic_motion(BODIES[subject], action, frames, rng, fps=FPS)  # (T, 17, 3), about the origin
        joints = joints.astype(np.float32) + [*capture_centre(cameras), 0]
        recorded = as_recorded(joints).astype(np.float32)
        seen = project_all(recorded[:, H36M_17_OF_32], cameras)
        found = [
            DETECTORS[detector](pixels, H36M_17, (camera.width, camera.height), FPS, rng)[0]
            for pixels, camera in zip(seen, cameras, strict=True)
        ]
        for store, value in (
            (positions, recorded),
            (exact, [pixels.astype(np.float32) for pixels in seen]),
            (detected, [pixels.astype(np.float32) for pixels in found]),
        ):
            store.setdefault(subject, {})[action] = value
    folder = Path(folder)
    write_h36m_files(folder, positions, {"gt": exact, "cpn_ft_h36m_dbb": detected})
    notice = _NOTICE.format(seed=seed, seconds=seconds, detector=detector, frames=frames * len(takes), takes=len(takes))
    save_text(folder / "SYNTHETIC.txt", notice)


def capture_centre(cameras: list[Camera]) -> np.ndarray:
    """Where on the floor (x, y), metres, the cameras look: the point closest to their optical axes seen from above.

    From the Human3.6M cameras a person up to 1.9 m tall is inside all four images within 1.5 m of it.
    """
    normals, offsets = [], []
    for camera in cameras:
        axis = camera.camera_to_world(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)).numpy()
        axis = (axis - camera.translation)[:2]
        normal = np.array([-axis[1], axis[0]]) / np.linalg.norm(axis)
        normals.append(normal)
        offsets.append(normal @ camera.translation[:2])
    return np.linalg.lstsq(np.array(normals), np.array(offsets), rcond=None)[0]


def as_recorded(joints: np.ndarray) -> np.ndarray:
    """(T, 17, 3) to the 32 recorded joints (T, 32, 3)."""
    recorded = np.zeros((len(joints), len(_PARENTS_32), 3), joints.dtype)
    recorded[:, H36M_17_OF_32] = joints
    for joint, parent in enumerate(_PARENTS_32):
        if joint not in H36M_17_OF_32:
            recorded[:, joint] = recorded[:, parent]
    return recorded


def project_all(world: np.ndarray, cameras: Sequence[Camera]) -> list[np.ndarray]:
    """World points (T, J, 3), metres, to each camera's pixels (T, J, 2), float64."""
    points = torch.from_numpy(world.astype(np.float64))
    return [camera.project(camera.world_to_camera(points)).numpy() for camera in cameras]
