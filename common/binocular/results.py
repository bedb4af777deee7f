"""What an evaluation leaves behind: the published arrays and `metric.json`, `report.json`, and a table to read."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from common.binocular.evaluate import COLUMNS, ROWS, Scores, gain, published_metrics
from common.datasets.stereo import StereoData
from common.files.writing import save_json, save_npy, save_pickle
from common.geometry.stereo import to_channels
from common.scoring.tables import fixed_width


def save_arrays(folder: Path, data: StereoData, poses: dict[str, Tensor], states: list[Tensor], final: Tensor) -> None:
    """Write the published files. 3D in world metres, 2D in crop units.

    states: the 2D poses of each step (N, H, V, J, 2); `keypoints_2d_iters_k` holds them as (N H, J, 2V), the
    hypotheses of a frame in a row. final: the aggregated 2D poses (N, V, J, 2).
    """
    start = states[0][:, 0]
    original = poses.get("input", poses["raw"])  # triangulation of what the network started from
    arrays = {
        "keypoints_2d_ori": start,
        "keypoints_3d_dualdiff": poses["model"],
        "keypoints_3d_tri": original,
        "keypoints_3d_gt": data.keypoints_3d,
    }
    for name, value in arrays.items():
        save_npy(folder / f"{name}.npy", value.float().numpy())
    save_npy(folder / "index.npy", data.row.numpy())
    content = {
        "keypoints_3d": poses["model"],
        "keypoints_3d_gt": data.keypoints_3d,
        "keypoints_3d_original": original,
        "keypoints_2d": final,
        "keypoints_2d_original": start,
        "keypoints_2d_gt": data.keypoints_2d,
    }
    content |= {f"keypoints_2d_iters_{k}": to_channels(s.flatten(0, 1)) for k, s in enumerate(states)}
    plain = {name: value.float().numpy() for name, value in content.items()} | {"indexes": data.row.numpy()}
    save_pickle(folder / "results.pkl", plain)


def save_reports(folder: Path, scores: Scores, about: dict) -> dict:
    """Write `metric.json` (published keys, and where the statistics came from) and `report.json`; returns the latter.

    about: card, protocol, hypotheses, steps, seed, cost, detector_statistics, reads.
    """
    metric = published_metrics(scores) | {"detector_statistics": about["detector_statistics"]}
    baselines = [row for row in ROWS if row != "model" and row in scores.frames]
    report = about | {
        "frames": len(scores.data),
        "dropped": scores.data.dropped,
        "unit": "mm",
        "columns": {row: {"reads": about["reads"] if row == "model" else []} for row in scores.frames},
        "results": scores.summary(),
        "gain": {over: {column: gain(scores, column, over) for column in COLUMNS} for over in baselines},
    }
    save_json(folder / "metric.json", metric)
    save_json(folder / "report.json", report)
    return report


def table(report: dict) -> str:
    """The report as text: one block for each kind of grouping, triangulation beside the model."""
    lines = []
    shown = [row for row in ROWS if row in report["columns"]]
    for kind, named in report["results"].items():
        rows: list[list] = [[kind, "", "frames", *COLUMNS]]
        for name, entry in named.items():
            for i, row in enumerate(shown):
                label, frames = (name, entry["frames"]) if i == 0 else ("", "")
                rows.append([label, ROWS[row], frames, *(entry["errors"][row][c] for c in COLUMNS)])
        lines += ["", *fixed_width(rows, left=2)]
    for over, columns in report["gain"].items():
        g = columns["absolute"]
        lines.append(
            f"\nGain over {ROWS[over]}: {g['mean']:.2f} +- {g['standard_error']:.2f} mm absolute, "
            f"{100 * g['improved']:.0f} % of the frames improve."
        )
    return "\n".join(lines)


def simulation_table(rows: list[dict]) -> str:
    """The table of `--simu`."""
    return "\n".join(fixed_width([["", *COLUMNS], *([row["name"], *(row[c] for c in COLUMNS)] for row in rows)]))


def means(errors: dict[str, Tensor]) -> dict[str, float]:
    return {column: float(torch.mean(values)) for column, values in errors.items()}
