"""The page of `--calibration`: how honest the hypotheses are, as curves, bars and tables in one HTML file."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from common.files.writing import save_text
from common.viz.draw import LIGHT, TRUTH
from common.viz.layout import INK

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: .3rem } h2 { font-size: 1.1rem; margin: 1.6rem 0 .3rem }
p.quiet { color: #666; margin-top: 0 } .pictures { display: flex; flex-wrap: wrap; gap: 1rem }
.pictures svg { width: 29rem; max-width: 100%; height: auto } svg { max-width: 100%; height: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .15rem .7rem; text-align: right }
th:first-child, td:first-child { text-align: left } thead th { border-bottom: 1px solid #bbb; font-weight: 600 }
"""
COLUMNS = {
    "error": ("error, mm", 1), "spread": ("spread, mm", 1), "ece": ("ECE", 3), "50": ("in 50 %", 2),
    "90": ("in 90 %", 2), "energy_score": ("energy score, mm", 1), "spearman": ("rank correlation", 2),
}  # fmt: skip
READING = (
    "In 50 % and in 90 %: the share of the true joints, in percent, within the ball about the samples' median that "
    "holds this share of the samples. ECE, the expected calibration error: 0 is honest, 0.5 the worst. Spread: of the "
    "samples; error: of their mean. The rank correlation (Spearman's) of both is 1 where a joint of greater spread "
    "always errs more. The energy score is the less the better, for place and spread together."
)


def write_page(path: Path, title: str, sampler: str, sets: Mapping[str, dict]) -> Path:
    """Write the page. `sets` are figures of `engine.calibration.report` by name, the main one last, an earlier one
    ('as trained', say) for comparison."""
    main = list(sets.values())[-1]
    parts = [f"<h1>{html.escape(title)}</h1>", f"<p class=quiet>{html.escape(sampler)}</p>"]
    parts += [f"<div class=pictures>{_svg(_reliability(sets))}{_svg(_sparsification(main))}</div>"]
    parts += [_table("All joints", "", sets), f"<p class=quiet>{READING}</p>"]
    parts += ["<h2>By joint</h2>", _svg(_bars(main["joints"])), _table("", "joint", main["joints"])]
    parts += [_table("By action", "action", main["actions"])]
    if main.get("confidence"):
        parts += [_table("By confidence of the 2D", "confidence", main["confidence"])]
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
    return save_text(path, f"{head}<style>{STYLE}</style></head><body>{chr(10).join(parts)}</body></html>\n")


def _table(heading: str, first: str, rows: Mapping[str, dict]) -> str:
    heads = "".join(f"<th>{html.escape(text)}</th>" for text in (first, *(name for name, _ in COLUMNS.values())))
    lines = []
    for name, row in rows.items():
        cells = [100 * row["covered"][{"50": "0.5", "90": "0.9"}[key]] if key in ("50", "90") else row[key]
                 for key in COLUMNS]  # fmt: skip
        digits = (0 if key in ("50", "90") else places for key, (_, places) in COLUMNS.items())
        told = "".join(f"<td>{_number(cell, places)}</td>" for cell, places in zip(cells, digits, strict=True))
        lines.append(f"<tr><td>{html.escape(name)}</td>{told}</tr>")
    start = f"<h2>{heading}</h2>" if heading else ""
    return f"{start}<table><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _number(value: float | None, places: int) -> str:
    return "" if value is None or not np.isfinite(value) else f"{value:.{places}f}"


def _axes(width: float, height: float, xlabel: str, ylabel: str) -> Axes:
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.62 / width, 0.5 / height, 1 - 0.75 / width, 1 - 0.85 / height))
    axes.set_xlabel(xlabel, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    axes.grid(color="#E3E3E3", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return axes


def _reliability(sets: Mapping[str, dict]) -> Axes:
    axes = _axes(4.4, 4.0, "share of the samples, %", "true joints within, %")
    axes.set_title("Does the truth lie among the samples?", loc="left", fontsize=11, color=INK)
    axes.plot([0, 100], [0, 100], color=TRUTH, linewidth=1.2, label="honest")
    styles = [("--", LIGHT["right"]), ("-", LIGHT["left"])][-len(sets) :]
    for (name, figures), (line, colour) in zip(sets.items(), styles, strict=True):
        x, y = (100 * np.array(figures[key]) for key in ("quantiles", "curve"))
        label = f"{name}, ECE {figures['ece']:.3f}"
        axes.plot(x, y, line, color=colour, linewidth=2, marker="o", markersize=3, label=label)
    axes.set(xlim=(0, 100), ylim=(0, 100))
    axes.legend(frameon=False, labelcolor=INK, loc="upper left")
    return axes


def _sparsification(figures: dict) -> Axes:
    axes = _axes(4.4, 4.0, "joints left out, %", "mean error of the rest, mm")
    axes.set_title("Does the spread tell which joints err?", loc="left", fontsize=11, color=INK)
    x = 100 * np.array(figures["left_out"])
    axes.plot(x, figures["sparsification"], color=LIGHT["left"], linewidth=2, label="greatest spread first")
    axes.plot(x, figures["sparsification_best"], "--", color=LIGHT["right"], label="greatest error first")
    axes.axhline(figures["sparsification"][0], color=TRUTH, linewidth=1.2, label="at random")
    axes.set_xlim(0, 95)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, labelcolor=INK, loc="lower left")
    return axes


def _bars(joints: Mapping[str, dict]) -> Axes:
    axes = _axes(9.2, 3.2, "", "true joints within, %")
    place, names = np.arange(len(joints)), list(joints)
    for region, share, colour in (("0.9", 0.8, "#A9CCE3"), ("0.5", 0.5, LIGHT["left"])):
        covered = [100 * row["covered"][region] for row in joints.values()]
        axes.bar(place, covered, share, color=colour, label=f"of the {100 * float(region):.0f} % region")
        axes.axhline(100 * float(region), color=INK, linewidth=0.8, linestyle=":")
    axes.set_xticks(place, names, rotation=30, ha="right", fontsize=8)
    axes.set_ylim(0, 100)
    axes.grid(axis="x", visible=False)
    axes.legend(frameon=False, labelcolor=INK, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return axes


def _svg(axes: Axes) -> str:
    temporary = io.StringIO()
    axes.figure.savefig(temporary, format="svg", bbox_inches="tight", metadata={"Date": None})
    return temporary.getvalue()[temporary.getvalue().index("<svg") :]


# Of the report's `flip`.
BODIES = {
    True: "averaged in the mirrored body",
    False: "without the mirrored body",
    "own": "every other one of the mirrored body",
}


def sampler_line(facts: Mapping[str, object]) -> str:
    """'200 samples, K = 2, eta 1, ...' of the report's sampler."""
    noise: Sequence[float] = facts["temperature"]
    return (
        f"{facts['samples']} samples of every window looked at, of which {facts['windows']}; K = {facts['steps']} of "
        f"{facts['sampler']}, eta {facts['eta']:g}, temperature {noise[0]:g} at the start and {noise[1]:g} later, "
        f"{BODIES[facts['flip']]}; {facts['compared']:,} joints compared."
    )
