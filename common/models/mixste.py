"""MixSTE as D3DP's denoiser: attention over joints and frames in turn (Zhang et al. 2022; Shan et al. 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.models.blocks import AttentionBlock, LayerNorm6, TimeMLP
from common.models.registry import Entry


class MixSTE(nn.Module):
    """x_0 = MixSTE(x_2d, x_t, t): keypoints (B, F, J, 2), noisy poses (B, H, F, J, 3), steps (B,) to (B, H, F, J, 3).

    FinePOSE and GraphDiffu are this network with other answers to three questions: `time_code`, `first_spatial` and
    `after_first_spatial`. Parameter names are the published ones.
    """

    def __init__(self, *, frames=243, joints=17, channels=512, depth=8, heads=8, drop_path=0.1):
        super().__init__()
        rates = torch.linspace(0, drop_path, depth, device="cpu").tolist()
        self.Spatial_patch_to_embedding = nn.Linear(2 + 3, channels)
        self.Spatial_pos_embed = nn.Parameter(torch.zeros(1, joints, channels))
        self.Temporal_pos_embed = nn.Parameter(torch.zeros(1, frames, channels))
        self.time_mlp = TimeMLP(channels, 2 * channels, channels)
        self.STEblocks = nn.ModuleList(AttentionBlock(channels, heads, rate, over="joints") for rate in rates)
        self.TTEblocks = nn.ModuleList(AttentionBlock(channels, heads, rate, over="frames") for rate in rates)
        self.Spatial_norm = LayerNorm6(channels)
        self.Temporal_norm = LayerNorm6(channels)
        self.head = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, 3))

    def condition(self, batch) -> None:
        """What the network needs beside x, x_t and t: nothing."""
        return None

    def time_code(self, t: Tensor, condition) -> Tensor:
        """(B,) to (B, C)."""
        return self.time_mlp(t)

    def first_spatial(self, x: Tensor, condition) -> Tensor:
        """The first stage over joints: (B, H, F, J, C) to the same."""
        return self.spatial(0, x)

    def after_first_spatial(self, x: Tensor, code: Tensor, condition) -> Tensor:
        """Room for a conditioner: (B, H, F, J, C), code (B, C)."""
        return x

    def embed(self, x_2d: Tensor, x_t: Tensor) -> Tensor:
        """Linear layer over [x_2d; x_t]; the 2D part is computed once for all hypotheses."""
        weight, bias = self.Spatial_patch_to_embedding.weight, self.Spatial_patch_to_embedding.bias
        keypoints = nn.functional.linear(x_2d, weight[:, :2], bias).unsqueeze(1)  # (B, 1, F, J, C)
        return keypoints + nn.functional.linear(x_t, weight[:, 2:])  # (B, H, F, J, C)

    def spatial(self, i: int, x: Tensor) -> Tensor:
        return self.Spatial_norm(self.STEblocks[i](x.flatten(0, 2))).view(x.shape)  # tokens: joints

    def temporal(self, i: int, x: Tensor) -> Tensor:
        x = x.transpose(2, 3)  # (B, H, J, F, C)
        return self.Temporal_norm(self.TTEblocks[i](x.flatten(0, 2))).view(x.shape).transpose(2, 3)

    def forward(self, x_2d: Tensor, x_t: Tensor, t: Tensor, condition=None) -> Tensor:
        return self.denoise(x_2d, x_t, self.time_code(t, condition), condition)

    def denoise(self, x_2d: Tensor, x_t: Tensor, code: Tensor, condition) -> Tensor:
        """The network behind the step's code (B, C)."""
        x = self.embed(x_2d, x_t) + self.Spatial_pos_embed + code[:, None, None, None]  # (B, H, F, J, C)
        x = self.first_spatial(x, condition)
        x = self.after_first_spatial(x, code, condition)
        x = self.temporal(0, x + self.Temporal_pos_embed.unsqueeze(2))
        for i in range(1, len(self.STEblocks)):
            x = self.temporal(i, self.spatial(i, x))
        return self.head(x)


def published_sizes(shapes: dict[str, tuple]) -> dict | None:
    """Sizes of a published D3DP network from its parameter names and shapes; None if it is another one."""
    if "Spatial_patch_to_embedding.weight" not in shapes or any("text" in n or "vel_" in n for n in shapes):
        return None
    channels, inputs = shapes["Spatial_patch_to_embedding.weight"]
    depth = len({name.split(".")[1] for name in shapes if name.startswith("STEblocks.")})
    frames, joints = shapes["Temporal_pos_embed"][1], shapes["Spatial_pos_embed"][1]
    return {"frames": frames, "joints": joints, "channels": channels, "depth": depth} if inputs == 5 else None


ENTRY = Entry(build=MixSTE, published_sizes=published_sizes)
