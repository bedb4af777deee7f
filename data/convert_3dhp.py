"""Make data_train_3dhp*.npz and data_test_3dhp*.npz from the official MPI-INF-3DHP download, without MATLAB.

    python data/convert_3dhp.py --root DIR [--out data]

DIR holds S1/Seq1/annot.mat and S1/Seq1/camera.calibration ... S8/Seq2, and TS1/annot_data.mat ... TS6 (or these in a
folder mpi_inf_3dhp_test_set). Written are both label sets:

    data_train_3dhp_ori.npz, data_test_3dhp_ori.npz    annot3: metric, what D3DP and its successors use
    data_train_3dhp.npz, data_test_3dhp.npz            univ_annot3: rescaled to one skeleton, what P-STMO uses

Each holds `data` in the published layout (pixels, millimetres, camera frame) and beside it `labels`, and in the
training files `cameras`: {"S1 Seq1": {"0": (fx, fy, cx, cy) pixels}}. It was tested on a tree in the official layout,
not on the official files.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import common  # noqa: F401 (first of all: it tells in one line which package is missing)

# isort: split
import numpy as np
from tqdm import tqdm

from common.datasets.threedhp_annotations import read_test_annotation, read_training_annotation
from common.datasets.threedhp_cameras import read_calibration
from common.datasets.threedhp_layout import (
    FILE_ENDINGS,
    TEST_FRAMES,
    TRAIN_CAMERAS,
    TRAIN_SEQUENCES,
    archive_name,
)
from common.door import guarded
from common.errors import UserError
from common.files.writing import save_npz, try_writing

MOST_PIXELS = 20.0  # mean reprojection error beyond which the wrong camera or joint has been read


def read_training(folder: Path, name: str, any_length: bool) -> tuple[dict[str, dict], dict[str, np.ndarray]]:
    """One training sequence: {label set: {camera: {'data_2d', 'data_3d'}}} and its intrinsics."""
    path = folder / "annot.mat"
    if not path.is_file():
        raise UserError(f"{path}: no such file; --root is the folder that holds S1 ... S8")
    views = read_training_annotation(path)
    _check_frames(path, len(views["annot3"][TRAIN_CAMERAS[0]]["data_2d"]), TRAIN_SEQUENCES[name][0], any_length)
    intrinsics = read_calibration(folder / "camera.calibration")
    for camera, view in views["annot3"].items():
        error = reprojection_error(view, intrinsics[camera])
        if error > MOST_PIXELS:
            raise UserError(f"{path} camera {camera}: annot3 misses annot2 by {error:.0f} px; not this calibration's")
    return views, intrinsics


def _check_frames(path: Path, found: int, expected: int, any_length: bool) -> None:
    if found != expected and not any_length:
        raise UserError(f"{path}: {found} frames, the published set has {expected}; --any-length takes it all the same")


def reprojection_error(view: dict[str, np.ndarray], intrinsics: np.ndarray) -> float:
    """Mean distance in pixels between the projected 3D and the 2D of one view, over up to 500 of its frames."""
    step = max(1, len(view["data_2d"]) // 500)
    pixels, points = view["data_2d"][::step], view["data_3d"][::step]
    projected = points[..., :2] / points[..., 2:] * intrinsics[:2] + intrinsics[2:]
    return float(np.linalg.norm(projected - pixels, axis=-1).mean())


def read_test(path: Path, name: str, any_length: bool) -> dict[str, dict[str, np.ndarray]]:
    """One test sequence: {label set: {'data_2d', 'data_3d', 'valid'}}."""
    annotation = read_test_annotation(path)
    _check_frames(path, len(annotation["annot3"]["valid"]), TEST_FRAMES[name], any_length)
    return annotation


def test_folder(root: Path) -> Path:
    """Where TS1 ... TS6 lie: in the root, or in the archive's own folder, once or twice."""
    inner = "mpi_inf_3dhp_test_set"
    for folder in (root, root / inner, root / inner / inner):
        if (folder / "TS1").is_dir():
            return folder
    raise UserError(
        f"{root}: no TS1, neither here nor in {inner}; --root is the folder that holds S1 ... S8 and TS1 ..."
    )


def convert_training(root: Path, out: Path, any_length: bool = False) -> list[Path]:
    """Write the two training files; returns their paths."""
    data, cameras = {labels: {} for labels in FILE_ENDINGS}, {}
    for name, (_, fps) in tqdm(TRAIN_SEQUENCES.items(), desc="training sequences", unit="sequence"):
        views, cameras[name] = read_training(root.joinpath(*name.split(" ")), name, any_length)
        for labels in FILE_ENDINGS:
            data[labels][name] = [views[labels], int(fps)]
    return [save_npz(out / archive_name("train", k), data=data[k], cameras=cameras, labels=k) for k in FILE_ENDINGS]


def convert_test(root: Path, out: Path, any_length: bool = False) -> list[Path]:
    """Write the two test files; returns their paths."""
    folder, data = test_folder(root), {labels: {} for labels in FILE_ENDINGS}
    for name in tqdm(TEST_FRAMES, desc="test sequences", unit="sequence"):
        path = folder / name / "annot_data.mat"
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        for labels, arrays in read_test(path, name, any_length).items():
            data[labels][name] = arrays
    return [save_npz(out / archive_name("test", k), data=data[k], labels=k) for k in FILE_ENDINGS]


def convert(options: argparse.Namespace) -> None:
    """Write the files of the chosen splits. Raises UserError with one line where it cannot."""
    if not options.root.is_dir():
        raise UserError(f"{options.root}: no such folder")
    try_writing(options.out)
    for split, write in (("test", convert_test), ("train", convert_training)):
        if options.only in (None, split):
            for path in write(options.root, options.out, options.any_length):
                print(f"{path}: written")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="MPI-INF-3DHP to npz, both label sets.")
    parser.add_argument("--root", type=Path, required=True, help="folder with S1 ... S8 and TS1 ... TS6")
    parser.add_argument("--out", type=Path, default=Path("data"), help="where the npz files go (default: data)")
    parser.add_argument("--only", choices=("train", "test"), help="convert one split (default: both)")
    parser.add_argument("--any-length", action="store_true", help="take sequences of other lengths than published")
    return guarded(convert, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
