"""Checkpoints of the two-view network: ours, and published ones (a list of five)."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from common.engine.card_check import check_weights
from common.engine.checkpoint import save  # noqa: F401  (written whole or not at all)
from common.errors import UserError
from common.files.reading import load_torch, understanding
from common.models.two_view import GraphDenoiser
from common.settings.two_view import KEYS, check

VERSION = 1
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


def is_own(content: object) -> bool:
    """Whether a checkpoint's content is of this program's own form."""
    card = content.get("card") if isinstance(content, dict) else None
    return isinstance(card, dict) and card.get("model") == "dual_diffusion"


def _read(content: object, path: Path) -> dict:
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


def published_settings(weights: dict[str, Tensor], path: Path) -> dict[str, object]:
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


def build(settings: dict[str, object]) -> GraphDenoiser:
    """A fresh network of the settings."""
    names = ("hid_dim", "num_layer", "n_head", "dropout", "action_emd", "depth_emd")
    if settings["model.hid_dim"] % settings["model.n_head"]:
        raise UserError(f"model.hid_dim {settings['model.hid_dim']}: no multiple of model.n_head")
    return GraphDenoiser(**{name: settings[f"model.{name}"] for name in names})


def fill(network: GraphDenoiser, weights: dict[str, Tensor], path: str | Path) -> None:
    """Load weights strictly; the first thing that does not fit is told in one line."""
    wanted = network.state_dict()
    for key in wanted:
        if key not in weights:
            raise UserError(f"{path}: parameter {key} is missing")
        if weights[key].shape != wanted[key].shape:
            raise UserError(f"{path}: {key} has shape {tuple(weights[key].shape)}, not {tuple(wanted[key].shape)}")
    if extra := [key for key in weights if key not in wanted]:
        raise UserError(f"{path}: unknown parameter {extra[0]}")
    network.load_state_dict(weights)


def rng_state() -> dict[str, object]:
    """The state of PyTorch's generators."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_rng(state: dict[str, object]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
