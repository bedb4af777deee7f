"""`--demo`: the whole program on synthetic data, with nothing at hand. Every output says SYNTHETIC."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.datasets import load_clips
from common.datasets.clips import Clip
from common.datasets.synthetic.h36m import write_h36m
from common.datasets.synthetic.humaneva import write_humaneva
from common.datasets.synthetic.threedhp import write_threedhp
from common.engine.clips import lift_clip
from common.engine.devices import Place
from common.engine.evaluation import sampling_of
from common.engine.log import say
from common.engine.opening import open_lifter
from common.engine.training import BEST, train
from common.errors import UserError
from common.programs.page import NAME, write_page
from common.settings.lifting import Settings
from common.viz.animation import animate
from common.viz.figure import pose_figure

# By data set: write synthetic files into a data folder; 3DHP's annotations lie in a folder of their own.
WRITERS = {
    "h36m": lambda data, annotations, detector: write_h36m(data, detector=detector),
    "humaneva15": lambda data, annotations, detector: write_humaneva(data, detector=detector),
    "3dhp": lambda data, annotations, detector: write_threedhp(data, annotations),  # its 2D is exact
}
TEST_WINDOWS = 100  # at most, so that many hypotheses take seconds
FRAMES_DRAWN = 150


def demo(settings: Settings, place: Place) -> dict:
    """Write synthetic data, train a small lifter, evaluate it, draw it. Returns the report."""
    folder, data = Path(settings.run.checkpoint), Path(settings.data.data_root)
    if settings.data.dataset not in WRITERS:
        raise UserError(f"--demo makes data for {', '.join(WRITERS)}, not for -d {settings.data.dataset}")
    if place.first:
        say(f"SYNTHETIC demo: data in {data}, results in {folder}. Its errors say nothing about real data sets.")
        WRITERS[settings.data.dataset](data, Path(settings.evaluation.annotations), settings.task.detector)
    place.wait()
    report = train(settings, place, test_clips(settings))
    if place.first:
        _pictures(settings, place, folder)
        _tell(report)
    return report


def test_clips(settings: Settings) -> list[Clip]:
    """A part of the test set that is quick to sample: a view of each person's first take of every action, cut short.

    MPI-INF-3DHP is exported and scored whole.
    """
    clips = load_clips(settings.data, "test", say)
    if settings.data.dataset == "3dhp":
        return clips
    takes: dict[tuple[str, str], list[Clip]] = {}
    for clip in clips:
        takes.setdefault((clip.subject, clip.action_name), []).append(clip)
    views = [views[i % len(views)] for i, views in enumerate(takes.values())][:TEST_WINDOWS]
    frames = settings.model.number_of_frames * max(1, TEST_WINDOWS // len(views))
    return [clip.taken(slice(frames)) for clip in views]


def _pictures(settings: Settings, place: Place, folder: Path) -> None:
    opened = open_lifter(folder / BEST, settings, place, say)
    clip, sampling = load_clips(settings.data, "test", say)[0], sampling_of(settings, opened.card, place)
    lifted = lift_clip(opened, clip, sampling, place)
    root = opened.skeleton.root
    truth = clip.positions_3d - clip.positions_3d[:, root : root + 1]
    drawn = np.linspace(0, len(clip) - 1, 5).astype(int)[1:4].tolist()
    caption = f"SYNTHETIC: {clip.subject} {clip.action}, {lifted.name} of {sampling.hypotheses} hypotheses"
    figures = pose_figure(
        folder / "poses.png",
        opened.skeleton,
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
        opened.skeleton,
        clip.keypoints_2d[part],
        truth[part],
        lifted.aggregate[part],
        hypotheses=lifted.hypotheses[:, part],
        fps=clip.fps,
        camera=clip.camera,
        caption=caption,
    )
    page = write_page(folder / NAME, opened, clip, lifted)
    say(f"written: {', '.join(str(p) for p in [*figures, video, page])}")


def _tell(report: dict) -> None:
    error = report["results"][-1]["protocol_1"]["action_wise"]["P_Agg"]
    mean = report["mean_pose"]["protocol_1"]["action_wise"]
    say(f"SYNTHETIC: P_Agg {error:.1f} mm; answering with the training mean, {mean:.1f} mm.")
