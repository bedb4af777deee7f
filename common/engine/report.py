"""What an evaluation leaves: report.json, the text log in the published layout, a table for the eye."""

from __future__ import annotations

import numpy as np

from common.datasets.clips import Clip
from common.engine.evaluate import Errors
from common.scoring.hypotheses import AGGREGATIONS
from common.scoring.metrics import METRICS
from common.scoring.tables import fixed_width

ROWS = {metric.key: metric for metric in METRICS.values()}


def summarise(errors: Errors, clips: list[Clip], chosen: np.ndarray | None = None) -> list[dict]:
    """The report's `results`: per step and metric, the errors by action, action-wise and frame-wise.

    `chosen` (clips,) restricts the summary, for example to one subject.
    """
    chosen = (errors.frames > 0) & (np.ones(len(clips), bool) if chosen is None else chosen)
    actions = list(dict.fromkeys(clip.action_name for clip, kept in zip(clips, chosen, strict=True) if kept))
    of_action = {a: chosen & np.array([clip.action_name == a for clip in clips]) for a in actions}
    results = [{"step": k} for k in range(next(iter(errors.sums.values())).shape[1])]
    for protocol in errors.sums:
        by_action = {a: errors.mean(protocol, rows) for a, rows in of_action.items()}
        frame_wise = errors.mean(protocol, chosen)
        action_wise = np.nanmean(list(by_action.values()), 0)  # NaN: clips too short for the metric
        for k, result in enumerate(results):

            def named(table, k=k):
                return {c: float(v) for c, v in zip(errors.columns, table[k], strict=True)}

            result[protocol] = {
                "action_wise": named(action_wise),
                "frame_wise": named(frame_wise),
                "actions": {a: named(table) for a, table in by_action.items()},
            }
    return results


def clip_errors(errors: Errors, clips: list[Clip]) -> dict[str, dict]:
    """Protocol 1 errors of each clip at the last step, mm, and its frames: what a paired comparison needs."""
    table = {}
    for c, clip in enumerate(clips):
        if errors.frames[c] > 0:
            means = errors.sums["protocol_1"][c, -1] / errors.frames[c]
            row = {name: float(v) for name, v in zip(errors.columns, means, strict=True)}
            table[clip.key] = {"frames": int(errors.frames[c]), **row}
    return table


def column_facts(columns: tuple[str, ...]) -> dict[str, dict]:
    """What each column reads of the ground truth."""
    facts = {}
    for name in columns:
        facts[name] = {"reads": list(AGGREGATIONS[name].reads)}
        if AGGREGATIONS[name].oracle:
            facts[name]["oracle"] = True
    return facts


def heading(name: str) -> str:
    """A column's heading, marked where it reads the truth."""
    aggregation = AGGREGATIONS.get(name)
    if aggregation and aggregation.oracle:
        return f"{name} (oracle)"
    return f"{name} (true root)" if aggregation and "root" in aggregation.reads else name


def table(results: list[dict], columns: list[str], title: str, mean_pose: dict[str, dict] | None = None) -> str:
    """The last step's errors as lines of text, a table a metric: a row an action, then the averages."""
    lines = []
    for metric in [key for key in ROWS if key in results[-1]]:
        block = results[-1][metric]
        shown = block["actions"] | {
            "action-wise average": block["action_wise"],
            "frame-wise average": block["frame_wise"],
        }
        rows = [["", *map(heading, columns)], *([name, *(v[c] for c in columns)] for name, v in shown.items())]
        lines += [f"{title}, {ROWS[metric].title}, {ROWS[metric].unit}, step {len(results)} of {len(results)}"]
        lines += fixed_width(rows)
        if mean_pose and metric in mean_pose:
            value = mean_pose[metric]["action_wise"]
            lines.append(f"mean_pose (the training mean as the answer), action-wise: {value:.2f}")
        lines.append("")
    return "\n".join(lines)


def published_log(results: list[dict], columns: list[str]) -> str:
    """The text log in the published layout: per action, then the action-wise averages."""
    lines = []
    protocols = [p for p in ROWS if p in results[-1]]
    for action in results[-1]["protocol_1"]["actions"]:
        lines.append(f"----{action}----")
        for protocol in protocols:
            for k, result in enumerate(results):
                values = result[protocol]["actions"][action]
                lines += [f"step {k} : {ROWS[protocol].title} {c}: {values[c]} {ROWS[protocol].unit}" for c in columns]
        lines.append("----------")
    for protocol in protocols:
        row = ROWS[protocol]
        for k, result in enumerate(results):
            values = result[protocol]["action_wise"]
            lines += [f"step {k} {row.average_title} action-wise average {c}: {values[c]} {row.unit}" for c in columns]
    return "\n".join(lines) + "\n"
