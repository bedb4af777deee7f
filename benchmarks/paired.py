"""Comparing finished runs: may they be compared, spread over seeds, paired bootstrap over clips, the table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.errors import UserError

# What must agree, by its name in a run: how a refusal calls it.
CONDITIONS = {
    "dataset": "data set",
    "labels": "label set",
    "keypoints": "2D source (-k)",
    "subjects": "test subjects (-ste)",
    "actions": "actions (-a)",
    "protocol": "protocol",
    "hypotheses": "hypotheses H",
    "steps": "sampling steps K",
    "window": "frames of a window (-f)",
    "frames": "frames scored",
    "synthetic": "synthetic data",
}
RESAMPLES = 10_000
LEVEL = 0.95


def run_of(report: dict, label: str, **more) -> dict:
    """What a comparison keeps of a report.json."""
    missing = [key for key in ("clips", "results", "card") if key not in report]
    if missing:
        raise UserError(f"{label}: no {missing[0]} in this report; evaluate the checkpoint anew with this version")
    last = report["results"][-1]
    return {
        "label": label,
        "model": report["card"]["model"],
        "variant": report["card"].get("variant"),
        "seed": report["card"].get("seed"),
        "window": report["card"]["frames"],
        **{key: report.get(key) for key in CONDITIONS if key != "window"},
        "sampler": report.get("sampler", "ddim"),
        "eval_text": report.get("eval_text"),
        "parameters": report["cost"]["parameters"],
        "checkpoint": report["checkpoint"]["sha256"],
        "averages": {p: {k: last[p][k] for k in ("action_wise", "frame_wise")} for p in last if p != "step"},
        "clips": report["clips"],
        **more,
    }


def check_comparable(runs: Sequence[dict]) -> None:
    """Refuse runs that were not scored on the same frames in the same way."""
    first = runs[0]
    for run in runs[1:]:
        ours, theirs = (one.get("sampler", "ddim") for one in (run, first))  # older files do not say it
        if ours != theirs:
            raise UserError(f"not comparable: --sampler is {theirs} in {first['label']} and {ours} in {run['label']}")
        for key, name in CONDITIONS.items():
            if run[key] != first[key]:
                raise UserError(
                    f"not comparable: {name} is {first[key]} in {first['label']} and {run[key]} in {run['label']}"
                )
        if run["clips"].keys() != first["clips"].keys():
            other = sorted(run["clips"].keys() ^ first["clips"].keys())[0]
            raise UserError(f"not comparable: only one of {first['label']} and {run['label']} has the clip {other}")
        for clip, row in run["clips"].items():
            if row["frames"] != first["clips"][clip]["frames"]:
                raise UserError(f"not comparable: {first['label']} and {run['label']} scored other frames of {clip}")


def columns_of(runs: Sequence[dict]) -> list[str]:
    """Columns that all runs have, in the order of the first."""
    rows = [next(iter(run["clips"].values())) for run in runs]
    return [name for name in rows[0] if name != "frames" and all(name in row for row in rows)]


def spread(runs: Sequence[dict], column: str, protocol: str = "protocol_1", average: str = "action_wise") -> tuple:
    """(mean, standard deviation over the runs or None for one run), mm."""
    values = [run["averages"][protocol][average][column] for run in runs]
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def bootstrap(
    ours: Sequence[dict], baseline: Sequence[dict], column: str, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float, float]:
    """Difference ours - baseline of the frame-wise error, mm, and its interval: (difference, low, high).

    Each clip's error is the mean over the seeds. Takes are drawn with replacement, each with all the cameras that saw
    it, for the views of one take are no independent samples (paired percentile bootstrap; Efron and Tibshirani 1993).
    The interval is about the choice of test takes; the spread over seeds is told beside it.
    """
    keys = list(baseline[0]["clips"])
    weights = np.array([baseline[0]["clips"][key]["frames"] for key in keys], float)
    errors = [np.mean([[run["clips"][key][column] for key in keys] for run in group], 0) for group in (ours, baseline)]
    takes = {take: i for i, take in enumerate(dict.fromkeys(_take(key) for key in keys))}
    of_take = np.array([takes[_take(key)] for key in keys])
    gain = np.bincount(of_take, weights * (errors[0] - errors[1]), len(takes))
    frames = np.bincount(of_take, weights, len(takes))
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(takes), size=(resamples, len(takes)))
    means = gain[drawn].sum(1) / frames[drawn].sum(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(gain.sum() / frames.sum()), float(low), float(high)


def _take(key: str) -> str:
    """Subject and action of a clip's key SUBJECT/ACTION/CAMERA."""
    return key.rsplit("/", 1)[0]


def table(comparison: dict) -> str:
    """The comparison as Markdown: how it was taken, then a line a model, the first being the baseline."""
    runs, column = comparison["runs"], comparison["column"]
    check_comparable(runs)
    if column not in columns_of(runs):
        raise UserError(f"--column {column}: not in these runs; they have {', '.join(columns_of(runs))}")
    groups = {label: [r for r in runs if r["label"] == label] for label in dict.fromkeys(r["label"] for r in runs)}
    base_label, base = next(iter(groups.items()))
    second = all("protocol_2" in run["averages"] for run in runs)
    heads = ["Model", "Parameters", "Seeds", f"{column} MPJPE, mm", *([f"{column} P-MPJPE, mm"] if second else [])]
    heads += [f"against {base_label}, mm", f"{LEVEL:.0%} interval"]
    lines = [facts(comparison), "", "| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for label, group in groups.items():
        cells = [label, f"{group[0]['parameters']:,}", ", ".join(str(run["seed"]) for run in group)]
        cells += [_plus_minus(*spread(group, column, p)) for p in ("protocol_1", "protocol_2")[: 1 + second]]
        if group is base:
            cells += ["", ""]
        else:
            difference, low, high = bootstrap(group, base, column)
            cells += [f"{difference:+.2f}", f"{low:+.2f} to {high:+.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", _reading(runs, column)])


def _plus_minus(mean: float, deviation: float | None) -> str:
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"


def facts(comparison: dict) -> str:
    """One paragraph: data, sampling, budget, commit."""
    run = comparison["runs"][0]
    parts = [
        f"{'SYNTHETIC ' if run['synthetic'] else ''}{run['dataset']}, 2D {run['keypoints']}",
        f"test subjects {run['subjects']}",
        f"{run['window']} frames a window, H={run['hypotheses']}, K={run['steps']}, protocol {run['protocol']}",
        f"{run['frames']:,} frames in {len(run['clips'])} clips",
    ]
    for kind, value in (comparison.get("budget") or {}).items():
        parts.append(f"budget {value:g} {kind} a run")
    parts.append(f"commit {comparison['commit']}, {comparison['date']}")
    if comparison.get("arguments"):
        parts.append(f"`{comparison['arguments']}`")
    return "; ".join(parts) + "."


def _reading(runs: Sequence[dict], column: str) -> str:
    told = {run["label"]: run["eval_text"] for run in runs if run.get("eval_text")}
    text = "".join(f" {label} was told the test action as: {how}." for label, how in told.items())
    return (
        "MPJPE is the action-wise mean at the last step, with the standard deviation over seeds. The difference is of "
        "frame-wise means (below zero is better), its interval a paired bootstrap over takes, all cameras of a take "
        f"together.{text}"
    )
