"""The card of a checkpoint: all that is needed to build it again, to judge its results and to go on training it."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from common.datasets import data_set_of
from common.datasets.clips import Clip
from common.diffusion.diff3dhpe import normalisation_scale
from common.engine.checkpoint import VERSION
from common.errors import UserError
from common.geometry.skeleton import Skeleton, describe, skeleton_of
from common.models import REGISTRY, entry
from common.settings.lifting import PARTS, Settings, flag_name

# What a run may choose anew: how to sample, not what the weights were made for.
_SAMPLER = ("ddim_sampling_eta", "ddim_coefficients", "clip_denoised")
_SIZES = {"number_of_frames": "frames", "channels": "channels", "depth": "depth"}
# What makes a training, besides the network: stored in the card, and used where a resumed run types nothing.
RECIPE = (
    *("dataset", "keypoints", "subjects_train", "actions", "subset", "downsample", "labels", "h36m_pretrain"),
    *("protocol", "stride", "batch_size", "learning_rate", "lr_decay", "no_data_augmentation", "select", "seed"),
    *("schedule", "warm_up", "weight_decay", "average", "times", "loss_weight", "velocity_loss", "bone_loss"),
    *("vary", "drop_path", "amp", "debug", "subjects_test"),
)
# Of these, what a resumed run may change; the card's history tells it.
CHANGEABLE = ("learning_rate", "amp")


def new_card(settings: Settings, clips: list[Clip]) -> dict:
    """The card of a fresh model, trained on these clips."""
    data, chosen = settings.data, settings.model
    source, model = data_set_of(data), entry(chosen.model)
    skeleton = source.skeleton
    sizes = {
        "frames": chosen.number_of_frames,
        "joints": len(skeleton),
        "channels": chosen.channels,
        "depth": chosen.depth,
        **{name: _argument(settings, name, skeleton, clips) for name in model.options},
    }
    if chosen.variant not in ("published", *model.variants, "default"):
        there = ", ".join(model.variants or ("default",))
        raise UserError(f"--variant {chosen.variant}: {chosen.model} has none such; it has {there}")
    for name in ("frames", "channels", "depth"):
        if sizes[name] < 1:
            raise UserError(f"the number of {name} must be positive, not {sizes[name]}")
    if sizes["channels"] % 8:
        raise UserError(f"-cs {sizes['channels']}: must be a multiple of 8, the number of attention heads")
    return {
        "model": chosen.model,
        "sizes": sizes,
        "variant": chosen.variant if chosen.variant in model.variants else "default",
        "frames": chosen.number_of_frames,
        "joints": len(skeleton),
        "skeleton": describe(skeleton),
        "keypoints": data.keypoints,
        "labels": source.labels(data),
        "units": "m",
        "seed": settings.run.seed,
        "epoch": 0,
        "version": VERSION,
        "dataset": data.dataset,
        "subjects": ",".join(data.subjects_train),
        "fps": clips[0].fps,
        "synthetic": settings.task.demo,
        "diffusion": {
            name: _argument(settings, name, skeleton, clips) for name in (*model.diffusion_options, "objective")
        },
        "mean_pose": mean_pose(clips, skeleton.root).tolist(),
        "recipe": recipe_of(settings),
    }


def recipe_of(settings: Settings) -> dict:
    """The settings that make a training, as plain types."""
    values = {name: settings.value(name) for name in RECIPE}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _argument(settings: Settings, name: str, skeleton: Skeleton, clips: list[Clip]):
    """A constructor's argument: the skeleton, the actions and the unit come from the data, the rest is typed."""
    if name == "skeleton":
        return describe(skeleton)
    if name == "actions":
        return data_set_of(settings.data).action_names(clips)
    if name == "unit":
        return settings.model.unit or normalisation_scale(
            (clip.positions_3d[clip.valid] for clip in clips), skeleton.root
        )
    return getattr(settings.model, name)


def trained_on(card: dict) -> str:
    """One line for every output: the network, and on what it was trained."""
    if card.get("trained_on"):
        data = card["trained_on"]
    elif card.get("source") == "published":
        data = "the data of its publication"
    else:
        named = [str(card[key]) for key in ("dataset", "subjects") if card.get(key)]
        data = " ".join(named) or "data that its card does not name"
        data += f", 2D {card['keypoints']}" if card.get("keypoints") else ""
    return f"{card['model']}, trained on {'SYNTHETIC ' if card.get('synthetic') else ''}{data}"


def mean_pose(clips: list[Clip], root: int) -> np.ndarray:
    """The mean root-relative pose (J, 3) of the valid frames, camera frame, metres."""
    total, frames = np.zeros(()), 0
    for clip in clips:
        poses = clip.positions_3d[clip.valid].astype(np.float64)
        total = total + (poses - poses[:, root : root + 1]).sum(0)
        frames += len(poses)
    return total / max(frames, 1)


def resolve(settings: Settings, card: dict) -> dict:
    """The card as this run uses it: the sampler's settings are set anew where they are given.

    Raises UserError where a given setting of the model contradicts the card, or the data have another skeleton.
    """
    model = REGISTRY.get(card["model"])
    diffusion = {"objective": "x0"} | card.get("diffusion", {})  # older cards and published files do not say it
    card = {**card, "sizes": dict(card["sizes"]), "diffusion": diffusion}
    sizes = card["sizes"]
    settable = model.diffusion_options if model else ()
    for name in sorted(settings.given & {field.name for field in fields(PARTS["model"])}):
        value = getattr(settings.model, name)
        if card.get("source") == "published" and model and name in model.untold:
            sizes[name] = value
        elif name in settable and (name in _SAMPLER or name not in diffusion):
            diffusion[name] = value  # published files do not store theirs
        elif name in _SAMPLER and model and name not in settable:
            raise UserError(f"{flag_name(name)}: the sampling of {card['model']} has no such setting; leave it out")
        else:
            stored = card["model"] if name == "model" else sizes.get(_SIZES.get(name, name), diffusion.get(name, value))
            if stored != value:
                raise UserError(f"{flag_name(name)} {value} contradicts the checkpoint, which has {stored}")
    skeleton = data_set_of(settings.data).skeleton
    if card["skeleton"] != describe(skeleton):
        lifted = skeleton_of(card["skeleton"]).name
        raise UserError(
            f"the checkpoint lifts the skeleton {lifted}, the data set {settings.data.dataset} has {skeleton.name}"
        )
    return card


def resumed(settings: Settings, card: dict) -> tuple[Settings, list[str]]:
    """The settings of a run that goes on from a card, and what to say: stored ones count where nothing is given.

    What is given otherwise is refused, or, for CHANGEABLE, taken and told. Raises UserError for what is refused.
    """
    stored = card.get("recipe")
    if stored is None:
        return settings, ["The checkpoint does not say how it was trained: the settings of this command line are used."]
    said, kept = [], {}
    for name in RECIPE:
        if name not in stored or (name == "subjects_test" and stored.get("select") != "test"):  # they choose nothing
            continue
        before = tuple(stored[name]) if isinstance(stored[name], list) else stored[name]
        now = settings.value(name)
        if name not in settings.given:
            kept[name] = before
        elif now != before and name not in CHANGEABLE:
            raise UserError(
                f"{flag_name(name)} {_shown(now)}: the run to go on with has {_shown(before)}; leave the flag out, or "
                "start a new run in another folder"
            )
        elif now != before:
            said.append(f"{flag_name(name)} {_shown(now)} from here on; so far it was {_shown(before)}.")
    return settings.changed(**kept), said


def changes(card: dict, settings: Settings) -> list[dict]:
    """What a resumed run does otherwise than its card says, from the card's epoch on: rows for its history."""
    stored, now = card.get("recipe") or {}, recipe_of(settings)
    return [
        {"after_epoch": card["epoch"], "setting": name, "from": stored[name], "to": now[name]}
        for name in CHANGEABLE
        if name in stored and stored[name] != now[name]
    ]


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
