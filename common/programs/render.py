"""Draw a clip's reconstruction as a video: `--render`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from common.datasets import load_clips
from common.engine.clips import choose_clip, lift_clip
from common.engine.devices import Place
from common.engine.evaluation import sampling_of
from common.engine.log import say
from common.engine.opening import open_lifter
from common.errors import UserError
from common.files.video import check_ending, video_info
from common.files.writing import save_npy, try_writing
from common.settings.lifting import Settings
from common.viz.animation import animate


def render(settings: Settings, place: Place, path: Path) -> None:
    """Lift the chosen clip with a checkpoint and write input, truth and reconstruction side by side.

    The poses are those of the evaluation, whichever frames are drawn. --viz-export writes them from the first drawn
    frame to the last.
    """
    asked, data = settings.drawing, settings.data
    output = Path(asked.viz_output or Path(settings.run.checkpoint) / "render.mp4")
    check_ending(output)
    for target in (output, *([Path(asked.viz_export)] if asked.viz_export else [])):
        try_writing(target.parent, target.name)
    if asked.viz_video:
        video_info(asked.viz_video)
    opened = open_lifter(path, settings, place, say)
    lifter = opened.lifter
    if asked.viz_subject:
        data = replace(data, subjects_test=(asked.viz_subject,))
    clip = choose_clip(load_clips(data, "test", say), asked.viz_subject, asked.viz_action, asked.viz_camera)
    drawn = drawn_frames(asked.viz_skip, asked.viz_downsample, asked.viz_limit, len(clip))
    part = range(drawn.start, drawn.stop)
    lifted = lift_clip(
        opened, clip, sampling_of(settings, opened.card, place), place, frames=part if asked.viz_export else drawn
    )
    root, end = lifter.skeleton.root, drawn.stop
    truth = clip.positions_3d - clip.positions_3d[:, root : root + 1]
    if asked.viz_export:
        save_npy(Path(asked.viz_export), lifted.aggregate[part])
    caption = "SYNTHETIC" if opened.card.get("synthetic") else ""
    animate(
        output,
        lifter.skeleton,
        clip.keypoints_2d[:end],
        None if asked.viz_no_ground_truth else truth[:end],
        lifted.aggregate[:end],
        hypotheses=lifted.hypotheses[:, :end] if len(lifted.hypotheses) > 1 else None,
        video=asked.viz_video or None,
        fps=clip.fps,
        camera=clip.camera,
        size=asked.viz_size,
        caption=f"{caption} {clip.subject} {clip.action}, {lifted.name}".strip(),
        skip=drawn.start,
        downsample=drawn.step,
        roots=None if asked.viz_no_ground_truth else clip.positions_3d[:end, root],
    )
    say(f"written: {output}")


def drawn_frames(skip: int, step: int, limit: int, end: int) -> range:
    """The frames below `end` that are drawn: after --viz-skip, one in --viz-downsample, at most --viz-limit."""
    if skip < 0 or step < 1 or limit == 0:
        raise UserError("--viz-skip must be 0 or more, --viz-downsample 1 or more, --viz-limit 1 or more (or -1: all)")
    if limit > 0:
        end = min(end, skip + limit * step)
    if end <= skip:
        raise UserError(f"--viz-skip {skip}: no frames are left to draw of {end}")
    return range(skip, end, step)
