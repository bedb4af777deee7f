"""Checkpoints of the two-view network: ours, and published ones (a list of five)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from common.engine.card_check import LARGEST, check_weights
from common.errors import UserError
from common.files.reading import load_torch, understanding
from common.models.two_view import GraphDenoiser
from common.settings.two_view import KEYS, Network
from common.settings.two_view_files import check

VERSION = 2  # 2: every draw of a training is a function of seed, epoch and step
_PROFILER = re.compile(r"(^|\.)total_(ops|params)$")


def find(name: str | Path) -> Path:
    """A checkpoint by path; one named under checkpoints/ is also looked for in checkpoint/."""
    path = Path(name)
    parts = ["checkpoint" if part == "checkpoints" else part for part in path.parts]
    for candidate in (path, Path(*parts)):
        if candidate.is_file():
            return candidate
    where = "" if Path(*parts) == path else f", nor {Path(*parts)}"
    raise UserError(f"{path}: no such checkpoint{where}; to train from scratch leave --model_diff_path out")


def load(path: str | Path) -> dict:
    """Read a checkpoint: {'card', 'weights', 'ema', ...}, on the CPU.

    A published file is the list [weights, optimiser, epoch, step, EMA]; its card says so, and its sizes are read off
    the weights (the number of heads cannot be: it stays out of the card).
    """
    path = find(path)
    content = load_torch(path)
    with understanding(path, "two-view checkpoint"):
        return _read(content, path)


def is_own(content: Any) -> bool:
    """Whether a checkpoint's content is of this program's own form."""
    card = content.get("card") if isinstance(content, dict) else None
    return isinstance(card, dict) and card.get("model") == "dual_diffusion"


def _read(content: Any, path: Path) -> dict:
    if is_own(content):
        card = content["card"]
        if not isinstance(card.get("version"), int) or not isinstance(card.get("settings"), dict):
            raise UserError(f"{path}: damaged, its card is not whole")
        if card["version"] > VERSION:
            raise UserError(f"{path}: written by a newer version of this program")
        known = {name: value for name, value in card["settings"].items() if name in KEYS}
        settings = {name: check(name, value, str(path)) for name, value in known.items()}
        for name in ("weights", "ema"):
            if name == "weights" or content.get("ema") is not None:
                check_weights(content[name], path)
        shown = published_settings(content["weights"], path)
        for name in ("model.hid_dim", "model.num_layer"):  # nothing is built that the weights do not fill
            if settings.get(name, shown[name]) != shown[name]:
                raise UserError(f"{path}: {name} is {settings[name]}, its weights have {shown[name]}")
        content["card"], content["ema"] = card | {"settings": card["settings"] | settings}, content.get("ema")
        return content
    if isinstance(content, (list, tuple)) and content and isinstance(content[0], dict):
        weights = published_weights(content[0])
        ema = content[4] if len(content) > 4 and isinstance(content[4], dict) else {}
        ema = published_weights(ema) or None  # some files hold an empty one
        epoch = content[2] if len(content) > 2 and isinstance(content[2], int) else None
        settings = published_settings(weights, path)
        card = {"model": "dual_diffusion", "source": "published", "epoch": epoch, "settings": settings}
        return {"card": card, "weights": weights, "ema": ema}
    raise UserError(f"{path}: not a two-view checkpoint, ours or published")


def published_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Strip the data-parallel prefix and drop the counters that a profiler left."""
    check_weights(state, "published checkpoint")
    bare = {key.removeprefix("module."): value for key, value in state.items()}
    return {key: value for key, value in bare.items() if not _PROFILER.search(key)}


def published_settings(weights: dict[str, Tensor], path: Path) -> dict[str, Any]:
    """The settings that published weights show by their names and shapes."""
    if "gconv_input.weight" not in weights:
        raise UserError(f"{path}: no two-view network in this file; keys: {', '.join(list(weights)[:4])}")
    layers = {int(m[1]) for key in weights if (m := re.match(r"gconv_layers\.(\d+)\.", key))}
    return {
        "model.hid_dim": weights["gconv_input.weight"].shape[-1],
        "model.num_layer": len(layers),
        "model.action_emd": "acemb.dense.0.weight" in weights,
        "model.depth_emd": "dpemb.dense.0.weight" in weights,
        "model.variant": "published",
    }


def build(network: Network) -> GraphDenoiser:
    """A fresh network of the settings."""
    names = ("hid_dim", "num_layer", "n_head", "dropout", "action_emd", "depth_emd")
    if network.hid_dim > LARGEST["channels"] or network.num_layer > LARGEST["depth"]:
        raise UserError(
            f"model.hid_dim {network.hid_dim}, model.num_layer {network.num_layer}: larger than any network"
        )
    if not 0 <= network.dropout < 1:
        raise UserError(f"model.dropout {network.dropout}: a share from 0 to below 1")
    if network.hid_dim % network.n_head:
        raise UserError(f"model.hid_dim {network.hid_dim}: no multiple of model.n_head")
    return GraphDenoiser(**{name: getattr(network, name) for name in names})


def resumable(path: Path) -> dict:
    """The content of a checkpoint that a training can go on from. Raises UserError for any other."""
    content = load(path)
    if "optimizer" not in content:
        raise UserError(f"{path}: a published checkpoint cannot be resumed; start from it with --model_diff_path")
    if content["card"]["version"] < VERSION:
        raise UserError(
            f"{path}: written by an earlier version, whose random draws this one does not repeat; evaluate it, or "
            "start from it with --model_diff_path"
        )
    return content
