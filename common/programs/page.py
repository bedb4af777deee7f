"""`--viewer`: one clip of an evaluation as a page to turn and play: truth, aggregate, hypotheses."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import torch

from common.datasets import load_clips
from common.datasets.clips import Clip
from common.diffusion.lifter import DiffusionLifter
from common.engine.clips import Lifted, choose_clip, lift_clip, sampling_for
from common.engine.devices import Place
from common.engine.log import say
from common.engine.opening import open_lifter
from common.geometry.camera import screen_to_pixels
from common.viz.viewer import write_viewer
from common.wild.lifting import trained_on

NAME = "viewer.html"


def view(options: Namespace, place: Place, path: Path) -> Path:
    """Lift the clip that the --viz flags name (default: the first) and write viewer.html beside the checkpoint."""
    lifter, card = open_lifter(path, options, place, lambda line: None)
    clip = choose_clip(load_clips(options, "test", say), options)
    lifted = lift_clip(lifter, clip, card, sampling_for(options, card), place)
    page = write_page(Path(options.checkpoint) / NAME, lifter, card, clip, lifted)
    say(f"written: {page}")
    return page


def write_page(path: Path, lifter: DiffusionLifter, card: dict, clip: Clip, lifted: Lifted) -> Path:
    """The viewer of a lifted clip. Everything stands at the true root: lifted poses have none of their own."""
    root = clip.positions_3d[:, [lifter.skeleton.root]]  # (T, 1, 3)
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
    write_viewer(path, [person], clip.fps, lifter.skeleton, size=size, title=title, note=trained_on(card))
    return path
