"""The picture of benchmarks.sweep: error against network calls, a panel a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from common.files.writing import whole_file
from common.viz.layout import INK

COLOURS = {"ddim": "#4477AA", "dpm++": "#EE6677", "heun": "#228833", "euler": "#CCBB44"}
MARKERS = {True: "o", False: "o", "own": "D"}  # by what the mirrored body does
SIZES = {1: 18, 2: 30, 5: 50, 20: 85}  # of a marker, by the number of hypotheses
CALLS = (1, 2, 4, 10, 40, 100, 400)
WORST = 1.04  # times the reference: what lies higher is cut off


def draw(path: Path, runs: Mapping[str, Sequence[dict]]) -> Path:
    """runs: rows of `sweep.rows_of` by checkpoint, each with `frontier` True where nothing cheaper is better."""
    figure = Figure(figsize=(5.2 * len(runs), 4.4), dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, rows) in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs.items(), strict=True):
        for row in rows:
            how, colour = row["how"], COLOURS[row["how"].sampler]
            face = colour if how.flip is True else "none"
            style = {"s": SIZES[row["H"]], "linewidths": 1.0, "edgecolors": colour, "marker": MARKERS[how.flip]}
            axes.scatter(row["calls"], row["mm"], facecolors=face, alpha=0.75, **style)
        best = [row for row in rows if row["frontier"]]
        axes.step([r["calls"] for r in best], [r["mm"] for r in best], where="post", color=INK, linewidth=1)
        reference = next(row["mm"] for row in rows if row["reference"])
        axes.axhline(reference, color=INK, linestyle=":", linewidth=1)
        axes.axhspan(reference, reference + 0.5, color="#E8E8E8", zorder=0)
        least = min(row["mm"] for row in rows)
        axes.set_ylim(least - 0.1 * (WORST * reference - least), WORST * reference)
        axes.set_xscale("log")
        axes.set_xticks(CALLS, labels=map(str, CALLS))
        axes.minorticks_off()
        axes.set_title(name, color=INK)
        axes.set_xlabel("network calls a window")
        axes.set_ylabel("P_Agg, MPJPE, mm")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    for sampler, colour in COLOURS.items():
        axes.scatter([], [], color=colour, s=40, label=sampler)
    axes.scatter([], [], facecolors="none", edgecolors=INK, s=40, label="without the mirrored body")
    axes.scatter([], [], facecolors="none", edgecolors=INK, s=40, marker=MARKERS["own"], label="every other H mirrored")
    for count, size in SIZES.items():
        axes.scatter([], [], color="#AAAAAA", s=size, label=f"H = {count}")
    axes.plot([], [], ":", color=INK, label="H=20, K=10, mirrored (grey: 0.5 mm)")
    figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize="small", labelcolor=INK)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip(".") or "png")
    return path
