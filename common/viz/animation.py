"""Moving pictures of poses, MP4, WebM or GIF by the ending: of a clip, of both diffusion processes, of the grid.

All 3D poses are root-relative metres in the camera frame, 2D keypoints are screen units; plain NumPy arrays. Errors
are MPJPE in millimetres. Each function returns the path that it wrote, and raises UserError for an unknown ending.
Fast because the page is drawn once: after that only what moves is drawn again, straight into the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files.video import check_ending, read_frames, video_info, write_video
from common.geometry.camera import Camera
from common.geometry.skeleton import Skeleton
from common.viz.draw import legend_handles
from common.viz.figure import NOTE, error_mm
from common.viz.grid import Grid
from common.viz.layout import Page, caption_height, footer_height
from common.viz.panels import ImagePanel, Limits, PosePanel, box_around, limits_of
from common.viz.view import ELEVATION, View, floor_heights, view_from

GAP = 0.08  # inches between panels


def animate(
    path: Path | str,
    skeleton: Skeleton,
    keypoints_2d: np.ndarray,
    truth: np.ndarray | None,
    prediction: np.ndarray,
    *,
    hypotheses: np.ndarray | None = None,
    video: Path | str | None = None,
    fps: float = 50.0,
    camera: Camera | None = None,
    size: float = 5.0,
    caption: str = "",
    skip: int = 0,
    limit: int | None = None,
    downsample: int = 1,
    play_fps: float | None = None,
    labels: tuple[str, str, str] = ("Input", "Ground truth", "Reconstruction"),
    roots: np.ndarray | None = None,
    input_skeleton: Skeleton | None = None,
    turn: float = 0.0,
    elevation: float | None = ELEVATION,
) -> Path:
    """Video frame with its 2D keypoints (black without a video) | ground truth | reconstruction with its error.

    keypoints_2d (T, J, 2), truth and prediction (T, J, 3), hypotheses (H, T, J, 3), drawn faint behind the prediction.
    Without truth its panel and the error are left out. fps: of the poses; a video of another rate is brought to it.
    skip, limit, downsample: leave out the first poses (and their video), show at most so many, one in so many.
    play_fps: of the file, fps / downsample by default. size: height of the panels in inches, at 100 dots an inch (80
    for GIF). roots (T, 3): where the root is, camera frame, metres; the floor's grid then slides under the person.
    """
    check_ending(path)
    chosen = slice(skip, None, downsample)
    hypotheses = np.zeros((0, *prediction.shape)) if hypotheses is None else hypotheses
    keypoints_2d, prediction, hypotheses = (
        keypoints_2d[chosen][:limit],
        prediction[chosen][:limit],
        hypotheses[:, chosen],
    )
    hypotheses = hypotheses[:, :limit]
    truth = None if truth is None else truth[chosen][:limit]
    roots = None if roots is None else roots[chosen][:limit]
    total = len(prediction)
    if total == 0:
        raise UserError(f"no frames to draw: {skip} skipped, at most {limit} asked for")
    view = view_from(camera, elevation, turn)
    floors = floor_heights(view, prediction if truth is None else truth, smooth=round(fps / downsample / 5))
    solid = prediction[None] if truth is None else np.stack([truth, prediction])  # (1 or 2, T, J, 3)
    limits = limits_of(view, solid, np.broadcast_to(floors, solid.shape[:2]))
    if video is not None:
        about = video_info(video)
        shape = about.height / about.width
        box = (-1.0, 1.0, -shape, shape)
        span = float(np.nanmedian(np.ptp(keypoints_2d, axis=1).max(-1))) / (2 * shape)
    else:  # nothing to see around the person: come near
        shape = span = 1.0
        box = box_around(keypoints_2d, shape)
    wide = size / float(np.clip(shape, 0.5, 2.0))
    names = [labels[0]] + ([labels[1]] if truth is not None else []) + [labels[2]]
    page, axes, titles = _row([wide] + [size] * (len(names) - 1), names, size, path, caption, len(hypotheses))
    pixels = None if video is None else (round(wide * page.figure.dpi), round(wide * shape * page.figure.dpi))
    flat = ImagePanel(axes[0], input_skeleton or skeleton, "input", box, dark=True, pixels=pixels, span=span)
    real = None if truth is None else PosePanel(axes[1], skeleton, view, limits, "truth")
    built = PosePanel(axes[-1], skeleton, view, limits, "prediction", hypotheses=len(hypotheses))
    images = (
        read_frames(video, skip=skip, limit=total, downsample=downsample, fps=fps) if video is not None else iter(())
    )

    def update(t: int) -> None:
        flat.show(keypoints_2d[t], next(images, None))
        titles[0].set_text(f"frame {skip + t * downsample}")
        position = None if roots is None else roots[t]
        built.show(prediction[t], hypotheses[:, t], floor=floors[t], position=position)
        if real is not None:
            real.show(truth[t], floor=floors[t], position=position)
            titles[-1].set_text(f"{error_mm(prediction[t], truth[t]):.1f} mm")

    panels = [flat, built] if real is None else [flat, real, built]
    frames = _drawn(page, panels, titles, update, total)
    return write_video(path, frames, play_fps or fps / downsample, total)


def animate_models(
    path: Path | str,
    keypoints_2d: np.ndarray,
    models: list[tuple[str, Skeleton, np.ndarray, np.ndarray | None]],
    *,
    video: Path | str | None = None,
    fps: float = 50.0,
    size: float = 4.0,
    caption: str = "",
    first: int = 0,
    roots: np.ndarray | None = None,
    turn: float = 0.0,
    camera: Camera | None = None,
    floors: list[np.ndarray] | None = None,
) -> Path:
    """Video frame with its 2D keypoints (black without a video) | one panel a model, its name above. No truth.

    models: (name, skeleton, prediction (T, J, 3), hypotheses (H, T, J, 3) or None); all see the same scale. first:
    the video's frame that belongs to the first pose. keypoints_2d, roots and the rest as in `animate`. floors: height
    of the floor under the root, (T,) a model; None puts the lowest joint on it. NaN is not drawn.
    """
    check_ending(path)
    total, view, shape, box, span = len(keypoints_2d), view_from(camera, ELEVATION, turn), 1.0, None, 1.0
    if video is not None:
        about = video_info(video)
        shape, box = about.height / about.width, (-1.0, 1.0, -about.height / about.width, about.height / about.width)
        span = float(np.nanmedian(np.ptp(keypoints_2d, axis=1).max(-1))) / (2 * shape)
    wide = size / float(np.clip(shape, 0.5, 2.0))
    most = max(0 if hypotheses is None else len(hypotheses) for *_, hypotheses in models)
    names = ["Input", *(name for name, *_ in models)]
    page, axes, titles = _row([wide] + [size] * len(models), names, size, path, caption, most)
    pixels = None if video is None else (round(wide * page.figure.dpi), round(wide * shape * page.figure.dpi))
    flat = ImagePanel(
        axes[0], models[0][1], "input", box or box_around(keypoints_2d, 1.0), dark=True, pixels=pixels, span=span
    )
    floors = floors or [floor_heights(view, prediction, smooth=round(fps / 5)) for _, _, prediction, _ in models]
    each = [limits_of(view, m[2], floor) for m, floor in zip(models, floors, strict=True)]
    widest = Limits(*(pick(astuple(n)[i] for n in each) for i, pick in enumerate((max, min, max, max))))
    built = [
        PosePanel(
            axes[n + 1], skeleton, view, widest, f"model{n}", hypotheses=0 if hypotheses is None else len(hypotheses)
        )
        for n, (_, skeleton, _, hypotheses) in enumerate(models)
    ]
    images = read_frames(video, skip=first, limit=total, fps=fps) if video is not None else iter(())

    def update(t: int) -> None:
        flat.show(keypoints_2d[t], next(images, None))
        titles[0].set_text(f"frame {first + t}")
        for panel, (_, _, prediction, hypotheses), floor in zip(built, models, floors, strict=True):
            several = None if hypotheses is None else hypotheses[:, t]
            panel.show(prediction[t], several, floor=floor[t], position=None if roots is None else roots[t])

    return write_video(path, _drawn(page, [flat, *built], titles, update, total), fps, total)


def animate_forward(
    path: Path | str,
    skeleton: Skeleton,
    truth: np.ndarray,
    states: np.ndarray,
    times: list[int],
    *,
    camera: Camera | None = None,
    fps: float = 2.0,
    size: float = 5.0,
    caption: str = "",
    turn: float = 0.0,
    elevation: float | None = ELEVATION,
) -> Path:
    """The forward process of one pose: truth (J, 3) | x_t, as noise grows. states (N, J, 3) at times[n], in metres."""
    check_ending(path)
    view = view_from(camera, elevation, turn)
    floor = float(floor_heights(view, truth[None])[0])
    near = limits_of(view, truth[None], np.array([floor]))
    zooms = _zooms(view, states[None], floor, near)
    page, axes, titles = _row([size] * 2, ["Pose", "Forward diffusion"], size, path, caption, 0)
    still = PosePanel(axes[0], skeleton, view, near, "truth")
    noisy = PosePanel(axes[1], skeleton, view, near, "state")

    def update(n: int) -> None:
        still.show(truth, floor=floor)
        noisy.zoom(zooms[n])
        noisy.show(states[n], floor=floor)
        titles[1].set_text(f"t = {times[n]}")

    return write_video(path, _drawn(page, [still, noisy], titles, update, len(states)), fps, len(states))


def animate_reverse(
    path: Path | str,
    skeleton: Skeleton,
    states: np.ndarray,
    estimates: np.ndarray,
    *,
    truth: np.ndarray | None = None,
    aggregates: np.ndarray | None = None,
    camera: Camera | None = None,
    fps: float = 2.0,
    size: float = 5.0,
    caption: str = "",
    turn: float = 0.0,
    elevation: float | None = ELEVATION,
) -> Path:
    """The reverse process of one frame: x_t | the estimate of x_0, step by step.

    states and estimates (H, S, J, 3), in metres: x_t after each step, x_0 as guessed in that step. aggregates
    (S, J, 3): the one pose made of the estimates (default: their mean). truth (J, 3): drawn under it, gives the error.
    """
    check_ending(path)
    count, steps = states.shape[:2]
    aggregates = estimates.mean(0) if aggregates is None else aggregates
    view = view_from(camera, elevation, turn)
    floor = float(floor_heights(view, (aggregates[-1] if truth is None else truth)[None])[0])
    solid = aggregates if truth is None else np.concatenate([aggregates, truth[None]])
    near = limits_of(view, solid, np.full(len(solid), floor))
    zooms = _zooms(view, states[:, ::-1], floor, near)[::-1]
    shown = 0 if count == 1 else count
    page, axes, titles = _row(
        [size] * 2, ["Reverse diffusion", "Estimate of the pose"], size, path, caption, shown, truth=truth is not None
    )
    noisy = PosePanel(axes[0], skeleton, view, near, "state", hypotheses=shown, pose="pose" if count == 1 else None)
    clean = PosePanel(axes[1], skeleton, view, near, "estimate", hypotheses=shown, truth=truth is not None)

    def update(s: int) -> None:
        noisy.zoom(zooms[s])
        noisy.show(states[0, s] if count == 1 else None, states[:shown, s], floor=floor)
        clean.show(aggregates[s], estimates[:shown, s], truth, floor)
        titles[0].set_text(f"step {s + 1} of {steps}")
        if truth is not None:
            titles[1].set_text(f"{error_mm(aggregates[s], truth):.1f} mm")

    return write_video(path, _drawn(page, [noisy, clean], titles, update, steps), fps, steps)


def animate_grid(
    path: Path | str,
    skeleton: Skeleton,
    models: list[str],
    actions: list[str],
    predictions: np.ndarray,
    truth: np.ndarray,
    *,
    cameras: list[Camera | None] | Camera | None = None,
    fps: float = 50.0,
    width: float = 10.0,
    caption: str = "",
    skip: int = 0,
    limit: int | None = None,
    downsample: int = 1,
    play_fps: float | None = None,
    turn: float = 0.0,
    elevation: float | None = ELEVATION,
) -> Path:
    """Models (rows) against actions (columns), moving: each prediction over the truth, with its error.

    predictions (models, actions, T, J, 3), truth (actions, T, J, 3); width in inches; the rest as in `animate`.
    """
    check_ending(path)
    predictions, truth = predictions[:, :, skip::downsample][:, :, :limit], truth[:, skip::downsample][:, :limit]
    total = truth.shape[1]
    if total == 0:
        raise UserError(f"no frames to draw: {skip} skipped, at most {limit} asked for")
    grid = Grid(skeleton, models, actions, predictions, truth, cameras, width, caption, turn, elevation, _dpi(path))
    frames = _drawn(grid.page, [grid], [], grid.show, total)
    return write_video(path, frames, play_fps or fps / downsample, total)


def _dpi(path: Path | str) -> int:
    return 80 if Path(path).suffix.lower() == ".gif" else 100


def _zooms(view: View, states: np.ndarray, floor: float, near: Limits) -> list[Limits]:
    """Limits for each step of growing noise (H, S, J, 3): wide enough for it, never narrower than before."""
    zooms = []
    for step in states.swapaxes(0, 1):  # (H, J, 3)
        wide = limits_of(view, step, np.full(len(step), floor))
        near = Limits(
            *(pick(a, b) for pick, a, b in zip((max, min, max, max), astuple(near), astuple(wide), strict=True))
        )
        zooms.append(near)
    return zooms


def _row(widths: list[float], names: list[str], size: float, path: Path | str, caption: str, hypotheses: int,
         *, truth: bool = False):  # fmt: skip
    """A page with a row of panels, their names above them, and a text under each name for what changes."""
    letters = float(np.clip(2.6 * size, 5.0, 14.0))
    head = caption_height(caption, letters) + 4.2 * letters / 72
    page = Page(sum(widths) + GAP * (len(widths) + 1), head + size + 0.06 + footer_height(letters), _dpi(path))
    axes, titles, left = [], [], GAP
    for width, name in zip(widths, names, strict=True):
        axes.append(page.panel(left, head, width, size))
        page.text(left + width / 2, head - 3.1 * letters / 72, name, letters + 1, weight="bold")
        titles.append(page.text(left + width / 2, head - 1.3 * letters / 72, "", letters))
        left += width + GAP
    page.footer(legend_handles(hypotheses, truth), caption, NOTE, letters)
    return page, axes, titles


def _drawn(page: Page, panels: list, texts: list, update: Callable[[int], None], total: int) -> Iterator[np.ndarray]:
    """Yield the page's picture for each frame, uint8 RGB: the still background, then what moves, on top."""
    canvas, figure = page.figure.canvas, page.figure
    moving = [artist for panel in panels for artist in panel.artists] + texts
    for artist in moving:
        artist.set_animated(True)
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)
    for t in range(total):
        update(t)
        canvas.restore_region(background)
        for artist in moving:
            if artist.get_visible():
                figure.draw_artist(artist)
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()
