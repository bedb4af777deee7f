"""Make data_3d_humaneva15.npz and data_2d_humaneva15_gt.npz from HumanEva-I, without MATLAB where that can be.

    python data/convert_humaneva.py --root DIR [--out data]

DIR holds one of
- converted files, SPLIT/SUBJECT/ACTION_TAKE.mat (Train/S1/Walking_1.mat), as VideoPose3D's ConvertHumanEva.m leaves
  them in `converted_15j`, or the same without SPLIT: whole takes, cut at the published frames;
- the official release, SUBJECT/Mocap_Data/ACTION_TAKE.mat. Its poses are objects of MATLAB classes, which only MATLAB
  reads; where a file holds plain arrays it is taken.

A file holds the joints (T, 15, 3) in millimetres and the keypoints (T, 3 cameras, 15, 2) in pixels, under any names,
NaN where the recording is corrupted: there a take is cut into chunks.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import common  # noqa: F401 (first of all: it tells in one line which package is missing)

# isort: split
import numpy as np
from tqdm import tqdm

from common.datasets.checks import check_metres, check_pixels
from common.datasets.humaneva_cameras import HUMANEVA_PEOPLE, humaneva_cameras
from common.door import guarded
from common.errors import UserError
from common.files.limits import recognise
from common.files.reading import Unread, load_mat, open_hdf5, require
from common.files.writing import save_npz, try_writing
from common.geometry.skeleton import HUMANEVA_15

JOINTS = len(HUMANEVA_15)
SPLITS = ("Train", "Validate")
HOW = "run the release's MATLAB code (VideoPose3D's ConvertHumanEva.m) once and give its output folder as --root"

# Frames [start, end) of each split in a whole take, as VideoPose3D cuts them.
RANGES = {
    ("Train", "S1", "Walking 1"): (590, 1203),
    ("Train", "S1", "Jog 1"): (367, 740),
    ("Train", "S2", "Walking 1"): (438, 876),
    ("Train", "S2", "Jog 1"): (398, 795),
    ("Train", "S3", "Walking 1"): (448, 939),
    ("Train", "S3", "Jog 1"): (401, 842),
    ("Validate", "S1", "Walking 1"): (5, 590),
    ("Validate", "S1", "Jog 1"): (5, 367),
    ("Validate", "S2", "Walking 1"): (5, 438),
    ("Validate", "S2", "Jog 1"): (5, 398),
    ("Validate", "S3", "Walking 1"): (5, 448),
    ("Validate", "S3", "Jog 1"): (5, 401),
}
_PLAIN = {"double", "single", "char", "cell", "struct", "logical", "canonical empty", "function_handle"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


def read_mat(path: Path) -> dict[str, np.ndarray]:
    """The plain numeric arrays of a .mat file, v5 or v7.3. Raises UserError where it holds objects instead."""
    if _is_hdf5(path):
        return _read_hdf5(path)
    arrays, classes = {}, []
    for name, value in load_mat(path).items():
        if isinstance(value, Unread):
            classes.append(value.matlab_class or name)
        elif value.dtype.kind in "fiu":
            arrays[name] = value
    return _plain_or_refuse(path, arrays, classes)


def _is_hdf5(path: Path) -> bool:
    """Whether a .mat file is of version 7.3."""
    return recognise(require(path))[0] == "hdf5"


def _read_hdf5(path: Path) -> dict[str, np.ndarray]:
    arrays, classes = {}, []
    with open_hdf5(path) as file:
        for name in file.names():
            kind = file.matlab_class(name)
            if kind and kind not in _PLAIN:
                classes.append(kind)
            elif file.is_array(name):
                arrays[name] = file.array(name).T  # HDF5 keeps MATLAB's axes reversed
    return _plain_or_refuse(path, arrays, classes)


def _plain_or_refuse(path: Path, arrays: dict, classes: list[str]) -> dict[str, np.ndarray]:
    if classes and not any(JOINTS in a.shape for a in arrays.values()):
        named = ", ".join(sorted(set(classes)))
        raise UserError(f"{path}: holds objects of MATLAB classes ({named}), which only MATLAB reads; {HOW}")
    return arrays


def poses_of(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Joints (T, 15, 3) in metres and keypoints (T, 3, 15, 2) in pixels, None where a file has no keypoints."""
    arrays = read_mat(path)
    found = ", ".join(f"{name} {a.shape}" for name, a in arrays.items()) or "no arrays"
    joints = [a for a in arrays.values() if a.ndim == 3 and a.shape[1:] == (JOINTS, 3)]
    cameras = len(humaneva_cameras("S1"))
    keypoints = [a for a in arrays.values() if a.ndim == 4 and a.shape[1:] == (cameras, JOINTS, 2)]
    if len(joints) != 1 or len(keypoints) > 1:
        raise UserError(f"{path}: expected one array (frames, {JOINTS}, 3), found {found}; {HOW}")
    positions = joints[0].astype(np.float64) / 1000
    pixels = keypoints[0].astype(np.float64) if keypoints else None
    if pixels is not None and len(pixels) != len(positions):
        raise UserError(f"{path}: {len(pixels)} frames of keypoints for {len(positions)} of joints")
    good = np.isfinite(positions).all((1, 2))
    if good.any():
        check_metres(f"{path} (read as millimetres)", positions[good])
    if pixels is not None and np.isfinite(pixels).any():
        check_pixels(str(path), pixels[np.isfinite(pixels).all((1, 2, 3))])
    return positions, pixels


def chunks(good: np.ndarray) -> list[tuple[int, int, int]]:
    """(number, start, end) of every run of good frames. Runs of bad ones are numbered too, so that the names agree
    with the detections that people share: 'Walking 1 chunk0', then 'Walking 1 chunk2'."""
    edges = np.flatnonzero(np.diff(good.astype(int))) + 1
    bounds = [0, *edges.tolist(), len(good)]
    runs = enumerate(zip(bounds[:-1], bounds[1:], strict=True))
    return [(i, start, end) for i, (start, end) in runs if end > start and good[start]]


def find_files(root: Path) -> list[tuple[str | None, str, str, Path]]:
    """(split or None for a whole take, subject, action with take, path) of every take under the root."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder")
    root = root / "converted_15j" if (root / "converted_15j").is_dir() else root
    rows: list[tuple[str | None, str, str, Path]] = []
    for split in (*SPLITS, None):
        for subject in HUMANEVA_PEOPLE:
            folder = root / (split or "") / subject
            folder = folder / "Mocap_Data" if (folder / "Mocap_Data").is_dir() else folder
            for path in sorted(folder.glob("*.mat")):
                match = re.fullmatch(r"([A-Za-z]+)_(\d+)", path.stem)
                if match:
                    rows.append((split, subject, f"{match[1]} {match[2]}", path))
    if not rows:
        if any(root.rglob("*.c3d")):
            raise UserError(f"{root}: only .c3d marker files; their 15 joints are fitted by MATLAB code; {HOW}")
        raise UserError(f"{root}: no SPLIT/SUBJECT/ACTION_TAKE.mat, e.g. Train/S1/Walking_1.mat; {HOW}")
    return rows


def cut(split: str | None, subject: str, action: str, frames: int, path: Path) -> dict[str, tuple[int, int]]:
    """{split: (start, end)} of a take: all of a file that is split already, the published frames of a whole one."""
    if split:
        return {split: (0, frames)}
    out = {}
    for name in SPLITS:
        if (name, subject, action) in RANGES:
            start, end = RANGES[name, subject, action]
            if frames < end:
                raise UserError(f"{path}: {frames} frames; a whole take reaches frame {end} of the {name} split")
            out[name] = (start, end)
    return out


def convert(root: Path, out: Path, say=print) -> None:
    """Write both archives into `out`. Raises UserError with one line where it cannot."""
    positions: dict[str, dict] = {f"{split}/{s}": {} for split in SPLITS for s in HUMANEVA_PEOPLE}
    keypoints: dict[str, dict] = {subject: {} for subject in positions}
    unknown, without_2d, lost = [], [], 0
    files = find_files(root)
    try_writing(out)
    for split, subject, action, path in tqdm(files, desc="takes", unit="take"):
        joints, pixels = poses_of(path)
        pieces = cut(split, subject, action, len(joints), path)
        if not pieces:
            unknown.append(f"{subject} {action}")
        for name, (start, end) in pieces.items():
            expected = RANGES.get((name, subject, action))
            if split and expected and end - start != expected[1] - expected[0]:
                say(f"{path}: {end - start} frames; the published {name} split has {expected[1] - expected[0]}")
            good = np.isfinite(joints[start:end]).all((1, 2))
            if pixels is not None:
                good &= np.isfinite(pixels[start:end]).all((1, 2, 3))
            else:
                without_2d.append(f"{subject} {action}")
            lost += int((~good).sum())
            for number, a, b in chunks(good):
                key = f"{action} chunk{number}"
                positions[f"{name}/{subject}"][key] = joints[start + a : start + b].astype(np.float32)
                if pixels is not None:
                    views = pixels[start + a : start + b].astype(np.float32)  # (T, 3, 15, 2)
                    keypoints[f"{name}/{subject}"][key] = [views[:, c] for c in range(views.shape[1])]
    if unknown:
        say(f"left out, no published frames for these whole takes: {', '.join(unknown)}")
    _check(positions, say)
    save_npz(out / "data_3d_humaneva15.npz", positions_3d=positions)
    frames = sum(len(p) for actions in positions.values() for p in actions.values())
    say(f"{out / 'data_3d_humaneva15.npz'}: {frames} frames, {lost} corrupted ones left out")
    if without_2d:
        say(f"no keypoints in {', '.join(sorted(set(without_2d)))}: data_2d_humaneva15_gt.npz is not written")
        return
    left, right = list(HUMANEVA_15.left), list(HUMANEVA_15.right)
    metadata = {"layout_name": "humaneva15", "num_joints": JOINTS, "keypoints_symmetry": [left, right]}
    save_npz(out / "data_2d_humaneva15_gt.npz", positions_2d=keypoints, metadata=metadata)
    say(f"{out / 'data_2d_humaneva15_gt.npz'}: 3 cameras a chunk")
    say("data_2d_humaneva15_detectron_pt_coco.npz holds a detector's output and cannot be made here: data/README.MD")


def _check(positions: dict[str, dict], say) -> None:
    """Say which published takes are missing; refuse a result without any."""
    if not any(positions.values()):
        raise UserError("no frames of subjects S1 to S3 in the Train or Validate split")
    for split, subject, action in RANGES:
        if not any(key.startswith(action + " ") for key in positions[f"{split}/{subject}"]):
            say(f"missing: {split}/{subject} {action}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of the converted files or of the release")
    parser.add_argument("--out", type=Path, default=Path("data"), help="where the .npz files go (default: data)")
    options = parser.parse_args(argv)
    return guarded(convert, options.root, options.out)


if __name__ == "__main__":
    sys.exit(main())
