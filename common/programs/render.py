"""Draw a clip's reconstruction as a video: `--render`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np

from common.datasets import load_clips
from common.engine.clips import choose_clip, lift_clip, sampling_for
from common.engine.devices import Place
from common.engine.log import say
from common.engine.opening import open_lifter
from common.errors import UserError
from common.files.video import check_ending
from common.viz.animation import animate


def render(options: Namespace, place: Place, path: Path) -> None:
    """Lift the chosen clip with a checkpoint and write input, truth and reconstruction side by side.

    The poses are those of the evaluation, whichever frames are drawn. --viz-export writes them from the first drawn
    frame to the last.
    """
    output = Path(options.viz_output or Path(options.checkpoint) / "render.mp4")
    check_ending(output)
    lifter, card = open_lifter(path, options, place, say)
    if options.viz_subject:
        options.subjects_test = options.viz_subject
    clip = choose_clip(load_clips(options, "test", say), options)
    drawn = drawn_frames(options, len(clip))
    part = range(drawn.start, drawn.stop)
    lifted = lift_clip(lifter, clip, card, sampling_for(options, card), place, part if options.viz_export else drawn)
    root, end = lifter.skeleton.root, drawn.stop
    truth = clip.positions_3d - clip.positions_3d[:, root : root + 1]
    if options.viz_export:
        np.save(options.viz_export, lifted.aggregate[part])
    caption = "SYNTHETIC" if card.get("synthetic") else ""
    animate(
        output,
        lifter.skeleton,
        clip.keypoints_2d[:end],
        None if options.viz_no_ground_truth else truth[:end],
        lifted.aggregate[:end],
        lifted.hypotheses[:, :end] if len(lifted.hypotheses) > 1 else None,
        video=options.viz_video or None,
        fps=clip.fps,
        camera=clip.camera,
        size=options.viz_size,
        caption=f"{caption} {clip.subject} {clip.action}, {lifted.name}".strip(),
        skip=drawn.start,
        downsample=drawn.step,
        roots=None if options.viz_no_ground_truth else clip.positions_3d[:end, root],
    )
    say(f"written: {output}")


def drawn_frames(options: Namespace, end: int) -> range:
    """The frames below `end` that are drawn: after --viz-skip, one in --viz-downsample, at most --viz-limit."""
    skip, step, limit = options.viz_skip, options.viz_downsample, options.viz_limit
    if skip < 0 or step < 1 or limit == 0:
        raise UserError("--viz-skip must be 0 or more, --viz-downsample 1 or more, --viz-limit 1 or more (or -1: all)")
    if limit > 0:
        end = min(end, skip + limit * step)
    if end <= skip:
        raise UserError(f"--viz-skip {skip}: no frames are left to draw of {end}")
    return range(skip, end, step)
