"""The registry of denoisers. A new one is a file and a line here; docs/new_denoiser.md walks through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from common.diffusion import diff3dhpe as diff3dhpe_diffusion
from common.diffusion.lifter import Diffusion, d3dp_diffusion
from common.errors import UserError
from common.models import diff3dhpe, finepose, grap2eq, grap2eq_published, graphdiffu, ktpformer, mixste


@dataclass(frozen=True)
class Model:
    """A row of the registry.

    build(frames=, joints=, channels=, depth=, ...) makes the network. published_sizes(shapes) tells those arguments
    from a published checkpoint's names and shapes, or None if the file holds another network. `variants` says that
    build or diffusion takes variant='default'|'published'.
    """

    build: Callable[..., nn.Module]
    published_sizes: Callable[[dict[str, tuple]], dict | None] = lambda shapes: None
    variants: bool = False
    centre_only: bool = False  # the network answers for the window's centre frame
    # Published parameters that nothing reads (regular expressions); any other unknown name is an error.
    leftovers: tuple[str, ...] = ()
    rename: Callable[[str], str] = lambda name: name
    # Buffers of ours, computed from a published file's tensors (renamed) and sizes before its leftovers are dropped.
    derive: Callable[[dict[str, Tensor], dict], dict[str, Tensor]] = lambda state, sizes: {}
    # Settings of its diffusion (from flags, stored in the card) to the values that the lifter takes.
    diffusion: Callable[..., Diffusion] = d3dp_diffusion
    # How the published program cuts training windows; None is D3DP's way, which is also ours.
    published_starts: Callable[[int, int, int], list[int]] | None = None
    squared_gradient: bool = True  # the published program followed the gradient of L^2 / 2
    # Settings under which the published weights were made and scored.
    published_diffusion: Mapping[str, object] = field(default_factory=dict)
    # Flags, by destination, that build() takes beside the sizes; for published sizes the checkpoint answers.
    options: tuple[str, ...] = ()
    # Flags, by destination, that diffusion() takes.
    diffusion_options: tuple[str, ...] = ("timesteps", "scale")


REGISTRY: dict[str, Model] = {
    "diff3dhpe": Model(diff3dhpe.Diff3DHPE, diff3dhpe.published_sizes, **diff3dhpe_diffusion.ROW),
    "diff3dhpe_s2f": Model(
        diff3dhpe.Diff3DHPECentre, diff3dhpe.published_sizes_centre, centre_only=True, **diff3dhpe_diffusion.ROW
    ),
    "grap2eq": Model(grap2eq.Grap2Eq, grap2eq_published.published_sizes, **grap2eq_published.ROW),
    "grap2eq_lite": Model(grap2eq.Grap2EqLite, grap2eq_published.published_sizes_lite, **grap2eq_published.ROW_LITE),
    "finepose": Model(finepose.FinePOSE, finepose.published_sizes, **finepose.ROW),
    "graphdiffu": Model(graphdiffu.GraphDiffu, graphdiffu.published_sizes, **graphdiffu.ROW),
    "ktpformer": Model(ktpformer.KTPFormer, ktpformer.published_sizes, variants=True, options=("skeleton", "variant")),
    "mixste": Model(mixste.MixSTE, mixste.published_sizes),
}


def build(name: str, **sizes) -> nn.Module:
    """Make a denoiser by name: `build("mixste", frames=243, joints=17, channels=512, depth=8)`."""
    if name not in REGISTRY:
        raise UserError(f"--model {name}: unknown; there are {', '.join(sorted(REGISTRY))}")
    return REGISTRY[name].build(**sizes)
