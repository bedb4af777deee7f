"""Errors of 3D poses from two views, beside those of plain triangulation, so that a gain can be attributed.

All errors in millimetres, means over frames, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.binocular.noise import DetectorNoise
from common.datasets.stereo import StereoData, action_name
from common.geometry.skeleton import STEREO_17
from common.geometry.stereo import triangulate
from common.scoring.metrics import joint_errors, mpjpe, p_mpjpe

COLUMNS = ("absolute", "relative", "procrustes", "root")
ROWS = {
    "raw": "triangulation, raw",
    "debiased": "triangulation, de-biased",
    "model": "Dual-Diffusion",
}


def errors(poses: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Errors (N,) of poses (N, J, 3) in metres: `absolute` in the world, `relative` to the root joint of each (which
    counts as a joint, published), `procrustes` after alignment, `root` of the root joint alone."""
    root = STEREO_17.root
    return {
        "absolute": 1000 * mpjpe(poses, truth),
        "relative": 1000 * mpjpe(poses - poses[:, root : root + 1], truth - truth[:, root : root + 1]),
        "procrustes": 1000 * p_mpjpe(poses, truth),
        "root": 1000 * joint_errors(poses[:, root], truth[:, root]),
    }


def baselines(data: StereoData, noise: DetectorNoise | None, weighted: bool = False) -> dict[str, Tensor]:
    """Poses (N, J, 3) of plain triangulation: of the detections, and of the detections less their mean error."""
    weights = data.confidence if weighted else None
    poses = {"raw": triangulate(data.detections, data.projections, weights)}
    if noise is not None:
        poses["debiased"] = triangulate(data.detections - noise.mean, data.projections, weights)
    return poses


@dataclass(frozen=True)
class Scores:
    """Errors of every frame, per row of the table (raw, debiased, model) and column."""

    data: StereoData
    frames: dict[str, dict[str, Tensor]]  # row -> column -> (N,)
    joints: dict[str, tuple[Tensor, Tensor]]  # row -> absolute and relative errors (N, J)

    def mean(self, mask: Tensor) -> dict[str, dict[str, float]]:
        """Row -> column -> mean over the frames of a mask."""
        return {
            row: {column: float(values[mask].mean()) for column, values in columns.items()}
            for row, columns in self.frames.items()
        }

    def groups(self) -> dict[str, dict[str, Tensor]]:
        """Masks of the frames by what a report lists: all, damaged or not, action, subject, camera rig."""
        data = self.data
        everything = torch.ones(len(data), dtype=torch.bool)
        names = np.array([action_name(data.actions[a]) for a in data.action.tolist()])
        order = dict.fromkeys(action_name(a) for a in data.actions)
        masks = {
            "overall": {"all": everything},
            "actions": {a: torch.from_numpy(names == a) for a in order},
            "subjects": {data.subjects[s]: data.subject == s for s in data.subject.unique().tolist()},
            "groups": {f"rig {g}": data.group == g for g in data.group.unique().tolist()},
        }
        if data.damaged.any():
            masks["overall"]["without damaged"] = ~data.damaged
        return {kind: {n: m for n, m in named.items() if m.any()} for kind, named in masks.items()}

    def summary(self) -> dict[str, dict]:
        """Kind -> name -> {'frames', 'errors': row -> column -> mm}."""
        return {
            kind: {name: {"frames": int(m.sum()), "errors": self.mean(m)} for name, m in named.items()}
            for kind, named in self.groups().items()
        }


def joint_tables(poses: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Errors (N, J) of every joint, mm, of poses (N, J, 3) in metres: in the world, and relative to each one's root."""
    root = slice(STEREO_17.root, STEREO_17.root + 1)
    return (
        1000 * joint_errors(poses, truth),
        1000 * joint_errors(poses - poses[:, root], truth - truth[:, root]),
    )


def score(poses: dict[str, Tensor], data: StereoData) -> Scores:
    """Score several rows of poses (N, J, 3), world metres, against the labels."""
    truth = data.keypoints_3d
    return Scores(
        data,
        {row: errors(p, truth) for row, p in poses.items()},
        {row: joint_tables(p, truth) for row, p in poses.items()},
    )


def gain(scores: Scores, column: str, over: str) -> dict[str, float]:
    """How the model compares frame by frame with a baseline row: mean gain in mm, its standard error (frames taken
    as independent), share of frames that improve."""
    difference = scores.frames[over][column] - scores.frames["model"][column]
    return {
        "mean": float(difference.mean()),
        "standard_error": float(difference.std() / len(difference) ** 0.5),
        "improved": float((difference > 0).double().mean()),
    }


def published_metrics(scores: Scores, row: str = "model") -> dict[str, dict]:
    """`metric.json` under the published keys; numbers are plain, what has no frames is None."""
    return metric_entries(scores.frames[row], scores.joints[row], scores.data)


def metric_entries(
    frames: dict[str, Tensor], joints: tuple[Tensor, Tensor], data: StereoData | None
) -> dict[str, dict]:
    """The published entries of errors per frame (`errors`) and per joint (`joint_tables`); without data, averages."""
    masks, by_action = {"Average": torch.ones(len(joints[0]), dtype=torch.bool)}, {}
    if data is not None:
        masks |= {s: data.subject == i for i, s in enumerate(data.subjects)}
        names = np.array([action_name(data.actions[a]) for a in data.action.tolist()])
        actions = dict.fromkeys(action_name(a) for a in data.actions)
        by_action = {a: torch.from_numpy(names == a) for a in actions}

    def table(values: Tensor, mask: Tensor) -> dict[str, float | None]:
        return {name: _mean(values[m]) for name, m in ({"Average": mask} | _and(mask, by_action)).items()}

    out = {
        key: {name: table(frames[column], mask) for name, mask in masks.items()}
        for key, column in (("per_pose_error", "absolute"), ("per_pose_error_relative", "relative"))
    }
    absolute, relative = joints
    if data is None or data.kind == "mhad":
        out["per_joint_error"] = {"Average": absolute.mean(0).tolist()}
    if data is not None and data.kind == "mhad":
        hidden = torch.zeros_like(absolute) if data.occlusion is None else data.occlusion
        for name, mask in (("notocc", hidden == 0), ("occ", hidden > 0)):
            out[f"per_error_{name}"] = {"Average": [_mean(absolute[mask])]}
            out[f"per_error_relative_{name}"] = {"Average": [_mean(relative[mask])]}
    return out


def _and(mask: Tensor, masks: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: mask & m for name, m in masks.items()}


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None
