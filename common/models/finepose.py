"""FinePOSE: MixSTE with text in its time code and a cross-attention to text after the first stage (Xu et al. 2024)."""

from __future__ import annotations

from torch import Tensor

from common.models.mixste import MixSTE
from common.models.prompt_layouts import H36M_ACTIONS, LAYOUTS, published_prompts
from common.models.registry import Entry
from common.models.text import PublishedPairing, TextAttention, TextConditioned, load_prompts


class FinePOSE(TextConditioned, MixSTE):
    """x_0 = FinePOSE(x_2d, x_t, t, condition(batch)). See MixSTE for shapes and TextConditioned for the text.

    `variant` 'published': in a batch of several actions, texts and poses are paired as `PublishedPairing` says. texts:
    what `build_text` takes: text, actions, learn_prompts, text_width, text_hidden.
    """

    layouts = {"mpi_inf_3dhp_17": "finepose_3dhp"}  # by skeleton; the rest read the next one
    layout_with_actions = "finepose_h36m"

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
        **texts,
    ):
        super().__init__(frames=frames, joints=joints, channels=channels, depth=depth, heads=heads, drop_path=drop_path)
        layout = self.layouts.get(skeleton, self.layout_with_actions)
        self.build_text(channels, layout=layout, **texts)
        self.temporal_cross_attn = (PublishedPairing if variant == "published" else TextAttention)(channels)

    def time_code(self, t: Tensor, condition) -> Tensor:
        return self.time_mlp(t) + condition.e[condition.index]  # (B, C)

    def after_first_spatial(self, x: Tensor, code: Tensor, condition) -> Tensor:
        return x + self.temporal_cross_attn(x, code, condition)


def text_sizes(shapes: dict[str, tuple]) -> dict | None:
    """Constructor keywords of a published FinePOSE or GraphDiffu; None if the names are another network's."""
    if "temporal_cross_attn.query.weight" not in shapes or "vel_spatial_blocks.0.norm1.weight" in shapes:
        return None
    channels, inputs = shapes["Spatial_patch_to_embedding.weight"]
    told = "ctx_verb" in shapes
    return {
        "frames": shapes["Temporal_pos_embed"][1],
        "joints": shapes["Spatial_pos_embed"][1],
        "channels": channels,
        "depth": 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("TTEblocks.")),
        "skeleton": "h36m_17" if told else "mpi_inf_3dhp_17",
        "variant": "published",
        "text": "clip",
        "actions": list(H36M_ACTIONS) if told else [],
        "text_width": shapes["ctx_head"][1],
        "text_hidden": shapes["textTransEncoder.layers.0.linear1.weight"][0],
    }


def published_sizes(shapes: dict[str, tuple]) -> dict | None:
    return None if any("gat" in name for name in shapes) else text_sizes(shapes)


def derive(state: dict[str, Tensor], sizes: dict, cls: type[FinePOSE] = FinePOSE) -> dict[str, Tensor]:
    """The prompt buffers of a published file, by its own context rows and CLIP weights before these are dropped."""
    layout = LAYOUTS[cls.layouts.get(sizes["skeleton"], cls.layout_with_actions)]
    return published_prompts(state, layout, sizes["actions"])


LEFTOVERS = (r"clip_text\.", r"ctx_")  # frozen CLIP; context rows that are empty
ENTRY = Entry(
    build=FinePOSE,
    published_sizes=published_sizes,
    leftovers=LEFTOVERS,
    options=("skeleton", "variant", "text", "actions", "learn_prompts"),
    variants=("default", "published"),
    mixes_texts=True,
    derive=derive,
    prepare=load_prompts,
)
