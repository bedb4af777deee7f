"""MPI-INF-3DHP in D3DP's layout: `data_train_3dhp_ori.npz` and `data_test_3dhp_ori.npz`, and the names without `_ori`.

Files hold pixels and millimetres, camera frame, absolute; clips hold screen units and metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from common.datasets.checks import check_pixels, frame_list, require_file, select_subjects
from common.datasets.clips import Clip
from common.datasets.threedhp_cameras import threedhp_camera
from common.datasets.threedhp_layout import (
    FILE_ENDINGS,
    SKELETON,
    TEST_FPS,
    TRAIN_CAMERAS,
    TRAIN_SEQUENCES,
    TRAIN_SIZE,
    archive_name,
)
from common.errors import UserError
from common.files.reading import load_archive, understanding
from common.geometry.camera import Camera, pixels_to_screen, screen_intrinsics
from common.settings.lifting import EVERYTHING

WHERE = "data/convert_3dhp.py makes it from the official download; `python main_3dhp.py --demo` needs no data"


def find_archive(root: Path, split: str, labels: str | None = None) -> tuple[Path, str]:
    """The npz of a split ('train' or 'test') and its label set; without `labels`, annot3 goes before univ_annot3."""
    if labels is not None and labels not in FILE_ENDINGS:
        raise UserError(f"{labels}: no such label set; there are {' and '.join(FILE_ENDINGS)}")
    for name in [labels] if labels else FILE_ENDINGS:
        path = Path(root) / archive_name(split, name)
        if path.is_file():
            return path, name
    return require_file(Path(root) / archive_name(split, labels or "annot3"), WHERE), labels or "annot3"


def load_threedhp(
    root: Path, split: str, *, labels: str | None = None, sequences: Sequence[str] = EVERYTHING, published: bool = False
) -> tuple[list[Clip], str]:
    """Clips of a split, and the label set that they hold (it belongs into every result).

    Training: subject 'S1', action 'Seq1', camera '0' ..., eight views a sequence; intrinsics where the converter has
    stored them. Test: one clip a sequence, subject and action both 'TS1', 2D the annotation's, `valid` marks what is
    scored. `sequences` are subjects (S1, S2 or TS1), by default all; `published` takes the published test
    intrinsics. Raises UserError for a missing file, another layout and another unit.
    """
    path, labels = find_archive(root, split, labels)
    archive = load_archive(path)
    with understanding(path, "file of MPI-INF-3DHP"):
        return read_clips(archive, path, split, labels, sequences, published), labels


def read_clips(
    archive: dict, path: Path, split: str, labels: str, sequences: Sequence[str] = EVERYTHING, published: bool = False
) -> list[Clip]:
    """The clips of an archive in the 3DHP layout."""
    data = archive.get("data")
    if not isinstance(data, dict) or not data:
        raise UserError(f"{path}: no dictionary `data`; not in the 3DHP layout")
    told = str(archive["labels"]) if "labels" in archive else labels
    if told != labels:
        raise UserError(f"{path}: holds {told}, its name says {labels}")
    subjects = list(dict.fromkeys(name.split(" ")[0] for name in data))
    wanted = select_subjects(subjects, sequences, path.name)
    names = [name for name in data if name.split(" ")[0] in wanted]
    if split == "test":
        return [_test_clip(path.name, name, data[name], published) for name in names]
    cameras = archive.get("cameras", {})
    if not isinstance(cameras, dict) or not all(isinstance(views, dict) for views in cameras.values()):
        raise UserError(f"{path}: its member `cameras` is no dictionary of sequences and their cameras")
    return [clip for name in names for clip in _train_clips(path.name, name, data[name], cameras.get(name, {}))]


def _train_clips(source: str, name: str, entry: object, intrinsics: dict) -> list[Clip]:
    if name not in TRAIN_SEQUENCES:
        raise UserError(f"{source}: {name} is no training sequence; they are 'S1 Seq1' to 'S8 Seq2'")
    try:
        views, fps = entry[0], float(entry[1])
        items = [(camera, views[camera]) for camera in views]
    except (TypeError, KeyError, IndexError, ValueError):
        raise UserError(f"{source} {name}: expected [{{camera: arrays}}, fps]") from None
    if fps != TRAIN_SEQUENCES[name][1]:
        raise UserError(f"{source} {name}: {fps:g} frames a second, the recording has {TRAIN_SEQUENCES[name][1]:g}")
    unknown = sorted(set(views) - set(TRAIN_CAMERAS))
    if unknown:
        raise UserError(f"{source} {name}: cameras {', '.join(unknown)}; expected {', '.join(TRAIN_CAMERAS)}")
    subject, action = name.split(" ")
    clips = []
    for view, arrays in items:
        camera = _train_camera(f"{source} {name}", view, intrinsics.get(view))
        clips.append(_clip(f"{source} {name} camera {view}", (subject, action, camera, fps), arrays, None))
    return clips


def _train_camera(source: str, view: str, numbers: np.ndarray | None) -> Camera:
    """`numbers` are fx, fy, cx, cy in pixels."""
    width, height = TRAIN_SIZE
    if numbers is None:
        return Camera(view, width, height, None)
    if np.shape(numbers) != (4,) or not np.isfinite(np.asarray(numbers, float)).all():
        raise UserError(f"{source} camera {view}: its intrinsics are not fx, fy, cx, cy")
    fx, fy, cx, cy = (float(n) for n in numbers)
    screen = screen_intrinsics((fx, fy), (cx, cy), (0.0, 0.0, 0.0), (0.0, 0.0), width, height)
    return Camera(view, width, height, screen)


def _test_clip(source: str, name: str, arrays: object, published: bool) -> Clip:
    camera = threedhp_camera(name, published)
    if not isinstance(arrays, dict) or "valid" not in arrays:
        raise UserError(f"{source} {name}: no member `valid`; not in the 3DHP test layout")
    return _clip(f"{source} {name}", (name, name, camera, TEST_FPS), arrays, np.asarray(arrays["valid"]).reshape(-1))


def _clip(source: str, told: tuple[str, str, Camera, float], arrays: object, valid: np.ndarray | None) -> Clip:
    if not isinstance(arrays, dict) or not {"data_2d", "data_3d"} <= set(arrays):
        raise UserError(f"{source}: no members `data_2d` and `data_3d`")
    with np.errstate(over="ignore"):
        pixels, poses = (
            np.asarray(arrays[key], np.float32) for key in ("data_2d", "data_3d")
        )  # (T, 17, 2), (T, 17, 3)
    frames, joints = len(pixels), len(SKELETON)
    if pixels.shape != (frames, joints, 2) or poses.shape != (frames, joints, 3) or frames == 0:
        raise UserError(f"{source}: {pixels.shape} and {poses.shape}, expected (T, {joints}, 2) and (T, {joints}, 3)")
    valid = np.ones(frames, bool) if valid is None else valid == 1
    if len(valid) != frames:
        raise UserError(f"{source}: {len(valid)} valid flags for {frames} frames")
    if not valid.any():
        raise UserError(f"{source}: not one valid frame")
    for array in (pixels, poses):
        if not np.isfinite(array[valid]).all():
            bad = valid & ~np.isfinite(array).all((1, 2))
            raise UserError(
                f"{source}: NaN or infinite on {int(bad.sum())} valid frames ({frame_list(bad)}, counted from 0); fill "
                "them, or leave them out"
            )
    check_pixels(source, pixels[valid])
    _check_millimetres(source, poses[valid])
    subject, action, camera, fps = told
    screen = pixels_to_screen(torch.from_numpy(pixels), camera.width, camera.height).numpy()
    return Clip(subject, action, camera, fps, screen, poses / 1000, valid)


def _check_millimetres(source: str, poses: np.ndarray) -> None:
    size = float(np.ptp(poses, axis=1).max())
    if not 50 < size < 5000:
        raise UserError(f"{source}: a pose spans {size:.4g}; millimetres belong in this file")
