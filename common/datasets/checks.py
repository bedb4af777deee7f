"""What every loader asks of its arrays, each answered in one line."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from common.datasets.clips import Clip
from common.errors import UserError, visible
from common.geometry.skeleton import Skeleton, joint_map
from common.settings.lifting import EVERYTHING


def require_file(path: Path, where: str) -> Path:
    """The path, or a UserError that says where people get the file."""
    if not path.is_file():
        raise UserError(f"{path}: no such file. {where}")
    return path


def check_pose_array(name: str, array: np.ndarray, joints: int, dims: int) -> np.ndarray:
    """A finite float32 array (T, joints, dims); extra trailing channels (detector scores) are cut."""
    array = np.asarray(array)
    if array.dtype.kind not in "fiu":
        raise UserError(f"{name}: no numbers but {array.dtype}")
    if array.ndim != 3 or array.shape[1] != joints or array.shape[2] < dims or len(array) == 0:
        raise UserError(f"{name}: expected (frames, {joints} joints, {dims}), found {array.shape}")
    with np.errstate(over="ignore"):
        array = array[..., :dims].astype(np.float32)
    bad = ~np.isfinite(array).all((1, 2))
    if bad.any():
        raise UserError(
            f"{name}: NaN or infinite in {int(bad.sum())} of {len(bad)} frames ({frame_list(bad)}, counted from 0); "
            "fill them from their neighbours or leave them out, in 2D and 3D alike (-d custom takes NaN where nothing "
            "is known: docs/custom_data.md)"
        )
    return array


def scores_of(array: np.ndarray, layout: Skeleton, skeleton: Skeleton) -> np.ndarray | None:
    """Confidence (T, J) of the skeleton's joints from keypoints (T, joints of the layout, 3 or more), or None without a
    third channel. A joint that the layout gives as a mix of others is as sure as the least sure of them."""
    array = np.asarray(array)
    if array.ndim != 3 or array.shape[-1] < 3:
        return None
    scores = np.nan_to_num(array[..., 2].astype(np.float32))
    if layout == skeleton:
        return scores
    return np.stack([scores[:, row].min(1) for row in joint_map(layout, skeleton) != 0], 1)


def frame_list(chosen: np.ndarray, most: int = 6) -> str:
    """The frames where `chosen` (T,) is true, runs in short: '3-7, 12 and 4 more'."""
    frames = np.flatnonzero(chosen)
    runs = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    shown = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs[:most])
    rest = sum(len(run) for run in runs[most:])
    return shown + (f" and {rest} more" if rest else "")


def tell_missed(clips: list[Clip], notice) -> None:
    """Say how many keypoints lie in the image's corner: many detectors write (0, 0) for a joint that they missed."""
    told, total = [], 0
    for clip in clips:
        corner = np.array([-1, -clip.camera.height / clip.camera.width], np.float32)
        missed = (np.abs(clip.keypoints_2d - corner) < 1e-6).all(-1)  # (T, J)
        if missed.any():
            total += int(missed.sum())
            told.append(f"{clip.subject} {clip.action} camera {clip.camera.name} ({int(missed.any(1).sum())} frames)")
    if told:
        more = f" and {len(told) - 3} more" if len(told) > 3 else ""
        notice(
            f"Warning: {total} keypoints lie at (0, 0), perhaps missed detections; they are taken as they are: "
            f"{', '.join(told[:3])}{more}. Fill them, or use -d custom with NaN there."
        )


def check_metres(name: str, positions: np.ndarray) -> None:
    """Refuse millimetres: no two joints of a person are five metres apart."""
    if float(np.abs(positions).max()) > 10_000:
        raise UserError(
            f"{name}: a joint is {float(np.abs(positions).max()):.3g} m from the origin; metres belong here"
        )
    size = float(np.ptp(positions, axis=1).max())
    if size > 5:
        raise UserError(f"{name}: a pose spans {size:.0f}; these look like millimetres, metres belong here")
    if size < 0.05:
        raise UserError(f"{name}: a pose spans {size:.4f} m; this is no person in metres")


def check_pixels(name: str, keypoints: np.ndarray, size: tuple[int, int] | None = None) -> None:
    """Refuse 2D (..., 2) that is normalised already: pixels belong in the files; and 2D of another picture than one of
    `size` (width, height): nearly all of it lies far outside."""
    if float(np.abs(keypoints).max()) > 1e6:
        raise UserError(f"{name}: a keypoint is {float(np.abs(keypoints).max()):.3g} pixels from the image's corner")
    if float(np.abs(keypoints).max()) < 4:
        raise UserError(f"{name}: keypoints within 4 units of the origin; pixels belong in this file")
    if size is not None:
        near = (np.abs(keypoints / size - 0.5) < 1.5).all(-1)  # a picture's width and height around it
        if near.mean() < 0.1:
            raise UserError(
                f"{name}: {1 - near.mean():.0%} of the keypoints lie far outside the {size[0]} x {size[1]} picture; "
                "are they of another size?"
            )


def select_subjects(available: Iterable[str], wanted: str | Sequence[str], source: str) -> list[str]:
    """The wanted subject or subjects, in the order asked for; each must be there. 'train/*' is all that begin so."""
    available, names = list(available), []
    for name in [wanted] if isinstance(wanted, str) else wanted:
        found = [subject for subject in available if name in (subject, visible(subject))]
        found = found or (fnmatch.filter(map(str, available), name) if "*" in name else [])
        if not found:
            raise UserError(f"{source}: no subject {name}; it has {', '.join(map(str, available))}")
        names += [subject for subject in found if subject not in names]
    return names


def select_actions(
    clips: list[Clip], wanted: Sequence[str], notice=lambda line: None, *, published: bool = False
) -> list[Clip]:
    """Clips of some actions: by full name, else by first word, else (with a notice) by prefix.

    ('*',) is all; `published` takes every name as a prefix. Raises UserError for a name that selects nothing.
    """
    if tuple(wanted) == EVERYTHING:
        return clips
    chosen: set[str] = set()
    actions = sorted({clip.action for clip in clips})
    for name in wanted:
        named = [a for a in actions if a == name] or [a for a in actions if a.split(" ")[0] == name]
        prefixed = [a for a in actions if a.startswith(name)]
        if not prefixed:
            raise UserError(f"-a {name}: no such action; there are {', '.join(actions)}")
        if not named and not published:
            notice(f"-a {name}: no action of that name; taken as a prefix: {', '.join(prefixed)}")
        chosen |= set(prefixed if published or not named else named)
    return [clip for clip in clips if clip.action in chosen]
