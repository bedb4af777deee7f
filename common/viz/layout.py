"""A page of panels: places in inches, titles, legend, caption, and the files that it is saved to."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from common.errors import UserError, visible
from common.files.writing import whole_file
from common.viz.draw import DrawnSkeleton

FORMATS = ("png", "svg", "pdf")
INK = "#222222"


class Page:
    """A figure whose panels are placed in inches from its upper left corner."""

    def __init__(self, width: float, height: float, dpi: float = 200):
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white")
        FigureCanvasAgg(self.figure)

    def panel(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes without ticks or frame."""
        box = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(box)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def text(self, left: float, top: float, text: str, size: float, **options) -> Text:
        """Text whose anchor lies at this place; size in points. Centred unless `ha`, `va` say otherwise."""
        options = {"ha": "center", "va": "center", "color": INK} | options
        return self.figure.text(
            left / self.width, 1 - top / self.height, visible(text), fontsize=size, parse_math=False, **options
        )

    def fitting(self, text: str, room: float, size: float, *, weight: str = "normal", smallest: float = 4.0) -> float:
        """The font size, at most `size` points, at which a line of text is at most `room` inches long."""
        probe = self.figure.text(0, 0, visible(text), fontsize=size, weight=weight, parse_math=False)
        length = probe.get_window_extent().width / self.figure.dpi
        probe.remove()
        return max(smallest, min(size, size * room / max(length, 1e-6)))

    def footer(self, handles: list, caption: str, note: str, size: float) -> None:
        """A legend along the lower edge, with a note beside it where there is room; the caption, bold, upper left."""
        line = 1.9 * size / 72
        bottom = self.height - 0.5 * line
        # A handle, its label and the gap after it; the labels' lengths are measured.
        words = "  ".join([*(handle.get_label() for handle in handles), note]) + "mmm" * len(handles)
        size = self.fitting(words, 0.95 * self.width, size)
        self.figure.legend(
            handles=handles, loc="center left" if note else "center", ncol=len(handles), frameon=False, fontsize=size,
            bbox_to_anchor=((0.1 if note else self.width / 2) / self.width, 1 - bottom / self.height),
            labelcolor=INK, handlelength=1.4, columnspacing=1.3, handletextpad=0.5, borderaxespad=0,
        )  # fmt: skip
        if note:
            self.text(self.width - 0.1, bottom, note, size, ha="right", color="#777777")
        if caption:
            fitted = self.fitting(caption, self.width - 0.2, size + 1, weight="bold")
            self.text(0.1, 0.5 * caption_height(caption, size), caption, fitted, ha="left", weight="bold")


def caption_height(caption: str, size: float) -> float:
    """Inches to keep free at the upper edge."""
    return 2.0 * size / 72 if caption else 0.0


def footer_height(size: float) -> float:
    """Inches to keep free at the lower edge."""
    return 1.9 * size / 72


def formats_for(path: Path | str, formats: tuple[str, ...]) -> list[tuple[Path, str]]:
    """The files to write. A known ending in `path` is replaced by each of `formats`; () means this ending alone.

    Raises UserError where neither says which format is wanted.
    """
    path = Path(path)
    ending = path.suffix.lower().removeprefix(".")
    if not formats:
        if ending not in FORMATS:
            raise UserError(f"cannot write {path}: a figure's name ends in .{', .'.join(FORMATS)}")
        return [(path, ending)]
    stem = path.stem if ending in FORMATS else path.name
    return [(path.with_name(f"{stem}.{name}"), name) for name in formats]


def save(page: Page, path: Path | str, formats: tuple[str, ...], skeletons: list[DrawnSkeleton], title: str) -> list:
    """Write the page in each format; returns the paths. Text stays text, and equal pages give equal files.

    An SVG file describes itself: each panel's limits and the order in which bones were drawn (`common.viz.svg`).
    """
    about = json.dumps(
        {
            "panels": {
                axes.patch.get_gid(): {"x": list(axes.get_xlim()), "y": list(axes.get_ylim())}
                for axes in page.figure.axes
                if axes.patch.get_gid()
            },
            "skeletons": {
                drawn.name: {
                    "panel": drawn.lines.axes.patch.get_gid(),
                    "bones": [drawn.edges[bone].tolist() for bone in drawn.order],
                    "rims": drawn.halo is not None,
                }
                for drawn in skeletons
            },
        }
    )
    metadata = {
        "svg": {"Title": title, "Description": about, "Date": None},
        "pdf": {"Title": title, "CreationDate": None},
        "png": {"Title": title},
    }
    settings = {"svg.fonttype": "none", "svg.hashsalt": "figure", "pdf.fonttype": 42}
    written = []
    for file, name in formats_for(path, formats):
        with whole_file(file) as temporary, matplotlib.rc_context(settings):
            page.figure.savefig(temporary, format=name, metadata=metadata[name], dpi=page.figure.dpi)
        written.append(file)
    return written
