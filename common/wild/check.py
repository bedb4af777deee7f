"""`--check`: the first frames with every joint named, so that a wrong order shows at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.errors import UserError, visible
from common.files.writing import save_figure
from common.geometry.skeleton import Skeleton

LEFT, RIGHT, MIDDLE = "#1f77d0", "#e2711d", "#3f4a58"


def write_check(
    path: Path | str,
    keypoints: np.ndarray,
    skeleton: Skeleton,
    *,
    images: Sequence[np.ndarray] = (),
    mask: np.ndarray | None = None,
    frames: int = 4,
    first: int = 0,
    title: str = "",
) -> None:
    """Draw the first frames of one person's 2D joints into a PNG: left blue, right orange, each joint with its name.

    keypoints (T, J, 2), pixels, from frame `first` on; images: the frames under them, uint8 RGB; mask (T, J), False
    joints are hollow.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, and only this picture needs it
    from matplotlib.figure import Figure

    keypoints = np.asarray(keypoints)[:frames]
    if keypoints.ndim != 3 or keypoints.shape[1:] != (len(skeleton), 2) or not len(keypoints):
        raise UserError(f"{path}: the check needs (frames, {len(skeleton)}, 2), got {np.shape(keypoints)}")
    columns = min(2, len(keypoints))
    rows = -(-len(keypoints) // columns)
    figure = Figure(figsize=(6.4 * columns, 6.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(visible(title), parse_math=False)
    for n, points in enumerate(keypoints):
        axes = figure.add_subplot(rows, columns, n + 1)
        seen = np.ones(len(points), bool) if mask is None else np.asarray(mask)[n]
        _draw(axes, points, skeleton, seen, images[n] if n < len(images) else None)
        axes.set_title(f"frame {first + n}", fontsize=10)
    save_figure(path, figure, dpi=110)


def _draw(axes, points: np.ndarray, skeleton: Skeleton, seen: np.ndarray, image: np.ndarray | None) -> None:
    side = [LEFT if j in skeleton.left else RIGHT if j in skeleton.right else MIDDLE for j in range(len(points))]
    if image is not None:
        axes.imshow(image, alpha=0.75)
    for child, parent in skeleton.edges:
        axes.plot(*points[[child, parent]].T, color=side[child], lw=2, alpha=0.8)
    for j, (x, y) in enumerate(points):
        axes.plot(x, y, "o", ms=6, color=side[j] if seen[j] else "white", mec=side[j])
    low, high = points.min(0), points.max(0)
    margin = 0.12 * max(*(high - low), 1.0)
    axes.set_xlim(low[0] - 3 * margin, high[0] + 3 * margin)
    axes.set_ylim(high[1] + margin, low[1] - margin)  # y down
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    _names(axes, points, skeleton, side, (low[0] - 1.2 * margin, high[0] + 1.2 * margin))


def _names(axes, points: np.ndarray, skeleton: Skeleton, side: list[str], edges: tuple[float, float]) -> None:
    """Names in two columns beside the person, from top to bottom, each with a line to its joint: none overlap."""
    middle = np.median(points[:, 0])
    columns: tuple[list[int], list[int]] = ([], [])
    for j in np.argsort(points[:, 0]):
        columns[int(points[j, 0] > middle)].append(int(j))
    top, bottom = points[:, 1].min(), points[:, 1].max()
    for column, edge, align in zip(columns, edges, ("right", "left"), strict=True):
        column.sort(key=lambda j: points[j, 1])
        least = (bottom - top) / max(len(points) * 0.62, 1)  # room for a line of text
        y = -np.inf
        for j in column:
            y = max(points[j, 1], y + least)
            axes.annotate(
                f"{j} {skeleton.joints[j]}",
                points[j],
                (edge, y),
                ha=align,
                va="center",
                fontsize=8,
                color=side[j],
                arrowprops={"arrowstyle": "-", "color": side[j], "lw": 0.6, "alpha": 0.6},
                annotation_clip=False,
            )
