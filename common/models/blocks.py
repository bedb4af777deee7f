"""Layers that several denoisers share. Parameter names are MixSTE's (and those of timm's ViT blocks)."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
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


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017): (rows, tokens, C) to the same.

    over: what the tokens are, 'joints' or 'frames', for `choose_attention`, which sets `fused_attn`: PyTorch's fused
    kernel in place of plain matrix products.
    """

    def __init__(self, channels: int, heads: int, over: str):
        super().__init__()
        self.num_heads, self.over, self.fused_attn = heads, over, True
        self.scale = (channels // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # (rows, N, 3, heads, C / heads)
        mixed = self.mix(*qkv.permute(2, 0, 3, 1, 4))  # (rows, heads, N, C / heads)
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """softmax(q k^T / sqrt(d)) v of each head: (rows, heads, N, d) each."""
        if self.fused_attn:
            return F.scaled_dot_product_attention(q, k, v)
        return ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1) @ v


class Mlp(nn.Module):
    """Linear, GELU, Linear: (..., C) to the same."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class AttentionBlock(nn.Module):
    """Pre-norm attention and MLP with residuals (Dosovitskiy et al. 2021): (rows, tokens, C) to the same."""

    def __init__(self, channels: int, heads: int, drop_path: float, *, over: str, mlp_ratio: float = 2.0):
        super().__init__()
        self.norm1, self.attn = LayerNorm6(channels), Attention(channels, heads, over)
        self.norm2, self.mlp = LayerNorm6(channels), Mlp(channels, int(mlp_ratio * channels))
        self.drop_path1, self.drop_path2 = DropPath(drop_path), DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path1(self.attn(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


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
