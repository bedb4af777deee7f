"""What the figure and the animation program draw of a clip, and where it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.datasets.clips import Clip
from common.engine.clips import lift_clip
from common.engine.devices import Place
from common.engine.evaluate import Sampling
from common.engine.opening import Opened
from common.errors import UserError
from common.files.names import file_name, inside
from common.programs.render import drawn_frames
from common.programs.trace import forward_states, trace_frame
from common.settings.figures import FigureSettings
from common.viz.animation import animate, animate_forward, animate_grid, animate_reverse
from common.viz.figure import grid_figure, reverse_process_figure
from common.viz.parts import keypoints_figure, state_figure

GRID = "grid"
# The states of the reverse process that are also written alone, by how far they are from the end.
PARTS = {"start": None, "middle2": 2, "middle": 1, "end": 0}


@dataclass(frozen=True)
class Shot:
    """A clip to draw, the number of its camera, and its root-relative truth (T, J, 3)."""

    clip: Clip
    camera: int
    truth: np.ndarray


@dataclass(frozen=True)
class Work:
    """What every picture of a run shares."""

    settings: FigureSettings
    place: Place
    models: list[Opened]
    sampling: list[Sampling]  # of each model
    synthetic: bool


def draw_figures(work: Work, shot: Shot, several: bool) -> list[Path]:
    """The reverse process of one frame, whole and in parts, SVG and PNG; with -b N, of the first frame of N windows."""
    model, settings = work.models[0], work.settings
    starts = range(0, min((settings.batch_size or 1) * model.answered, len(shot.clip)), model.answered)
    frames = list(starts) if settings.viz_frame is None else [_frame(work, [shot])]
    written = []
    for number, frame in enumerate(frames):
        path = _output(work, shot, several, ".svg", more="" if number == 0 else f"_window{number + 1}")
        written += _figure(work, model, shot, frame, path)
    return written


def _figure(work: Work, model: Opened, shot: Shot, frame: int, path: Path) -> list[Path]:
    clip = shot.clip
    trace = trace_frame(model, clip, work.sampling[0], work.place, frame)
    skeleton, formats = model.skeleton, _formats(work.settings)
    truth = None if work.settings.viz_no_ground_truth else shot.truth[frame]
    caption = _caption(work, shot, f"frame {frame}, {model.name}")
    aggregate, keypoints = trace.aggregates[-1], clip.keypoints_2d[frame]
    path.parent.mkdir(parents=True, exist_ok=True)
    written = reverse_process_figure(
        path,
        skeleton,
        keypoints,
        trace.states,
        aggregate=aggregate,
        truth=truth,
        camera=clip.camera,
        caption=caption,
        formats=formats,
    )
    warning = "SYNTHETIC" if work.synthetic else ""
    written += keypoints_figure(
        path.with_name(f"2D_keypoints_{path.name}"), skeleton, keypoints, caption=warning, formats=formats
    )
    steps = trace.states.shape[1]
    for part, back in PARTS.items():
        step = 0 if back is None else max(0, steps - 1 - back)
        pose = aggregate if step == steps - 1 else None
        written += state_figure(
            path.with_name(f"reverse_diffusion_{part}_{path.name}"), skeleton, trace.states[:, step], pose=pose,
            standing=aggregate if truth is None else truth, camera=clip.camera, caption=warning, formats=formats,
        )  # fmt: skip
    return written


def draw_animations(work: Work, shot: Shot, several: bool) -> list[Path]:
    """Input, truth and reconstruction; the forward and the reverse process of the first frame, or of --viz-frame."""
    model, settings, clip = work.models[0], work.settings, shot.clip
    shown = _shown(work, [shot])
    frame = shown.start if settings.viz_frame is None else _frame(work, [shot])
    path = _output(work, shot, several, ".gif")
    lifted = lift_clip(model, clip, work.sampling[0], work.place, frames=shown)
    end, skeleton = shown.stop, model.skeleton
    truth = None if settings.viz_no_ground_truth else shot.truth
    caption, size = _caption(work, shot, f"{model.name}, {lifted.name}"), settings.viz_size
    written = [
        animate(
            path, skeleton, clip.keypoints_2d[:end], None if truth is None else truth[:end], lifted.aggregate[:end],
            hypotheses=lifted.hypotheses[:, :end] if work.sampling[0].hypotheses > 1 else None,
            video=settings.viz_video or None, fps=clip.fps, camera=clip.camera, size=size, caption=caption,
            skip=shown.start, limit=None, downsample=shown.step, play_fps=settings.viz_fps,
            roots=None if truth is None else clip.positions_3d[:end, skeleton.root],
        )
    ]  # fmt: skip
    trace = trace_frame(model, clip, work.sampling[0], work.place, frame)
    pose = trace.aggregates[-1] if truth is None else truth[frame]
    caption = _caption(work, shot, f"frame {frame}, {model.name}")
    states, times = forward_states(model.lifter, pose, work.sampling[0].seed)
    written.append(
        animate_forward(
            path.with_name(f"diffusion_{path.name}"), skeleton, pose, states, times, camera=clip.camera, size=size,
            caption=caption,
        )
    )  # fmt: skip
    written.append(
        animate_reverse(
            path.with_name(f"reverse_diffusion_{path.name}"), skeleton, trace.states, trace.estimates,
            truth=None if truth is None else truth[frame], aggregates=trace.aggregates, camera=clip.camera, size=size,
            caption=caption,
        )
    )  # fmt: skip
    return written


def draw_grid(work: Work, shots: list[Shot], several: bool) -> list[Path]:
    """One frame of every action by every model, over the truth: PDF, SVG and PNG."""
    frame = _frame(work, shots)
    predictions = _predictions(work, shots, range(frame, frame + 1))[:, :, 0]
    truth = np.stack([shot.truth[frame] for shot in shots])
    path = _output(work, shots[0], several, ".svg", grid=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    return grid_figure(
        path, work.models[0].skeleton, [m.name for m in work.models], [shot.clip.action for shot in shots],
        predictions, truth, cameras=[shot.clip.camera for shot in shots], width_mm=work.settings.width_mm,
        caption=_caption(work, shots[0], f"frame {frame}", grid=True), formats=("pdf", "svg", "png"),
    )  # fmt: skip


def animate_grids(work: Work, shots: list[Shot], several: bool) -> list[Path]:
    """The same grid, moving."""
    shown = _shown(work, shots)
    predictions = _predictions(work, shots, shown)  # (models, actions, T, J, 3)
    truth = np.stack([shot.truth[shown] for shot in shots])
    path = _output(work, shots[0], several, ".gif", grid=True)
    fps = shots[0].clip.fps / shown.step
    made = animate_grid(
        path, work.models[0].skeleton, [m.name for m in work.models], [shot.clip.action for shot in shots],
        predictions, truth, cameras=[shot.clip.camera for shot in shots], fps=fps, width=work.settings.width_mm / 25.4,
        caption=_caption(work, shots[0], "", grid=True), play_fps=work.settings.viz_fps,
    )  # fmt: skip
    return [made]


# A kind of program: what it draws of one clip, and of a grid.
KINDS: dict[str, tuple[Callable, Callable]] = {
    "figure": (draw_figures, draw_grid),
    "animation": (draw_animations, animate_grids),
}


def _predictions(work: Work, shots: list[Shot], frames: range) -> np.ndarray:
    if work.settings.viz_no_ground_truth:
        raise UserError("a grid draws each model over the truth: leave out --viz-no-ground-truth")
    rows = []
    for model, sampling in zip(work.models, work.sampling, strict=True):
        lifted = [lift_clip(model, shot.clip, sampling, work.place, frames=frames) for shot in shots]
        rows.append(np.stack([one.aggregate[frames] for one in lifted]))  # (actions, T, J, 3)
    return np.stack(rows)


def _frame(work: Work, shots: list[Shot]) -> int:
    """The frame of a figure; every clip must have it."""
    frame, shortest = work.settings.viz_frame or 0, min((shot.clip for shot in shots), key=len)
    if not 0 <= frame < len(shortest):
        name, last = f"{shortest.subject} {shortest.action}", len(shortest) - 1
        raise UserError(f"--viz-frame {frame}: {name} has frames 0 to {last}")
    return frame


def _shown(work: Work, shots: list[Shot]) -> range:
    """The frames of an animation: of the first -b windows, after --viz-skip, one in --viz-downsample, --viz-limit."""
    settings, end = work.settings, min(len(shot.clip) for shot in shots)
    if settings.batch_size:
        end = min(end, settings.batch_size * work.models[0].answered)
    return drawn_frames(settings.viz_skip, settings.viz_downsample, settings.viz_limit, end)


def _output(work: Work, shot: Shot, several: bool, ending: str, *, more: str = "", grid: bool = False) -> Path:
    """The file to write: --viz-output, or viz; a bare name goes into `CHECKPOINT/81f/SUBJECT/ACTION/CAMERA`."""
    settings, model, clip = work.settings, work.models[0], shot.clip
    action, named = GRID if grid else clip.action, settings.viz_output or f"viz{ending}"
    path = Path(named).with_suffix(".svg") if ending == ".svg" else Path(named)
    if Path(named).name == named:  # no folder was typed, not even ./
        folder = inside(model.path.parent, f"{model.card['frames']}f", clip.subject, action, str(shot.camera))
        return folder / f"{path.stem}{more}{path.suffix}"
    which = f"_{file_name(f'{clip.subject}_{action}_{shot.camera}')}" if several else ""
    return path.with_name(f"{path.stem}{which}{more}{path.suffix}")


def _formats(settings: FigureSettings) -> tuple[str, ...]:
    pdf = Path(settings.viz_output).suffix.lower() == ".pdf"
    return ("svg", "png", "pdf") if pdf else ("svg", "png")


def _caption(work: Work, shot: Shot, words: str, grid: bool = False) -> str:
    clip = shot.clip
    which = f"{clip.subject}{'' if grid else f' {clip.action}'}, camera {shot.camera}"
    return ("SYNTHETIC: " if work.synthetic else "") + ", ".join(part for part in (which, words) if part)
