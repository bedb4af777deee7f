"""The registry of denoisers. A new one is a file that ends in an `Entry`, and a line here; docs/new_denoiser.md."""

from __future__ import annotations

from torch import nn

from common.errors import UserError
from common.models import diff3dhpe, finepose, grap2eq_published, graphdiffu, ktpformer, mixste, mixste_ray
from common.models.registry import Entry

REGISTRY: dict[str, Entry] = {
    "diff3dhpe": diff3dhpe.ENTRY,
    "diff3dhpe_s2f": diff3dhpe.ENTRY_CENTRE,
    "grap2eq": grap2eq_published.ENTRY,
    "grap2eq_lite": grap2eq_published.ENTRY_LITE,
    "finepose": finepose.ENTRY,
    "graphdiffu": graphdiffu.ENTRY,
    "ktpformer": ktpformer.ENTRY,
    "mixste": mixste.ENTRY,
    "mixste_ray": mixste_ray.ENTRY,
}


def entry(name: str) -> Entry:
    """A denoiser's row. Raises UserError for an unknown name."""
    if name not in REGISTRY:
        raise UserError(f"--model {name}: unknown; there are {', '.join(sorted(REGISTRY))}")
    return REGISTRY[name]


def build(name: str, **sizes) -> nn.Module:
    """Make a denoiser by name: `build("mixste", frames=243, joints=17, channels=512, depth=8)`."""
    return entry(name).build(**sizes)
