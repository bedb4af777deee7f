"""Figures of poses as files: of a clip, of the reverse process, and of models against actions.

All 3D poses are root-relative metres in the camera frame, 2D keypoints are screen units; plain NumPy arrays. Errors
are MPJPE in millimetres. Each function returns the paths that it wrote. A skeleton's id in an SVG is its panel's name
and its role, as each docstring says; `common.viz.svg.read_poses` reads it back.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.geometry.camera import Camera
from common.geometry.skeleton import Skeleton
from common.viz.draw import DrawnSkeleton, legend_handles
from common.viz.grid import Grid
from common.viz.layout import Page, caption_height, footer_height, formats_for, save
from common.viz.panels import ImagePanel, PosePanel, box_around, limits_of
from common.viz.view import ELEVATION, floor_heights, view_from

NOTE = "floor squares 25 cm"


def error_mm(pose: np.ndarray, truth: np.ndarray) -> float:
    """MPJPE of metres (..., J, 3), in millimetres."""
    return 1000 * float(np.linalg.norm(pose - truth, axis=-1).mean())


def late_steps(steps: int) -> list[int]:
    """Which of a reverse process's steps to show: the first, the last three (fewer if it is short)."""
    return sorted({0, max(0, steps - 3), max(0, steps - 2), steps - 1})


def pose_figure(
    path: Path | str,
    skeleton: Skeleton,
    keypoints_2d: np.ndarray,
    truth: np.ndarray,
    aggregate: np.ndarray,
    hypotheses: np.ndarray,
    frames: list[int],
    *,
    camera: Camera | None = None,
    caption: str = "",
    labels: tuple[str, str, str, str] = ("2D input", "Prediction", "Truth", "Both from the side"),
    formats: tuple[str, ...] = (),
    turn: float = 0.0,
    elevation: float | None = ELEVATION,
    input_skeleton: Skeleton | None = None,
) -> list[Path]:
    """A row for each of a clip's `frames`: 2D input | aggregate before all hypotheses | truth | both from the side.

    keypoints_2d (N, J, 2), truth and aggregate (N, J, 3), hypotheses (H, N, J, 3). The side view shows the depth,
    which the camera's own view hides. Ids: `frame{n}-input-keypoints`, `frame{n}-prediction-pose`,
    `frame{n}-prediction-hypothesis{h}`, `frame{n}-truth-pose`, `frame{n}-side-pose`, `frame{n}-side-truth`, ...
    """
    formats_for(path, formats)
    page, drawn = _pose_page(
        skeleton, keypoints_2d, truth, aggregate, hypotheses, frames, camera, caption, labels, turn, elevation,
        input_skeleton,
    )  # fmt: skip
    return save(page, path, formats, drawn, "Poses")


def pose_image(
    skeleton: Skeleton, keypoints_2d: np.ndarray, truth: np.ndarray, aggregate: np.ndarray, hypotheses: np.ndarray,
    frames: list[int], *, camera: Camera | None = None, caption: str = "", dpi: int = 100,
) -> np.ndarray:  # fmt: skip
    """The picture of `pose_figure` as uint8 RGB (height, width, 3), for TensorBoard."""
    labels = ("2D input", "Prediction", "Truth", "Both from the side")
    page, _ = _pose_page(
        skeleton,
        keypoints_2d,
        truth,
        aggregate,
        hypotheses,
        frames,
        camera,
        caption,
        labels,
        0.0,
        ELEVATION,
        None,
        dpi=dpi,
    )
    page.figure.canvas.draw()
    return np.asarray(page.figure.canvas.buffer_rgba())[..., :3].copy()


def _pose_page(
    skeleton, keypoints_2d, truth, aggregate, hypotheses, frames, camera, caption, labels, turn, elevation,
    input_skeleton, *, dpi=200,
) -> tuple[Page, list[DrawnSkeleton]]:  # fmt: skip
    size, gap, side = 9.0, 0.08, 2.1  # points, inches
    views = [view_from(camera, elevation, angle) for angle in (turn, turn, turn + 90)]
    pick, count = np.array(frames), len(hypotheses)
    floors = floor_heights(views[0], truth[pick])
    shown = np.concatenate([truth[None, pick], aggregate[None, pick], hypotheses[:, pick]])  # (2 + H, frames, J, 3)
    limits = [limits_of(view, shown, np.broadcast_to(floors, shown.shape[:2])) for view in views]
    height = side * float(np.clip(max(limit.aspect for limit in limits), 1.0, 1.5))
    head, title = caption_height(caption, size) + 0.3, 0.24
    page = Page(0.35 + 4 * (side + gap), head + len(frames) * (height + title + gap) + footer_height(size), dpi)
    lefts = [0.35 + column * (side + gap) for column in range(4)]
    for left, label in zip(lefts, labels, strict=True):
        page.text(
            left + side / 2, head - 0.13, label, page.fitting(label, side, size + 1, weight="bold"), weight="bold"
        )
    drawn = []
    for row, n in enumerate(frames):
        top = head + row * (height + title + gap) + title
        page.text(0.17, top + height / 2, f"frame {n}", size, rotation=90)
        box = box_around(keypoints_2d[n], height / side)
        axes = [page.panel(left, top, side, height) for left in lefts]
        flat = ImagePanel(axes[0], input_skeleton or skeleton, f"frame{n}-input", box)
        flat.show(keypoints_2d[n])
        predicted = PosePanel(axes[1], skeleton, views[0], limits[0], f"frame{n}-prediction", hypotheses=count)
        predicted.show(aggregate[n], hypotheses[:, n], floor=floors[row])
        true = PosePanel(axes[2], skeleton, views[1], limits[1], f"frame{n}-truth")
        true.show(truth[n], floor=floors[row])
        both = PosePanel(axes[3], skeleton, views[2], limits[2], f"frame{n}-side", hypotheses=count, truth=True)
        both.show(aggregate[n], hypotheses[:, n], truth[n], floors[row])
        text = f"{error_mm(aggregate[n], truth[n]):.1f} mm"
        page.text(lefts[1] + side / 2, top - title / 2, text, size)
        drawn += [flat.pose, *predicted.skeletons, *true.skeletons, *both.skeletons]
    page.footer(legend_handles(count, truth=True), caption, NOTE, size)
    return page, drawn


def reverse_process_figure(
    path: Path | str,
    skeleton: Skeleton,
    keypoints_2d: np.ndarray,
    states: np.ndarray,
    *,
    aggregate: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    camera: Camera | None = None,
    caption: str = "",
    formats: tuple[str, ...] = ("svg", "png"),
    turn: float = 0.0,
    elevation: float | None = ELEVATION,
    input_skeleton: Skeleton | None = None,
) -> list[Path]:
    """One frame: 2D input | the reverse process at its start, two late steps and its end.

    keypoints_2d (J, 2); states (H, S, J, 3), x_t of each hypothesis after each of S steps, in metres; aggregate (J, 3)
    is drawn over the last (default: the mean of the last states); truth (J, 3) gives its error. One hypothesis is drawn
    as a full skeleton, several as faint ones. Early states are noise: their panels show a wider piece of space, the
    floor's squares stay 25 cm. Ids: `input-keypoints`, `step{s}-pose` (one hypothesis), `step{s}-hypothesis{h}`,
    `step{S}-pose` for the aggregate, s from 1.
    """
    formats_for(path, formats)
    size, gap, side = 9.0, 0.1, 2.1
    count, steps = states.shape[:2]
    aggregate = states[:, -1].mean(0) if aggregate is None else aggregate
    view = view_from(camera, elevation, turn)
    floor = float(floor_heights(view, (aggregate if truth is None else truth)[None])[0])
    picks = late_steps(steps)
    limits = [
        limits_of(view, np.concatenate([states[:, s], aggregate[None]]), np.full(count + 1, floor)) for s in picks
    ]
    height = side * float(np.clip(limits[-1].aspect, 1.0, 1.5))
    head = caption_height(caption, size) + 0.5
    page = Page(0.2 + (len(picks) + 1) * (side + gap), head + height + 0.05 + footer_height(size))
    lefts = [0.1 + column * (side + gap) for column in range(len(picks) + 1)]
    names = {picks[0]: "Start", picks[-1]: "End"}
    flat = ImagePanel(
        page.panel(lefts[0], head, side, height), input_skeleton or skeleton, "input",
        box_around(keypoints_2d, height / side),
    )  # fmt: skip
    flat.show(keypoints_2d)
    page.text(lefts[0] + side / 2, head - 0.34, "2D input", size + 1, weight="bold")
    drawn = [flat.pose]
    for left, s, limit in zip(lefts[1:], picks, limits, strict=True):
        single, last = count == 1, s == steps - 1
        panel = PosePanel(
            page.panel(left, head, side, height), skeleton, view, limit, f"step{s + 1}",
            hypotheses=0 if single else count, pose="pose" if single or last else None,
        )  # fmt: skip
        pose = aggregate if last else states[0, s] if single else None
        panel.show(pose, None if single else states[:, s], floor=floor)
        drawn += panel.skeletons
        step = f"Step {s + 1} of {steps}"
        page.text(left + side / 2, head - 0.34, names.get(s, step), size + 1, weight="bold")
        if last and truth is not None:
            page.text(left + side / 2, head - 0.14, f"{error_mm(aggregate, truth):.1f} mm", size)
        elif s in names:
            page.text(left + side / 2, head - 0.14, step, size)
    page.footer(legend_handles(0 if count == 1 else count), caption, NOTE, size)
    return save(page, path, formats, drawn, "Reverse process")


def grid_figure(
    path: Path | str,
    skeleton: Skeleton,
    models: list[str],
    actions: list[str],
    predictions: np.ndarray,
    truth: np.ndarray,
    *,
    cameras: list[Camera | None] | Camera | None = None,
    width_mm: float = 180.0,
    caption: str = "",
    formats: tuple[str, ...] = ("pdf", "svg", "png"),
    turn: float = 0.0,
    elevation: float | None = ELEVATION,
) -> list[Path]:
    """Models (rows) against actions (columns): each prediction over the truth, with its error.

    predictions (models, actions, J, 3), truth (actions, J, 3); cameras: one for all, or one an action. width_mm: of the
    whole figure. Ids: `model{r}-action{c}-pose` and `model{r}-action{c}-truth`, counted from 0.
    """
    formats_for(path, formats)
    grid = Grid(skeleton, models, actions, predictions[:, :, None], truth[:, None], cameras, width_mm / 25.4, caption,
                turn, elevation, dpi=300)  # fmt: skip
    grid.show(0)
    return save(grid.page, path, formats, grid.skeletons, "Models and actions")
