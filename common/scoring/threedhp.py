"""Score MPI-INF-3DHP predictions without MATLAB: MPJPE, PCK and AUC by sequence and by activity.

    python -m common.scoring.threedhp --predictions checkpoint --annotations 3dhp_test
    python -m common.scoring.threedhp --predictions DIR --annotations 3dhp_test --mode J_Agg --labels univ_annot3

docs/3dhp.md explains the averages, the label sets and the layouts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common.door import guarded
from common.errors import UserError
from common.files.writing import save_json
from common.scoring.annotations import LABELS, SEQUENCES, Annotation, read_annotation
from common.scoring.export import exported_modes, prediction_path, read_predictions
from common.scoring.measures import joint_errors, mean_of_sequences, score_errors, valid_predictions
from common.scoring.tables import csv_path, headline, printable, score_dict, write_csv
from common.settings.ranges import WHOLE

LAYOUTS = ("all", "valid")
VALID_ONLY_MODE = "valid_only"  # the name that P-STMO's nameless `inference_data.mat` is told by


def _modes(folder: Path, modes: Sequence[str] | None, layout: str) -> dict[str, Path]:
    """{mode: file} of what is to be scored."""
    if layout == "valid" and not modes:
        return {VALID_ONLY_MODE: prediction_path(folder, "")}
    chosen = list(modes or exported_modes(folder))
    if not chosen and prediction_path(folder, "").is_file():
        raise UserError(f"{folder}: holds P-STMO's inference_data.mat, valid frames only; score it with --layout valid")
    if not chosen:
        raise UserError(f"{folder}: no inference_data_MODE.mat; `--evaluate` writes them")
    return {mode: prediction_path(folder, mode) for mode in chosen}


def score_folder(
    predictions: Path,
    annotations: Path,
    *,
    labels: str = "annot3",
    modes: Sequence[str] | None = None,
    layout: str = "all",
    sequences: Sequence[str] = SEQUENCES,
    step: int | None = None,
    out: Path | None = None,
    progress: bool = True,
) -> dict:
    """Score every export `inference_data_MODE.mat` of a folder, write CSVs and `3dhp_scores_LABELS.json`, return it.

    modes: which exports, None for all that are there; layout: 'all' frames or P-STMO's 'valid' ones; step: one
    sampling step from 1, None for all; out: where the files go, the folder of the predictions by default.
    Lengths in mm, PCK and AUC in percent. Raises UserError for what does not fit.
    """
    if layout not in LAYOUTS:
        raise UserError(f"--layout {layout}: no such layout; there are {' and '.join(LAYOUTS)}")
    out = Path(out or predictions)
    files = _modes(Path(predictions), modes, layout)
    truth = {name: read_annotation(annotations, name, labels) for name in sequences}
    activities = {name: a.activity[a.valid] for name, a in truth.items()}
    report = {
        "benchmark": "MPI-INF-3DHP test set",
        "labels": labels,
        "layout": layout,
        "units": {
            "mpjpe": "mm",
            "pck": "percent below 150 mm",
            "auc": "percent, thresholds 0:5:150 mm, at most 96.774",
        },
        "annotations": {n: {"frames": len(a), "valid": int(a.valid.sum()), "md5": a.md5} for n, a in truth.items()},
        "steps": {},
        "modes": {},
    }
    errors_of = {}
    with tqdm(files.items(), desc="scoring 3DHP", unit="mode", leave=False, disable=not progress) as bar:
        for mode, path in bar:
            errors_of[mode] = _errors(path, truth, layout)  # {TS1: (K, n, 17), ...}
    written = []
    for mode, errors in errors_of.items():
        count = len(next(iter(errors.values())))
        if step is not None and not 1 <= step <= count:
            raise UserError(f"--step {step}: {files[mode].name} has the steps 1 to {count}")
        report["steps"][mode] = count
        report["modes"][mode] = {}
        for k in range(1, count + 1) if step is None else [step]:
            by_sequence, by_activity = score_errors({name: e[k - 1] for name, e in errors.items()}, activities)
            report["modes"][mode][f"t{k}"] = {
                "sequences": {name: score_dict(s) for name, s in by_sequence.items()},
                "activities": {name: score_dict(s) for name, s in by_activity.items()},
                "mean_over_sequences": headline(mean_of_sequences(by_sequence)),
                "mean_over_frames": headline(by_activity["All"]),
            }
            written.append((mode, k, by_sequence, by_activity))
    out.mkdir(parents=True, exist_ok=True)  # nothing is written before everything has passed its checks
    for mode, k, by_sequence, by_activity in written:
        rows = [(f"TestSeq{name.removeprefix('TS')}", s) for name, s in by_sequence.items()]
        write_csv(csv_path(out, "sequencewise", labels, mode, k), "sequencewise", rows)
        write_csv(csv_path(out, "activitywise", labels, mode, k), "activitywise", list(by_activity.items()))
    save_json(out / f"3dhp_scores_{labels}.json", report)
    return report


def _errors(path: Path, truth: dict[str, Annotation], layout: str) -> dict[str, np.ndarray]:
    poses, errors = read_predictions(path), {}
    for name, annotation in truth.items():
        if name not in poses:
            raise UserError(f"{path}: no sequence {name}; it has {', '.join(poses)} (--sequences picks some)")
        kept = valid_predictions(poses[name], annotation, layout, str(path))  # (K, n, 17, 3)
        errors[name] = np.stack([joint_errors(p, annotation.poses[annotation.valid]) for p in kept])  # (K, n, 17)
    steps = {name: len(e) for name, e in errors.items()}
    if len(set(steps.values())) > 1:
        raise UserError(f"{path}: the sequences differ in their number of steps: {steps}")
    return errors


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Score MPI-INF-3DHP predictions: MPJPE, PCK and AUC.")
    parser.add_argument("--predictions", type=Path, required=True, help="folder with inference_data_MODE.mat")
    parser.add_argument("--annotations", type=Path, required=True, help="folder with TS1/annot_data.mat ...")
    parser.add_argument("--mode", default="all", help="all, or a comma list: P_Agg,J_Agg,P_Best,J_Best,J_Agg_fit")
    parser.add_argument("--labels", choices=LABELS, default="annot3", help="label set (default: annot3)")
    parser.add_argument("--layout", choices=LAYOUTS, default="all", help="frames in the export; valid: P-STMO's file")
    parser.add_argument("--sequences", default=",".join(SEQUENCES), help="comma list (default: all six)")
    parser.add_argument("--step", type=WHOLE, help="one sampling step, from 1 (default: all)")
    parser.add_argument("--out", type=Path, help="where the CSVs and the JSON go (default: beside the predictions)")
    return guarded(_run, parser.parse_args(argv))


def _run(args: argparse.Namespace) -> None:
    report = score_folder(
        args.predictions,
        args.annotations,
        labels=args.labels,
        modes=None if args.mode == "all" else args.mode.split(","),
        layout=args.layout,
        sequences=args.sequences.split(","),
        step=args.step,
        out=args.out,
    )
    print(printable(report))


if __name__ == "__main__":
    sys.exit(main())
