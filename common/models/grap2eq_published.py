"""Grap2Eq's rows of the registry: what a published file's names say about it, and what the flags set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Tensor

from common.diffusion.lifter import Diffusion, d3dp_diffusion
from common.diffusion.single_pass import single_pass_training_loss
from common.models.grap2eq import Grap2Eq, Grap2EqLite, prompt_layout
from common.models.prompt_layouts import H36M_ACTIONS, LAYOUTS, published_prompts
from common.models.registry import Entry
from common.models.text import load_prompts

HUMANEVA_ACTIONS = ("Box", "Gestures", "Jog", "ThrowCatch", "Walking")

# Frozen CLIP, and what the published 3DHP network without text builds and never uses. The context rows are read by
# `derive`, and they are parameters where there is text.
LEFTOVERS = (r"clip_text\.",)
LITE_LEFTOVERS = (r"prompt_learning\.", r"textTransEncoder\.", r"text_ln\.", r"text_proj\.")


def published_sizes_lite(shapes: dict[str, tuple]) -> dict | None:
    """Constructor keywords of a published network without text; None if the names are another network's."""
    return None if "ctx_subject" in shapes else _sizes(shapes, no_actions="prompt_learning.query.weight" in shapes)


def published_sizes(shapes: dict[str, tuple]) -> dict | None:
    """Constructor keywords of a published network with text; None if the names are another network's."""
    sizes = _sizes(shapes, no_actions="ctx_verb" not in shapes) if "ctx_subject" in shapes else None
    if sizes is None:
        return None
    actions = {"h36m_17": H36M_ACTIONS, "humaneva_15": HUMANEVA_ACTIONS}.get(sizes["skeleton"], ())
    return sizes | {
        "text": "clip",
        "actions": list(actions),
        "text_width": shapes["ctx_head"][1],
        "text_hidden": shapes["textTransEncoder.layers.0.linear1.weight"][0],
    }


def _sizes(shapes: dict[str, tuple], no_actions: bool) -> dict | None:
    if "vel_spatial_blocks.0.attn.U.weight" not in shapes:
        return None
    channels, inputs = shapes["Spatial_patch_to_embedding.weight"]
    joints, single_pass = shapes["Spatial_pos_embed"][1], inputs == 2
    skeleton = "humaneva_15" if joints == 15 else "mpi_inf_3dhp_17" if no_actions else "h36m_17"
    # The file does not say how the graph over frames was shaped: these are the published programs' defaults.
    alpha, beta = (0.25, 1.0) if joints == 15 and not single_pass else (0.125, 5.0)
    return {
        "frames": shapes["Temporal_pos_embed"][1],
        "joints": joints,
        "channels": channels,
        "depth": 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("TTEblocks.")),
        "skeleton": skeleton,
        "variant": "published",
        "single_pass": single_pass,
        "tem_alpha": alpha,
        "tem_beta": beta,
    }


def derive(state: dict[str, Tensor], sizes: dict) -> dict[str, Tensor]:
    """The prompt buffers of a published file, by its own context rows and CLIP weights before these are dropped."""
    return published_prompts(state, LAYOUTS[prompt_layout(sizes["skeleton"])], sizes["actions"])


def grap2eq_diffusion(timesteps: int = 1000, scale: float = 1.0, single_pass: bool = False) -> Diffusion:
    """D3DP's diffusion; the single-pass network's one answer is not clamped."""
    return (
        replace(d3dp_diffusion(timesteps, scale), limit=math.inf) if single_pass else d3dp_diffusion(timesteps, scale)
    )


def single_pass_loss(sizes: dict, published: bool) -> Callable | None:
    """The loss of the single-pass network; None for the denoiser, which has the diffusion's."""
    return partial(single_pass_training_loss, published=published) if sizes.get("single_pass") else None


ENTRY_LITE = Entry(
    build=Grap2EqLite,
    published_sizes=published_sizes_lite,
    leftovers=LITE_LEFTOVERS,
    variants=("default", "published"),
    published_cut="inside",
    diffusion=grap2eq_diffusion,
    options=("skeleton", "variant", "single_pass", "tem_alpha", "tem_beta"),
    diffusion_options=("timesteps", "scale", "single_pass"),
    untold=("tem_alpha", "tem_beta"),
    loss=single_pass_loss,
)
ENTRY = replace(
    ENTRY_LITE,
    build=Grap2Eq,
    published_sizes=published_sizes,
    leftovers=LEFTOVERS,
    options=(*ENTRY_LITE.options, "text", "actions", "learn_prompts"),
    derive=derive,
    prepare=load_prompts,
)
