"""KTPFormer as a denoiser: MixSTE behind two stages that know the skeleton's bones and the order of frames.

Kinematics and Trajectory Prior Knowledge-Enhanced Transformer (Peng et al. 2024): its kinematics and trajectory priors.
docs/new_denoiser.md walks through this file.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.models.blocks import Attention, LayerNorm6, Mlp
from common.models.graph import adjacency
from common.models.mixste import MixSTE
from common.models.registry import Entry


def prior(links: Tensor) -> Tensor:
    """A (N, N) from links with self-links: 1 on the diagonal, 1 / number of neighbours at each neighbour."""
    others = links.float().fill_diagonal_(0)
    return others / others.sum(1, keepdim=True).clamp_min(1) + torch.eye(len(links), device="cpu")


def chain(frames: int) -> Tensor:
    """(F, F) bool: every frame is linked with itself, the one before and the one after."""
    return torch.ones(frames, frames, dtype=torch.bool, device="cpu").tril(1).triu(-1)


class ModulatedGraphConv(nn.Module):
    """diag(S) (M * x W_0) + (S - diag(S)) (M * x W_1) + b; S symmetric, from a fixed and a learned matrix."""

    def __init__(self, inputs: int, channels: int, links: Tensor):
        super().__init__()
        self.W = nn.Parameter(torch.empty(2, inputs, channels))
        self.M = nn.Parameter(torch.ones(len(links), channels))
        self.adj2 = nn.Parameter(torch.full((len(links), len(links)), 1e-6))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("prior", prior(links), persistent=False)
        nn.init.xavier_uniform_(self.W)

    def forward(self, x: Tensor) -> Tensor:
        """(..., N, C_in) to (..., N, C)."""
        s = self.prior + self.adj2
        s = (s + s.mT) / 2
        own, others = self.M * (x @ self.W[0]), self.M * (x @ self.W[1])  # (..., N, C) each
        return s.diagonal()[:, None] * own + (s - s.diagonal().diag()) @ others + self.bias


class PriorConv(nn.Module):
    """ReLU(norm(graph convolution)). BatchNorm as published; a denoiser sees all noise levels in one batch, so that
    training anew takes LayerNorm, which does not mix them. The name stays."""

    def __init__(self, inputs: int, channels: int, links: Tensor, published: bool):
        super().__init__()
        self.gconv = ModulatedGraphConv(inputs, channels, links)
        self.bn = nn.BatchNorm1d(channels) if published else nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, N, C_in) to (rows, N, C)."""
        y = self.gconv(x)
        y = self.bn(y.mT).mT if isinstance(self.bn, nn.BatchNorm1d) else self.bn(y)
        return y.relu()


class TrajectoryPrior(nn.Module):
    """Two graph convolutions over the chain of frames with a residual: (rows, F, C) to the same."""

    def __init__(self, channels: int, frames: int, published: bool):
        super().__init__()
        self.gconv1, self.gconv2 = (PriorConv(channels, channels, chain(frames), published) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gconv2(self.gconv1(x))


class PriorAttention(Attention):
    """z + MHSA(LN(z)). The prior and the positions that belong to it are stored here, as published."""

    def __init__(self, channels: int, heads: int, over: str, **parts: nn.Module | nn.Parameter):
        super().__init__(channels, heads, over)
        self.norm1 = nn.LayerNorm(channels)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, z: Tensor) -> Tensor:
        return z + super().forward(self.norm1(z))


class PriorBlock(nn.Module):
    """Attention, then the MLP: (rows, N, C) to the same."""

    def __init__(self, channels: int, heads: int, over: str, **parts: nn.Module | nn.Parameter):
        super().__init__()
        self.attn = PriorAttention(channels, heads, over, **parts)
        self.norm2 = LayerNorm6(channels)
        self.mlp = Mlp(channels, 2 * channels)

    def forward(self, z: Tensor) -> Tensor:
        z = self.attn(z)
        return z + self.mlp(self.norm2(z))


class KTPFormer(MixSTE):
    """x_0 = KTPFormer(x_2d, x_t, t), shapes as MixSTE. `depth` counts the pairs of blocks behind the two priors.

    variant 'published' is the published regressor: it sees x_2d alone, so all hypotheses are equal, and normalises
    over the batch.
    """

    def __init__(self, *, frames=243, joints=17, channels=512, depth=7, skeleton="h36m_17", variant="default", **named):
        super().__init__(frames=frames, joints=joints, channels=channels, depth=depth, **named)
        heads = named.get("heads", 8)
        self.published = variant == "published"
        kpa = PriorConv(2 if self.published else 2 + 3, channels, adjacency(skeleton), self.published)
        tpa = TrajectoryPrior(channels, frames, self.published)
        self.kpattention = PriorBlock(channels, heads, "joints", kpa=kpa, Spatial_pos_embed=self.Spatial_pos_embed)
        self.tpattention = PriorBlock(channels, heads, "frames", tpa=tpa, Temporal_pos_embed=self.Temporal_pos_embed)
        del self.Spatial_pos_embed, self.Temporal_pos_embed, self.Spatial_patch_to_embedding
        if self.published:
            del self.time_mlp

    def forward(self, x_2d: Tensor, x_t: Tensor, t: Tensor, condition=None) -> Tensor:
        x = x_2d.unsqueeze(1)  # (B, 1, F, J, 2)
        if not self.published:
            x = torch.cat([x.expand(*x_t.shape[:-1], 2), x_t], -1)  # (B, H, F, J, 5)
        joints, frames = self.kpattention.attn, self.tpattention.attn
        x = joints.kpa(x.flatten(0, 2)).unflatten(0, x.shape[:3])  # (B, H, F, J, C), H is 1 if published
        if not self.published:
            x = x + self.time_mlp(t)[:, None, None, None]
        x = x + joints.Spatial_pos_embed
        x = self.Spatial_norm(self.kpattention(x.flatten(0, 2))).view(x.shape).transpose(2, 3)  # (B, H, J, F, C)
        z = frames.tpa(x.flatten(0, 2)) + frames.Temporal_pos_embed
        x = self.Temporal_norm(self.tpattention(z)).view(x.shape).transpose(2, 3)
        for i in range(len(self.STEblocks)):
            x = self.temporal(i, self.spatial(i, x))
        return self.head(x).expand(x_t.shape)


def published_sizes(shapes: dict[str, tuple]) -> dict | None:
    """Sizes of a published KTPFormer; None if the names are another network's."""
    if shapes.get("kpattention.attn.kpa.gconv.W", ())[:2] != (2, 2):
        return None
    _, joints, channels = shapes["kpattention.attn.Spatial_pos_embed"]
    frames = shapes["tpattention.attn.Temporal_pos_embed"][1]
    depth = len({name.split(".")[1] for name in shapes if name.startswith("STEblocks.")})
    return {"frames": frames, "joints": joints, "channels": channels, "depth": depth, "variant": "published"}


ENTRY = Entry(
    build=KTPFormer,
    published_sizes=published_sizes,
    variants=("default", "published"),
    options=("skeleton", "variant"),
)
