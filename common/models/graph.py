"""Graph attention over the joints of a skeleton, in dense form (Velickovic et al. 2018, eq. 1 to 6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.geometry.skeleton import Skeleton, skeleton_of

# Where GraphDiffu's edge lists differ from the data set's tree: the head top hangs on the neck.
_PUBLISHED_MOVES = {"mpi_inf_3dhp_17": {("HeadTop", "Head"): ("HeadTop", "Neck")}}


def adjacency(skeleton: str | Skeleton, published: bool = False) -> Tensor:
    """(J, J) bool: True where two joints share a bone, both ways, and on the diagonal."""
    layout = skeleton if isinstance(skeleton, Skeleton) else skeleton_of(skeleton)
    moves = _PUBLISHED_MOVES.get(layout.name, {}) if published else {}
    links = torch.eye(len(layout), dtype=torch.bool, device="cpu")
    for child, parent in layout.edges:
        bone = layout.joints[child], layout.joints[parent]
        child, parent = (layout.index(joint) for joint in moves.get(bone, bone))
        links[child, parent] = links[parent, child] = True
    return links


class GraphAttention(nn.Module):
    """out_i = sum_j alpha_ij W x_j + b over the neighbours j of joint i and itself: (..., J, C_in) to (..., J, C_out).

    alpha_ij = softmax_j LeakyReLU(a_dst . W x_i + a_src . W x_j). Heads are concatenated (`concat`) or averaged.
    Equal to torch_geometric's GATConv on one graph a pose, and parameters have its names. A dense masked softmax over
    17 joints costs less than gathering edges.
    """

    def __init__(self, channels: int, out: int, links: Tensor, *, heads: int = 1, concat: bool = True):
        super().__init__()
        each = out // heads if concat else out
        self.heads, self.concat = heads, concat
        self.lin = nn.Linear(channels, heads * each, bias=False)
        self.att_src = nn.Parameter(torch.empty(1, heads, each))
        self.att_dst = nn.Parameter(torch.empty(1, heads, each))
        self.bias = nn.Parameter(torch.zeros(out))
        for weight in (self.lin.weight, self.att_src, self.att_dst):
            nn.init.xavier_uniform_(weight)
        self.register_buffer("links", links, persistent=False)  # (J, J)

    def project(self, x: Tensor) -> Tensor:
        """W x by heads: (..., J, C_in) to (..., J, heads, c)."""
        return self.lin(x).unflatten(-1, (self.heads, -1))

    def attention(self, h: Tensor) -> Tensor:
        """alpha (..., heads, J, J), row i receives from column j; h (..., J, heads, c) is W x."""
        target, source = (torch.einsum("...jhc,hc->...hj", h, a[0]) for a in (self.att_dst, self.att_src))
        logits = nn.functional.leaky_relu(target.unsqueeze(-1) + source.unsqueeze(-2), 0.2)
        return logits.masked_fill(~self.links, -torch.inf).softmax(-1)

    def merge(self, h: Tensor) -> Tensor:
        """(..., J, heads, c) to (..., J, C_out)."""
        return (h.flatten(-2) if self.concat else h.mean(-2)) + self.bias

    def forward(self, x: Tensor) -> Tensor:
        h = self.project(x)
        return self.merge((self.attention(h) @ h.transpose(-3, -2)).transpose(-3, -2))

    def alone(self, x: Tensor) -> Tensor:
        """What a joint without neighbours gives: W x + b."""
        return self.merge(self.project(x))


def published_attention(gat: GraphAttention, x: Tensor, condition, over_frames: bool) -> Tensor:
    """What published GraphDiffu computes: one graph for a whole call, so only its first J rows have neighbours.

    x (B, H, F, J, C) to the same. The rows of a call are flattened over windows, hypotheses, frames and joints; with
    `over_frames` over joints before frames, so that the first J rows are frames of the pelvis. All other rows are
    affine maps. `condition` tells where the published calls began.
    """
    y = gat.alone(x)
    if condition is not None and condition.first_hypothesis > 0:
        return y  # a later chunk of the same call
    calls = condition.calls if condition is not None else 1
    frames, joints = x.shape[2], x.shape[3]
    row = torch.arange(joints, device=x.device)
    frame, joint = (row % frames, row // frames) if over_frames else (row // joints, row % joints)
    first = torch.arange(calls, device=x.device)[:, None] * (len(x) // calls)  # (calls, 1): windows
    y = y.clone()
    y[first, 0, frame, joint] = gat(x[first, 0, frame, joint]).to(y.dtype)  # (calls, J, C)
    return y
