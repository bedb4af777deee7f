"""Graph convolutions of Grap2Eq: fixed matrices over joints and frames, and the block that applies them.

Symmetrically normalised adjacency (Kipf and Welling 2017) of the joints, and of frames with a weight that falls with
their distance. The matrices are computed once, in float64, and stored as non-persistent buffers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.geometry.skeleton import Skeleton, skeleton_of
from common.models.blocks import DropPath, LayerNorm6, Mlp

# Directed links that the published lists forgot: from the first joint, the second is not seen.
_FORGOTTEN = {
    "h36m_17": {("Hip", "Spine")},
    "mpi_inf_3dhp_17": {("Pelvis", "Spine")},
    "humaneva_15": {("Pelvis", "Thorax")},
}
_FORGOTTEN_SINGLE_PASS = _FORGOTTEN | {"humaneva_15": {("Pelvis", "Thorax"), ("Thorax", "Pelvis")}}


def skeleton_links(skeleton: Skeleton) -> Tensor:
    """(J, J) float64: 1 where two joints share a bone, both ways, no self-links."""
    links = torch.zeros(len(skeleton), len(skeleton), dtype=torch.float64, device="cpu")
    for child, parent in skeleton.edges:
        links[child, parent] = links[parent, child] = 1
    return links


def _normalise(matrix: Tensor) -> Tensor:
    """D^-1/2 M D^-1/2 with D the row sums."""
    scale = matrix.sum(1).rsqrt()
    return scale[:, None] * matrix * scale


def spatial_graph(skeleton: Skeleton) -> Tensor:
    """(J, J): links and self-links, normalised symmetrically (Kipf and Welling 2017, eq. 2)."""
    links = skeleton_links(skeleton)
    return _normalise(links + torch.diag(torch.ones_like(links[0]))).float()


def raw_published_graph(skeleton: Skeleton, single_pass: bool = False) -> Tensor:
    """(J, J) float64 as published: A_ii = 1/|N(i)|, A_ij = 1/sqrt(|N(i)||N(j)|), links missing at the pelvis."""
    if skeleton.name not in _FORGOTTEN:
        raise UserError(f"the published Grap2Eq has no graph for {skeleton.name}; use --variant default")
    links = skeleton_links(skeleton)
    for joint, unseen in (_FORGOTTEN_SINGLE_PASS if single_pass else _FORGOTTEN)[skeleton.name]:
        links[skeleton.index(joint), skeleton.index(unseen)] = 0
    size = links.sum(1)
    return links / (size[:, None] * size).sqrt() + torch.diag(1 / size)


def published_graph(skeleton: Skeleton, single_pass: bool = False) -> Tensor:
    """(J, J): the published matrix, normalised a second time as the published network does."""
    return _normalise(raw_published_graph(skeleton, single_pass)).float()


def raw_temporal_graph(frames: int, alpha: float, beta: float) -> Tensor:
    """(F, F) float64: a logistic decay with the distance in frames, half at `beta`, of slope `alpha`."""
    t = torch.arange(frames, dtype=torch.float64, device="cpu")
    return torch.sigmoid(-alpha * ((t[:, None] - t).abs() - beta))


def temporal_graph(frames: int, alpha: float, beta: float) -> Tensor:
    """(F, F): the logistic decay, normalised by its row sums."""
    return _normalise(raw_temporal_graph(frames, alpha, beta)).float()


def joint_graph(skeleton: str, variant: str, single_pass: bool) -> Tensor:
    """The matrix over joints of a variant: the whole tree by default, the published list on request."""
    layout = skeleton_of(skeleton)
    return published_graph(layout, single_pass) if variant == "published" else spatial_graph(layout)


class GraphConv(nn.Module):
    """A V(z) + U(z) for z (rows, N, C) with a fixed A (N, N); `affinity` multiplies A by softmax(z z^T).

    The affinity is unscaled, unprojected and not renormalised, as published.
    """

    def __init__(self, channels: int, affinity: bool):
        super().__init__()
        self.U, self.V = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.affinity = affinity

    def forward(self, z: Tensor, graph: Tensor) -> Tensor:
        if self.affinity:
            graph = graph * torch.softmax(z @ z.mT, -1)  # (rows, N, N)
            return torch.baddbmm(self.U(z), graph.to(z.dtype), self.V(z))
        return graph.to(z.dtype) @ self.V(z) + self.U(z)


class GraphBlock(nn.Module):
    """Pre-norm graph convolution and MLP with residuals: (rows, N, C) to the same."""

    def __init__(self, channels: int, drop_path: float, affinity: bool, mlp_ratio: float = 2.0):
        super().__init__()
        self.norm1, self.norm2 = LayerNorm6(channels), LayerNorm6(channels)
        self.attn = GraphConv(channels, affinity)  # the published name
        self.mlp = Mlp(channels, int(mlp_ratio * channels))
        self.drop_path1, self.drop_path2 = DropPath(drop_path), DropPath(drop_path)

    def forward(self, u: Tensor, graph: Tensor) -> Tensor:
        u = u + self.drop_path1(self.attn(self.norm1(u), graph))
        return u + self.drop_path2(self.mlp(self.norm2(u)))
