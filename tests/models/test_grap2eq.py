"""Grap2Eq against vectors computed by the published code (tiny networks; one of full width with CLIP's real sizes).

The files are cut from one of 6.7 MB. Weights are left out: they follow from their names (`recipe`). grap2eq_full512
keeps one joint of the fusion's and one row of the graph blocks' arrays, grap2eq_misc eight rows of the 243x243
matrices. Absent from the source: MPI-INF-3DHP with text, and the single-pass network with text.
"""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from common.diffusion.ddim import cosine_schedule, q_sample
from common.diffusion.lifter import DiffusionLifter
from common.diffusion.single_pass import single_pass_training_loss
from common.errors import UserError
from common.geometry.skeleton import H36M_17, HUMANEVA_15, MPI_INF_3DHP_17
from common.models import REGISTRY, build
from common.models.clip import TextTower
from common.models.graph_conv import temporal_graph
from common.models.prompt_layouts import LAYOUTS, compose, e_positions
from tests.models.grap2eq_recipe import CLOSE, NAMES, TINY, compare, fill, lite, recipe, section


def probes(model, v: dict) -> dict:
    """What single layers answer: the time code, block 0 of each graph stream, TTEblocks[0], temporal_vel_fuse[1]."""
    spatial, temporal = model.vel_spatial_blocks[0], model.vel_temporal_blocks[0]
    joints, frames = v["in/gcn_sp_x"], v["in/gcn_tp_x"]
    x, v_stream = v["in/upd_x"].unsqueeze(1), v["in/upd_v"].unsqueeze(1)  # (B, 1, F, J, C)
    x, v_stream = model.temporal_vel_fuse[1](x, v_stream)
    return {
        "time_mlp": model.time_mlp(v["in/t"]),
        "gcn_sp_attn": spatial.attn(joints, model.joint_graph),
        "gcn_sp_block": spatial(joints, model.joint_graph),
        "gcn_tp_attn": temporal.attn(frames, model.frame_graph),
        "gcn_tp_block": temporal(frames, model.frame_graph),
        "mhsa_block": model.TTEblocks[0](frames),
        "upd_x": x.squeeze(1),
        "upd_v": v_stream.squeeze(1),
    }


@torch.no_grad()
def test_lite_vectors(vectors):
    v = vectors("grap2eq_lite.npz")
    case, model = section(v, "lite/"), lite()
    many = model(case["in/x_2d"], case["in/x_3d_eval"], case["in/t"])
    ours = {
        "train_style": model(case["in/x_2d"], case["in/x_3d_train"].unsqueeze(1), case["in/t"]).squeeze(1),
        "eval_style_same_text": many,
        "eval_style_mixed_text": many,  # without text the two are one
    }
    compare(ours | probes(model, case), v, "lite/")


@torch.no_grad()
def test_single_pass_vectors(vectors):
    v = vectors("grap2eq_lite.npz")
    model = lite(single_pass=True)
    assert not any(name.startswith("time_mlp") for name, _ in model.named_parameters())
    y = model(v["nondiff_lite/in/x_2d"])
    compare({"y": y.squeeze(1)}, v, "nondiff_lite/")
    noisy = torch.randn(3, 4, 9, 17, 3)
    assert torch.equal(model(v["nondiff_lite/in/x_2d"], noisy, torch.tensor([3, 4, 5])), y.expand(noisy.shape))


@torch.no_grad()
def test_reverse_process_vectors(vectors):
    v = vectors("grap2eq_lite.npz")
    case = section(v, "ddim/")
    lifter = DiffusionLifter(lite(), H36M_17, REGISTRY["grap2eq_lite"].diffusion())
    torch.testing.assert_close(lifter.flip(case["in/x_2d"]), case["in/x_2d_flip"])
    batch = SimpleNamespace(keypoints_2d=case["in/x_2d"])
    poses = lifter.sample(batch, 2, 3, lambda h: lambda k: case[f"in/noise_{k}"][:, h.start : h.stop])
    chunked = lifter.sample(batch, 2, 3, lambda h: lambda k: case[f"in/noise_{k}"][:, h.start : h.stop], chunk=1)
    torch.testing.assert_close(chunked, poses, **CLOSE)
    x_t = q_sample(case["in/q_x0"][None], case["in/q_t"], case["in/q_noise"][None], cosine_schedule())[0]
    compare({"preds_bKHFJC": poses, "q_xt": x_t.clamp(-1.1, 1.1)}, v, "ddim/")
    torch.testing.assert_close(cosine_schedule().float(), case["buf/alphas_cumprod"], rtol=1e-5, atol=1e-7)


def with_text(v: dict, heads: int, clip: dict, sizes: dict) -> torch.nn.Module:
    """The published network with text, its prompt features computed by a tower of the recipe's weights."""
    width = sizes["channels"]
    shapes = {
        "token_embedding.weight": (clip["vocabulary"], width),
        "positional_embedding": (77, width),
        **{f"ln_final.{leaf}": (width,) for leaf in ("weight", "bias")},
    }
    with torch.device("meta"):
        shapes |= {
            n: tuple(p.shape)
            for n, p in TextTower(width, clip["layers"], heads, 8).named_parameters()
            if n.startswith("transformer.")
        }
    weights = {name: recipe("clip_text." + name, shape) for name, shape in shapes.items()}
    tower, layout = TextTower.from_state(weights, heads), LAYOUTS["finepose_h36m"]
    model = fill(build("grap2eq", **sizes, actions=list(NAMES), text_width=width))
    with torch.no_grad():
        features = tower(compose(layout, model.ctx, tower.embed, v["in/text"], v["in/pre_text"][0]))
    model.prompt_features[1:] = features
    model.prompt_positions[1:] = e_positions(layout, v["in/text"])
    model.prompt_positions[0] = 0
    return model


def text_outputs(model, v: dict, positions: int = 77) -> dict:
    def call(actions, poses, train):
        model.train(train)  # dropout and stochastic depth are 0: training mode only mixes texts as published
        condition = model.condition(SimpleNamespace(action=torch.tensor(actions), action_names=NAMES))
        return model(v["in/x_2d"], poses, v["in/t"], condition), condition

    many = v["in/x_3d_eval"]
    once, mixed = call([0, 1, 2], v["in/x_3d_train"].unsqueeze(1), train=True)
    _, alone = call([0, 1, 2], many, train=False)
    return {
        "train_style": once.squeeze(1),
        "xf_proj": mixed.e[mixed.index],
        "xf_out": mixed.tokens[mixed.index][:, :positions],
        "xf_proj_batch_of_1": alone.e[alone.index][:1],
        "eval_style_same_text": call([0, 0, 0], many, train=False)[0],
        "eval_style_mixed_text": call([0, 1, 2], many, train=True)[0],
    } | probes(model.eval(), v)


@torch.no_grad()
def test_text_vectors(vectors):
    v = vectors("grap2eq_text.npz")
    model = with_text(v, 4, {"vocabulary": 64, "layers": 2}, TINY)
    compare(text_outputs(model, v), v)


@torch.no_grad()
def test_full_width_vectors(vectors):
    v = vectors("grap2eq_full512.npz")
    case = section(v, "full512/")
    model = with_text(case, 8, {"vocabulary": 49408, "layers": 12}, {**TINY, "channels": 512, "depth": 2})
    compare(text_outputs(model, case, positions=8), v, "full512/")


# --- what the vectors do not say ----------------------------------------------------------------------------------


def learned(**changes) -> torch.nn.Module:
    sizes = {"frames": 9, "joints": 17, "channels": 32, "depth": 2, "text": "learned", "actions": list(NAMES)}
    return fill(build("grap2eq", **{**sizes, **changes}))


@torch.no_grad()
@pytest.mark.parametrize("variant", ["default", "published"])
def test_a_batch_of_two_actions_equals_each_alone(variant):
    model = learned(variant=variant)
    x_2d, x_t, t = torch.randn(2, 9, 17, 2), torch.randn(2, 3, 9, 17, 3), torch.tensor([10, 900])

    def call(rows):
        condition = model.condition(SimpleNamespace(action=torch.tensor(rows), action_names=NAMES))
        return model(x_2d[rows], x_t[rows], t[rows], condition)

    torch.testing.assert_close(call([0, 1]), torch.cat([call([0]), call([1])]), rtol=0, atol=2e-5)
    assert (call([0, 1]) - model(x_2d, x_t, t, model.condition(untold(2)))).abs().max() > 1e-3  # and the text counts


def untold(windows: int):
    return SimpleNamespace(action=torch.full((windows,), -1), action_names=NAMES)


@torch.no_grad()
def test_single_pass_with_text_follows_the_equations():
    """Nothing was recorded of this network, so its stages are chained here by hand."""
    model = learned(single_pass=True, variant="published", depth=1)
    x_2d = torch.randn(2, 9, 17, 2)
    condition = model.condition(SimpleNamespace(action=torch.tensor([2, 0]), action_names=NAMES))
    e, tokens = condition.e[condition.index], condition.tokens[condition.index]
    x = model.Spatial_patch_to_embedding(x_2d) + model.Spatial_pos_embed + model.Temporal_pos_embed.unsqueeze(2)
    x = x + e[:, None, None]

    def delta(u):
        return torch.cat([u[:, 1:2] - u[:, :1], u[:, 1:] - u[:, :-1]], 1)

    def fuse(layer, x, v):
        d = delta(x)
        a = torch.softmax(layer.weight @ torch.cat([v, d], -1).unflatten(-1, (32, 2)).mT + layer.bias[:, None], -2).mT
        w = a[..., 0] * v + a[..., 1] * d
        return torch.cat([x[:, :1], x[:, :-1] + w[:, 1:]], 1), w

    v = delta(x)
    x = model.Spatial_norm(model.STEblocks[0](x.flatten(0, 1))).view(x.shape)
    v = model.Spatial_vel_norm(model.vel_spatial_blocks[0](v.flatten(0, 1), model.joint_graph)).view(x.shape)
    layer = model.prompt_learning
    q = layer.query(layer.norm(x)).unflatten(-1, (8, 4))  # (B, F, J, heads, 4)
    text = layer.text_norm(tokens)
    k, u = layer.key(text).unflatten(-1, (8, 4)), layer.value(text).unflatten(-1, (8, 4))
    scores = torch.softmax(torch.einsum("bfjhc,bnhc->bfjhn", q, k) / 2, -1)
    m = torch.einsum("bfjhn,bnhc->bfjhc", scores, u).flatten(-2)
    x = x + layer.out_layers[2](torch.nn.functional.silu(layer.norm(m)))
    x, v = fuse(model.spatial_vel_fuse[0], x, v)
    x, v = x.transpose(1, 2), v.transpose(1, 2)
    x = model.Temporal_norm(model.TTEblocks[0](x.flatten(0, 1))).view(x.shape).transpose(1, 2)
    v = model.Temporal_vel_norm(model.vel_temporal_blocks[0](v.flatten(0, 1), model.frame_graph)).view(v.shape)
    x, _ = fuse(model.temporal_vel_fuse[0], x, v.transpose(1, 2))
    torch.testing.assert_close(model(x_2d, None, None, condition).squeeze(1), model.head(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("skeleton", [H36M_17, MPI_INF_3DHP_17, HUMANEVA_15], ids=lambda s: s.name)
def test_default_graph_is_the_whole_tree(skeleton):
    sizes = {"frames": 9, "joints": len(skeleton), "channels": 16, "depth": 1, "skeleton": skeleton.name}
    graph = build("grap2eq_lite", **sizes).joint_graph
    assert torch.equal(graph, graph.T)
    assert ((graph > 0).sum(1) - 1).sum() == 2 * len(skeleton.edges)
    published = build("grap2eq_lite", **sizes, variant="published").joint_graph
    assert not torch.equal(published > 0, (published > 0).T)  # the published lists miss a link at the pelvis
    assert "joint_graph" not in build("grap2eq_lite", **sizes).state_dict()


def test_time_graph_follows_its_flags():
    sizes = {"frames": 27, "joints": 15, "channels": 16, "depth": 1, "skeleton": "humaneva_15"}
    narrow = build("grap2eq_lite", **sizes, tem_alpha=0.25, tem_beta=1.0)
    torch.testing.assert_close(narrow.frame_graph, temporal_graph(27, 0.25, 1.0))
    assert not torch.equal(narrow.frame_graph, build("grap2eq_lite", **sizes).frame_graph)


def test_where_e_is_read():
    """By default at the prompt's last position, which has seen the action; published at the word's end."""
    from common.models.clip import random_tower

    for variant, expected in (("default", [76, 76, 76]), ("published", [3, 2, 4])):
        model = learned(variant=variant, text="clip", text_width=32, actions=["Walking", "SittingDown"])
        model.attach_tower(tower=random_tower(32))
        assert model.prompt_positions.tolist() == expected  # the neutral 'a person' first
    model = learned(text="clip", text_width=32, skeleton="mpi_inf_3dhp_17", actions=["Walking"], variant="published")
    assert model.actions == []  # 3DHP tells no actions
    model.attach_tower(tower=random_tower(32))
    assert model.prompt_positions.tolist() == [76]


def test_single_pass_training_and_sampling_need_no_noise():
    model = fill(build("grap2eq_lite", **{**TINY, "single_pass": True, "depth": 1}))
    lifter = DiffusionLifter(model, H36M_17, REGISTRY["grap2eq_lite"].diffusion(single_pass=True))
    poses = torch.randn(2, 9, 17, 3)
    batch = SimpleNamespace(keypoints_2d=torch.randn(2, 9, 17, 2), positions_3d=poses, mask=torch.ones(2, 9).bool())
    single_pass_training_loss(lifter, batch).backward()
    assert all(p.grad is not None for p in model.parameters())
    with torch.no_grad():
        nan = lifter.sample(batch, 1, 1, lambda h: lambda k: torch.full((2, 1, 9, 17, 3), torch.nan))
        mean = (model(batch.keypoints_2d) + lifter.flip(model(lifter.flip(batch.keypoints_2d)))) / 2
    torch.testing.assert_close(nan[:, 0], mean, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("variant", ["default", "published"])
def test_autocast_stays_close(variant):
    model = learned(variant=variant)
    x = torch.randn(2, 9, 17, 2), torch.randn(2, 3, 9, 17, 3), torch.tensor([3, 700])
    exact = model(*x, model.condition(untold(2)))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(*x, model.condition(untold(2)))
    assert (rounded.float() - exact).abs().mean() < 0.03 * exact.abs().mean()


def test_a_skeleton_of_another_size_is_refused():
    with pytest.raises(UserError, match="17 joints, not 15"):
        build("grap2eq_lite", frames=9, joints=15, channels=16, depth=1)


@pytest.mark.parametrize(("frames", "joints"), [(243, 17), (27, 15)])
def test_cost_is_at_most_2_2_times_mixste(frames, joints):
    skeleton = "h36m_17" if joints == 17 else "humaneva_15"
    flop = {}
    for name, extra in (("mixste", {}), ("grap2eq_lite", {"skeleton": skeleton})):
        with torch.device("meta"):
            model = build(name, frames=frames, joints=joints, channels=512, depth=8, **extra).eval()
            inputs = torch.empty(1, frames, joints, 2), torch.empty(1, 1, frames, joints, 3), torch.zeros(1).long()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(*inputs)
        flop[name] = counter.get_total_flops()
    assert flop["grap2eq_lite"] < 2.2 * flop["mixste"]
