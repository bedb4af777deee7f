"""What every loader asks of its arrays, each answered in one line."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from common.datasets.clips import Clip
from common.errors import UserError


def require_file(path: Path, where: str) -> Path:
    """The path, or a UserError that says where people get the file."""
    if not path.is_file():
        raise UserError(f"{path}: no such file. {where}")
    return path


def check_pose_array(name: str, array: np.ndarray, joints: int, dims: int) -> np.ndarray:
    """A finite float32 array (T, joints, dims); extra trailing channels (detector scores) are cut."""
    array = np.asarray(array)
    if array.ndim != 3 or array.shape[1] != joints or array.shape[2] < dims or len(array) == 0:
        raise UserError(f"{name}: expected (frames, {joints} joints, {dims}), found {array.shape}")
    array = array[..., :dims].astype(np.float32)
    if not np.isfinite(array).all():
        raise UserError(f"{name}: NaN or infinite values in {int((~np.isfinite(array)).any((1, 2)).sum())} frames")
    return array


def check_metres(name: str, positions: np.ndarray) -> None:
    """Refuse millimetres: no two joints of a person are five metres apart."""
    size = float(np.ptp(positions, axis=1).max())
    if size > 5:
        raise UserError(f"{name}: a pose spans {size:.0f}; these look like millimetres, metres belong here")
    if size < 0.05:
        raise UserError(f"{name}: a pose spans {size:.4f} m; this is no person in metres")


def check_pixels(name: str, keypoints: np.ndarray) -> None:
    """Refuse 2D that is normalised already: pixels belong in the files."""
    if float(np.abs(keypoints).max()) < 4:
        raise UserError(f"{name}: keypoints within 4 units of the origin; pixels belong in this file")


def select_subjects(available: Iterable[str], wanted: str | list[str], source: str) -> list[str]:
    """The wanted subjects, in the order asked for; each must be there. 'train/*' is all that begin so."""
    available, names = list(available), []
    for name in wanted.split(",") if isinstance(wanted, str) else wanted:
        found = [name] if name in available else fnmatch.filter(available, name) if "*" in name else []
        if not found:
            raise UserError(f"{source}: no subject {name}; it has {', '.join(available)}")
        names += [subject for subject in found if subject not in names]
    return names


def select_actions(clips: list[Clip], wanted: str, notice=lambda line: None, published: bool = False) -> list[Clip]:
    """Clips of the actions in a comma list: by full name, else by first word, else (with a notice) by prefix.

    '*' is all; `published` takes every name as a prefix. Raises UserError for a name that selects nothing.
    """
    if wanted in ("*", "", None):
        return clips
    chosen: set[str] = set()
    actions = sorted({clip.action for clip in clips})
    for name in (n.strip() for n in wanted.split(",")):
        named = [a for a in actions if a == name] or [a for a in actions if a.split(" ")[0] == name]
        prefixed = [a for a in actions if a.startswith(name)]
        if not prefixed:
            raise UserError(f"-a {name}: no such action; there are {', '.join(actions)}")
        if not named and not published:
            notice(f"-a {name}: no action of that name; taken as a prefix: {', '.join(prefixed)}")
        chosen |= set(prefixed if published or not named else named)
    return [clip for clip in clips if clip.action in chosen]
