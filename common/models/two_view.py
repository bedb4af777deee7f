"""The two-view denoiser: a small graph transformer from a noisy 3D pose to the clean one.

Dual-Diffusion (NeurIPS 2024), section 3, after GraFormer (CVPR 2022): each layer is self-attention over joints, a graph
feed-forward with a learned adjacency, and a residual block of Chebyshev convolutions on the skeleton. Submodules carry
the published names, so published weights load strictly.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from common.geometry.skeleton import STEREO_17, Skeleton


def chebyshev_basis(skeleton: Skeleton) -> Tensor:
    """T_0, T_1, T_2 of the skeleton's Laplacian (3, J, J), not rescaled by its largest eigenvalue."""
    joints = len(skeleton)
    adjacency = torch.eye(joints, dtype=torch.float64)
    for a, b in skeleton.edges:
        adjacency[a, b] = adjacency[b, a] = 1
    adjacency = adjacency / adjacency.sum(1, keepdim=True)  # rows sum to one; not symmetric
    d = adjacency.sum(1).rsqrt()
    laplacian = torch.eye(joints, dtype=torch.float64) - d[:, None] * adjacency * d[None, :]
    second = 2 * laplacian @ laplacian - torch.eye(joints, dtype=torch.float64)
    return torch.stack([torch.eye(joints, dtype=torch.float64), laplacian, second]).float()


def sinusoid(values: Tensor, width: int) -> Tensor:
    """Sine-first position code of real numbers: (B,) to (B, width)."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half, device=values.device) * (-math.log(10000) / (half - 1)))
    angles = values.float()[:, None] * frequencies  # (B, width / 2)
    return nn.functional.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, width % 2))


class ChebConv(nn.Module):
    """Graph convolution of order 2: sum_k T_k x W_k + b, (B, J, in) to (B, J, out)."""

    def __init__(self, inputs: int, outputs: int, basis: Tensor):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3, 1, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(1, 1, outputs))
        nn.init.xavier_normal_(self.weight)  # on four dimensions: std 1 / sqrt(2 in out), small on purpose or not
        self.register_buffer("basis", basis, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        spread = torch.einsum("kij,bjc->bikc", self.basis, x).flatten(2)  # (B, J, 3 in)
        return spread @ self.weight.flatten(0, 2) + self.bias


class HiddenConv(nn.Module):
    """A Chebyshev convolution, ReLU, dropout."""

    def __init__(self, width: int, basis: Tensor, dropout: float = 0.1):
        super().__init__()
        self.gconv = ChebConv(width, width, basis)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.relu(self.gconv(x)))


class ResidualConv(nn.Module):
    """Two hidden convolutions around the time code (and depth code), with a skip."""

    def __init__(self, width: int, embedding: int, basis: Tensor, depth: bool):
        super().__init__()
        self.gconv1 = HiddenConv(width, basis)
        self.gconv2 = HiddenConv(width, basis)
        self.temb_proj = nn.Linear(embedding, width)
        if depth:
            self.depth_proj = nn.Linear(embedding, width)

    def forward(self, x: Tensor, time: Tensor, depth: Tensor | None) -> Tensor:
        h = self.gconv1(x) + self.temb_proj(nn.functional.silu(time))[:, None]  # (B, J, D)
        if depth is not None:
            h = h + self.depth_proj(nn.functional.silu(depth))[:, None]
        return x + self.gconv2(h)


class LayerNorm(nn.Module):
    """Layer norm with the unbiased deviation and epsilon added to it, not to the variance."""

    def __init__(self, width: int, eps: float = 1e-6):
        super().__init__()
        self.a_2 = nn.Parameter(torch.ones(width))
        self.b_2 = nn.Parameter(torch.zeros(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
        return self.a_2 * (x - mean) / (std + self.eps) + self.b_2


class Sublayer(nn.Module):
    """x + dropout(f(norm(x)))."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.norm = LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, function) -> Tensor:
        return x + self.dropout(function(self.norm(x)))


class Attention(nn.Module):
    """Multi-head self-attention over joints. `linears` are query, key, value, output."""

    def __init__(self, width: int, heads: int, dropout: float = 0.1):
        super().__init__()
        self.heads = heads
        self.linears = nn.ModuleList(nn.Linear(width, width) for _ in range(4))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        batch, joints, width = x.shape
        q, k, v = (
            linear(x).view(batch, joints, self.heads, -1).transpose(1, 2)  # (B, heads, J, D / heads)
            for linear in self.linears[:3]
        )
        scores = q @ k.mT / math.sqrt(q.shape[-1])  # (B, heads, J, J)
        if mask is not None:
            scores = scores.masked_fill(~mask.bool().unsqueeze(1), -1e9)
        out = self.dropout(scores.softmax(-1)) @ v
        return self.linears[3](out.transpose(1, 2).reshape(batch, joints, width))


class GraphLinear(nn.Module):
    """Spread over the graph, then a linear map, then ReLU in the first of the two."""

    def __init__(self, inputs: int, outputs: int, activation: bool):
        super().__init__()
        self.fc = nn.Linear(inputs, outputs)
        self.activation = nn.ReLU() if activation else nn.Identity()

    def forward(self, x: Tensor, spread: Tensor) -> Tensor:
        return self.activation(self.fc(spread @ x))


class GraphNet(nn.Module):
    """Feed-forward over a learned adjacency `A_hat` that starts as the identity, normalised by its COLUMN sums."""

    def __init__(self, width: int, joints: int):
        super().__init__()
        self.A_hat = nn.Parameter(torch.eye(joints))
        self.gconv1 = GraphLinear(width, 2 * width, activation=True)
        self.gconv2 = GraphLinear(2 * width, width, activation=False)

    def forward(self, x: Tensor) -> Tensor:
        # A column whose sum has turned negative gives NaN in the published code; here it is held above zero.
        c = (self.A_hat.sum(0) + 1e-5).clamp_min(1e-5).rsqrt()
        spread = c[:, None] * self.A_hat * c[None, :]  # (J, J)
        return self.gconv2(self.gconv1(x, spread), spread)


class GraphAttentionLayer(nn.Module):
    """Self-attention, then the graph feed-forward, each as a sublayer."""

    def __init__(self, width: int, heads: int, joints: int, dropout: float):
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.feed_forward = GraphNet(width, joints)
        self.sublayer = nn.ModuleList(Sublayer(width, dropout) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.sublayer[0](x, lambda h: self.self_attn(h, mask))
        return self.sublayer[1](x, self.feed_forward)


class Embedding(nn.Module):
    """Two linear maps with swish between."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.dense = nn.ModuleList([nn.Linear(inputs, width), nn.Linear(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        return self.dense[1](nn.functional.silu(self.dense[0](x)))


class GraphDenoiser(nn.Module):
    """f(x, t, action, depth): noisy to clean 3D pose, both (B, 17, 3), metres. There is no skip from input to output.

    t (B,) diffusion time; action (B, 1), used where `action_emd`; depth (B,), metres, used where `depth_emd`; mask
    (1 or B, 1, J), false for joints that attention must not read.
    """

    def __init__(
        self,
        *,
        hid_dim: int = 96,
        num_layer: int = 5,
        n_head: int = 4,
        dropout: float = 0.25,
        action_emd: bool = False,
        depth_emd: bool = True,
        skeleton: Skeleton = STEREO_17,
    ):
        super().__init__()
        self.sizes = {"hid_dim": hid_dim, "num_layer": num_layer, "n_head": n_head, "dropout": dropout}
        self.sizes |= {"action_emd": action_emd, "depth_emd": depth_emd}
        self.width, self.action_emd, self.depth_emd = hid_dim, action_emd, depth_emd
        basis, embedding = chebyshev_basis(skeleton), 4 * hid_dim
        self.gconv_input = ChebConv(3, hid_dim, basis)
        self.gconv_layers = nn.ModuleList(ResidualConv(hid_dim, embedding, basis, depth_emd) for _ in range(num_layer))
        self.atten_layers = nn.ModuleList(
            GraphAttentionLayer(hid_dim, n_head, len(skeleton), dropout) for _ in range(num_layer)
        )
        self.gconv_output = ChebConv(hid_dim, 3, basis)
        self.temb = Embedding(hid_dim, embedding)
        if action_emd:
            self.acemb = Embedding(1, embedding)
            self.acemb_proj = nn.Linear(embedding, hid_dim)
        if depth_emd:
            self.dpemb = Embedding(hid_dim, embedding)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        action: Tensor | None = None,
        depth: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        time = self.temb(sinusoid(t, self.width))  # (B, 4 D)
        far = self.dpemb(sinusoid(depth, self.width)) if self.depth_emd else None  # (B, 4 D)
        h = self.gconv_input(x)  # (B, J, D)
        if self.action_emd:
            h = h + self.acemb_proj(nn.functional.silu(self.acemb(action)))[:, None]
        for attention, convolution in zip(self.atten_layers, self.gconv_layers, strict=True):
            h = convolution(attention(h, mask), time, far)
        return self.gconv_output(h)  # (B, J, 3)
