"""`--viewer`: one clip of an evaluation as a page to turn and play: truth, aggregate, hypotheses."""

from __future__ import annotations

from pathlib import Path

import torch

from common.datasets import load_clips
from common.datasets.clips import Clip
from common.engine.cards import trained_on
from common.engine.clips import Lifted, choose_clip, lift_clip
from common.engine.devices import Place
from common.engine.evaluation import sampling_of
from common.engine.log import say
from common.engine.opening import Opened, open_lifter
from common.geometry.camera import screen_to_pixels
from common.settings.lifting import Settings
from common.viz.viewer import write_viewer

NAME = "viewer.html"


def view(settings: Settings, place: Place, path: Path) -> Path:
    """Lift the clip that the --viz flags name (default: the first) and write viewer.html beside the checkpoint."""
    opened, asked = open_lifter(path, settings, place, lambda line: None), settings.drawing
    clip = choose_clip(load_clips(settings.data, "test", say), asked.viz_subject, asked.viz_action, asked.viz_camera)
    lifted = lift_clip(opened, clip, sampling_of(settings, opened.card, place), place)
    page = write_page(Path(settings.run.checkpoint) / NAME, opened, clip, lifted)
    say(f"written: {page}")
    return page


def write_page(path: Path, opened: Opened, clip: Clip, lifted: Lifted) -> Path:
    """The viewer of a lifted clip. Everything stands at the true root: lifted poses have none of their own."""
    root = clip.positions_3d[:, [opened.skeleton.root]]  # (T, 1, 3)
    camera = clip.camera
    person = {
        "id": 1,
        "label": f"{clip.subject} {clip.action}",
        "positions": lifted.aggregate + root,
        "hypotheses": lifted.hypotheses + root,
        "truth": clip.positions_3d,
        "keypoints_2d": screen_to_pixels(torch.from_numpy(clip.keypoints_2d), camera.width, camera.height).numpy(),
    }
    title = f"{clip.subject} {clip.action}, {lifted.name} of {len(lifted.hypotheses)} hypotheses, at the true root"
    size = (camera.width, camera.height)
    write_viewer(path, [person], clip.fps, opened.skeleton, size=size, title=title, note=trained_on(opened.card))
    return path
