"""Published figures beside ours: read where an evaluation leaves them, judged, told."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.reproduce import METRICS
from common.errors import visible

LEAST = 0.05  # mm or points: the least tolerance of a figure that rests on random draws
PROTOCOL = {"mpjpe": "protocol_1", "p_mpjpe": "protocol_2"}
OF_CAMERAS = ("R_Agg", "J_Agg_fit", "J_Agg")  # columns that are left out where no camera is known


def figures(published: dict, folder: Path) -> list[dict]:
    """Every figure of a published row beside ours: {metric, column, published, here, tolerance, state}."""
    given = {metric: published[metric] for metric in METRICS if metric in published}
    rows = []
    for metric in given or {"mpjpe": None}:
        here, told = read(published["read"], metric, folder), given.get(metric)
        row = {"column": published["column"], "metric": METRICS[metric], "published": told, "here": here}
        row["source"] = published["source"]
        if told is None or here is None:
            state = "measured"
        else:
            row["tolerance"] = allowed = published.get("tolerance", tolerance(told))
            row["difference"] = here - float(told)
            state = "equal" if abs(row["difference"]) <= allowed + 1e-9 else "differs"
        rows.append(row | {"state": state})
    return rows


def tolerance(told: str) -> float:
    """How far ours may be from a published figure: TOLERANCE of benchmarks/reproduce.py."""
    return max(10.0 ** -len(told.partition(".")[2]), LEAST)


def read(where: str, metric: str, folder: Path) -> float | None:
    """The number that `where` names (see benchmarks/reproduce.toml) in a line's folder; None where there is none."""
    file, _, way = where.partition(" ")
    if file == "printed":
        lines = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        return float(next(line for line in lines if line.startswith(way)).split()[-1])
    if not (found := sorted(folder.glob(f"**/{file}"))):
        raise FileNotFoundError(f"no {file}")
    value = json.loads(found[-1].read_text(encoding="utf-8"))
    for part in way.format(metric=metric, protocol=PROTOCOL.get(metric, "")).split("."):
        if part in OF_CAMERAS and part not in value:
            return None
        value = value[int(part)] if isinstance(value, list) else value[part]
    return None if value is None else float(value)


def summary(content: dict) -> str:
    """verify.md: a line for each figure, then what is missing and what failed."""
    rows = ["# The published figures on this machine\n", f"equal: {content['equal_means']}.\n"]
    rows += ["| run | column | metric | published | here | |", "|---|---|---|---|---|---|"]
    for name, line in content["lines"].items():
        for figure in line.get("figures", ()):
            told, here = figure["published"] or "-", figure["here"]
            shown = "-" if here is None else f"{here:.{max(2, len(str(told).partition('.')[2]))}f}"
            rows.append(f"| {name} | {figure['column']} | {figure['metric']} | {told} | {shown} | {verdict(figure)} |")
    for title, state in (("Failed", "failed"), ("Missing", "missing")):
        if chosen := {name: line for name, line in content["lines"].items() if line["state"] == state}:
            rows += [f"\n## {title}\n"]
            rows += [f"- {name}: {visible(why)}" for name, line in chosen.items() for why in _reasons(line)]
    machine = ", ".join(f"{key} {value}" for key, value in content["machine"].items())
    return "\n".join([*rows, f"\nCommit {content['commit']}; {machine}.\n"])


def verdict(figure: dict) -> str:
    if figure["here"] is None:
        return "not computed on these data"
    if figure["published"] is None:
        return "no published figure"
    return "equal" if figure["state"] == "equal" else f"differs by {figure['difference']:+.3g}"


def _reasons(line: dict) -> list[str]:
    return line["missing"] if line["state"] == "missing" else [line["why"]]


def tell(name: str, line: dict) -> None:
    """What became of a line, on the screen."""
    if line["state"] in ("missing", "failed"):
        for why in _reasons(line):
            print(f"{name}: {line['state']}: {visible(why)}", flush=True)
    for figure in line.get("figures", ()):
        here = "-" if figure["here"] is None else f"{figure['here']:.3f}"
        print(f"{name}: {figure['column']}, {figure['metric']}: published {figure['published'] or '-'}, here {here}: "
              f"{verdict(figure)}", flush=True)  # fmt: skip
