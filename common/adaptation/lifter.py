"""The adapted lifter: a frozen source lifter, low-rank additions, a joint refiner; its files, ours and published."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from common.diffusion.lifter import DiffusionLifter
from common.engine import checkpoint
from common.files.reading import load_torch, understanding
from common.geometry.skeleton import MPI_INF_3DHP_17
from common.models.low_rank import LoRALinear, add_lora, base_weights, merge_lora
from common.models.refiner import make_refiner, published_refiner

_PREFIX = re.compile(r"^(module\.|pose_estimator\.)+")


class RefinedLifter(DiffusionLifter):
    """A lifter whose sampled poses pass through a refiner; the root joint is exactly zero."""

    def __init__(self, lifter: DiffusionLifter, refiner: nn.Module | None = None):
        super().__init__(lifter.denoiser, lifter.skeleton, lifter.diffusion)
        self.refiner = refiner
        keep = torch.ones(len(lifter.skeleton), 1)
        keep[lifter.skeleton.root] = 0
        self.register_buffer("keep", keep, persistent=False)

    def sample(self, *arguments, **keywords) -> Tensor:
        """As DiffusionLifter's: (B, K, H, F, J, 3), metres. Gradients flow unless the caller stops them."""
        poses = super().sample(*arguments, **keywords)
        if self.refiner is not None:
            poses = self.refiner(poses)
        return poses * self.keep

    def adapted(self) -> dict[str, nn.Parameter]:
        """What adaptation trains, by name: the low-rank additions and the refiner."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}


def make_adapted(content: dict, settings: dict) -> RefinedLifter:
    """A fresh adapted lifter around a source checkpoint's content; it computes what the source computes, unless the
    refiner is the published one.

    settings: {"rank", "scale", "targets", "refiner": {"kind", "channels", ...}}, stored in the card as "adaptation".
    """
    lifter = checkpoint.make_lifter(content["card"], content["weights"])
    add_lora(lifter.denoiser, settings["rank"], settings["scale"], settings["targets"])
    return RefinedLifter(lifter, make_refiner(**settings["refiner"]))


def load_adapted(content: dict, source: str = "checkpoint") -> RefinedLifter:
    """The lifter of an adapted checkpoint's content (`read`), strictly: every parameter, each with its shape."""
    with understanding(source, "adapted checkpoint"):
        plain = {"card": content["card"], "weights": base_weights(content["weights"])}
        lifter = make_adapted(plain, content["card"]["adaptation"])
        checkpoint.fill(lifter.denoiser, content["weights"], source)
        if lifter.refiner is not None:
            checkpoint.fill(lifter.refiner, content["refiner"], f"{source} (refiner)")
    return lifter


def load_source_only(content: dict) -> RefinedLifter:
    """The lifter as it was before adaptation, from the same checkpoint; or a source checkpoint's own."""
    return RefinedLifter(checkpoint.make_lifter(content["card"], base_weights(content["weights"])))


def for_evaluation(lifter: RefinedLifter) -> RefinedLifter:
    """A copy with the low-rank additions folded in: the same poses for less work."""
    lifter = copy.deepcopy(lifter)
    merge_lora(lifter.denoiser)
    return lifter.eval()


def without_additions(lifter: RefinedLifter) -> RefinedLifter:
    """A copy that computes what the source lifter computes, however far the lifter has been adapted."""
    lifter = copy.deepcopy(lifter).requires_grad_(False)
    lifter.refiner = None
    for layer in lifter.modules():
        if isinstance(layer, LoRALinear):
            layer.scale = 0.0
    return lifter.eval()


def contents(lifter: RefinedLifter) -> dict:
    """The weights that a checkpoint stores, on the CPU."""
    out = {"weights": _cpu(lifter.denoiser.state_dict())}
    return out if lifter.refiner is None else out | {"refiner": _cpu(lifter.refiner.state_dict())}


def read(path: Path) -> dict:
    """Read a source or an adapted checkpoint, ours or a published one, as {'card', 'weights', 'refiner', ...}."""
    raw = load_torch(path)
    state = raw.get("model_pos") if isinstance(raw, dict) else None
    if not isinstance(state, dict) or not any(".lora_" in name for name in state):
        return checkpoint.load(path)
    with understanding(path, "adapted checkpoint"):
        return _read_published(raw, state, path)


def _read_published(raw: dict, state: dict[str, Tensor], path: Path) -> dict:
    """The published layout: `model_pos` with low-rank names, `model_weight` the refiner. Its joints are 3DHP's."""
    bare = {_PREFIX.sub("", name): value for name, value in state.items()}
    name, sizes, _ = checkpoint.import_published(base_weights(bare), str(path))
    down = {n: v for n, v in bare.items() if n.endswith(".lora_down.weight")}
    targets = sorted({".".join(n.split(".")[-4:-2]) for n in down})
    settings = {"rank": next(iter(down.values())).shape[0], "scale": 1.0, "targets": targets}
    refiner, weights = {"kind": "none"}, None
    if "model_weight" in raw:
        refiner, weights = published_refiner(raw["model_weight"])
    card = {
        "model": name, "sizes": sizes, "variant": "default", "frames": sizes["frames"], "joints": sizes["joints"],
        "skeleton": MPI_INF_3DHP_17.name, "keypoints": None, "labels": None, "units": "m", "seed": None,
        "epoch": raw.get("epoch"), "version": checkpoint.VERSION, "diffusion": {}, "source": "published",
        "adaptation": settings | {"refiner": refiner},
    }  # fmt: skip
    adapted = make_adapted({"card": card, "weights": None}, card["adaptation"]).denoiser.state_dict()
    out = {"card": card, "weights": {n: bare[n] for n in adapted if n in bare}}
    return out if weights is None else out | {"refiner": weights}


def _cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in state.items()}


def count_adapted(lifter: RefinedLifter) -> tuple[int, int]:
    """(parameters of the low-rank additions, parameters of the refiner)."""
    layers = [m for m in lifter.denoiser.modules() if isinstance(m, LoRALinear)]
    low_rank = sum(m.lora_down.weight.numel() + m.lora_up.weight.numel() for m in layers)
    return low_rank, sum(p.numel() for p in lifter.refiner.parameters()) if lifter.refiner is not None else 0
