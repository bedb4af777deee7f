"""What a row of the registry says of a denoiser. Each model file ends in one; docs/new_denoiser.md walks through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from common.diffusion.lifter import Diffusion, d3dp_diffusion

Shapes = dict[str, tuple]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A denoiser: how it is built, with which diffusion, and how its published checkpoints are read.

    build(frames=, joints=, channels=, depth=, ...) makes the network. published_sizes(shapes) tells those arguments
    from a published checkpoint's names and shapes, or None if the file holds another network. `variants`
    are what build or diffusion takes as variant=, where it takes one.
    """

    build: Callable[..., nn.Module]
    published_sizes: Callable[[Shapes], dict | None] = lambda shapes: None
    variants: tuple[str, ...] = ()
    centre_only: bool = False  # the network answers for the window's centre frame
    # Published parameters that nothing reads (regular expressions); any other unknown name is an error.
    leftovers: tuple[str, ...] = ()
    rename: Callable[[str], str] = lambda name: name
    # Buffers of ours, computed from a published file's tensors (renamed) and sizes before its leftovers are dropped.
    derive: Callable[[dict[str, Tensor], dict], dict[str, Tensor]] = lambda state, sizes: {}
    # Settings of its diffusion (stored in the card) to the values that the lifter takes.
    diffusion: Callable[..., Diffusion] = d3dp_diffusion
    # A card of an earlier version, as it would be written now.
    older: Callable[[dict], dict] = lambda card: card
    # How the published program cuts training windows: a name in common.datasets.windows.CUTS.
    published_cut: str = "symmetric"
    squared_gradient: bool = True  # the published program followed the gradient of L^2 / 2
    # Settings under which the published weights were made and scored.
    published_diffusion: Mapping[str, object] = field(default_factory=dict)
    # Settings, by field, that build() takes beside the sizes; for published sizes the checkpoint answers.
    options: tuple[str, ...] = ()
    # Settings, by field, that diffusion() takes.
    diffusion_options: tuple[str, ...] = ("timesteps", "scale")
    # Of these, what published files do not store although the network depends on it.
    untold: tuple[str, ...] = ()
    # Called before training, (network, prompt file, CLIP file): what a fresh network needs from outside.
    prepare: Callable[[Any, str | None, str | None, bool], None] = lambda network, prompts, weights, offline: None
    # loss(sizes, published): a loss (lifter, batch) in place of the diffusion's, or None.
    loss: Callable[[dict, bool], Callable | None] = lambda sizes, published: None
    # In the published variant the texts of a batch reach each other's poses: it is scored one action at a time.
    mixes_texts: bool = False
    # Why the published variant's results depend on which windows share a batch.
    batch_note: str = ""
