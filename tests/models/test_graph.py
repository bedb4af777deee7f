"""Graph attention against the recorded torch_geometric layer, and against the library itself where it is installed."""

import pytest
import torch

from common.geometry.skeleton import SKELETONS
from common.models.condition import Condition
from common.models.graph import GraphAttention, adjacency, published_attention

NAMES = {"h36m": "h36m_17", "humaneva15": "humaneva_15", "3dhp": "mpi_inf_3dhp_17"}
SETTINGS = {"h1cat": (1, True), "h4cat": (4, True), "h4mean": (4, False)}
ALL = [(skeleton, setting) for skeleton in NAMES for setting in SETTINGS]


def layer(v: dict, skeleton: str, setting: str) -> GraphAttention:
    heads, concat = SETTINGS[setting]
    gat = GraphAttention(32, 32, adjacency(NAMES[skeleton], published=True), heads=heads, concat=concat)
    prefix = f"{skeleton}/{setting}/sd/"
    gat.load_state_dict({key.removeprefix(prefix): x for key, x in v.items() if key.startswith(prefix)})
    return gat


@pytest.mark.parametrize("skeleton", NAMES)
def test_published_edges(vectors, skeleton):
    v = vectors("gat_layer_parity.npz")
    links = adjacency(NAMES[skeleton], published=True)
    assert torch.equal(links, v[f"{skeleton}/in/adj"].bool() | torch.eye(len(links), dtype=torch.bool))
    listed = torch.zeros_like(links)
    listed[tuple(v[f"{skeleton}/in/edge_index"])] = True
    assert torch.equal(links, listed | torch.eye(len(links), dtype=torch.bool))


def test_the_default_graph_is_the_tree_of_the_data_set():
    for skeleton in SKELETONS.values():
        links = adjacency(skeleton)
        assert torch.equal(links, links.T) and links.diagonal().all()
        assert links.sum() == len(links) + 2 * (len(links) - 1)
    head, top = (SKELETONS["mpi_inf_3dhp_17"].index(joint) for joint in ("Head", "HeadTop"))
    assert adjacency("mpi_inf_3dhp_17")[head, top] and not adjacency("mpi_inf_3dhp_17", published=True)[head, top]


@pytest.mark.parametrize("skeleton, setting", ALL)
def test_equals_the_recorded_layer(vectors, skeleton, setting):
    v = vectors("gat_layer_parity.npz")
    gat, x, prefix = layer(v, skeleton, setting), v[f"{skeleton}/in/x"], f"{skeleton}/{setting}/out/"
    with torch.no_grad():
        results = {
            "y_batched": gat(x),
            "alpha_bijh": gat.attention(gat.project(x)).permute(0, 2, 3, 1),  # (5, J, J, heads)
            # one graph for all five poses: the call's first J rows are the first pose
            "y_upstream_flat": published_attention(gat, x[None, None], None, over_frames=False)[0, 0],
        }
    assert {prefix + key for key in results} == {key for key in v if key.startswith(prefix)}
    for key, y in results.items():
        torch.testing.assert_close(y, v[prefix + key], atol=1e-6, rtol=0)


@pytest.mark.parametrize("skeleton, setting", ALL)
def test_equals_torch_geometric(vectors, skeleton, setting):
    nn = pytest.importorskip("torch_geometric.nn")
    heads, concat = SETTINGS[setting]
    mine = layer(vectors("gat_layer_parity.npz"), skeleton, setting)
    theirs = nn.GATConv(32, 32 // heads if concat else 32, heads, concat)
    theirs.load_state_dict(mine.state_dict())
    x, joints = torch.randn(2, 3, len(mine.links), 32), len(mine.links)
    edges = mine.links.nonzero().T
    batched = torch.cat([edges + i * joints for i in range(6)], 1)
    x = x.requires_grad_()
    y, reference = mine(x), theirs(x.view(-1, 32), batched).view(x.shape)
    torch.testing.assert_close(y, reference, atol=1e-6, rtol=1e-6)
    weight = torch.randn_like(y)
    matching = [dict(theirs.named_parameters())[name] for name, _ in mine.named_parameters()]
    gradients = torch.autograd.grad((y * weight).sum(), [x, *mine.parameters()])
    references = torch.autograd.grad((reference * weight).sum(), [x, *matching])
    for ours, other in zip(gradients, references, strict=True):
        torch.testing.assert_close(ours, other, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("over_frames, frames", [(False, 5), (True, 5), (True, 20), (False, 1), (True, 1)])
def test_published_rows(over_frames, frames):
    """The J rows with neighbours, found here by flattening the whole call as published."""
    torch.manual_seed(0)
    gat = GraphAttention(8, 8, adjacency("h36m_17"))
    x = torch.randn(3, 2, frames, 17, 8)
    order = x.transpose(2, 3) if over_frames else x
    flat = order.reshape(-1, 8)
    with torch.no_grad():
        expected = flat @ gat.lin.weight.T + gat.bias
        expected[:17] = gat(flat[:17])
        expected = expected.view(order.shape)
        y = published_attention(gat, x, Condition(), over_frames)
        torch.testing.assert_close(y, expected.transpose(2, 3) if over_frames else expected)
        later = published_attention(gat, x, Condition(first_hypothesis=2), over_frames)
        torch.testing.assert_close(later, gat.alone(x))
        twice = published_attention(gat, torch.cat([x, -x]), Condition(calls=2), over_frames)
        torch.testing.assert_close(twice, torch.cat([y, published_attention(gat, -x, Condition(), over_frames)]))


def test_compiles_into_one_graph():
    gat = GraphAttention(8, 8, adjacency("humaneva_15"))
    x = torch.randn(2, 4, 15, 8)
    compiled = torch.compile(gat, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), gat(x))
    torch.testing.assert_close(torch.export.export(gat, (x,)).module()(x), gat(x))
