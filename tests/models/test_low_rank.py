"""Low-rank additions: the published vectors, names, counts, merging, what is frozen."""

import copy

import pytest
import torch
from torch import nn

from common.diffusion.lifter import DiffusionLifter, d3dp_diffusion
from common.errors import UserError
from common.geometry.skeleton import MPI_INF_3DHP_17
from common.models import build
from common.models.low_rank import add_lora, base_weights, merge_lora


@pytest.fixture
def recorded(vectors):
    """The recorded adapted denoiser and its vectors."""
    v = vectors("posynda_parity.npz")
    prefix = "sd/pose_estimator."
    state = {key.removeprefix(prefix): x for key, x in v.items() if key.startswith(prefix)}
    denoiser = build("mixste", frames=9, joints=17, channels=32, depth=2)
    add_lora(denoiser, rank=4, scale=1.0)
    assert set(denoiser.state_dict()) == set(state)
    denoiser.load_state_dict(state)
    return denoiser.eval(), v


def run(denoiser, v):
    with torch.no_grad():
        return denoiser(v["in/denoiser_x2d"], v["in/denoiser_x3d"], v["in/denoiser_t"])


def test_denoiser_matches_the_vectors(recorded):
    denoiser, v = recorded
    torch.testing.assert_close(run(denoiser, v), v["out/denoiser"], atol=1e-5, rtol=1e-4)


def test_base_weights_are_the_network_without_its_additions(recorded):
    denoiser, v = recorded
    base = build("mixste", frames=9, joints=17, channels=32, depth=2).eval()
    base.load_state_dict(base_weights(denoiser.state_dict()))
    torch.testing.assert_close(run(base, v), v["out/denoiser_lora_up_zeroed"], atol=1e-5, rtol=1e-4)


def test_merged_network_computes_the_same_under_plain_names(recorded):
    denoiser, v = recorded
    merged = merge_lora(copy.deepcopy(denoiser))
    assert set(merged.state_dict()) == set(base_weights(denoiser.state_dict()))
    torch.testing.assert_close(run(merged, v), run(denoiser, v), atol=1e-5, rtol=1e-4)


def test_sampler_matches_the_vectors(recorded):
    """DDIM of two steps with the mirrored body, in the joint order of 3DHP, millimetres."""
    denoiser, v = recorded
    lifter = DiffusionLifter(denoiser, MPI_INF_3DHP_17, d3dp_diffusion())
    torch.testing.assert_close(lifter.flip(v["in/sampler_x2d"]), v["in/sampler_x2d_flip"])

    class Batch:
        keypoints_2d = v["in/sampler_x2d"]

    with torch.no_grad():
        poses = lifter.sample(Batch, 3, 2, lambda hypotheses: lambda k: v[f"in/sampler_noise{k}"])
    torch.testing.assert_close(1000 * poses, v["out/sampler"], atol=1e-2, rtol=1e-4)


def test_full_size_counts():
    """32 layers and 196,608 parameters at the published size; the rest is frozen."""
    with torch.device("meta"):
        denoiser = build("mixste", frames=243, joints=17, channels=512, depth=8)
        layers = add_lora(denoiser)
    trained = {n: p.numel() for n, p in denoiser.named_parameters() if p.requires_grad}
    assert len(layers) == 32 and sum(trained.values()) == 196_608
    assert all(".lora_" in name for name in trained)


def test_start_and_scale():
    """Zero at the start; A of standard deviation 1 / r; the scale multiplies the addition."""
    torch.manual_seed(0)
    model = nn.Sequential()
    model.attn = nn.Module()
    model.attn.qkv = nn.Linear(400, 300)
    x = torch.randn(5, 400)
    plain = model.attn.qkv(x)
    add_lora(model, rank=4, scale=3.0, targets=["attn.qkv"])
    layer = model.attn.qkv
    torch.testing.assert_close(layer(x), plain)
    assert float(layer.lora_down.weight.detach().std()) == pytest.approx(0.25, rel=0.1)
    nn.init.ones_(layer.lora_up.weight)
    expected = plain + 3.0 * (x @ layer.lora_down.weight.T).sum(-1, keepdim=True)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-3)


def test_other_targets_and_wrong_ones():
    denoiser = build("mixste", frames=3, joints=17, channels=16, depth=1)
    names = add_lora(denoiser, targets=["mlp.fc1"])
    assert names == ["STEblocks.0.mlp.fc1", "TTEblocks.0.mlp.fc1"]
    with pytest.raises(UserError, match="no linear layer"):
        add_lora(build("mixste", frames=3, joints=17, channels=16, depth=1), targets=["attn.qvk"])
    with pytest.raises(UserError, match="--lora-rank 17"):
        add_lora(build("mixste", frames=3, joints=17, channels=16, depth=1), rank=17)
