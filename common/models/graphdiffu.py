"""GraphDiffu: FinePOSE with attention over the skeleton graph (GAT, Velickovic et al. 2018), in three variants.

- 'default': the graph stands beside the first block's attention, under its residual, and starts at zero: the network
  begins as MixSTE. (Attention and graph side by side are better than one after the other in published ablations.)
- 'paper': the graph takes the place of the first stage over joints and of the residual past the text, in every frame,
  as its authors describe it.
- 'published': what the published program computes: the same, but joined in one frame of a call only, and texts as
  FinePOSE's.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from common.models import finepose
from common.models.finepose import FinePOSE
from common.models.graph import GraphAttention, adjacency, published_attention


class _Layouts:
    layouts = {"mpi_inf_3dhp_17": "graphdiffu_3dhp"}
    layout_with_actions = "graphdiffu_h36m"


class GraphBeside(_Layouts, FinePOSE):
    """The default: x_0 = GraphBeside(x_2d, x_t, t, condition(batch)). `named`: FinePOSE's arguments.

    Parameters that MixSTE has too have its names. What is added starts at zero: graph, text in the time code, and (as
    in FinePOSE) the attention to the text.
    """

    def __init__(self, *, channels=512, skeleton="h36m_17", gat_heads=4, **named):
        super().__init__(channels=channels, skeleton=skeleton, **named)
        self.STEgat = GraphAttention(channels, channels, adjacency(skeleton), heads=gat_heads)
        for layer in (self.STEgat.lin, self.text_proj[0]):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.text_proj[0].bias)

    def first_spatial(self, x: Tensor, condition) -> Tensor:
        """u = x + attention(n) + graph(n) for n = LN(x); then the block's MLP: (B, H, F, J, C) to the same."""
        block, u = self.STEblocks[0], x.flatten(0, 2)  # (B H F, J, C)
        n = block.norm1(u)
        u = u + block.drop_path1(block.attn(n) + self.STEgat(n))
        u = u + block.drop_path2(block.mlp(block.norm2(u)))
        return self.Spatial_norm(u).view(x.shape)


class GraphDiffu(_Layouts, FinePOSE):
    """'paper' and 'published': x_0 = GraphDiffu(x_2d, x_t, t, condition(batch)). See MixSTE for shapes and
    TextConditioned for the text."""

    def __init__(
        self, *, frames=243, joints=17, channels=512, skeleton="h36m_17", variant="paper", gat_heads=1, **named
    ):
        """`named`: FinePOSE's other arguments."""
        super().__init__(frames=frames, joints=joints, channels=channels, skeleton=skeleton, variant=variant, **named)
        self.published = variant == "published"
        self.STEblocks[0] = nn.Identity()  # replaced by the graph; the numbers of the others stay
        links = adjacency(skeleton, self.published)
        self.STEgat = GraphAttention(channels, channels, links, heads=gat_heads)
        self.temporal_cross_attn.gat = GraphAttention(channels, channels, links, heads=gat_heads)

    def graph(self, gat: GraphAttention, x: Tensor, condition, over_frames: bool) -> Tensor:
        return published_attention(gat, x, condition, over_frames) if self.published else gat(x)

    def first_spatial(self, x: Tensor, condition) -> Tensor:
        return self.Spatial_norm(self.graph(self.STEgat, x, condition, over_frames=False))

    def after_first_spatial(self, x: Tensor, code: Tensor, condition) -> Tensor:
        residual = self.graph(self.temporal_cross_attn.gat, x, condition, over_frames=True)
        return residual + self.temporal_cross_attn(x, code, condition)


def graphdiffu(*, variant="default", **sizes) -> FinePOSE:
    """The network of a variant."""
    return GraphBeside(**sizes) if variant == "default" else GraphDiffu(variant=variant, **sizes)


def older(card: dict) -> dict:
    """Before version 2 of a card, 'default' was what is now 'paper'."""
    if card.get("version", 0) >= 2 or card.get("variant") != "default":
        return card
    return card | {"variant": "paper", "sizes": card["sizes"] | {"variant": "paper"}}


def published_sizes(shapes: dict[str, tuple]) -> dict | None:
    sizes = finepose.text_sizes(shapes) if "STEgat.att_src" in shapes else None
    return sizes and sizes | {"gat_heads": shapes["STEgat.att_src"][1]}


def derive(state: dict[str, Tensor], sizes: dict) -> dict[str, Tensor]:
    return finepose.derive(state, sizes, GraphDiffu)


def rename(name: str) -> str:
    """torch_geometric before 2.5 called a graph layer's matrix lin_src, and stored it again as lin_dst."""
    return name.replace(".lin_src.", ".lin.")


ENTRY = replace(
    finepose.ENTRY,
    build=graphdiffu,
    variants=("default", "paper", "published"),
    older=older,
    published_sizes=published_sizes,
    # Beside FinePOSE's leftovers a block that is built and never called, and lin_dst.
    leftovers=(*finepose.LEFTOVERS, r"STEblocks\.0\.", r"(STEgat|temporal_cross_attn\.gat)\.lin_dst\.weight"),
    rename=rename,
    derive=derive,
    batch_note="published graph: the first window of each batch is special",
)
