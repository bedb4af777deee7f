"""GraphDiffu: FinePOSE whose first stage over joints and whose residual past the text attend over the skeleton graph.

The graph layer is GAT (Velickovic et al. 2018). By default it joins the joints of every frame, as its authors mean it;
the published program joins them in one frame of a call only (`variant="published"`), and texts as FinePOSE's.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from common.models import finepose
from common.models.finepose import FinePOSE
from common.models.graph import GraphAttention, adjacency, published_attention


class GraphDiffu(FinePOSE):
    """x_0 = GraphDiffu(x_2d, x_t, t, condition(batch)). See MixSTE for shapes and TextConditioned for the text."""

    layouts = {"mpi_inf_3dhp_17": "graphdiffu_3dhp"}
    layout_with_actions = "graphdiffu_h36m"

    def __init__(
        self, *, frames=243, joints=17, channels=512, skeleton="h36m_17", variant="default", gat_heads=1, **named
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
    build=GraphDiffu,
    published_sizes=published_sizes,
    # Beside FinePOSE's leftovers a block that is built and never called, and lin_dst.
    leftovers=(*finepose.LEFTOVERS, r"STEblocks\.0\.", r"(STEgat|temporal_cross_attn\.gat)\.lin_dst\.weight"),
    rename=rename,
    derive=derive,
    batch_note="published graph: the first window of each batch is special",
)
