"""Open a checkpoint for use: its card checked against the settings, its lifter on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from common.datasets import data_set_of, load_clips
from common.diffusion.diff3dhpe import normalisation_scale
from common.diffusion.lifter import DiffusionLifter
from common.engine import checkpoint
from common.engine.cards import resolve
from common.engine.devices import Place, amp_of
from common.errors import UserError
from common.geometry.skeleton import Skeleton
from common.models import entry
from common.models.blocks import choose_attention
from common.settings.lifting import EVERYTHING, Settings

FPS = 50.0  # of checkpoints whose card does not say: Human3.6M's

Notice = Callable[[str], None]


@dataclass(frozen=True)
class Opened:
    """A checkpoint in use: its lifter, in evaluation mode on the device, its card, and the file it came from."""

    lifter: DiffusionLifter
    card: dict
    path: Path
    name: str = ""  # what tells it from others in the same picture

    @property
    def skeleton(self) -> Skeleton:
        return self.lifter.skeleton

    @property
    def fps(self) -> float:
        """Frames a second that the network was trained on."""
        return float(self.card.get("fps") or FPS)

    @property
    def centre_only(self) -> bool:
        """Whether the network answers for a window's centre frame only."""
        return entry(self.card["model"]).centre_only

    @property
    def answered(self) -> int:
        """Frames that a window answers for."""
        return 1 if self.centre_only else self.card["frames"]


def open_card(path: Path, card: dict, weights: dict, device: torch.device, *, amp: bool = False) -> Opened:
    """The lifter of a card with its weights, ready to sample on the device."""
    lifter = checkpoint.make_lifter(card, weights).to(device).eval()
    choose_attention(lifter, device, card["frames"], card["joints"], amp=amp)
    return Opened(lifter, card, path)


def open_lifter(path: Path, settings: Settings, place: Place, notice: Notice) -> Opened:
    """Open a checkpoint file for a data set. Raises UserError where a setting or the data contradict it."""
    content = checkpoint.load(path)
    card = resolve(settings, content["card"])
    if card["keypoints"] and card["keypoints"] != settings.data.keypoints:
        notice(f"Warning: the checkpoint was trained on 2D from {card['keypoints']}, not {settings.data.keypoints}.")
    set_unit(card, settings, notice)
    return open_card(
        path, card, content["weights"], place.device, amp=amp_of(settings.run, settings.published, place.device)
    )


def set_unit(card: dict, settings: Settings, notice: Notice) -> None:
    """Published Diff3DHPE files do not store their unit of length: take it from the data, as that code did.

    That code looked at every action, whichever it then evaluated.
    """
    if "unit" in entry(card["model"]).diffusion_options and card["diffusion"].get("unit") is None:
        data = replace(settings.data, actions=EVERYTHING)
        poses = [clip.positions_3d[clip.valid] for role in ("train", "test") for clip in load_clips(data, role, notice)]
        card["diffusion"]["unit"] = unit = normalisation_scale(poses, data_set_of(data).skeleton.root)
        notice(f"The file does not say its unit of length; from all data it is {unit:.4f} m (--unit sets it).")


def named(opened: Sequence[Opened]) -> list[Opened]:
    """The same under names that tell them apart: what the network is called, else the folder, else the file."""
    candidates = (
        [one.card["model"] for one in opened],
        [one.path.parent.name for one in opened],
        [one.path.stem for one in opened],
        [f"{one.path.parent.name}_{one.path.stem}" for one in opened],
        [f"{n + 1}_{one.card['model']}" for n, one in enumerate(opened)],
    )
    names = next(names for names in candidates if len(set(names)) == len(opened))
    return [replace(one, name=name) for one, name in zip(opened, names, strict=True)]


def pairs(folders: Sequence[str], files: Sequence[str]) -> list[Path]:
    """The checkpoint of every (folder, file): one folder serves several files, and one file several folders.

    Raises UserError where the numbers do not match or a file is missing.
    """
    count = max(len(folders), len(files))
    if {len(folders), len(files)} - {1, count}:
        raise UserError(f"{len(folders)} times -c, but {len(files)} times --evaluate: give one file a folder")
    folders, files = (list(values) * count if len(values) == 1 else values for values in (folders, files))
    return [checkpoint.find(Path(folder), file) for folder, file in zip(folders, files, strict=True)]
