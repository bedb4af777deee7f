"""Checkpoints of every form, CLIP's weights, safetensors, prompts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.fuzz.formats import Format


def _card() -> dict:
    sizes = {"frames": 3, "joints": 17, "channels": 8, "depth": 1}
    return {
        "model": "mixste",
        "sizes": sizes,
        "variant": "default",
        "frames": 3,
        "joints": 17,
        "skeleton": "h36m_17",
        "keypoints": "gt",
        "labels": None,
        "units": "m",
        "seed": 1,
        "epoch": 2,
        "version": 1,
        "fps": 50.0,
        "diffusion": {"timesteps": 50, "scale": 1.0},
        "mean_pose": [[0.0, 0.0, 0.0]] * 17,
    }


def _network():
    import torch

    from common.models import build

    torch.manual_seed(0)
    return build("mixste", **_card()["sizes"])


def _torch(name: str, content: Callable[[], object], zipped: bool = True) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import torch

        torch.save(content(), folder / name, _use_new_zipfile_serialization=zipped)

    return make


def _published() -> dict:
    state = {f"module.{name}": value for name, value in _network().state_dict().items()}
    return {"epoch": 3, "lr": 1e-4, "random_state": np.random.RandomState(1), "optimizer": {}, "model_pos": state}


def _read_checkpoint(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from common.adaptation import lifter as adapted
        from common.engine import checkpoint
        from common.errors import UserError
        from common.programs.doctor import check_file

        check_file(folder / name)
        try:
            content = adapted.read(folder / name)
        finally:
            content = checkpoint.load(folder / name)
        if "adaptation" in content["card"]:
            adapted.load_adapted(content)
        elif content["card"]["model"] == "dual_diffusion":
            raise UserError("another program's")
        else:
            checkpoint.make_lifter(content["card"], content["weights"])

    return read


def _two_view(published: bool) -> Callable[[], object]:
    def content():
        from common.models.two_view import GraphDenoiser

        network = GraphDenoiser(hid_dim=8, num_layer=1, n_head=4, dropout=0.0).state_dict()
        if published:
            return [{f"module.{k}": v for k, v in network.items()}, {"state": {}}, 7, 100, network]
        settings = {
            "model.hid_dim": 8,
            "model.num_layer": 1,
            "model.n_head": 4,
            "model.dropout": 0.0,
            "model.action_emd": False,
            "model.depth_emd": True,
        }
        card = {"model": "dual_diffusion", "version": 1, "settings": settings, "epoch": 1, "seed": 3}
        return {"card": card, "weights": network, "ema": network}

    return content


def _read_two_view(folder: Path) -> None:
    from common.binocular import checkpoint as two_view
    from common.engine.checkpoint import fill
    from common.programs.doctor import check_file
    from common.settings.two_view import TwoViewSettings

    path = folder / "ours.pth"
    check_file(path)
    content = two_view.load(path)
    network = two_view.build(TwoViewSettings.of(content["card"]["settings"]).model)
    fill(network, content["weights"], path)


def _clip(folder: Path) -> None:
    import torch

    class Tower(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.token_embedding = torch.nn.Embedding(5, 4)
            self.ln_final = torch.nn.LayerNorm(4)

        def forward(self, x):
            return self.ln_final(self.token_embedding(x))

    torch.jit.save(torch.jit.script(Tower()), str(folder / "clip.pt"))


def _read_clip(folder: Path) -> None:
    from common.files.reading import load_clip_weights

    load_clip_weights(folder / "clip.pt")


def _safetensors(folder: Path) -> None:
    from common.programs.export import write_safetensors

    write_safetensors(folder / "m.safetensors", _network().state_dict(), _card())


def _read_safetensors(folder: Path) -> None:
    from common.engine import checkpoint
    from common.programs.doctor import check_file
    from common.programs.export import read_safetensors

    check_file(folder / "m.safetensors")
    content = read_safetensors(folder / "m.safetensors")
    checkpoint.make_lifter(content["card"], content["weights"])


def _prompts(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    card = {"layout": "graphdiffu_h36m", "actions": ["Walking"], "ctx_seed": 0, "random": False}
    tensors = {"features": torch.zeros(2, 77, 8), "positions": torch.zeros(2, dtype=torch.long)}
    save_file(tensors, folder / "p.safetensors", metadata={"prompts": json.dumps(card)})


def _read_prompts(folder: Path) -> None:
    from common.models.prompt_layouts import LAYOUTS
    from common.models.prompts import read_prompts

    read_prompts(folder / "p.safetensors", LAYOUTS["graphdiffu_h36m"])


CHECKPOINTS = {
    "torch:ours.bin": Format(
        _torch("ours.bin", lambda: {"card": _card(), "weights": _network().state_dict()}),
        "ours.bin",
        _read_checkpoint("ours.bin"),
    ),
    "torch:published.bin": Format(
        _torch("published.bin", _published), "published.bin", _read_checkpoint("published.bin")
    ),
    "torch:legacy.bin": Format(
        _torch("legacy.bin", lambda: {"card": _card(), "weights": _network().state_dict()}, False),
        "legacy.bin",
        _read_checkpoint("legacy.bin"),
    ),
    "torch:published_legacy.bin": Format(
        _torch("published_legacy.bin", _published, False),
        "published_legacy.bin",
        _read_checkpoint("published_legacy.bin"),
    ),
    "two_view_ckpt:ours.pth": Format(_torch("ours.pth", _two_view(False)), "ours.pth", _read_two_view),
    "two_view_ckpt:published.pth": Format(_torch("ours.pth", _two_view(True)), "ours.pth", _read_two_view),
    "torchscript:clip.pt": Format(_clip, "clip.pt", _read_clip),
    "safetensors:m.safetensors": Format(_safetensors, "m.safetensors", _read_safetensors),
    "safetensors:p.safetensors": Format(_prompts, "p.safetensors", _read_prompts),
}
