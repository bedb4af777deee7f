"""MPI-INF-3DHP: what an evaluation exports, and its score where the annotations are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.datasets.windows import Batch, Windows
from common.engine.devices import Place
from common.engine.log import say
from common.scoring.annotations import missing_annotations
from common.scoring.export import scoring_lines, write_predictions
from common.scoring.tables import printable
from common.scoring.threedhp import score_folder


class PoseCollector:
    """Collects every frame's pose of every column while an evaluation runs."""

    def __init__(self, windows: Windows, columns: list[str], steps: int):
        self.windows = windows
        joints = len(windows.skeleton)
        self.poses = {
            name: [np.zeros((steps, len(clip), joints, 3), np.float32) for clip in windows.clips] for name in columns
        }

    def __call__(self, batch: Batch, poses: dict[str, Tensor]) -> None:
        """Take the aggregates (B, K, F, J, 3) of a batch, in metres."""
        for name, clips in self.poses.items():
            values = poses[name].cpu().numpy()
            for b, row in enumerate(batch.rows.tolist()):
                target = clips[self.windows.clip_of[row]]
                frames = self.windows.frames_of(row)
                inside = (frames >= 0) & (frames < target.shape[1])
                target[:, frames[inside]] = values[b][:, inside]

    def write(self, folder: Path, place: Place) -> None:
        """Write `inference_data_{column}.mat`: (3, 17, F, K), double, millimetres, root zero, one array a sequence."""
        for name, clips in self.poses.items():
            whole = [place.sum(torch.from_numpy(c).to(place.device)).cpu().numpy() for c in clips]
            if place.first:
                arrays = {
                    clip.subject: 1000 * poses.astype(np.float64).transpose(3, 2, 1, 0)
                    for clip, poses in zip(self.windows.clips, whole, strict=True)
                }
                write_predictions(folder, name, arrays)


def score_exports(folder: Path, annotations: Path, labels: str, columns: list[str]) -> dict | None:
    """Score the exports if the annotations are there, print and return the tables; say how to score them by hand."""
    scores, missing = None, missing_annotations(annotations)
    if not missing:
        scores = score_folder(folder, annotations, labels=labels, modes=columns)
        print(printable(scores))
        print("To score the exports again:")
    else:
        say(f"No {missing} in {annotations}: PCK and AUC are not computed. docs/3dhp.md says how to get it.")
        print("Once it is there:")
    mode = "J_Agg" if "J_Agg" in columns else columns[0]
    for program, line in scoring_lines(folder, annotations, labels, mode).items():
        print(f"  {program}:  {line}")
    return scores
