"""Scores as tables: the benchmark's CSV layout, a printable summary, and plain numbers for JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def write_csv(path: Path, kind: str, rows: Sequence[tuple[str, Any]]) -> None:
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


def fixed_width(rows: Sequence[Sequence[object]], *, left: int = 1, decimals: int = 2, indent: int = 0) -> list[str]:
    """Rows of cells as lines of text, every column as wide as its widest cell; the first `left` columns flush left.

    A float is written with `decimals` digits, None as a dash.
    """

    def text(cell: object) -> str:
        if cell is None:
            return "-"
        return f"{cell:.{decimals}f}" if isinstance(cell, float | np.floating) else str(cell)

    table = [[text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = [c.ljust(w) if n < left else c.rjust(w) for n, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append((" " * indent + "  ".join(cells)).rstrip())
    return lines


def _rows(table: dict) -> list[list]:
    return [
        [label, s["frames"], s["mpjpe_mm"]["Average"], s["pck_pct"]["Total"], s["auc_pct"]["Total"]]
        for label, s in table.items()
    ]


def printable(report: dict) -> str:
    """The report of `score_folder` as text: one block a mode, its last step in full, the other steps in one line."""
    out = [f"MPI-INF-3DHP test set, labels {report['labels']}, sequences {', '.join(report['annotations'])}"]
    for mode, steps in report["modes"].items():
        last = list(steps)[-1]
        result = steps[last]
        frames = result["activities"]["All"]["frames"]

        def mean(label: str, row: dict, frames=frames) -> list:
            return [label, frames, row["mpjpe"], row["pck"], row["auc"]]

        rows = [["", "frames", "MPJPE mm", "PCK %", "AUC %"], *_rows(result["sequences"])]
        rows += [mean(f"mean of {len(result['sequences'])} sequences", result["mean_over_sequences"])]
        rows += [mean("mean over frames", result["mean_over_frames"])]
        rows += _rows({name: result["activities"][name] for name in ACTIVITIES})
        for step in list(steps)[:-1]:
            rows += [mean(f"step {step[1:]}, mean of sequences", steps[step]["mean_over_sequences"])]
        out += ["", f"{mode}, step {last[1:]} of {report['steps'][mode]}", *fixed_width(rows, decimals=3, indent=2)]
    return "\n".join(out)
