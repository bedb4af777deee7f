"""Layers that several denoisers share. Blocks are timm's ViT blocks, whose parameter names are MixSTE's."""

from __future__ import annotations

import math
from functools import partial

import torch
from timm.models.vision_transformer import Attention, Block
from torch import Tensor, nn

LayerNorm6 = partial(nn.LayerNorm, eps=1e-6)

# Fused attention wins from so many tokens on; below, plain matrix products do. CPU: measured, docs/benchmark.md.
FUSED_FROM_TOKENS = {"cpu": 32, "cuda": 1, "mps": 1}


class DropPath(nn.Module):
    """Stochastic depth per row (Huang et al. 2016) whose draws do not depend on how a batch is split.

    `share` is (first row, all rows) of this process's part of the global batch, in samples; None is all of it.
    """

    def __init__(self, probability: float):
        super().__init__()
        self.probability = probability
        self.share: tuple[int, int, int] | None = None  # first sample, samples here, samples in all

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return x
        keep = 1 - self.probability
        first, here, everywhere = self.share or (0, 1, 1)
        per_sample = len(x) // here
        draws = torch.rand(everywhere * per_sample, device=x.device)[first * per_sample :][: len(x)]
        return x * (draws < keep).to(x.dtype).view(-1, *[1] * (x.dim() - 1)) / keep


def share_batch(model: nn.Module, first: int, here: int, everywhere: int) -> None:
    """Tell every DropPath which samples of the global batch this process holds."""
    for module in model.modules():
        if isinstance(module, DropPath):
            module.share = (first, here, everywhere)


def attention_block(channels: int, heads: int, drop_path: float, *, over: str, mlp_ratio: float = 2.0) -> Block:
    """Pre-norm attention and MLP with residuals: (rows, tokens, C) to the same. over: what the tokens are, 'joints' or
    'frames'; every attention layer says it, for `choose_attention`."""
    block = Block(channels, heads, mlp_ratio=mlp_ratio, qkv_bias=True, norm_layer=LayerNorm6)
    block.attn.over = over
    block.drop_path1, block.drop_path2 = DropPath(drop_path), DropPath(drop_path)
    return block


def choose_attention(model: nn.Module, device: torch.device, frames: int, joints: int, *, amp: bool = False) -> None:
    """Set the attention kernel of every layer for a device, by the number of tokens that it attends over.

    amp: the network runs in bf16; on a CPU the fused kernel is never faster there, and several times slower backwards.
    """
    limit = math.inf if amp and device.type == "cpu" else FUSED_FROM_TOKENS.get(device.type, 1)
    tokens = {"joints": joints, "frames": frames}
    for module in model.modules():
        if isinstance(module, Attention):
            module.fused_attn = tokens[module.over] >= limit


def sinusoid(t: Tensor, channels: int) -> Tensor:
    """Sines then cosines of the diffusion step: t (B,) to (B, C) (Vaswani et al. 2017)."""
    half = channels // 2
    frequencies = torch.exp(torch.arange(half, device=t.device, dtype=torch.float32) * -(math.log(10000) / (half - 1)))
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], -1)


class TimeMLP(nn.Sequential):
    """The diffusion step's code: t (B,) to (B, C_out). Parameters are named 1.* and 3.*, as published."""

    def __init__(self, channels: int, hidden: int, out: int):
        super().__init__(nn.Identity(), nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, out))
        self.channels = channels

    def forward(self, t: Tensor) -> Tensor:
        return super().forward(sinusoid(t, self.channels))
