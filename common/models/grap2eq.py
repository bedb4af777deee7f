"""Grap2Eq: attention over joints and frames beside a stream of velocities, fused after every stage; text on request.

As its authors' program computes it (2024). The fusion reads adjacent channels and the affinity over frames is
unscaled, in both variants; what `variant` changes stands in the classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.geometry.skeleton import skeleton_of
from common.models.blocks import LayerNorm6
from common.models.graph_conv import GraphBlock, joint_graph, temporal_graph
from common.models.mixste import MixSTE
from common.models.prompt_layouts import CONTEXT
from common.models.text import PublishedPairing, TextAttention, TextCondition, TextConditioned


def velocity(x: Tensor) -> Tensor:
    """x_t - x_{t-1} over the frames of (B, H, F, ..., C); the first frame repeats the second's, one frame stands."""
    if x.shape[2] == 1:
        return torch.zeros_like(x)
    steps = x.diff(dim=2)
    return torch.cat([steps[:, :, :1], steps], 2)


class VelocityFusion(nn.Linear):
    """Each channel weighs the stream's velocity against the features' own: two weights from a 2x2 matrix.

    The two numbers that a channel's weights read are adjacent channels of [v; d], not (v_c, d_c): so published, and
    it is what the matrix was trained for.
    """

    def __init__(self):
        super().__init__(2, 2)

    def forward(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Features x and velocities v (B, H, F, J, C) to the updated pair: x'_t = x_{t-1} + w_t, v' = w."""
        d = velocity(x)
        # A softmax over two numbers is a sigmoid of their difference.
        weight, bias = self.weight[0] - self.weight[1], self.bias[0] - self.bias[1]
        logits = torch.cat([v.unflatten(-1, (-1, 2)) @ weight, d.unflatten(-1, (-1, 2)) @ weight], -1)
        w = d + torch.sigmoid(logits + bias) * (v - d)  # (B, H, F, J, C)
        return torch.cat([x[:, :, :1], x[:, :, :-1] + w[:, :, 1:]], 2), w


class Grap2EqLite(MixSTE):
    """x_0 = Grap2EqLite(x_2d, x_t, t): as MixSTE, with graph convolutions over velocities beside its blocks.

    `single_pass`: a regressor from x_2d alone; x_t and t are ignored and may be None. `variant` 'published' takes the
    published lists of joints, which miss links at the pelvis. `tem_alpha` and `tem_beta` shape the graph over frames.
    """

    def __init__(
        self,
        *,
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
        super().__init__(frames=frames, joints=joints, channels=channels, depth=depth, heads=heads, drop_path=drop_path)
        self.single_pass, self.published = single_pass, variant == "published"
        if single_pass:
            self.Spatial_patch_to_embedding = nn.Linear(2, channels)
            del self.time_mlp
        rates = torch.linspace(0, drop_path, depth, device="cpu").tolist()
        self.vel_spatial_blocks = nn.ModuleList(GraphBlock(channels, rate, affinity=False) for rate in rates)
        self.vel_temporal_blocks = nn.ModuleList(GraphBlock(channels, rate, affinity=True) for rate in rates)
        self.spatial_vel_fuse = nn.ModuleList(VelocityFusion() for _ in rates)
        self.temporal_vel_fuse = nn.ModuleList(VelocityFusion() for _ in rates)
        self.Spatial_vel_norm, self.Temporal_vel_norm = LayerNorm6(channels), LayerNorm6(channels)
        layout = skeleton_of(skeleton)
        if len(layout) != joints:
            raise UserError(f"the skeleton {layout.name} has {len(layout)} joints, not {joints}")
        graphs = joint_graph(skeleton, variant, single_pass), temporal_graph(frames, tem_alpha, tem_beta)
        for name, graph in zip(("joint_graph", "frame_graph"), graphs, strict=True):  # (J, J), (F, F)
            self.register_buffer(name, graph.to(self.Spatial_pos_embed.device), persistent=False)

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


class TrainingPairing(PublishedPairing):
    """The published pairing in training steps: published evaluations run one action at a time, nothing is mixed up."""

    def forward(self, x: Tensor, code: Tensor | None, condition: TextCondition) -> Tensor:
        pairing = PublishedPairing if self.training else TextAttention
        return pairing.forward(self, x, code, condition)


class Grap2Eq(TextConditioned, Grap2EqLite):
    """x_0 = Grap2Eq(x_2d, x_t, t, condition(batch)): the text enters the time code and, after the first stage, x.

    `variant` 'published', beside the graph: tokens attend across the windows of a training step, not to each other
    (alone in evaluation, as one action at a time comes to); texts are paired as `TrainingPairing` says; the vector e
    is read at the end of the action's own word, where no action is seen, instead of at the prompt's last position.
    """

    def __init__(
        self,
        *sizes,
        channels=512,
        skeleton="h36m_17",
        variant="default",
        single_pass=False,
        text="clip",
        actions=(),
        learn_prompts=False,
        text_width=512,
        text_hidden=None,
        **named,
    ):
        super().__init__(
            *sizes, channels=channels, skeleton=skeleton, variant=variant, single_pass=single_pass, **named
        )
        attention = "per_token" if self.published else "sequence"
        layout = prompt_layout(skeleton)
        self.build_text(
            channels,
            text=text,
            actions=actions,
            layout=layout,
            learn_prompts=learn_prompts,
            text_width=text_width,
            text_hidden=text_hidden,
            attention=attention,
        )
        pairing = TrainingPairing if self.published else TextAttention
        self.prompt_learning = pairing(channels, stylized=not single_pass)

    def load_prompts(self, prompts=None, clip_weights=None, offline=False) -> None:
        super().load_prompts(prompts, clip_weights, offline)
        self._read_last_position()

    def attach_tower(self, clip_weights=None, tower: nn.Module | None = None, offline=False) -> None:
        super().attach_tower(clip_weights, tower, offline)
        self._read_last_position()

    def _read_last_position(self) -> None:
        # CLIP is causal: only the end of the prompt has seen the action.
        if self.text == "clip" and not self.published:
            self.prompt_positions.fill_(CONTEXT - 1)

    def encode_text(self, rows: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training:  # each row alone, whatever else is in the batch
            counts = torch.eye(len(rows), device=rows.device)
        return super().encode_text(rows, counts)

    def time_code(self, t: Tensor | None, condition) -> Tensor:
        e, code = condition.e[condition.index], super().time_code(t, condition)  # (B, C)
        return e if code is None else e + code

    def after_first_spatial(self, x: Tensor, code: Tensor, condition) -> Tensor:
        return x + self.prompt_learning(x, code, condition)


def prompt_layout(skeleton: str) -> str:
    """The prompt layout: MPI-INF-3DHP has no action labels."""
    return "finepose_3dhp" if skeleton == "mpi_inf_3dhp_17" else "finepose_h36m"
