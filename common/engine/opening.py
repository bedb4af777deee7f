"""Open a checkpoint for use: its card checked against the flags, its lifter on the device."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from common.datasets import dataset, load_clips
from common.diffusion.diff3dhpe import normalisation_scale
from common.diffusion.lifter import DiffusionLifter
from common.engine import checkpoint
from common.engine.cards import check_card
from common.engine.devices import Place
from common.models import REGISTRY
from common.models.blocks import choose_attention


def open_lifter(
    path: Path, options: Namespace, place: Place, notice: Callable[[str], None]
) -> tuple[DiffusionLifter, dict]:
    """The lifter of a checkpoint file, in evaluation mode on the device, and its card.

    Raises UserError where a flag or the data set contradicts the checkpoint.
    """
    content = checkpoint.load(path)
    card = content["card"]
    check_card(card, options)
    if card["keypoints"] and card["keypoints"] != options.keypoints:
        notice(f"Warning: the checkpoint was trained on 2D from {card['keypoints']}, not {options.keypoints}.")
    set_unit(card, options, notice)
    lifter = checkpoint.make_lifter(card, content["weights"]).to(place.device).eval()
    choose_attention(lifter, place.device, card["frames"], card["joints"], options.amp)
    return lifter, card


def set_unit(card: dict, options: Namespace, notice: Callable[[str], None]) -> None:
    """Published Diff3DHPE files do not store their unit of length: take it from the data, as that code did.

    That code looked at every action, whichever it then evaluated.
    """
    if "unit" in REGISTRY[card["model"]].diffusion_options and card["diffusion"].get("unit") is None:
        everything = Namespace(**{**vars(options), "actions": "*"})
        clips = [clip for role in ("train", "test") for clip in load_clips(everything, role, notice)]
        card["diffusion"]["unit"] = unit = normalisation_scale(clips, dataset(options).skeleton.root)
        notice(f"The file does not say its unit of length; from all data it is {unit:.4f} m (--unit sets it).")
