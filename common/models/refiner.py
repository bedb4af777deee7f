"""The joint refiner behind the sampler: a transformer over a pose's joints. Poses (..., J, 3), metres."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from common.errors import UserError


class JointRefiner(nn.Module):
    """x + f(x), where f attends over the joints and knows them by a learned code; f is zero at the start."""

    def __init__(self, *, joints: int = 17, channels: int = 512, depth: int = 8, heads: int = 8, dropout: float = 0.1):
        super().__init__()
        self.encoder = nn.Linear(3, channels)
        self.joint_code = nn.Parameter(0.02 * torch.randn(joints, channels))
        layer = nn.TransformerEncoderLayer(
            channels, heads, channels, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.transformer_encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(channels), False)
        self.decoder = nn.Linear(channels, 3)
        nn.init.zeros_(self.decoder.weight)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, poses: Tensor) -> Tensor:
        x = self.encoder(poses.reshape(-1, *poses.shape[-2:])) + self.joint_code  # (N, J, C)
        return poses + self.decoder(self.transformer_encoder(x)).view(poses.shape)


class PublishedRefiner(nn.Module):
    """The published network, for its files: millimetres, no residual, a causal mask over the joints.

    Its position code is that of a pose's place in the batch, not of the joint: results depend on the batch.
    """

    def __init__(self, *, joints: int = 17, channels: int = 512, depth: int = 8, heads: int = 8, dropout: float = 0.5):
        super().__init__()
        self.encoder = nn.Linear(3, channels)
        layer = nn.TransformerEncoderLayer(channels, heads, channels, dropout, batch_first=True)
        self.transformer_encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.decoder = nn.Linear(channels, 3)
        self.dropout = nn.Dropout(dropout)
        for linear in (self.encoder, self.decoder):
            nn.init.uniform_(linear.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, poses: Tensor) -> Tensor:
        x = 1000 * poses.reshape(-1, *poses.shape[-2:])  # (N, J, 3), mm
        channels, joints = self.encoder.out_features, x.shape[1]
        x = self.encoder(x) * math.sqrt(channels) + row_code(len(x), channels).to(x)[:, None]
        mask = nn.Transformer.generate_square_subsequent_mask(joints, device=x.device, dtype=x.dtype)
        x = self.transformer_encoder(self.dropout(x), mask=mask, is_causal=True)  # (N, J, C)
        return self.decoder(x).view(poses.shape) / 1000


def row_code(rows: int, channels: int) -> Tensor:
    """Sines and cosines of the row number (rows, C), interleaved (Vaswani et al. 2017)."""
    rate = torch.exp(torch.arange(0, channels, 2) * (-math.log(10000.0) / channels))
    angles = torch.arange(rows)[:, None] * rate  # (rows, C / 2)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


REFINERS = {"joint": JointRefiner, "published": PublishedRefiner}


def make_refiner(kind: str, **sizes) -> nn.Module | None:
    """A refiner by its name in REFINERS; 'none' is None."""
    if kind == "none":
        return None
    if kind not in REFINERS:
        raise UserError(f"--refiner {kind}: unknown; there are {', '.join(REFINERS)}, none")
    if sizes["channels"] % sizes.get("heads", 8):
        raise UserError(f"--refiner-channels {sizes['channels']}: must be a multiple of {sizes.get('heads', 8)}")
    return REFINERS[kind](**sizes)


def published_refiner(state: Mapping[str, Tensor]) -> tuple[dict, dict[str, Tensor]]:
    """Settings and weights of a published file's `model_weight`; its table of position codes is computed here."""
    weights = {name.removeprefix("module."): value for name, value in state.items()}
    weights.pop("pos_encoder.pe", None)
    depth = len({name.split(".")[2] for name in weights if name.startswith("transformer_encoder.layers.")})
    channels = weights["encoder.weight"].shape[0] if "encoder.weight" in weights else 0
    if not depth or not channels:
        raise UserError("model_weight of this file is not the published refiner")
    return {"kind": "published", "joints": 17, "channels": channels, "depth": depth, "heads": 8}, weights
