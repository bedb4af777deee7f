"""From flags to the card of a checkpoint, and what of the flags may not contradict it."""

from __future__ import annotations

from argparse import Namespace

import numpy as np

from common.datasets import dataset
from common.datasets.clips import Clip
from common.diffusion.diff3dhpe import normalisation_scale
from common.engine.checkpoint import VERSION
from common.errors import UserError
from common.geometry.skeleton import describe, skeleton_of
from common.models import REGISTRY

# What a run may choose anew: how to sample, not what the weights were made for.
_SAMPLER = ("ddim_sampling_eta", "ddim_coefficients", "clip_denoised")
# What published files do not store although the network depends on it.
_NOT_IN_THE_FILE = ("tem_alpha", "tem_beta")
_SIZE_FLAGS = {"number_of_frames": "frames", "channels": "channels", "depth": "depth"}


def new_card(options: Namespace, clips: list[Clip]) -> dict:
    """The card of a fresh model: all that is needed to build it again and to judge its results."""
    if options.model not in REGISTRY:
        raise UserError(f"--model {options.model}: unknown; there are {', '.join(sorted(REGISTRY))}")
    model, skeleton = REGISTRY[options.model], dataset(options).skeleton
    sizes = {
        "frames": options.number_of_frames,
        "joints": len(skeleton),
        "channels": options.channels,
        "depth": options.depth,
        **{name: _option(options, name, skeleton, clips) for name in model.options},
    }
    for name in ("frames", "channels", "depth"):
        if sizes[name] < 1:
            raise UserError(f"the number of {name} must be positive, not {sizes[name]}")
    if sizes["channels"] % 8:
        raise UserError(f"-cs {sizes['channels']}: must be a multiple of 8, the number of attention heads")
    return {
        "model": options.model,
        "sizes": sizes,
        "variant": options.variant if model.variants else "default",
        "frames": options.number_of_frames,
        "joints": len(skeleton),
        "skeleton": describe(skeleton),
        "keypoints": options.keypoints,
        "labels": dataset(options).labels(options),
        "units": "m",
        "seed": options.seed,
        "epoch": 0,
        "version": VERSION,
        "dataset": options.dataset,
        "subjects": options.subjects_train,
        "fps": clips[0].fps,
        "synthetic": options.demo,
        "diffusion": {name: _option(options, name, skeleton, clips) for name in model.diffusion_options},
        "mean_pose": mean_pose(clips, skeleton.root).tolist(),
        "recipe": {name: getattr(options, name) for name in ("stride", "lr_decay")},
    }


def _option(options: Namespace, name: str, skeleton, clips: list[Clip]):
    """A constructor's argument: the skeleton, the actions and the unit come from the data, the rest from flags."""
    if name == "skeleton":
        return describe(skeleton)
    if name == "actions":
        return dataset(options).action_names(clips)
    if name == "unit":
        return options.unit or normalisation_scale(clips, skeleton.root)
    return getattr(options, name)


def mean_pose(clips: list[Clip], root: int) -> np.ndarray:
    """The mean root-relative pose (J, 3) of the valid frames, camera frame, metres."""
    total, frames = 0.0, 0
    for clip in clips:
        poses = clip.positions_3d[clip.valid].astype(np.float64)
        total = total + (poses - poses[:, root : root + 1]).sum(0)
        frames += len(poses)
    return total / max(frames, 1)


def check_card(card: dict, options: Namespace) -> None:
    """Refuse a given flag that contradicts the checkpoint, and data of another skeleton; set the sampler's flags."""
    diffusion = card.setdefault("diffusion", {})
    settable = REGISTRY[card["model"]].diffusion_options if card["model"] in REGISTRY else ()
    for flag, value in options.given.items():
        if card.get("source") == "published" and flag in _NOT_IN_THE_FILE:
            card["sizes"][flag] = value
            continue
        if flag in settable and (flag in _SAMPLER or flag not in diffusion):
            diffusion[flag] = value  # published files do not store theirs
            continue
        if flag == "actions":  # which clips to use; the card's list names the rows of its text
            continue
        if flag == "model":
            stored = card["model"]
        elif flag in _SIZE_FLAGS:
            stored = card["sizes"].get(_SIZE_FLAGS[flag], value)
        else:
            stored = card["sizes"].get(flag, diffusion.get(flag, value))
        if stored != value:
            raise UserError(f"--{flag.replace('_', '-')} {value} contradicts the checkpoint, which has {stored}")
    skeleton = dataset(options).skeleton
    if card["skeleton"] != describe(skeleton):
        lifted = skeleton_of(card["skeleton"]).name
        raise UserError(
            f"the checkpoint lifts the skeleton {lifted}, the data set {options.dataset} has {skeleton.name}"
        )
