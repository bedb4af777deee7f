"""Reading two-view (or three-, four-view) labels and 2D estimates. Files are read safely and never changed in place.

Inside: world metres for 3D, crop units for 2D (geometry.py), float64.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.datasets import stereo_formats as formats
from common.datasets.checks import frame_list
from common.diffusion.two_view import Views
from common.errors import UserError, visible
from common.files.reading import load_array, load_pickle, reading, require, understanding
from common.geometry import stereo as geometry
from common.geometry.rectification import LEAST_BASELINE
from common.geometry.skeleton import STEREO_17


@dataclass(frozen=True)
class StereoData:
    """All frames of a split. Every tensor has one row a frame."""

    kind: str  # h36m or mhad
    image_size: tuple[int, int]  # (height, width) of the resized crop, pixels
    subjects: tuple[str, ...]  # names that `subject` counts
    actions: tuple[str, ...]
    keypoints_3d: Tensor  # (N, J, 3), world metres
    projections: Tensor  # (N, V, 3, 4), world metres to crop units
    extrinsics: Tensor  # (N, V, 3, 4), metres
    subject: Tensor  # (N,)
    action: Tensor  # (N,)
    group: Tensor  # (N,), camera rig; 0 where there is one
    row: Tensor  # (N,), position among the split's rows
    occlusion: Tensor | None = None  # (N, J), 1 where hidden
    detections: Tensor | None = None  # (N, V, J, 2), crop units
    confidence: Tensor | None = None  # (N, V, J)
    dropped: int = 0  # rows left out because a view is missing

    def __len__(self) -> int:
        return len(self.keypoints_3d)

    def take(self, index: Tensor) -> StereoData:
        """The same for some rows: a mask or indices."""
        rows = {f.name: getattr(self, f.name) for f in fields(self)}
        taken: dict[str, Any] = {k: v[index] for k, v in rows.items() if isinstance(v, Tensor)}
        return replace(self, **taken)

    @property
    def keypoints_2d(self) -> Tensor:
        """The true 2D poses (N, V, J, 2), crop units."""
        return geometry.project(self.keypoints_3d, self.projections)

    @property
    def damaged(self) -> Tensor:
        """True for frames of Human3.6M's damaged sequences (N,)."""
        if self.kind != "h36m":
            return torch.zeros(len(self), dtype=torch.bool)
        pairs = zip(self.subject.tolist(), self.action.tolist(), strict=True)
        return torch.tensor(
            [(self.subjects[s], self.actions[a]) in formats.DAMAGED for s, a in pairs], dtype=torch.bool
        )

    def views(self, depth_axis: str, weighted: bool = False) -> Views:
        """What the 3D step needs: cameras and conditions of every frame."""
        axis, offset = geometry.depth_axis(self.extrinsics, depth_axis)
        baseline = 1000 * geometry.baseline(self.extrinsics)  # millimetres
        action = (self.action.double() / formats.ACTION_SCALE).unsqueeze(1)
        if weighted and self.confidence is None:
            raise UserError("data.weighted: the detections carry no 'confidence'")
        return Views(self.projections, axis, offset, baseline, action, self.confidence if weighted else None)


def load_labels(path: str | Path) -> dict:
    """Read a label file; says which part is missing."""
    labels = load_array(path)
    if not isinstance(labels, dict):
        raise UserError(f"{path}: expected a dict of labels, found {type(labels).__name__}")
    for key in ("subject_names", "action_names", "cameras", "table"):
        if key not in labels:
            raise UserError(f"{path}: no {key!r} in this label file")
    with understanding(path, "label file"):
        _check_labels(labels, path)
    return labels


def _check_labels(labels: dict, path: str | Path) -> None:
    """The table's fields and the cameras, with what their indices point to."""
    table, cameras = labels["table"], labels["cameras"]
    wanted = {"subject_idx", "action_idx", "keypoints", "bbox_by_camera_tlbr"}
    if missing := wanted - set(table.dtype.names or ()):
        raise UserError(f"{path}: the table has no field {', '.join(sorted(missing))}")
    if missing := {"R", "t", "K"} - set(cameras.dtype.names or ()):
        raise UserError(f"{path}: the cameras have no field {', '.join(sorted(missing))}")
    boxes, joints = table["bbox_by_camera_tlbr"], table["keypoints"]
    if table.ndim != 1 or boxes.ndim != 3 or boxes.shape[2] != 4 or joints.ndim != 3 or joints.shape[2] != 3:
        raise UserError(f"{path}: a table {table.shape} of boxes {boxes.shape} and keypoints {joints.shape}")
    if cameras.ndim != 2 or cameras["R"].shape[2:] != (3, 3) or cameras["K"].shape[2:] != (3, 3):
        raise UserError(f"{path}: cameras of shape {cameras.shape}, expected (people or rigs, views)")
    rig = "group_idx" if label_kind(labels) == "mhad" else "subject_idx"
    counts = [("subject_idx", len(labels["subject_names"])), ("action_idx", len(labels["action_names"]))]
    if rig not in table.dtype.names:
        raise UserError(f"{path}: no 'group_idx' in the table; data/prepare_stereo.py writes complete label files")
    for field, count in (*counts, (rig, len(cameras))):
        if not len(table) or table[field].min() < 0 or table[field].max() >= count:
            raise UserError(f"{path}: {field} of a frame is none of 0 to {count - 1}")
    used = cameras[np.unique(table[rig])]
    if not all(np.isfinite(used[field]).all() for field in ("R", "t", "K")):
        raise UserError(f"{path}: a camera is NaN or infinite")
    turns = used["R"].astype(float)
    if np.abs(turns @ turns.swapaxes(-1, -2) - np.eye(3)).max() > 1e-2 or (np.linalg.det(turns) < 0).any():
        raise UserError(f"{path}: a camera's R is no rotation")
    if (np.diagonal(used["K"], axis1=-2, axis2=-1)[..., :2] <= 0).any():
        raise UserError(f"{path}: a camera's focal length is not above 0")
    bad = ~np.isfinite(joints).all((1, 2))
    if bad.any():
        raise UserError(f"{path}: keypoints are NaN or infinite in {int(bad.sum())} rows ({frame_list(bad)})")


def label_kind(labels: dict) -> str:
    """Which data set's format a label file has."""
    return "mhad" if "reptition_names" in labels else "h36m"


def load_split(
    labels_path: str | Path,
    *,
    subjects: Sequence[str] | None = None,
    detections_path: str | Path | None = None,
    image_size: tuple[int, int] = (384, 384),
    views: int = 2,
    cameras: Sequence[int] | None = None,
    groups: Sequence[int] | None = None,
    legacy_skew: bool = False,
) -> StereoData:
    """The frames of some subjects (all if None), with their detections if a file is named.

    views: how many cameras; cameras: which (default: the first). groups: which camera rigs to keep (MHAD). Rows
    without all views are dropped and counted. Raises UserError for what does not fit.
    """
    labels = load_labels(labels_path)
    with understanding(labels_path, "label file"):
        data, total, in_groups = _split(labels, labels_path, subjects, image_size, views, cameras, groups, legacy_skew)
    return data if detections_path is None else with_detections(data, detections_path, total, in_groups)


def _split(
    labels: dict,
    labels_path: str | Path,
    subjects: Sequence[str] | None,
    image_size: tuple[int, int],
    views: int,
    cameras: Sequence[int] | None,
    groups: Sequence[int] | None,
    legacy_skew: bool,
) -> tuple[StereoData, int, np.ndarray]:
    """The frames without detections, how many rows these people have, and which of them are of the rigs."""
    table, kind = labels["table"], label_kind(labels)
    names = tuple(visible(s) for s in labels["subject_names"])
    if unknown := [s for s in subjects or () if s not in names]:
        raise UserError(f"{labels_path}: no subject {', '.join(unknown)}; it has {', '.join(names)}")
    wanted = [names.index(s) for s in (names if subjects is None else subjects)]
    keep = np.isin(table["subject_idx"], wanted)
    group = _group(table, kind, labels_path)
    table, group, total = table[keep], group[keep], int(keep.sum())
    in_groups = np.isin(group, groups) if groups is not None else np.ones(total, dtype=bool)

    chosen = list(range(views)) if cameras is None else list(cameras)
    rigs = np.asarray(labels["cameras"])
    if len(chosen) != views or max(chosen) >= min(rigs.shape[-1], table["bbox_by_camera_tlbr"].shape[1]):
        raise UserError(f"{labels_path}: asked for cameras {chosen} as {views} views; it has {rigs.shape[-1]}")
    boxes = table["bbox_by_camera_tlbr"][:, chosen].astype(np.float64)  # (N, V, 4)
    both = ((boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])).all(1)
    rows = np.flatnonzero(in_groups & both)
    if not len(rows):
        raise UserError(f"{labels_path}: no frame with all {views} views for {', '.join(subjects or names)}")

    rig = rigs[group if kind == "mhad" else table["subject_idx"]][:, chosen][rows]  # (N, V) records
    rotation, shift, k = (torch.from_numpy(np.array(rig[field], dtype=np.float64)) for field in ("R", "t", "K"))
    extrinsics = torch.cat([rotation, shift.reshape(*rotation.shape[:-1], 1) / 1000], -1)  # (N, V, 3, 4), metres
    centres = geometry.camera_centres(extrinsics) * 1000  # (N, V, 3), millimetres
    for one, other in itertools.combinations(range(views), 2):
        if not (centres[:, one] - centres[:, other]).norm(dim=-1).min() >= LEAST_BASELINE:
            two = f"cameras {chosen[one]} and {chosen[other]}"
            raise UserError(f"{labels_path}: {two} stand in one place; two such views tell no depth")
    k = geometry.crop_intrinsics(k, torch.from_numpy(boxes[rows]), image_size, legacy_skew)
    data = StereoData(
        kind=kind,
        image_size=image_size,
        subjects=names,
        actions=tuple(visible(a) for a in labels["action_names"]),
        keypoints_3d=torch.from_numpy(table["keypoints"][rows].astype(np.float64) / 1000),
        projections=k @ extrinsics,
        extrinsics=extrinsics,
        subject=torch.from_numpy(table["subject_idx"][rows].astype(np.int64)),
        action=torch.from_numpy(table["action_idx"][rows].astype(np.int64)),
        group=torch.from_numpy(group[rows].astype(np.int64)),
        row=torch.from_numpy(rows),
        occlusion=_occlusion(table, rows),
        dropped=int((in_groups & ~both).sum()),
    )
    if data.keypoints_3d.shape[1] != len(STEREO_17):
        raise UserError(f"{labels_path}: {data.keypoints_3d.shape[1]} joints, expected {len(STEREO_17)}")
    return data, total, in_groups


def _group(table: np.ndarray, kind: str, path) -> np.ndarray:
    if kind == "h36m":
        return np.zeros(len(table), dtype=np.int64)
    return table["group_idx"].astype(np.int64)


def _occlusion(table: np.ndarray, rows: np.ndarray) -> Tensor | None:
    if "occlusion_2d" not in table.dtype.names:
        return None
    hidden = table["occlusion_2d"][rows].astype(np.float64)
    return torch.from_numpy(hidden.reshape(*hidden.shape[:2], -1).max(-1))  # (N, J), hidden in any view


def load_detections(path: str | Path) -> dict[str, np.ndarray]:
    """Read a file of 2D estimates (pickle, or `.npy` of a dict), its rows in the order of `indexes`."""
    path = require(path)
    with reading(path, "file of 2D estimates", "npy", ""), path.open("rb") as stream:
        numpy_file = stream.read(6) == b"\x93NUMPY"
        stream.seek(0)
        content = load_array(path) if numpy_file else load_pickle(stream, path)
    if not isinstance(content, dict) or not {"keypoints_2d_pred", "indexes"} <= set(content):
        raise UserError(f"{path}: expected a dict with 'keypoints_2d_pred' and 'indexes'")
    with understanding(path, "file of 2D estimates"):
        return _detections(content, path)


def _detections(content: dict, path: Path) -> dict[str, np.ndarray]:
    order = np.argsort(np.asarray(content["indexes"]).ravel(), kind="stable")
    points = np.asarray(content["keypoints_2d_pred"])
    if points.ndim != 4 or points.shape[2:] != (len(STEREO_17), 2) or len(points) != len(order):
        raise UserError(f"{path}: keypoints_2d_pred has shape {points.shape}, expected (frames, views, 17, 2)")
    indexes = np.asarray(content["indexes"]).ravel()[order]
    if points.dtype.kind not in "fiu" or indexes.dtype.kind not in "fiu" or not np.isfinite(indexes).all():
        raise UserError(
            f"{path}: keypoints_2d_pred holds {points.dtype}, indexes {indexes.dtype}; numbers belong there"
        )
    points = points[order]
    bad = ~np.isfinite(points).all((1, 2, 3))
    if bad.any():
        frames = ", ".join(map(str, indexes[bad][:6])) + (", ..." if bad.sum() > 6 else "")
        raise UserError(
            f"{path}: keypoints_2d_pred is NaN or infinite in {int(bad.sum())} frames (indexes {frames}); "
            "fill them from their neighbours"
        )
    found = {"keypoints_2d_pred": points, "indexes": indexes}
    if "confidence" in content:
        found["confidence"] = np.asarray(content["confidence"])[order]
        if found["confidence"].shape != points.shape[:3] or found["confidence"].dtype.kind not in "fiu":
            raise UserError(f"{path}: confidence has shape {found['confidence'].shape}, expected {points.shape[:3]}")
    return found


def with_detections(data: StereoData, path: str | Path, total: int, in_groups: np.ndarray) -> StereoData:
    """Attach 2D estimates, one for each of the split's `total` rows, or one for each row that is in use."""
    found = load_detections(path)
    points, count = found["keypoints_2d_pred"], len(found["indexes"])
    if count == total:
        rows = data.row.numpy()
    elif count == int(in_groups.sum()):
        rows = np.cumsum(in_groups)[data.row.numpy()] - 1
    elif count == len(data):
        rows = np.arange(count)
    else:
        raise UserError(f"{path}: {count} frames, but the labels have {total} in this split")
    if len(np.unique(found["indexes"])) != count:
        raise UserError(f"{path}: 'indexes' names a frame twice")
    if points.shape[1] != data.projections.shape[1]:
        raise UserError(f"{path}: {points.shape[1]} views, but {data.projections.shape[1]} are asked for")
    pixels = torch.from_numpy(points[rows].astype(np.float64))
    confidence = found.get("confidence")
    return replace(
        data,
        detections=geometry.pixels_to_crop_units(pixels, data.image_size),
        confidence=None if confidence is None else torch.from_numpy(confidence[rows].astype(np.float64)),
    )


def action_name(name: str) -> str:
    """An action without its trial: 'Greeting-2' is a Greeting."""
    return re.sub(r"-\d+$", "", name)
