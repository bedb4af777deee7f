"""`--demo`: the whole program on synthetic data, with nothing at hand. Every output says SYNTHETIC."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.datasets import dataset, load_clips
from common.datasets.clips import Clip
from common.datasets.synthetic.h36m import write_h36m
from common.datasets.synthetic.humaneva import write_humaneva
from common.datasets.synthetic.threedhp import write_threedhp
from common.engine import checkpoint
from common.engine.clips import lift_clip
from common.engine.devices import Place
from common.engine.log import say
from common.programs.evaluate import sampling_of
from common.programs.page import NAME, write_page
from common.programs.train import BEST, train
from common.viz.animation import animate
from common.viz.figure import pose_figure

# By data set: write synthetic files into the data folder.
WRITERS = {
    "h36m": lambda o: write_h36m(Path(o.data_root)),
    "humaneva15": lambda o: write_humaneva(Path(o.data_root)),
    "3dhp": lambda o: write_threedhp(Path(o.data_root), Path(o.annotations)),
}
TEST_WINDOWS = 100  # at most, so that many hypotheses take seconds
FRAMES_DRAWN = 150


def demo(options: Namespace, place: Place) -> dict:
    """Write synthetic data, train a small lifter, evaluate it, draw it. Returns the report."""
    folder, data = Path(options.checkpoint), Path(options.data_root)
    if place.first:
        say(f"SYNTHETIC demo: data in {data}, results in {folder}. Its errors say nothing about real data sets.")
        WRITERS[options.dataset](options)
    place.wait()
    report = train(options, place, test_clips(options))
    if place.first:
        _pictures(options, place, folder)
        _tell(report)
    return report


def test_clips(options: Namespace) -> list[Clip]:
    """A part of the test set that is quick to sample: a view of each person's first take of every action, cut short.

    MPI-INF-3DHP is exported and scored whole.
    """
    clips = load_clips(options, "test", say)
    if options.dataset == "3dhp":
        return clips
    takes: dict[tuple[str, str], list[Clip]] = {}
    for clip in clips:
        takes.setdefault((clip.subject, clip.action_name), []).append(clip)
    views = [views[i % len(views)] for i, views in enumerate(takes.values())][:TEST_WINDOWS]
    frames = options.number_of_frames * max(1, TEST_WINDOWS // len(views))
    return [
        replace(c, keypoints_2d=c.keypoints_2d[:frames], positions_3d=c.positions_3d[:frames], valid=c.valid[:frames])
        for c in views
    ]


def _pictures(options: Namespace, place: Place, folder: Path) -> None:
    content = checkpoint.load(folder / BEST)
    card = content["card"]
    lifter = checkpoint.make_lifter(card, content["weights"]).to(place.device).eval()
    clip = load_clips(options, "test", say)[0]
    lifted = lift_clip(lifter, clip, card, sampling_of(options), place)
    root = dataset(options).skeleton.root
    truth = clip.positions_3d - clip.positions_3d[:, root : root + 1]
    drawn = np.linspace(0, len(clip) - 1, 5).astype(int)[1:4].tolist()
    caption = f"SYNTHETIC: {clip.subject} {clip.action}, {lifted.name} of {sampling_of(options).hypotheses} hypotheses"
    figures = pose_figure(
        folder / "poses.png",
        lifter.skeleton,
        clip.keypoints_2d,
        truth,
        lifted.aggregate,
        lifted.hypotheses,
        drawn,
        camera=clip.camera,
        caption=caption,
    )
    part = slice(0, FRAMES_DRAWN)
    video = animate(
        folder / "animation.mp4",
        lifter.skeleton,
        clip.keypoints_2d[part],
        truth[part],
        lifted.aggregate[part],
        lifted.hypotheses[:, part],
        fps=clip.fps,
        camera=clip.camera,
        caption=caption,
    )
    page = write_page(folder / NAME, lifter, card, clip, lifted)
    say(f"written: {', '.join(str(p) for p in [*figures, video, page])}")


def _tell(report: dict) -> None:
    error = report["results"][-1]["protocol_1"]["action_wise"]["P_Agg"]
    mean = report["mean_pose"]["protocol_1"]["action_wise"]
    say(f"SYNTHETIC: P_Agg {error:.1f} mm; answering with the training mean, {mean:.1f} mm.")
