"""Files with the names and sizes of published Grap2Eq checkpoints import strictly."""

import gzip
import json
import re
from pathlib import Path

import pytest
import torch

from common.engine.checkpoint import import_published
from common.errors import UserError
from common.models import build

SHAPES = Path(__file__).parents[1] / "vectors" / "grap2eq_state_dict.json.gz"


CASES = {
    "diff_full_J17_F243": ("grap2eq", "h36m_17", False),
    "diff_full_J15_F27": ("grap2eq", "humaneva_15", False),
    "diff_lite_J17_F243": ("grap2eq_lite", "h36m_17", False),
    "diff_lite_J15_F27": ("grap2eq_lite", "humaneva_15", False),
    "3dhp_full_J17_F243": ("grap2eq", "mpi_inf_3dhp_17", False),
    "3dhp_lite_J17_F243": ("grap2eq_lite", "mpi_inf_3dhp_17", False),
    "nondiff_full_J17_F243": ("grap2eq", "h36m_17", True),
    "nondiff_lite_J17_F243": ("grap2eq_lite", "h36m_17", True),
}


def published_file(case: str) -> dict[str, torch.Tensor]:
    """A file of full size with the published names: random small tensors, the tower's large ones constant."""
    shapes = json.loads(gzip.decompress(SHAPES.read_bytes()))[case]
    g = torch.Generator().manual_seed(0)
    state = {}
    for name, (shape, kind) in shapes.items():
        dtype = getattr(torch, kind)
        if name.startswith("pose_estimator.clip_text.") or name.startswith("clip_text."):
            state["module." + name] = torch.full(shape, 0.01, dtype=dtype)
        else:
            state["module." + name] = torch.rand(shape, generator=g, dtype=torch.float32).to(dtype) - 0.5
    return state


@pytest.mark.parametrize("case", CASES)
def test_published_files_import_strictly(case):
    name, skeleton, single_pass = CASES[case]
    state = published_file(case)
    found, sizes, weights = import_published(state)
    assert (found, sizes["skeleton"], sizes["single_pass"]) == (name, skeleton, single_pass)
    assert sizes["variant"] == "published" and sizes["depth"] == 8 and sizes["channels"] == 512
    assert (sizes["tem_alpha"], sizes["tem_beta"]) == ((0.25, 1.0) if "J15" in case else (0.125, 5.0))
    model = build(found, **sizes)
    model.load_state_dict(weights)
    plain = {re.sub(r"^module\.(pose_estimator\.)?", "", key): value for key, value in state.items()}
    for key, value in model.named_parameters():
        assert torch.equal(value, plain[key]), key
    if name == "grap2eq":
        assert (model.prompt_positions >= 0).all() and torch.isfinite(model.prompt_features).all()


def test_a_published_file_with_a_flaw_is_refused():
    state = published_file("diff_lite_J15_F27")
    key = "module.pose_estimator.vel_temporal_blocks.3.attn.V.weight"
    fuse = "module.pose_estimator.spatial_vel_fuse.7.bias"
    for flaw in (
        {k: v for k, v in state.items() if k != fuse},
        state | {"module.pose_estimator.extra": torch.zeros(1)},
        state | {key: torch.zeros(512, 511)},
    ):
        with pytest.raises(UserError):
            import_published(flaw)
