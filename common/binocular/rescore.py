"""Score a folder of outputs again, ours or published: the entries of `metric.json` for triangulation and model.

Errors in millimetres, means over frames, in float64. Without labels the arrays say nothing of people, actions and
hidden joints, and only the averages over all frames are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.binocular.evaluate import errors, joint_tables, metric_entries
from common.datasets.stereo import StereoData
from common.errors import UserError
from common.files.reading import load_array, read_json, understanding
from common.geometry.skeleton import STEREO_17
from common.scoring.tables import fixed_width

TRUTH = "keypoints_3d_gt"
# Of the triangulation: of what the network started from, so of the detections less their mean error where that was
# subtracted, as in the published outputs.
ROWS = {"keypoints_3d_tri": "triangulation", "keypoints_3d_dualdiff": "Dual-Diffusion"}
OTHERS = {"keypoints_2d_ori": (None, len(STEREO_17), 2), "index": ()}  # looked at where they are there; None: any
UNITS = {"metres": 1.0, "millimetres": 1000.0}  # a metre in it


@dataclass(frozen=True)
class Outputs:
    """Poses (N, 17, 3) in metres, and the row of the split that each frame is (N,), if the folder says so."""

    truth: Tensor
    poses: dict[str, Tensor]
    index: Tensor | None
    unit: str  # of the files


def read_outputs(folder: str | Path) -> Outputs:
    """Read the arrays of an evaluation, ours or published: those of FOLDER, or of FOLDER/-001.

    The unit is recognised by the size of the bodies. Raises UserError for what is missing, of another shape or length,
    not finite, or in another unit than the truth.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"--rescore {folder}: no such folder")
    if not (folder / f"{TRUTH}.npy").is_file() and (folder / "-001").is_dir():
        folder = folder / "-001"
    truth = _array(folder, TRUTH, (len(STEREO_17), 3))
    unit = _unit(truth, folder / f"{TRUTH}.npy")
    poses = {}
    for name in ROWS:
        poses[name] = _array(folder, name, truth.shape[1:], len(truth))
        ratio = _size(poses[name]) / _size(truth)
        if 300 < max(ratio, 1 / max(ratio, 1e-9)) < 3000:  # a poor model's bodies may have any other size
            raise UserError(f"{folder / name}.npy: not in {unit}, as the truth beside it is")
    found = {
        name: _array(folder, name, shape, len(truth))
        for name, shape in OTHERS.items()
        if (folder / f"{name}.npy").is_file()
    }
    index = found.get("index")
    metres = {name: torch.from_numpy(a / UNITS[unit]) for name, a in {TRUTH: truth, **poses}.items()}
    rows = None if index is None else torch.from_numpy(index.astype(np.int64))
    return Outputs(metres.pop(TRUTH), metres, rows, unit)


def _array(folder: Path, name: str, shape: tuple[int | None, ...], count: int | None = None) -> np.ndarray:
    """An array of numbers (N, *shape), float64."""
    path = folder / f"{name}.npy"
    array = load_array(path)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise UserError(f"{path}: expected an array of numbers")
    if not shape and array.ndim == 2:
        array = array.reshape(-1)
    fits = array.ndim == 1 + len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape[1:], strict=True))
    if not fits or not len(array):
        wanted = ", ".join(["frames", *("views" if n is None else str(n) for n in shape)])
        raise UserError(f"{path}: shape {array.shape}, expected ({wanted})")
    if count is not None and len(array) != count:
        raise UserError(f"{path}: {len(array)} frames, but {TRUTH}.npy has {count}")
    array = array.astype(np.float64)
    bad = ~np.isfinite(array).reshape(len(array), -1).all(1)
    if bad.any():
        raise UserError(f"{path}: NaN or infinite in {bad.sum()} frames, the first is {int(np.argmax(bad))}")
    return array


def _size(poses: np.ndarray) -> float:
    """How far a joint is from the root, in the median."""
    return float(np.median(np.linalg.norm(poses - poses[:, STEREO_17.root, None], axis=-1)))


def _unit(truth: np.ndarray, path: Path) -> str:
    """The unit in which bodies are as large as bodies: a joint is 0.1 to 2 m from the root."""
    for unit, metre in UNITS.items():
        if 0.1 < _size(truth) / metre < 2:
            return unit
    raise UserError(f"{path}: a joint is {_size(truth):.4g} from the root, neither millimetres nor metres of a body")


def with_labels(outputs: Outputs, data: StereoData, source: str) -> StereoData:
    """The labels of the folder's frames, in its order: by `index`, else row by row; the poses must be the same."""
    candidates = []
    if outputs.index is not None:
        place = {row: i for i, row in enumerate(data.row.tolist())}
        if all(row in place for row in outputs.index.tolist()):
            candidates.append(torch.tensor([place[row] for row in outputs.index.tolist()]))
    if len(data) == len(outputs.truth):
        candidates.append(torch.arange(len(data)))
    for order in candidates:
        if (data.keypoints_3d[order] - outputs.truth).abs().max() < 1e-3:
            return data.take(order)
    raise UserError(f"{source}: not the labels of these {len(outputs.truth)} frames; leave --config out for averages")


def rescore(outputs: Outputs, data: StereoData | None = None) -> dict[str, dict]:
    """The entries of `metric.json` for each array of poses, millimetres; with labels also by person, action and hidden
    joints (MHAD)."""
    truth = outputs.truth
    return {name: metric_entries(errors(p, truth), joint_tables(p, truth), data) for name, p in outputs.poses.items()}


def stored_metric(folder: str | Path) -> float | None:
    """per_pose_error of the model in the folder's `metric.json`, if it is there."""
    for path in (Path(folder) / "metric.json", Path(folder) / "-001" / "metric.json"):
        if path.is_file():
            with understanding(path, "file of scores"):
                return float(read_json(path)["per_pose_error"]["Average"]["Average"])
    return None


def printable(entries: dict[str, dict], outputs: Outputs, stored: float | None = None) -> str:
    """A table of all entries: a line for each, a column for triangulation and model."""
    names = list(entries)
    lines = [f"{len(outputs.truth)} frames; the files are in {outputs.unit}. Means over frames, millimetres."]
    rows = [["", *(ROWS[name] for name in names)], *([path, *values] for path, values in _leaves(entries))]
    lines += fixed_width(rows, decimals=3)
    if stored is not None:
        ours = entries["keypoints_3d_dualdiff"]["per_pose_error"]["Average"]["Average"]
        word = "the same" if abs(ours - stored) < 1e-3 else "NOT the same"
        lines.append(f"metric.json beside the arrays says {stored:.3f} for the model: {word}.")
    return "\n".join(lines)


def _leaves(entries: dict[str, dict], path: tuple[str, ...] = ()):
    """(name, a value a row) of every number, in order."""
    first = next(iter(entries.values()))
    if isinstance(first, dict):
        for key in first:
            yield from _leaves({name: entry[key] for name, entry in entries.items()}, (*path, key))
    elif isinstance(first, list) and len(first) == len(STEREO_17):
        for j, joint in enumerate(STEREO_17.joints):
            yield " ".join((*path, joint)), [entry[j] for entry in entries.values()]
    else:
        yield " ".join(path), [entry[0] if isinstance(entry, list) else entry for entry in entries.values()]
