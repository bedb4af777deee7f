"""The network against recorded outputs of the published one (dualdiff_parity.npz), and its parameter names."""

import pytest
import torch

from common.geometry.skeleton import STEREO_17
from common.models.two_view import GraphDenoiser, chebyshev_basis, sinusoid

NAMES = {"x": "x", "t": "t", "action": "action", "depth": "x_depth"}


@pytest.fixture
def recorded(vectors):
    return vectors("dualdiff_parity.npz")


def tiny(recorded, **changes):
    """The recorded network: width 16, two layers, four heads, action and depth codes."""
    settings = {"hid_dim": 16, "num_layer": 2, "n_head": 4, "action_emd": True, "depth_emd": True} | changes
    network = GraphDenoiser(**settings).eval()
    weights = {k.removeprefix("sd/"): v for k, v in recorded.items() if k.startswith("sd/")}
    missing = network.load_state_dict(weights, strict=not changes)
    assert not missing.missing_keys
    return network


def inputs(recorded):
    return {name: recorded[f"in/{key}"] for name, key in NAMES.items()}


def assert_near(actual, expected, tolerance=1e-5):
    scale = expected.abs().max().clamp_min(1)
    assert (actual - expected).abs().max() <= tolerance * scale


def test_outputs(recorded):
    network = tiny(recorded)
    assert_near(network(**inputs(recorded)), recorded["out/y"])
    assert_near(network(**inputs(recorded), mask=recorded["in/mask"]), recorded["out/y"])
    assert_near(network(**inputs(recorded), mask=recorded["in/mask2"]), recorded["out/y_mask2"])
    expected = torch.tensor([0.029744, 0.015677, -0.043953])
    assert torch.allclose(network(**inputs(recorded))[0, 0], expected, atol=2e-6)


@pytest.mark.parametrize(("flag", "key"), [("action_emd", "y_noaction"), ("depth_emd", "y_nodepth")])
def test_outputs_without_a_condition(recorded, flag, key):
    network = tiny(recorded, **{flag: False})
    assert_near(network(**inputs(recorded)), recorded[f"out/{key}"])
    assert (recorded[f"out/{key}"] - recorded["out/y"]).abs().max() > 1e-4  # the condition does something


def test_position_codes(recorded):
    assert_near(sinusoid(recorded["in/t"], 16), recorded["out/temb_sin"])
    assert_near(sinusoid(recorded["in/x_depth"], 16), recorded["out/dep_sin"])
    assert sinusoid(torch.ones(2), 7).shape == (2, 7)


def test_every_intermediate(recorded):
    network = tiny(recorded)
    seen = {}
    for name, module in network.named_modules():
        module.register_forward_hook(lambda m, i, o, name=name: seen.__setitem__(name, o))
    network(**inputs(recorded))
    names = [k.removeprefix("mid/") for k in recorded if k.startswith("mid/")]
    assert len(names) == 69
    for name in names:
        assert_near(seen[name], recorded[f"mid/{name}"])


def test_graph(recorded):
    adjacency = recorded["in/adj"].double()
    laplacian = chebyshev_basis(STEREO_17)[1]
    # d is one up to rounding, because the rows of the adjacency sum to one.
    assert torch.allclose(laplacian, (torch.eye(17) - adjacency).float(), atol=1e-6)
    edges = {frozenset(e) for e in recorded["in/edges"].int().tolist()}
    assert edges == {frozenset(e) for e in STEREO_17.edges}


@pytest.mark.parametrize(
    ("action", "depth", "tensors", "parameters"),
    [(True, True, 143, 1579976), (False, True, 137, 1394408), (False, False, 123, 1024520)],
)
def test_published_sizes(action, depth, tensors, parameters):
    state = GraphDenoiser(action_emd=action, depth_emd=depth).state_dict()
    assert len(state) == tensors
    assert sum(v.numel() for v in state.values()) == parameters


def test_a_negative_column_gives_numbers():
    network = GraphDenoiser(hid_dim=16, num_layer=1, depth_emd=False).eval()
    with torch.no_grad():
        network.atten_layers[0].feed_forward.A_hat[:, 3] = -1.0
    assert network(torch.randn(2, 17, 3), torch.zeros(2)).isfinite().all()
