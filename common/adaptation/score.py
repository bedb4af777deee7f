"""Scores before and after adaptation: MPJPE, P-MPJPE, PCK, AUC, one table; exports of MPI-INF-3DHP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.adaptation.data import joint_order
from common.adaptation.lifter import RefinedLifter
from common.datasets.windows import Batch, Windows
from common.engine.devices import Place
from common.engine.evaluate import Sampling, evaluate, sample
from common.engine.export_3dhp import PoseCollector
from common.engine.report import heading, summarise
from common.geometry.skeleton import MPI_INF_3DHP_17
from common.scoring.hypotheses import available
from common.scoring.measures import score_frames
from common.scoring.metrics import joint_errors
from common.scoring.tables import fixed_width

MEASURES = {"mpjpe": "MPJPE mm", "p_mpjpe": "P-MPJPE mm", "pck": "PCK %", "auc": "AUC %"}


@dataclass
class JointErrors:
    """Collects the last step's joint errors of every valid frame by column and action, mm, in 3DHP's joint order."""

    windows: Windows
    columns: list[str]

    def __post_init__(self):
        self.order = joint_order(self.windows.skeleton, MPI_INF_3DHP_17)
        self.rows: dict[str, dict[str, list[np.ndarray]]] = {name: {} for name in self.columns}

    def __call__(self, batch: Batch, poses: dict[str, Tensor]) -> None:
        mask = batch.mask.cpu().numpy()  # (B, F)
        for name, actions in self.rows.items():
            errors = 1000 * joint_errors(poses[name][:, -1], batch.positions_3d)[..., self.order].cpu().numpy()
            for b, row in enumerate(batch.rows.tolist()):
                action = self.windows.clips[self.windows.clip_of[row]].action_name
                actions.setdefault(action, []).append(errors[b][mask[b]])

    def joined(self, column: str) -> dict[str, np.ndarray]:
        """{action: (frames, 17)}, actions in the order met."""
        joined = {action: np.concatenate(parts) for action, parts in self.rows[column].items()}
        return {action: errors for action, errors in joined.items() if len(errors)}


def score_lifter(
    lifter: RefinedLifter,
    windows: Windows,
    sampling: Sampling,
    place: Place,
    *,
    export: Path | None = None,
    limit: int | None = None,
    title: str = "evaluating",
) -> dict:
    """Every column's measures by action, and their means over actions and over frames; `export`: folder of .mat files.

    PCK and AUC count 3DHP's 14 joints, strictly below each threshold, in the shared scorer. For 3DHP an action is one
    of the sequences TS1 ... TS6.
    """
    columns = list(available(windows.has_camera))
    collector = JointErrors(windows, columns)
    observers: list[Callable] = [collector]
    exporter = PoseCollector(windows, columns, sampling.steps) if export else None
    if exporter:
        observers.append(lambda batch, poses: exporter(batch, {n: poses[n][..., collector.order, :] for n in columns}))

    def observe(batch: Batch, poses: dict[str, Tensor]) -> None:
        for observer in observers:
            observer(batch, poses)

    errors = evaluate(lifter, windows, sampling, place, observe=observe, limit=limit, title=title)
    if exporter:
        exporter.write(export, place)
    results = summarise(errors, windows.clips)
    last = results[-1]
    out = {"steps": results, "columns": {}, "frames": int(errors.frames.sum()), "seconds": round(errors.seconds, 2)}
    for name in columns:
        by_action = collector.joined(name)
        scores = {action: score_frames(rows) for action, rows in by_action.items()}
        everything = score_frames(np.concatenate(list(by_action.values())))
        actions = {
            action: {
                "mpjpe": float(s.mpjpe[-1]),
                "p_mpjpe": last["protocol_2"]["actions"][action][name],
                "pck": float(s.pck[-1]),
                "auc": float(s.auc[-1]),
            }
            for action, s in scores.items()
        }
        out["columns"][name] = {
            "action_wise": {m: float(np.mean([row[m] for row in actions.values()])) for m in MEASURES},
            "frame_wise": {
                "mpjpe": float(everything.mpjpe[-1]),
                "p_mpjpe": last["protocol_2"]["frame_wise"][name],
                "pck": float(everything.pck[-1]),
                "auc": float(everything.auc[-1]),
            },
            "actions": actions,
        }
    return out


def table(title: str, before: dict | None, after: dict | None, average: str = "action_wise") -> str:
    """Lines of text: a row a column of hypotheses, each measure before and after. One of the two may be None."""
    sides = [(name, scores) for name, scores in (("before", before), ("after", after)) if scores]
    rows = [["", *_above(sides)], ["", *(side for _ in MEASURES for side, _ in sides)]]
    for name in sides[0][1]["columns"]:
        rows.append([heading(name), *(scores["columns"][name][average][m] for m in MEASURES for _, scores in sides)])
    return "\n".join([title, *fixed_width(rows)]) + "\n"


def actions_table(before: dict | None, after: dict | None, column: str = "P_Agg") -> str:
    """The same by action, of one column."""
    sides = [(name, scores) for name, scores in (("before", before), ("after", after)) if scores]
    rows = [[column, *_above(sides)]]
    for action in sides[0][1]["columns"][column]["actions"]:
        cells = [scores["columns"][column]["actions"][action][m] for m in MEASURES for _, scores in sides]
        rows.append([action, *cells])
    return "\n".join(fixed_width(rows)) + "\n"


def _above(sides: list) -> list[str]:
    """The measures' names, each over the last of its columns."""
    return [cell for name in MEASURES.values() for cell in [""] * (len(sides) - 1) + [name]]


def poses_of(lifter: RefinedLifter, windows: Windows, sampling: Sampling, place: Place, rows: list[int]) -> np.ndarray:
    """P_Agg of the centre frame of some windows, (len(rows), J, 3), metres: for pictures."""
    batch = windows.batch(torch.tensor(rows))
    poses = sample(lifter, windows, batch, sampling, place)[:, -1].mean(1)  # (B, F, J, 3)
    return poses[:, windows.output // 2].cpu().numpy()
