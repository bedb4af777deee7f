"""Make `-d custom` files from ASPset-510: 17 people outdoors, 50 Hz, three cameras. No form to fill in.

    python data/convert_aspset.py --root DIR [--out data/aspset]

DIR holds what archive.org has under `aspset510`: the folder ASPset-510 (splits.csv, trainval/joints_3d/SUBJECT/*.c3d,
trainval/cameras/SUBJECT/*.json, the same under test/), unpacked or still in its .tar.gz; the videos are not needed.

Written are data_3d_custom_aspset.npz, data_2d_custom_aspset_gt.npz (exact projections) and data_2d_custom_aspset.npz (a
made detector; the set has no detected keypoints). Subjects are called by their official split: train/..., val/...,
test/.... Joints are Human3.6M's 17, metres, z up. docs/open_data.md says more. It was tested on a tree in the official
layout, not on the official files.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import common  # noqa: F401 (first of all: it tells in one line which package is missing)

# isort: split
import numpy as np
from tqdm import tqdm

from common.datasets import making
from common.datasets.custom import camera_row, read_cameras, write_custom_2d, write_custom_3d
from common.datasets.synthetic.detector import DETECTORS
from common.door import guarded
from common.errors import UserError
from common.files.c3d import read_c3d
from common.files.folders import Member, files_below
from common.files.reading import parse_json, understanding
from common.files.writing import try_writing
from common.geometry.skeleton import ASPSET_17, H36M_17
from common.settings.ranges import SEED

NAME, FPS, SIZE = "aspset", 50.0, (3840, 2160)
SPLITS, CAMERAS = ("train", "val", "test"), ("left", "mid", "right")
SOURCE = "ASPset-510 (archive.org, item aspset510; CC0 1.0)"
# The world of the files is the left camera's frame (x right, y down, z forward); ours has z up.
TO_Z_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
SPREAD = 0.15  # of a bone's length, that it may change within a clip
MOST_PIXELS = 0.1  # between the files' projection and ours


@dataclass
class Download:
    """What a folder holds: rows of splits.csv, clips and cameras by subject and name."""

    splits: list[tuple[str, str, str, str]] = field(default_factory=list)  # subject, clip, split, camera
    clips: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)  # (T, 17, 3) mm, H36M_17
    cameras: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)  # K (3, 4), E (4, 4)


def read_download(root: Path) -> Download:
    found = Download()
    for member in tqdm(files_below(root, (".csv", ".json", ".c3d"), "video"), desc="reading", unit="file"):
        kind, subject = member.parts[-3:-1] if len(member.parts) > 2 else ("", "")
        if member.name == "splits.csv":
            found.splits = read_splits(member)
        elif kind == "cameras" and member.name.endswith(".json"):
            found.cameras[subject, member.name.removesuffix(".json").rsplit("-", 1)[-1]] = read_camera(member)
        elif kind == "joints_3d" and member.name.endswith(".c3d"):
            found.clips[subject, member.name.removesuffix(".c3d").rsplit("-", 1)[-1]] = read_clip(member)
    if not found.splits:
        raise UserError(f"{root}: no splits.csv; --root is the folder ASPset-510, or the one with its archives")
    return found


def read_splits(member: Member) -> list[tuple[str, str, str, str]]:
    """(subject, clip, split, camera) of each row; a row of headings is passed over."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(member.text().splitlines()) if row]
    if rows and len(rows[0]) == 4 and rows[0][2].lower() not in SPLITS:
        rows = rows[1:]
    for row in rows:
        if len(row) != 4 or row[2] not in SPLITS or row[3] not in ("all", *CAMERAS):
            raise UserError(f"{member.path}: {','.join(row)!r}; expected subject, clip, split and camera")
    if not rows:
        raise UserError(f"{member.path}: no rows")
    return [tuple(row) for row in rows]


def read_camera(member: Member) -> tuple[np.ndarray, np.ndarray]:
    """K (3, 4), pixels, and E (4, 4), world to camera, millimetres."""
    content = parse_json(member.text(), member.path)
    with understanding(member.path, "camera with intrinsic_matrix and extrinsic_matrix"):
        inner = np.array(content["intrinsic_matrix"], float).reshape(3, 4)
        outer = np.array(content["extrinsic_matrix"], float).reshape(4, 4)
    turn = outer[:3, :3]
    if not np.isfinite([*inner.ravel(), *outer.ravel()]).all() or np.abs(turn @ turn.T - np.eye(3)).max() > 1e-3:
        raise UserError(f"{member.path}: its extrinsic_matrix is no rotation and translation")
    if np.linalg.det(turn) < 0 or min(inner[0, 0], inner[1, 1]) < 100:
        raise UserError(f"{member.path}: it mirrors the world, or its intrinsic_matrix is not in pixels")
    return inner, outer


def read_clip(member: Member) -> np.ndarray:
    """Positions (T, 17, 3) of a clip as H36M_17: millimetres, world; NaN where a point is missing."""
    points = read_c3d(member.path, member.read())
    told = points.parameters.get("POINT:SKEL", "")
    told = told[0] if isinstance(told, list) and told else told
    count, names = points.positions.shape[1], [re.sub("[^a-z]", "", label.lower()) for label in points.labels]
    wanted = [re.sub("^L", "left", re.sub("^R", "right", joint)).lower() for joint in ASPSET_17.joints]
    named = sorted(names) == sorted(wanted)
    if count != len(wanted) or told not in ("", "aspset_17j") or not (named or told):
        raise UserError(
            f"{member.path}: {count} points ({', '.join(points.labels[:3])}, ...) of skeleton {told or 'unnamed'}; "
            "the set has the 17 of aspset_17j"
        )
    order = [names.index(name) for name in wanted] if named else range(count)  # the skeleton's name tells the order
    if points.units not in ("", "mm") or abs(points.rate - FPS) > 0.5:
        raise UserError(f"{member.path}: {points.rate:g} Hz in '{points.units}'; the set has 50 Hz and mm")
    joints = making.mapped(points.positions[:, list(order)], ASPSET_17, H36M_17)
    making.check_bones(member.path, making.bone_lengths(joints / 1000, H36M_17), H36M_17, SPREAD)
    return joints


def convert(options: argparse.Namespace) -> None:
    """Write the three files. Raises UserError with one line where it cannot."""
    found = read_download(options.root)
    rows, missing = [], []
    for subject, clip, split, camera in found.splits:
        (rows if (subject, clip) in found.clips else missing).append((subject, clip, split, camera))
    if missing and (len({row[2] for row in missing} - {"test"}) or any(row[2] == "test" for row in rows)):
        subject, clip = missing[0][:2]
        if not options.part:
            raise UserError(
                f"{options.root}: no joints_3d/{subject}/{subject}-{clip}.c3d; splits.csv lists it and "
                f"{len(missing) - 1} others that are missing; --part takes what is there"
            )
    if not rows:
        raise UserError(f"{options.root}: none of the clips that splits.csv lists")
    try_writing(options.out)
    positions, cameras, exact, made = {}, {}, {}, {}
    worst = outside = seen = 0.0
    for subject, clip, split, only in tqdm(rows, desc="clips", unit="clip"):
        key, action = f"{split}/{subject}", f"Clip {clip}"
        world = (found.clips[subject, clip] @ TO_Z_UP.T / 1000).astype(np.float32)
        names = CAMERAS if only == "all" else (only,)
        for name in names:
            if (subject, name) not in found.cameras:
                raise UserError(f"{options.root}: no cameras/{subject}/{subject}-{name}.json")
        views = {name: found.cameras[subject, name] for name in names}
        listed = [row_of(name, *views[name]) for name in names]
        for camera in read_cameras({"*": listed}, subject, action, f"{subject}-{clip}"):
            pixels = project(found.clips[subject, clip], *views[camera.name]).astype(np.float32)
            good = np.isfinite(pixels).all((1, 2))
            if good.any():
                error = float(making.reprojection(world[good], pixels[good], camera).max())
                if error > MOST_PIXELS:
                    raise UserError(
                        f"{subject}-{camera.name}: its matrices are of no plain camera ({error:.1f} px off)"
                    )
                worst = max(worst, error)
            rng = making.rng_of(options.seed, key, action, camera.name)
            filled = np.where(np.isfinite(pixels), pixels, 0)
            keypoints = making.made_keypoints(options.detector, filled, H36M_17, camera, FPS, rng).astype(np.float32)
            keypoints[~good] = np.nan
            exact.setdefault(key, {}).setdefault(action, []).append(pixels)
            made.setdefault(key, {}).setdefault(action, []).append(keypoints)
            outside += float(((pixels < 0) | (pixels >= SIZE)).any(-1)[good].sum())
            seen += good.sum() * len(H36M_17)
        positions.setdefault(key, {})[action] = world
        cameras.setdefault(key, {})[action] = listed
    about = {"data": SOURCE, "detector": options.detector, "seed": options.seed}
    paths = [
        write_custom_3d(options.out / f"data_3d_custom_{NAME}.npz", positions, cameras, FPS, H36M_17, about=about),
        write_custom_2d(options.out / f"data_2d_custom_{NAME}_gt.npz", exact, H36M_17, "h36m", about=about),
        write_custom_2d(options.out / f"data_2d_custom_{NAME}.npz", made, H36M_17, "h36m", about=about),
    ]
    print(making.split_table(positions, cameras, FPS))
    print(
        f"3D through the cameras meets the files' own projection to {worst:.4f} px; {outside / seen:.2%} of the joints"
    )
    print(f"are outside the pictures; 2D of the made detector '{options.detector}', seed {options.seed}")
    if missing:
        print(f"not there: {len(missing)} clips that splits.csv lists ({', '.join(sorted({m[2] for m in missing}))})")
    print(f"written: {', '.join(map(str, paths))}")


def project(points: np.ndarray, inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Pixels (T, J, 2) of world points (T, J, 3), millimetres, by the files' own matrices."""
    homogeneous = np.concatenate([points, np.ones_like(points[..., :1])], -1) @ (inner @ outer).T
    return homogeneous[..., :2] / homogeneous[..., 2:]


def row_of(name: str, inner: np.ndarray, outer: np.ndarray) -> dict:
    return camera_row(name, SIZE, inner[:, :3], outer[:3, :3] @ TO_Z_UP.T, outer[:3, 3] / 1000)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of the download")
    parser.add_argument(
        "--out", type=Path, default=Path("data/aspset"), help="where the files go (default: data/aspset)"
    )
    parser.add_argument("--part", action="store_true", help="take the clips that are there; others may be missing")
    parser.add_argument("--detector", choices=DETECTORS, default="fitted", help="the made 2D (default: fitted)")
    parser.add_argument("--seed", type=SEED, default=0, help="of the made 2D (default: 0)")
    return guarded(convert, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
