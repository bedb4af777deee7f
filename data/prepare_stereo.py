r"""Two-view (or three-, four-view) labels from calibrated cameras and recorded 3D poses.

Human3.6M, from VideoPose3D's data_3d_h36m.npz (all 32 joints, metres); the cameras are built in:
    python data/prepare_stereo.py h36m --poses data/data_3d_h36m.npz --out data/human36m-stereo-labels-GTbboxes.npy
Four views, not rectified:
    python data/prepare_stereo.py h36m --poses data/data_3d_h36m.npz --no-rectify \
        --cameras 54138969 55011271 58860488 60457274 --out data/human36m-multiview-labels-GTbboxes_origin.npy
MHAD, or any other rig in its format:
    python data/prepare_stereo.py mhad --poses poses.npz --calibration cameras.json --pairs 1:3 2:4 \
        --out data/mhad-stereo-m-labels-GTbboxes.npy
poses.npz holds `keypoints` (N, 35 or 17, 3) in millimetres and `subject` (S01 ...), `action` (A01 ...), `repetition`
(R01 ...), `frame`, each (N,). cameras.json maps a camera's name to K (3x3, pixels), R (3x3, world to camera), t (3,
millimetres), width and height.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # run as a file: let it find the project
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import common  # noqa: F401 (first of all: it tells in one line which package is missing)

# isort: split
import numpy as np

from common.datasets import stereo_formats as formats
from common.datasets import stereo_labels as labels
from common.datasets.h36m_cameras import h36m_cameras
from common.door import guarded
from common.errors import UserError
from common.files.reading import load_archive, read_json, understanding
from common.files.writing import try_writing
from common.geometry.rectification import Rig
from common.geometry.skeleton import STEREO_17_OF_32, STEREO_17_OF_MHAD_35
from common.settings.ranges import COUNT

LAST_FRAME = 32767  # frames are stored as 16-bit integers
_RENAMED = {"Photo": "TakingPhoto", "WalkDog": "WalkingDog", "WalkTogether": "WalkingTogether"}


def trials(names: Sequence[str]) -> dict[str, str]:
    """VideoPose3D's action names of a subject to numbered trials: of 'Photo 1' and 'Photo' they are TakingPhoto-1
    and TakingPhoto-2. A name without number takes the number that is left."""
    out = {}
    for base in {re.sub(r" \d+$", "", name) for name in names}:
        same = [n for n in names if re.sub(r" \d+$", "", n) == base]
        numbered = sorted((n for n in same if n != base), key=lambda n: int(n.split(" ")[-1]))
        order = [base, *numbered] if numbered and numbered[0].endswith(" 2") else [*numbered, base]
        for trial, name in enumerate((n for n in order if n in same), 1):
            out[name] = f"{_RENAMED.get(base, base)}-{trial}"
    return out


def h36m_rig(subject: str, names: Sequence[str]) -> Rig:
    """Some of a subject's cameras as a rig in pixels and millimetres, lens distortion left aside."""
    cameras = {c.name: c for c in h36m_cameras(subject)}
    if unknown := [n for n in names if n not in cameras]:
        raise UserError(f"--cameras {' '.join(unknown)}: Human3.6M has {', '.join(cameras)}")
    chosen = [cameras[n] for n in names]
    rotation = np.stack([_world_to_camera(c.rotation) for c in chosen])
    k = np.zeros((len(chosen), 3, 3))
    for matrix, c in zip(k, chosen, strict=True):
        fx, fy, cx, cy = c.intrinsics[:4]
        matrix[0, 0], matrix[1, 1], matrix[2, 2] = fx * c.width / 2, fy * c.width / 2, 1
        matrix[0, 2], matrix[1, 2] = (cx + 1) * c.width / 2, cy * c.width / 2 + c.height / 2
    shift = -np.einsum("vij,vj->vi", rotation, np.array([c.translation for c in chosen]) * 1000)
    return Rig(k, rotation, shift, np.array([[c.width, c.height] for c in chosen], float))


def _world_to_camera(quaternion: Sequence[float]) -> np.ndarray:
    """The rotation matrix that undoes a camera-to-world quaternion, w first."""
    w, x, y, z = quaternion
    to_world = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    return to_world.T


def h36m_labels(poses: Path, cameras: Sequence[str], rectified: bool, every: dict[str, int]) -> dict:
    """The label file of Human3.6M: every n-th frame of each split."""
    archive = load_archive(poses)
    positions = archive.get("positions_3d")
    if not isinstance(positions, dict) or not all(isinstance(actions, dict) for actions in positions.values()):
        raise UserError(f"{poses}: no positions_3d in it; expected VideoPose3D's data_3d_h36m.npz")
    known, tables = formats.H36M, []
    records = np.zeros((len(known.subjects), len(cameras)), formats.camera_dtype())
    for s, subject in enumerate(known.subjects):
        original = h36m_rig(subject, cameras)
        rig, homographies = labels.prepare_rig(original, rectified)
        records[s] = labels.camera_records(rig, homographies)
        step = every["test" if subject in known.test else "train"]
        actions = {str(name): value for name, value in positions.get(subject, {}).items()}
        for name, trial in sorted(trials(list(actions)).items(), key=lambda pair: pair[1]):
            if trial not in known.actions:
                continue
            joints = _finite(actions[name], f"{poses}: {subject} {name}")
            if joints.ndim != 3 or joints.shape[1:] != (32, 3):
                raise UserError(f"{poses}: {subject} {name} has shape {joints.shape}, expected (frames, 32, 3)")
            index = np.arange(0, len(joints), step)
            whole = np.ones_like(index)
            frames = labels.Frames(
                1000 * joints[index][:, STEREO_17_OF_32], s * whole, known.actions.index(trial) * whole, index
            )
            tables.append(labels.build_table("h36m", rig, original, frames, aligned=rectified))
    if not tables:
        raise UserError(f"{poses}: no known subject and action in it")
    return formats.label_file("h36m", records, np.concatenate(tables), list(cameras))


def calibrated_rig(path: Path, names: Sequence[str]) -> Rig:
    """Cameras of a calibration file."""
    table = read_json(path, "calibration file")
    for name in names:
        if not isinstance(table, dict) or name not in table:
            some = ", ".join(map(str, table)) if isinstance(table, dict) else "no cameras"
            raise UserError(f"{path}: camera {name} is asked for; it has {some[:200]}")
        if not isinstance(table[name], dict):
            raise UserError(f"{path}: camera {name} is no object with K, R, t, width and height")
    with understanding(path, "calibration file"):
        chosen = [table[name] for name in names]
        fields = [
            np.array([np.reshape(np.array(c[key], float), shape) for c in chosen])
            for key, shape in (("K", (3, 3)), ("R", (3, 3)), ("t", (3,)))
        ]
        sizes = np.array([[c["width"], c["height"]] for c in chosen], float)
    if not all(np.isfinite(numbers).all() for numbers in (*fields, sizes)) or (sizes < 1).any():
        raise UserError(f"{path}: not a usable calibration (a number is NaN, infinite, or no size of an image)")
    if (np.abs(np.linalg.det(fields[0])) < 1e-9).any():
        raise UserError(f"{path}: not a usable calibration (K has no inverse)")
    if (fields[0][:, [0, 1], [0, 1]] <= 0).any():
        raise UserError(f"{path}: not a usable calibration (a focal length is not positive)")
    turned = fields[1] @ fields[1].swapaxes(-1, -2)
    if np.abs(turned - np.eye(3)).max() > 0.01 or (np.linalg.det(fields[1]) < 0).any():
        raise UserError(f"{path}: not a usable calibration (R is no rotation)")
    return Rig(*fields, sizes)


def mhad_labels(poses: Path, calibration: Path, pairs: Sequence[Sequence[str]], rectified: bool) -> dict:
    """The label file of MHAD: the same frames seen by every pair of cameras, one group a pair."""
    archive = load_archive(poses)
    if missing := [k for k in ("keypoints", "subject", "action", "frame") if k not in archive]:
        raise UserError(f"{poses}: no {', '.join(missing)} in it")
    joints = _finite(archive["keypoints"], f"{poses}: keypoints")
    if joints.shape[1:] == (35, 3):
        joints = joints[:, STEREO_17_OF_MHAD_35]
    if joints.shape[1:] != (17, 3):
        raise UserError(f"{poses}: keypoints have shape {joints.shape}, expected (frames, 35 or 17, 3)")
    known = formats.MHAD
    for name in ("subject", "action", "frame", "repetition"):
        if name in archive and np.shape(archive[name]) != (len(joints),):
            raise UserError(f"{poses}: {name} has shape {np.shape(archive[name])}, expected ({len(joints)},)")
    numbers = np.asarray(archive["frame"])
    if numbers.dtype.kind not in "iu" or not len(numbers) or numbers.min() < 0 or numbers.max() > LAST_FRAME:
        raise UserError(f"{poses}: frame holds {numbers.dtype}; whole numbers from 0 to {LAST_FRAME} belong there")
    frames = labels.Frames(
        joints,
        _positions(archive["subject"], known.subjects, "subject"),
        _positions(archive["action"], known.actions, "action"),
        numbers,
        _positions(archive["repetition"], formats.MHAD_REPETITIONS, "repetition") if "repetition" in archive else None,
    )
    tables, records = [], []
    for group, names in enumerate(pairs):
        original = calibrated_rig(calibration, names)
        rig, homographies = labels.prepare_rig(original, rectified)
        records.append(labels.camera_records(rig, homographies))
        tables.append(labels.build_table("mhad", rig, original, frames, group=group, aligned=rectified))
    return formats.label_file("mhad", np.stack(records), np.concatenate(tables), [list(p) for p in pairs])


def _finite(values: object, what: str) -> np.ndarray:
    """An array of finite numbers, float64."""
    with understanding(what, "array of poses"):
        array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if not array.size or not np.isfinite(array).all():
        raise UserError(f"{what}: NaN or infinite values, or no frames at all")
    return array


def _positions(values: np.ndarray, names: Sequence[str], what: str) -> np.ndarray:
    if unknown := sorted({str(v) for v in values} - set(names)):
        raise UserError(f"{what} {unknown[0]} is none of {', '.join(names)}")
    return np.array([names.index(str(v)) for v in values])


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("data_set", choices=("h36m", "mhad"))
    p.add_argument("--poses", type=Path, required=True, help="recorded 3D poses")
    p.add_argument("--out", type=Path, required=True, help="label file to write")
    p.add_argument(
        "--cameras", nargs="+", default=["60457274", "55011271"], help="Human3.6M: left camera, right camera"
    )
    p.add_argument("--calibration", type=Path, help="MHAD: cameras.json")
    p.add_argument("--pairs", nargs="+", default=["1:3", "2:4"], help="MHAD: left:right of each rig")
    p.add_argument("--no-rectify", action="store_true", help="keep the cameras as they are")
    p.add_argument("--every-train", type=COUNT, default=5, help="Human3.6M: every n-th frame of the training people")
    p.add_argument("--every-test", type=COUNT, default=64, help="Human3.6M: every n-th frame of the test people")
    return p


def convert(a: argparse.Namespace) -> None:
    """Write the label file. Raises UserError with one line where it cannot."""
    try_writing(a.out.parent, a.out.name)
    if a.data_set == "h36m":
        every = {"train": a.every_train, "test": a.every_test}
        found = h36m_labels(a.poses, a.cameras, not a.no_rectify, every)
    else:
        if a.calibration is None:
            raise UserError("mhad needs --calibration cameras.json")
        pairs = [pair.split(":") for pair in a.pairs]
        if wrong := [pair for pair, names in zip(a.pairs, pairs, strict=True) if len(names) != 2 or "" in names]:
            raise UserError(f"--pairs {wrong[0]}: LEFT:RIGHT belongs there, the names of two cameras")
        if len(set(a.pairs)) < len(a.pairs):
            raise UserError(f"--pairs {' '.join(a.pairs)}: a pair stands there twice")
        found = mhad_labels(a.poses, a.calibration, pairs, not a.no_rectify)
    formats.save_labels(a.out, found)
    boxes = found["table"]["bbox_by_camera_tlbr"]
    print(f"{a.out}: {len(boxes)} frames, {int((boxes == 0).all(-1).any(-1).sum())} without all views.")


def main(arguments: Sequence[str] | None = None) -> int:
    return guarded(convert, parser().parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
