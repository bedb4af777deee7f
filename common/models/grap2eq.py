"""Grap2Eq: attention over joints and frames beside a stream of velocities, fused after every stage.

grap2eq 2.3 to 2.7. The network without text; `grap2eq_text.py` adds it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.models.graph_conv import GraphBlock, joint_graph, temporal_graph
from common.models.blocks import LayerNorm6
from common.models.mixste import MixSTE


def velocity(x: Tensor) -> Tensor:
    """x_t - x_{t-1} over the frames of (B, H, F, ..., C); the first frame repeats the second's, one frame stands."""
    if x.shape[2] == 1:
        return torch.zeros_like(x)
    steps = x.diff(dim=2)
    return torch.cat([steps[:, :, :1], steps], 2)


class VelocityFusion(nn.Linear):
    """Each channel weighs the stream's velocity against the features' own: two weights from a 2x2 matrix.

    The two numbers that a channel's weights read are adjacent channels of [v; d], not (v_c, d_c): so published, and
    it is what the matrix was trained for (grap2eq 2.3).
    """

    def __init__(self):
        super().__init__(2, 2)

    def forward(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Features x and velocities v (B, H, F, J, C) to the updated pair: x'_t = x_{t-1} + w_t, v' = w."""
        d = velocity(x)
        # A softmax over two numbers is a sigmoid of their difference.
        weight, bias = self.weight[0] - self.weight[1], self.bias[0] - self.bias[1]
        logits = torch.cat([v.unflatten(-1, (-1, 2)) @ weight, d.unflatten(-1, (-1, 2)) @ weight], -1)
        w = torch.lerp(d, v, torch.sigmoid(logits + bias))  # (B, H, F, J, C)
        return torch.cat([x[:, :, :1], x[:, :, :-1] + w[:, :, 1:]], 2), w


class Grap2EqLite(MixSTE):
    """x_0 = Grap2EqLite(x_2d, x_t, t): as MixSTE, with graph convolutions over velocities beside its blocks.

    `single_pass`: a regressor from x_2d alone; x_t and t are ignored and may be None. `variant` 'published' takes the
    published lists of joints, which miss links at the pelvis. `tem_alpha` and `tem_beta` shape the graph over frames.
    """

    def __init__(
        self,
        frames=243,
        joints=17,
        channels=512,
        depth=8,
        heads=8,
        drop_path=0.1,
        skeleton="h36m_17",
        variant="default",
        single_pass=False,
        tem_alpha=0.125,
        tem_beta=5.0,
    ):
        super().__init__(frames, joints, channels, depth, heads, drop_path)
        self.single_pass, self.published = single_pass, variant == "published"
        if single_pass:
            self.Spatial_patch_to_embedding = nn.Linear(2, channels)
            del self.time_mlp
        rates = torch.linspace(0, drop_path, depth).tolist()
        self.vel_spatial_blocks = nn.ModuleList(GraphBlock(channels, rate, affinity=False) for rate in rates)
        self.vel_temporal_blocks = nn.ModuleList(GraphBlock(channels, rate, affinity=True) for rate in rates)
        self.spatial_vel_fuse = nn.ModuleList(VelocityFusion() for _ in rates)
        self.temporal_vel_fuse = nn.ModuleList(VelocityFusion() for _ in rates)
        self.Spatial_vel_norm, self.Temporal_vel_norm = LayerNorm6(channels), LayerNorm6(channels)
        graph = joint_graph(skeleton, variant, single_pass)
        self.register_buffer("joint_graph", graph, persistent=False)  # (J, J)
        self.register_buffer("frame_graph", temporal_graph(frames, tem_alpha, tem_beta), persistent=False)  # (F, F)

    def time_code(self, t: Tensor | None, condition) -> Tensor | None:
        return None if self.single_pass else super().time_code(t, condition)

    def embed(self, x_2d: Tensor, x_t: Tensor | None) -> Tensor:
        if not self.single_pass:
            return super().embed(x_2d, x_t)
        return self.Spatial_patch_to_embedding(x_2d).unsqueeze(1)  # (B, 1, F, J, C)

    def spatial_velocity(self, i: int, v: Tensor) -> Tensor:
        return self.Spatial_vel_norm(self.vel_spatial_blocks[i](v.flatten(0, 2), self.joint_graph)).view(v.shape)

    def temporal_velocity(self, i: int, v: Tensor) -> Tensor:
        v = v.transpose(2, 3)  # (B, H, J, F, C)
        y = self.Temporal_vel_norm(self.vel_temporal_blocks[i](v.flatten(0, 2), self.frame_graph))
        return y.view(v.shape).transpose(2, 3)

    def forward(self, x_2d: Tensor, x_t: Tensor | None = None, t: Tensor | None = None, condition=None) -> Tensor:
        code = self.time_code(t, condition)  # (B, C) or None
        x = self.embed(x_2d, x_t) + self.Spatial_pos_embed + self.Temporal_pos_embed.unsqueeze(2)  # (B, H, F, J, C)
        if code is not None:
            x = x + code[:, None, None, None]
        v = velocity(x)
        for i in range(len(self.STEblocks)):
            x, v = self.spatial(i, x), self.spatial_velocity(i, v)
            if i == 0:
                x = self.after_first_spatial(x, code, condition)
            x, v = self.spatial_vel_fuse[i](x, v)
            x, v = self.temporal(i, x), self.temporal_velocity(i, v)
            x, v = self.temporal_vel_fuse[i](x, v)
        y = self.head(x)  # (B, H, F, J, 3)
        return y if x_t is None else y.expand(x_t.shape)
