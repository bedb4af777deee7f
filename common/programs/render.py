"""Draw a clip's reconstruction as a video: `--render`."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.datasets import dataset, load_clips
from common.datasets.clips import Clip
from common.engine import checkpoint
from common.engine.devices import Place
from common.engine.log import say
from common.models.blocks import choose_attention
from common.programs.cards import check_card
from common.programs.clips import choose_clip, lift_clip
from common.programs.evaluate import sampling_of
from common.video import check_ending
from common.viz.animation import animate


def render(options: Namespace, place: Place, path: Path) -> None:
    """Lift the chosen clip with a checkpoint and write input, truth and reconstruction side by side."""
    output = Path(options.viz_output or Path(options.checkpoint) / "render.mp4")
    check_ending(output)
    content = checkpoint.load(path)
    card = content["card"]
    check_card(card, options)
    if options.viz_subject:
        options.subjects_test = options.viz_subject
    clip = _cut(choose_clip(load_clips(options, "test", say), options), options)
    lifter = checkpoint.make_lifter(card, content["weights"]).to(place.device).eval()
    choose_attention(lifter, place.device, card["frames"], card["joints"])
    lifted = lift_clip(lifter, clip, card, sampling_of(options), place)
    root = dataset(options).skeleton.root
    truth = clip.positions_3d - clip.positions_3d[:, root : root + 1]
    if options.viz_export:
        np.save(options.viz_export, lifted.aggregate)
    step = options.viz_downsample
    caption = "SYNTHETIC" if card.get("synthetic") else ""
    animate(
        output,
        lifter.skeleton,
        clip.keypoints_2d[::step],
        None if options.viz_no_ground_truth else truth[::step],
        lifted.aggregate[::step],
        lifted.hypotheses[:, ::step] if len(lifted.hypotheses) > 1 else None,
        video=options.viz_video or None,
        fps=clip.fps / step,
        camera=clip.camera,
        size=options.viz_size,
        caption=f"{caption} {clip.subject} {clip.action}, {lifted.name}".strip(),
    )
    say(f"written: {output}")


def _cut(clip: Clip, options: Namespace) -> Clip:
    """The frames to draw; windows then cover just these."""
    end = None if options.viz_limit < 0 else options.viz_skip + options.viz_limit * options.viz_downsample
    part = slice(options.viz_skip, end)
    return replace(
        clip, keypoints_2d=clip.keypoints_2d[part], positions_3d=clip.positions_3d[part], valid=clip.valid[part]
    )
