"""The loss curves of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from common.errors import UserError
from common.files.writing import whole_file
from common.viz.draw import LIGHT
from common.viz.layout import INK


def training_curves(path: Path | str, history: Sequence[Mapping[str, Any]]) -> Path:
    """Draw the errors of each epoch, and mark the best one; returns the path.

    history: rows {epoch, train_mm, valid_mm}, millimetres, valid_mm None where nothing was held out. The ending of
    `path` says the format. Raises UserError for an empty history.
    """
    if not history:
        raise UserError(f"cannot draw {path}: no epoch has been trained")
    figure = Figure(figsize=(6, 4), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.12, 0.13, 0.85, 0.83))
    epochs = [row["epoch"] for row in history]
    # One epoch has no line: a dot shows it.
    marker = "o" if len(history) < 30 else None
    style: dict[str, Any] = {"marker": marker, "markersize": 3, "linewidth": 1.6}
    axes.plot(epochs, [row["train_mm"] for row in history], color=LIGHT["left"], label="training", **style)
    scored = [row for row in history if row.get("valid_mm") is not None]
    if scored:
        held = [row["valid_mm"] for row in scored]
        axes.plot([row["epoch"] for row in scored], held, "--", color=LIGHT["right"], label="held out", **style)
        best = min(scored, key=lambda row: row["valid_mm"])
        label = f"best: {best['valid_mm']:.1f} mm, epoch {best['epoch']}"
        axes.plot(best["epoch"], best["valid_mm"], "*", color=INK, markersize=11, label=label, linestyle="none")
    axes.set_xlabel("epoch")
    axes.set_ylabel("MPJPE, mm")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    axes.grid(color="#E3E3E3", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, labelcolor=INK)
    path = Path(path)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip(".") or "png")
    return path
