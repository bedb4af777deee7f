"""Scores as tables: the benchmark's CSV layout, a printable summary, and plain numbers for JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.files.writing import save_text
from common.scoring.annotations import ACTIVITIES, GROUPS, JOINT_NAMES

COLUMNS = 2 + len(JOINT_NAMES)
# `ori` means annot3 in the published file names; the other label set must not pass for it.
NAME_OF_LABELS = {"annot3": "ori", "univ_annot3": "univ"}


def csv_path(folder: Path, kind: str, labels: str, mode: str, step: int) -> Path:
    """`mpii_3dhp_evaluation_{kind}_ori_{mode}_t{step}.csv`; steps count from 1.

    `kind` is sequencewise or activitywise.
    """
    return Path(folder) / f"mpii_3dhp_evaluation_{kind}_{NAME_OF_LABELS[labels]}_{mode}_t{step}.csv"


def number(value: float) -> str:
    """15 significant digits, as MATLAB's `%.15g` writes them."""
    if math.isfinite(value):
        return f"{value:.15g}"
    return "NaN" if math.isnan(value) else ("Inf" if value > 0 else "-Inf")


def write_csv(path: Path, kind: str, rows: Sequence[tuple[str, object]]) -> None:
    """Write the three stacked tables (MPJPE, PCK, AUC) of labelled scores, 19 columns, as the published script does."""
    prefix = "seq" if kind == "sequencewise" else "activity"
    lines = [[f"{prefix}_table{i + 1}" for i in range(COLUMNS)], ["", *JOINT_NAMES, "Average"]]
    lines += [[label, *map(number, score.mpjpe)] for label, score in rows]
    for title, name in (("PCK", "pck"), ("AUC", "auc")):
        lines += [[title, *GROUPS, "Total"]]
        lines += [[label, *map(number, getattr(score, name))] for label, score in rows]
    text = "".join(",".join(line + [""] * (COLUMNS - len(line))) + "\n" for line in lines)
    save_text(path, text)


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None  # JSON has no NaN


def score_dict(score) -> dict:
    """One score as plain numbers; null stands for 'no frames'."""
    names = {"mpjpe_mm": (*JOINT_NAMES, "Average"), "pck_pct": (*GROUPS, "Total"), "auc_pct": (*GROUPS, "Total")}
    values = (score.mpjpe, score.pck, score.auc)
    return {"frames": score.frames} | {
        key: dict(zip(columns, map(_plain, row), strict=True))
        for (key, columns), row in zip(names.items(), values, strict=True)
    }


def headline(score) -> dict[str, float | None]:
    """Average, PCK Total and AUC Total."""
    return {"mpjpe": _plain(score.mpjpe[-1]), "pck": _plain(score.pck[-1]), "auc": _plain(score.auc[-1])}


def _cell(value: float | None) -> str:
    return f"{'-':>9}" if value is None else f"{value:9.3f}"


def _line(label: str, frames: int, row: dict) -> str:
    return f"  {label:<26}{frames:>7}" + "".join(_cell(row[key]) for key in ("mpjpe", "pck", "auc"))


def _rows(table: dict) -> list[str]:
    return [
        _line(
            label,
            s["frames"],
            {"mpjpe": s["mpjpe_mm"]["Average"], "pck": s["pck_pct"]["Total"], "auc": s["auc_pct"]["Total"]},
        )
        for label, s in table.items()
    ]


def printable(report: dict) -> str:
    """The report of `score_folder` as text: one block a mode, its last step in full, the other steps in one line."""
    head = f"  {'':<26}{'frames':>7}{'MPJPE mm':>9}{'PCK %':>9}{'AUC %':>9}"
    out = [f"MPI-INF-3DHP test set, labels {report['labels']}, sequences {', '.join(report['annotations'])}"]
    for mode, steps in report["modes"].items():
        last = list(steps)[-1]
        result = steps[last]
        frames = result["activities"]["All"]["frames"]
        count = len(result["sequences"])
        out += ["", f"{mode}, step {last[1:]} of {report['steps'][mode]}", head, *_rows(result["sequences"])]
        out += [_line(f"mean of {count} sequences", frames, result["mean_over_sequences"])]
        out += [_line("mean over frames", frames, result["mean_over_frames"])]
        out += _rows({name: result["activities"][name] for name in ACTIVITIES})
        for step in list(steps)[:-1]:
            out += [_line(f"step {step[1:]}, mean of sequences", frames, steps[step]["mean_over_sequences"])]
    return "\n".join(out)
