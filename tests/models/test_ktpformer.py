"""KTPFormer: the recorded published network, its priors, and what a denoiser of it must do."""

import pytest
import torch

from common.models import build
from common.models.graph import adjacency
from common.models.ktpformer import chain, prior, published_sizes


@pytest.fixture
def recorded(vectors):
    v = vectors("ktpformer_parity.npz")
    state = {key[3:]: value for key, value in v.items() if key.startswith("sd/")}
    sizes = published_sizes({key: tuple(value.shape) for key, value in state.items()})
    assert sizes == {"frames": 9, "joints": 17, "channels": 32, "depth": 2, "variant": "published"}
    model = build("ktpformer", **sizes)
    model.load_state_dict(state)
    return v, model.eval()


@torch.no_grad()
def test_published_network_equals_the_recording(recorded):
    v, model = recorded
    joints, frames, x_2d = model.kpattention.attn, model.tpattention.attn, v["in/x_2d"]
    kpa, tpa = joints.kpa(x_2d.flatten(0, 1)), frames.tpa(v["in/tpa_x"])
    x_t = torch.randn(2, 3, 9, 17, 3)  # the recorded regressor has no x_t and no t: they are not read
    y = model(x_2d, x_t, torch.tensor([1, 900]))
    results = {
        "kpa": kpa,
        "kpa_block": model.kpattention(kpa + joints.Spatial_pos_embed),
        "tpa": tpa,
        "tpa_block": model.tpattention(tpa + frames.Temporal_pos_embed),
        "y": y[:, 1],
    }
    assert {f"out/{key}" for key in results} == {key for key in v if key.startswith("out/")}
    for key, value in results.items():
        torch.testing.assert_close(value, v[f"out/{key}"], atol=1e-5, rtol=0)
    assert y.shape == x_t.shape and torch.equal(y[:, 0], y[:, 2])


def test_priors(vectors):
    v = vectors("ktpformer_parity.npz")
    assert torch.equal(prior(adjacency("h36m_17")), v["in/adj_spatial"])
    assert torch.equal(prior(chain(9)), v["in/adj_temporal"])
    assert torch.equal(prior(chain(1)), torch.ones(1, 1))


@torch.no_grad()
def test_the_default_is_a_denoiser_that_does_not_mix_windows():
    torch.manual_seed(0)
    model = build("ktpformer", frames=5, joints=15, channels=32, depth=1, drop_path=0.0, skeleton="humaneva_15").train()
    x_2d, x_t, t = torch.randn(3, 5, 15, 2), torch.randn(3, 2, 5, 15, 3), torch.tensor([5, 500, 999])
    y = model(x_2d, x_t, t)
    alone = model(x_2d[1:2], x_t[1:2, :1], t[1:2])
    torch.testing.assert_close(y[1:2, :1], alone, atol=1e-5, rtol=1e-5)
    assert (model(x_2d, x_t + 1, t) - y).abs().max() > 1e-3 and (model(x_2d, x_t, t // 2) - y).abs().max() > 1e-3


def test_other_networks_are_not_taken_for_it():
    shapes = {name: tuple(p.shape) for name, p in build("mixste", frames=3, channels=32, depth=1).named_parameters()}
    assert published_sizes(shapes) is None
