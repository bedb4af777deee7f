"""Make data_3d_h36m.npz and data_2d_h36m_gt.npz from the official Human3.6M download, without MATLAB.

    python data/convert_h36m.py --root DIR [--out data]

DIR holds the subjects S1, S5, S6, S7, S8, S9 and S11, each with its takes in one of
- MyPoseFeatures/D3_Positions/*.cdf, as the official archives unpack (reading them needs `pip install cdflib`);
- MyPoseFeatures/D3_Positions/*.cdf.mat or *.mat, the same converted with MATLAB;
- MyPoses/3D_positions/*.h5, the archive that went with an older baseline.

Poses are 32 joints in millimetres, world frame, 50 frames a second. The 2D file holds their exact projections, lens
included. It was tested on a tree in these layouts, not on the official files.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import common  # noqa: F401 (first of all: it tells in one line which package is missing)

# isort: split
import numpy as np
import torch
from tqdm import tqdm

from common.datasets.h36m import FPS, write_h36m_files
from common.datasets.h36m_cameras import H36M_SUBJECTS, h36m_cameras
from common.door import guarded
from common.errors import UserError
from common.files.cdf import read_cdf_variable
from common.files.reading import load_mat, open_hdf5
from common.files.writing import try_writing
from common.geometry.camera import Camera
from common.geometry.skeleton import H36M_17_OF_32

RECORDED_JOINTS = 32
RENAMED = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog"}
ACTIONS = (
    *("Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases"),
    *("Sitting", "SittingDown", "Smoking", "Waiting", "WalkDog", "WalkTogether", "Walking"),
)
TAKES = 2  # of each action and subject
CORRUPT = ("S11", "Directions")  # its video is damaged; nobody uses it
# Frames of the poses that the field trains and tests on (each seen by four cameras).
PUBLISHED_FRAMES = {"S1,S5,S6,S7,S8": 389_938, "S9,S11": 135_836}
WALKING_SPEED = (0.5, 1.8)  # m/s, the mean of somebody who walks
FOLDERS = ("MyPoseFeatures/D3_Positions", "MyPoses/3D_positions", "D3_Positions", "3D_positions")
DETECTIONS = """\
Not made: data_2d_h36m_cpn_ft_h36m_dbb.npz, data_2d_h36m_detectron_ft_h36m.npz, data_2d_h36m_detectron_pt_coco.npz.
They hold what 2D detectors saw in the videos. VideoPose3D's authors share them; its DATASETS.md has the links:
https://github.com/facebookresearch/VideoPose3D/blob/main/DATASETS.md"""


def read_cdf(path: Path) -> np.ndarray:
    """The variable Pose (1, T, 96) of a Common Data Format file as (T, 32, 3)."""
    pose = read_cdf_variable(path, "Pose")
    return _joints_last(path, pose)


def read_mat(path: Path) -> np.ndarray:
    """The variable data, a cell of (T, 96), of a .mat file as (T, 32, 3)."""
    data = load_mat(path, ["data"]).get("data")
    if not isinstance(data, np.ndarray) or data.size == 0:
        raise UserError(f"{path}: no variable data")
    data = data.ravel()[0] if data.dtype == object else data
    return _joints_last(path, np.asarray(data))


def read_h5(path: Path) -> np.ndarray:
    """The data set 3D_positions (96, T) of an HDF5 file as (T, 32, 3)."""
    with open_hdf5(path) as file:
        data = file.array("3D_positions")
    if data.ndim < 2 or data.size == 0:
        raise UserError(f"{path}: poses of shape {data.shape}, expected ({3 * RECORDED_JOINTS}, frames)")
    return _joints_last(path, data.reshape(-1, data.shape[-1]).T)


def _joints_last(path: Path, data: np.ndarray) -> np.ndarray:
    """(..., T, 96) to (T, 32, 3), float64."""
    if data.dtype.kind != "f" or data.ndim < 2 or data.shape[-1] != 3 * RECORDED_JOINTS or data.size == 0:
        raise UserError(f"{path}: poses of shape {data.shape}, expected (frames, {3 * RECORDED_JOINTS})")
    return data.reshape(-1, RECORDED_JOINTS, 3).astype(np.float64)


READERS = {".cdf.mat": read_mat, ".mat": read_mat, ".cdf": read_cdf, ".h5": read_h5}


def find_takes(root: Path, subject: str) -> dict[str, Path]:
    """{action with take, under the field's names: file} of a subject, checked to be complete."""
    if not (root / subject).is_dir():
        there = [s for s in H36M_SUBJECTS if (root / s).is_dir()]
        raise UserError(f"{root}: no folder {subject}; it has {', '.join(there) or 'no subject at all'}")
    folder = next((root / subject / f for f in FOLDERS if (root / subject / f).is_dir()), None)
    if folder is None:
        other = [p.name for p in (root / subject).rglob("D3_Positions_mono*") if p.is_dir()]
        hint = f"; {other[0]} is in a camera's frame, D3_Positions is needed" if other else ""
        raise UserError(f"{root / subject}: no folder {FOLDERS[0]} and no {FOLDERS[1]}{hint}")
    for ending in READERS:
        found = {p.name.removesuffix(ending): p for p in sorted(folder.glob(f"*{ending}"))}
        takes = {_rename(name): path for name, path in found.items() if not name.startswith("_ALL")}
        if takes:
            break
    else:
        raise UserError(f"{folder}: no {', '.join('*' + e for e in READERS)}")
    takes.pop(CORRUPT[1] if subject == CORRUPT[0] else "", None)
    _check_takes(folder, subject, list(takes))
    return takes


def _rename(name: str) -> str:
    action, *take = name.split(" ")
    return " ".join([RENAMED.get(action, action), *take])


def _check_takes(folder: Path, subject: str, names: list[str]) -> None:
    count = {action: sum(name.split(" ")[0] == action for name in names) for action in ACTIONS}
    unknown = [name for name in names if name.split(" ")[0] not in ACTIONS]
    if unknown:
        raise UserError(f"{folder}: unknown action {unknown[0]!r}; Human3.6M has {', '.join(ACTIONS)}")
    for action, found in count.items():
        expected = TAKES - ((subject, action) == CORRUPT)
        if found != expected:
            raise UserError(f"{folder}: {found} takes of {action}, the official download has {expected}")


def read_take(path: Path) -> np.ndarray:
    """A take's poses (T, 32, 3), world, metres, float32."""
    ending = next(e for e in READERS if path.name.endswith(e))
    poses = READERS[ending](path)
    if not np.isfinite(poses).all():
        raise UserError(f"{path}: NaN or infinite values")
    height = float(np.median(np.ptp(poses, axis=1).max(-1)))
    if not 300 < height < 3000:
        raise UserError(f"{path}: a pose spans {height:.3g}; the official files are in millimetres")
    return (poses / 1000).astype(np.float32)


def walking_speed(takes: dict[str, np.ndarray]) -> float:
    """Mean speed of the hip in the Walking takes, m/s, if the files are at 50 frames a second."""
    steps = [
        np.linalg.norm(np.diff(p[:, 0], axis=0), axis=-1) for a, p in takes.items() if a.split(" ")[0] == "Walking"
    ]
    return FPS * float(np.concatenate(steps).mean())


def project(poses: np.ndarray, camera: Camera) -> np.ndarray:
    """The 17 used joints of world poses (T, 32, 3), metres, in a camera's pixels (T, 17, 2), float32."""
    points = torch.from_numpy(poses[:, H36M_17_OF_32].astype(np.float64))
    return camera.project(camera.world_to_camera(points)).float().numpy()


def _check_inside(path: Path, pixels: np.ndarray, camera: Camera) -> None:
    inside = ((pixels > 0) & (pixels < (camera.width, camera.height))).all(-1).mean()
    if inside < 0.5:
        raise UserError(f"{path}: camera {camera.name} sees {inside:.0%} of the joints; these are no world positions")


def convert(root: Path, out: Path, any_rate: bool = False, say=print) -> None:
    """Write both archives into `out`. Raises UserError with one line where it cannot."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder")
    files = {subject: find_takes(root, subject) for subject in H36M_SUBJECTS}
    try_writing(out)
    positions: dict[str, dict] = {subject: {} for subject in files}
    keypoints: dict[str, dict] = {subject: {} for subject in files}
    takes = [(subject, action, path) for subject in files for action, path in files[subject].items()]
    for subject, action, path in tqdm(takes, desc="takes", unit="take"):
        positions[subject][action] = poses = read_take(path)
        cameras = h36m_cameras(subject)
        keypoints[subject][action] = views = [project(poses, camera) for camera in cameras]
        for camera, pixels in zip(cameras, views, strict=True):
            _check_inside(path, pixels, camera)
    for subject in files:
        speed = walking_speed(positions[subject])
        if not WALKING_SPEED[0] < speed < WALKING_SPEED[1] and not any_rate:
            raise UserError(
                f"{root / subject}: whoever walks moves at {speed:.2f} m/s if this is {FPS:g} frames a second, so it "
                "is another rate; --any-rate takes it all the same"
            )
    paths = write_h36m_files(out, positions, {"gt": keypoints})
    for subjects, published in PUBLISHED_FRAMES.items():
        frames = sum(len(p) for subject in subjects.split(",") for p in positions[subject].values())
        differs = "" if frames == published else f"; the field's files have {published:,}: compare results with care"
        say(f"{subjects}: {frames:,} frames{differs}")
    say(f"left out, as everywhere: {' '.join(CORRUPT)}, whose video is damaged")
    say(f"written: {', '.join(map(str, paths))}")
    say(DETECTIONS)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder with the subjects S1 ... S11")
    parser.add_argument("--out", type=Path, default=Path("data"), help="where the .npz files go (default: data)")
    parser.add_argument("--any-rate", action="store_true", help="take poses that are not at 50 frames a second")
    options = parser.parse_args(argv)
    return guarded(convert, options.root, options.out, options.any_rate)


if __name__ == "__main__":
    sys.exit(main())
