"""Diff3DHPE: MixSTE whose attention is a graph diffusion, with a time code in every block (Zhou et al., ICCVW 2023).

`Diff3DHPE` gives all frames of the window (published as s2s), `Diff3DHPECentre` the middle one (s2f). Their diffusion,
which is not D3DP's, is in common/diffusion/diff3dhpe.py.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.diffusion.diff3dhpe import diff3dhpe_diffusion
from common.models.blocks import Attention, AttentionBlock, LayerNorm6, TimeMLP
from common.models.registry import Entry


class GraphDiffusionAttention(Attention):
    """Attention minus identity, (A - I) V per head: (rows, tokens, C) to the same.

    With the block's residual it is one explicit Euler step of dh/dtau = (A(h) - I) h on the complete graph of the
    tokens (GRAND, Chamberlain et al. 2021). A V - V needs no identity matrix.
    """

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return super().mix(q, k, v) - v


def graph_diffusion_block(channels: int, heads: int, drop_path: float, time_emb: bool, *, over: str) -> nn.Module:
    """A pre-norm block with graph-diffusion attention; `time_mlp` turns the time code (B, 2C) into its own (B, C)."""
    block = AttentionBlock(channels, heads, drop_path, over=over)
    block.attn = GraphDiffusionAttention(channels, heads, over)
    if time_emb:
        block.time_mlp = nn.Sequential(nn.SiLU(), nn.Linear(2 * channels, channels))
    return block


class Diff3DHPE(nn.Module):
    """x_0 = Diff3DHPE(x_2d, x_t, t): keypoints (B, F, J, 2), noisy poses (B, H, F, J, 3), steps (B,).

    Poses are root-relative in units of the normalisation scale. Without `time_emb` the network does not see t (the
    published 3DHP model). Parameter names are the published ones.
    """

    def __init__(self, *, frames=81, joints=17, channels=512, depth=8, heads=8, drop_path=0.1, time_emb=True):
        super().__init__()
        rates = [drop_path * i / max(depth - 1, 1) for i in range(depth)]
        self.Spatial_pos_embed = nn.Parameter(torch.zeros(1, joints, channels))
        self.Temporal_pos_embed = nn.Parameter(torch.zeros(1, frames, channels))
        self.time_mlp = TimeMLP(channels, 2 * channels, 2 * channels) if time_emb else None
        self.fusion_layer = nn.Linear(2 + 3, channels)
        self.STEblocks, self.TTEblocks = (
            nn.ModuleList(graph_diffusion_block(channels, heads, rate, time_emb, over=over) for rate in rates)
            for over in ("joints", "frames")
        )
        self.Spatial_norm = LayerNorm6(channels)
        self.Temporal_norm = LayerNorm6(channels)
        self.head = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, 3))

    def condition(self, batch) -> None:
        """What the network needs beside x, x_t and t: nothing."""
        return None

    def embed(self, x_2d: Tensor, x_t: Tensor) -> Tensor:
        """Linear layer over [x_2d; x_t]; one noisy frame is shared by all frames of the window."""
        weight, bias = self.fusion_layer.weight, self.fusion_layer.bias
        keypoints = F.linear(x_2d, weight[:, :2], bias).unsqueeze(1)  # (B, 1, F, J, C)
        return keypoints + F.linear(x_t, weight[:, 2:])  # (B, H, F, J, C)

    def stage(self, block: nn.Module, x: Tensor, code: Tensor | None) -> Tensor:
        """One block over the fourth axis of (B, H, ., tokens, C), after its own time code was added."""
        if code is not None:
            x = x + block.time_mlp(code)[:, None, None, None]
        return block(x.flatten(0, 2)).view(x.shape)

    def features(self, x_2d: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """All layers before the head: (B, H, F, J, C)."""
        code = self.time_mlp(t) if self.time_mlp is not None else None  # (B, 2C)
        x = self.embed(x_2d, x_t) + self.Spatial_pos_embed
        for i, (spatial, temporal) in enumerate(zip(self.STEblocks, self.TTEblocks, strict=True)):
            x = self.Spatial_norm(self.stage(spatial, x, code))
            if i == 0:
                x = x + self.Temporal_pos_embed.unsqueeze(2)
            x = x.transpose(2, 3)  # (B, H, J, F, C)
            x = self.Temporal_norm(self.stage(temporal, x, code)).transpose(2, 3)
        return x

    def forward(self, x_2d: Tensor, x_t: Tensor, t: Tensor, condition=None) -> Tensor:
        return self.head(self.features(x_2d, x_t, t))


class Diff3DHPECentre(Diff3DHPE):
    """The middle frame from a window: x_t (B, H, 1, J, 3) to x_0 (B, H, 1, J, 3); keypoints stay (B, F, J, 2).

    A learned weighted mean over the frames stands before the head.
    """

    def __init__(self, *, frames=81, joints=17, channels=512, depth=8, heads=8, drop_path=0.1, time_emb=True):
        super().__init__(
            frames=frames,
            joints=joints,
            channels=channels,
            depth=depth,
            heads=heads,
            drop_path=drop_path,
            time_emb=time_emb,
        )
        self.weighted_mean = nn.Conv1d(frames, 1, kernel_size=1)

    def forward(self, x_2d: Tensor, x_t: Tensor, t: Tensor, condition=None) -> Tensor:
        x = self.features(x_2d, x_t, t)
        b, h, f, j, c = x.shape
        mean = self.weighted_mean(x.reshape(b * h, f, j * c))  # (BH, 1, JC)
        return self.head(mean.view(b, h, 1, j, c))


def published_sizes(shapes: dict[str, tuple]) -> dict | None:
    """Constructor keywords of a published all-frames network from its names and shapes; None if it is another one."""
    needed = {"fusion_layer.weight", "Spatial_pos_embed", "Temporal_pos_embed"}
    if not needed <= shapes.keys() or "weighted_mean.weight" in shapes:
        return None
    return {
        "frames": shapes["Temporal_pos_embed"][1],
        "joints": shapes["Spatial_pos_embed"][1],
        "channels": shapes["fusion_layer.weight"][0],
        "depth": len({name.split(".")[1] for name in shapes if name.startswith("STEblocks.")}),
        "time_emb": "time_mlp.1.weight" in shapes,
    }


def published_sizes_centre(shapes: dict[str, tuple]) -> dict | None:
    """The same for the network of the middle frame."""
    if "weighted_mean.weight" not in shapes:
        return None
    return published_sizes({name: shape for name, shape in shapes.items() if not name.startswith("weighted_mean.")})


ENTRY = Entry(
    build=Diff3DHPE,
    published_sizes=published_sizes,
    diffusion=diff3dhpe_diffusion,
    squared_gradient=False,
    variants=("default", "published"),
    published_diffusion={"variant": "published"},
    options=("time_emb",),
    diffusion_options=(
        *("unit", "beta_schedule", "timesteps", "ddim_sampling_eta", "clip_denoised", "clip_loss", "ddim_coefficients"),
        "variant",
    ),
)
ENTRY_CENTRE = replace(ENTRY, build=Diff3DHPECentre, published_sizes=published_sizes_centre, centre_only=True)
