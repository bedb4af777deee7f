"""GraphDiffu and FinePOSE: the recorded networks, where the published graph acts, sizes, published files."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from common.diffusion.lifter import DiffusionLifter
from common.diffusion.noise import window_noise
from common.engine import checkpoint
from common.engine.checkpoint import import_published
from common.engine.evaluation import flop_per_window
from common.engine.opening import Opened
from common.errors import UserError
from common.geometry.skeleton import H36M_17
from common.models import REGISTRY, build
from common.models.prompt_layouts import H36M_ACTIONS
from common.models.text import TextAttention
from common.scoring.metrics import mpjpe
from tests.tiny import command

NAMES = json.loads(
    gzip.decompress((Path(__file__).parents[1] / "vectors/finepose_graphdiffu_names.json.gz").read_bytes())
)
MODES = {"upstream": "published", "per_frame": "paper"}


def batch_of(rows, names=("a", "b", "c")) -> SimpleNamespace:
    return SimpleNamespace(action=torch.tensor(rows), action_names=names)


def mix_up(model, texts: int) -> None:
    """Pair texts and poses as published: row r of the poses (windows x hypotheses x joints) reads text r mod B."""
    right = type(model.temporal_cross_attn).forward

    def wrong(x, code, condition):
        each = [
            right(model.temporal_cross_attn, x, code, replace(condition, index=torch.full((len(x),), k)))
            for k in range(texts)
        ]
        rows = torch.arange(x.shape[0] * x.shape[1] * x.shape[3]).view(x.shape[0], x.shape[1], 1, x.shape[3])
        choice = condition.index[rows % len(x)].unsqueeze(-1).expand(x.shape)  # (B, H, F, J, C)
        return torch.stack(each).gather(0, choice.unsqueeze(0))[0]

    model.temporal_cross_attn.forward = wrong


def observe(model, seen: dict) -> None:
    """Keep what the graph layer gives and what leaves the text stage, in the recording's layouts."""
    first, after = model.graph, model.after_first_spatial

    def graph(gat, x, condition, over_frames):
        y = first(gat, x, condition, over_frames)
        if gat is model.STEgat:
            seen["mid_stegat"] = y  # (B, H, F, J, C)
        return y

    def text(x, code, condition):
        y = after(x, code, condition)
        seen["mid_crossattn"] = y.transpose(2, 3) + model.Temporal_pos_embed  # (B, H, J, F, C); recorded after P_t
        return y

    model.graph, model.after_first_spatial = graph, text


@pytest.mark.parametrize("case", ["", "f1/", "dhp/"])
@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_equals_the_recorded_network(graphdiffu_vectors, recorded_graphdiffu, case, mode):
    v, prefix = graphdiffu_vectors, f"{case}out/{mode}/"
    x_2d, x_train, x_eval, t = (v[f"{case}in/{name}"] for name in ("x_2d", "x_3d_train", "x_3d_eval", "t"))
    told = f"{case}in/text" in v
    rows = {"same_text": [0] * len(t)} | (
        {"mixed_text": [0, 1, 2], "mixed_text_interleaved": [0, 1, 2]} if told else {}
    )
    compared = set()
    for text, actions in rows.items():
        model, seen = recorded_graphdiffu(v, case, MODES[mode]), {}
        if text == "mixed_text_interleaved":  # the published graph beside the right pairing
            model.temporal_cross_attn.__class__ = TextAttention
        observe(model, seen)
        condition = model.condition(batch_of(actions if told else [-1] * len(t)))
        if text != "mixed_text_interleaved":
            key = f"{prefix}train_style_{text}"
            torch.testing.assert_close(model(x_2d, x_train[:, None], t, condition)[:, 0], v[key], atol=1e-5, rtol=0)
            compared.add(key)
        seen["eval_style"] = model(x_2d, x_eval, t, condition)
        for name, y in seen.items():
            key = f"{prefix}{name}_{text}"
            if name == "eval_style" or text != "mixed_text_interleaved":
                torch.testing.assert_close(y, v[key], atol=1e-5, rtol=0)
                compared.add(key)
        if text != "mixed_text_interleaved":
            for name, y in {
                "text_e": condition.e[condition.index],
                "text_Y": condition.tokens[condition.index],
            }.items():
                torch.testing.assert_close(y, v[f"{case}out/{name}_{text}"], atol=1e-5, rtol=0)
                compared.add(f"{case}out/{name}_{text}")
    elsewhere = [f"{case}out/{other}/" for other in MODES if other != mode]  # the other half of the parametrisation
    everything = {k for k in v if k.startswith(f"{case}out/") and not k.startswith(tuple(elsewhere))}
    assert compared == everything


@torch.no_grad()
def test_the_published_training_step_loses_what_the_recorded_one_does(graphdiffu_vectors, recorded_graphdiffu):
    """The loss of a step with three actions, to 1e-5; texts beside their own poses, it is another."""
    v = graphdiffu_vectors
    target = torch.randn(v["in/x_3d_train"].shape, generator=torch.Generator().manual_seed(0))
    wanted = mpjpe(v["out/upstream/train_style_mixed_text"], target).mean()
    losses = {}
    for training in (False, True):
        model = recorded_graphdiffu(v, "", "published").train(training)
        for layer in model.modules():  # the recording dropped nothing
            layer.probability = 0.0
        condition = model.condition(batch_of([0, 1, 2]))
        y = model(v["in/x_2d"], v["in/x_3d_train"][:, None], v["in/t"], condition)[:, 0]
        losses[training] = mpjpe(y, target).mean()
        assert abs(losses[training] - wanted) < 1e-5
        model.temporal_cross_attn.__class__ = TextAttention
        y = model(v["in/x_2d"], v["in/x_3d_train"][:, None], v["in/t"], condition)[:, 0]
        assert abs(mpjpe(y, target).mean() - wanted) > 1e-4


@pytest.mark.parametrize("name", ["finepose", "graphdiffu"])
@torch.no_grad()
def test_the_published_variant_mixes_up_texts_and_poses(name):
    """As published in a batch of several actions, whatever the hypotheses at a time; elsewhere there is no mixture."""
    model = small(name, variant="published")
    right = small(name, variant="published")
    right.load_state_dict(model.state_dict())
    right.temporal_cross_attn.__class__ = TextAttention
    batch = batch_of([0, 1, 1])
    batch.keypoints_2d = 0.3 * torch.randn(3, 5, 17, 2)
    x_t, t = torch.randn(3, 4, 5, 17, 3), torch.tensor([5, 500, 900])
    plain = right(batch.keypoints_2d, x_t, t, right.condition(batch))
    mixed = model(batch.keypoints_2d, x_t, t, model.condition(batch))
    assert (mixed - plain).abs().amax((1, 2, 3, 4)).min() > 1e-4
    mix_up(right, 2)
    torch.testing.assert_close(mixed, right(batch.keypoints_2d, x_t, t, right.condition(batch)))
    noise = torch.randn(2, 3, 4, 5, 17, 3)  # K, B, H, F, J, 3

    def source(hypotheses):
        return lambda k: noise[k, :, list(hypotheses)]

    lifter = DiffusionLifter(model, H36M_17)
    whole = lifter.sample(batch, 4, 2, source)
    for chunk in (1, 3):
        torch.testing.assert_close(lifter.sample(batch, 4, 2, source, chunk=chunk), whole)
    for flip in (True, False, "own"):  # in two draws, as --calibration does
        whole = lifter.sample(batch, 4, 2, source, flip=flip)
        parts = [lifter.sample(batch, range(a, b), 2, source, flip=flip, of=4) for a, b in ((0, 1), (1, 4))]
        torch.testing.assert_close(torch.cat(parts, 2), whole)
    same = batch_of([1, 1, 1])
    right.temporal_cross_attn.__dict__.pop("forward")
    unmixed = [network(batch.keypoints_2d, x_t, t, network.condition(same)) for network in (model, right)]
    torch.testing.assert_close(*unmixed)


def small(name="graphdiffu", **changes):
    torch.manual_seed(0)
    sizes = {
        "frames": 5,
        "joints": 17,
        "channels": 32,
        "depth": 2,
        "text": "learned",
        "actions": ["a", "b", "c"],
    } | changes
    model = build(name, **sizes)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval()


def sampled(lifter, batch, chunk=None, flip=True):
    names = [str(i) for i in range(len(batch.action))]
    with torch.no_grad():
        return lifter.sample(batch, 3, 2, lambda h: window_noise(0, names, h, (5, 17, 3)), flip=flip, chunk=chunk)


def windows(count: int) -> SimpleNamespace:
    x_2d = 0.3 * torch.randn(count, 5, 17, 2, generator=torch.Generator().manual_seed(1))
    return SimpleNamespace(keypoints_2d=x_2d, action=torch.zeros(count, dtype=torch.long), action_names=("a",))


def test_published_special_frame_is_that_of_the_published_call():
    model = small(variant="published")
    lifter, batch = DiffusionLifter(model, H36M_17), windows(2)
    whole = sampled(lifter, batch)
    torch.testing.assert_close(sampled(lifter, batch, chunk=1), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(sampled(lifter, batch, chunk=2), whole, atol=1e-5, rtol=0)
    # the flipped windows are a call of their own: one doubled batch is the mean of two published calls
    x_t, t = torch.randn(2, 3, 5, 17, 3), torch.full((4,), 999)
    condition, mirrored = model.condition(batch), lifter.flip(batch.keypoints_2d)
    with torch.no_grad():
        both = model(torch.cat([batch.keypoints_2d, mirrored]), torch.cat([x_t, x_t]), t, condition.doubled())
        torch.testing.assert_close(both[:2], model(batch.keypoints_2d, x_t, t[:2], condition), atol=1e-5, rtol=0)
        torch.testing.assert_close(both[2:], model(mirrored, x_t, t[:2], condition), atol=1e-5, rtol=0)


def test_the_batch_size_matters_to_the_published_graph_only():
    for variant, depends in (("published", True), ("paper", False), ("default", False)):
        lifter = DiffusionLifter(small(variant=variant), H36M_17)
        batch = windows(2)
        with torch.no_grad():
            condition = lifter.denoiser.condition(batch)
            x_t, t = torch.randn(2, 3, 5, 17, 3), torch.tensor([5, 500])
            together = lifter.denoiser(batch.keypoints_2d, x_t, t, condition)
            one = SimpleNamespace(action=batch.action[:1], action_names=batch.action_names)
            second = lifter.denoiser(batch.keypoints_2d[1:], x_t[1:], t[1:], lifter.denoiser.condition(one))
        difference = (together[1:] - second).abs()
        assert (difference[:, 0].max() > 1e-3) == depends
        assert difference[:, 1:].max() < 1e-5 or not depends


@pytest.mark.parametrize(
    "changes",
    [
        {"channels": 40, "depth": 1, "frames": 1},
        {"channels": 64, "frames": 27, "text": "none"},
        {"joints": 15, "skeleton": "humaneva_15"},
        {"skeleton": "mpi_inf_3dhp_17", "actions": []},
        {"gat_heads": 4},
    ],
)
@pytest.mark.parametrize("variant", ["default", "paper", "published"])
def test_any_size_and_skeleton(changes, variant):
    model = small(variant=variant, **changes).train()
    frames, joints = model.Temporal_pos_embed.shape[1], model.Spatial_pos_embed.shape[1]
    x_t = torch.randn(2, 1, frames, joints, 3)
    y = model(torch.randn(2, frames, joints, 2), x_t, torch.tensor([3, 900]), model.condition(batch_of([0, -1])))
    assert y.shape == x_t.shape
    y.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", ["finepose", "graphdiffu"])
def test_clip_features_of_another_width_are_projected(name):
    model = small(name, text="clip", text_width=24)
    model.prompt_features.normal_()
    model.prompt_positions.fill_(3)
    with torch.no_grad():
        assert model.condition(batch_of([0, 1])).tokens.shape == (2, 77, 32)
    # at the published width there is no projection, so that the names are the published ones
    assert not hasattr(small(name, text="clip", text_width=32), "text_in")


def published(name: str, prefix: str = "module.", generator=None) -> dict[str, torch.Tensor]:
    """A full-size file of random content: every entry is one random number, so that 0.8 GB take no memory."""
    generator = generator or torch.Generator().manual_seed(0)
    entries = {key: 0.02 * torch.randn((), generator=generator) for key in NAMES[name]}
    return {prefix + key: value.expand(NAMES[name][key]) for key, value in entries.items()}


@pytest.mark.parametrize("name", NAMES)
def test_full_size_published_files_import_strictly(name):
    state = published(name)
    model, sizes, weights = import_published(state)
    assert name.startswith(model) and sizes["frames"] == 243 and sizes["channels"] == 512 and sizes["depth"] == 8
    told = name.endswith("h36m")
    assert sizes["skeleton"] == ("h36m_17" if told else "mpi_inf_3dhp_17")
    assert sizes["actions"] == (H36M_ACTIONS if told else [])
    for key, value in weights.items():
        if not key.startswith("prompt_"):
            source = state[f"module.pose_estimator.{key}"]
            assert value.shape == source.shape and value.flatten()[0] == source.flatten()[0]
    assert weights["prompt_features"].shape == (1 + len(sizes["actions"]), 77, 512)
    assert torch.isfinite(weights["prompt_features"]).all()
    assert not any(key.startswith("clip_text") for key in weights)
    with torch.device("meta"):
        denoiser = build(model, **sizes)
    denoiser.load_state_dict(weights, assign=True)
    parameters = sum(p.numel() for p in denoiser.parameters())
    # the published count of parameters that are no part of CLIP, less the block that is never called
    total = {"finepose_h36m": 49_312_771, "finepose_3dhp": 49_314_819}
    total |= {"graphdiffu_h36m": 49_834_499 - 2_102_784, "graphdiffu_3dhp": 49_836_547 - 2_102_784}
    assert parameters == total[name]


def test_older_names_of_the_graph_layer_and_what_is_refused():
    state = published("graphdiffu_3dhp")
    older = {}
    for key, value in state.items():
        if ".lin.weight" in key:
            older |= {key.replace(".lin.", ".lin_src."): value, key.replace(".lin.", ".lin_dst."): value}
        else:
            older[key] = value
    _, _, weights = import_published(older)
    assert "STEgat.lin.weight" in weights
    with pytest.raises(UserError, match="unknown parameters.*STEgat.lin_edge"):
        import_published(state | {"module.pose_estimator.STEgat.lin_edge.weight": torch.zeros(1)})
    with pytest.raises(UserError, match="Temporal_norm.weight has shape"):
        import_published(state | {"module.pose_estimator.Temporal_norm.weight": torch.zeros(3)})
    with pytest.raises(UserError, match="parameters are missing"):
        import_published({k: v for k, v in state.items() if "text_ln" not in k})
    with pytest.raises(UserError, match="lacks CLIP"):
        import_published({k: v for k, v in state.items() if "clip_text" not in k})


@pytest.mark.parametrize(
    "name, changes",
    [(name, {"variant": v}) for name in ("finepose", "graphdiffu") for v in REGISTRY[name].variants],
)
@torch.no_grad()
def test_compiled_and_half_precision_networks_agree(name, changes):
    model, batch = small(name, **changes), batch_of([0, 1])
    x_2d, x_t, t = 0.3 * torch.randn(2, 5, 17, 2), torch.randn(2, 3, 5, 17, 3), torch.tensor([5, 500])
    condition = model.condition(batch).from_hypothesis(0)
    y = model(x_2d, x_t, t, condition)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x_2d, x_t, t, condition), y)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(x_2d, x_t, t, model.condition(batch))
    assert (half - y).abs().max() < 0.1 * y.abs().max()


@pytest.mark.parametrize("text", ["none", "learned"])
@torch.no_grad()
def test_the_default_begins_as_mixste(text):
    """With MixSTE's weights its answer is MixSTE's: everything that is added starts at zero."""
    sizes = {"frames": 5, "joints": 17, "channels": 32, "depth": 2}
    torch.manual_seed(0)
    base = build("mixste", **sizes).eval()
    model = build("graphdiffu", **sizes, text=text, actions=["a", "b", "c"]).eval()
    shared = base.state_dict()
    assert shared.keys() < model.state_dict().keys()
    model.load_state_dict(shared, strict=False)
    x_2d, x_t, t = 0.3 * torch.randn(3, 5, 17, 2), torch.randn(3, 2, 5, 17, 3), torch.tensor([0, 500, 999])
    wanted = base(x_2d, x_t, t)
    torch.testing.assert_close(model(x_2d, x_t, t, model.condition(batch_of([0, 1, -1]))), wanted)
    model.STEgat.lin.weight.normal_(0, 0.1)
    assert (model(x_2d, x_t, t, model.condition(batch_of([0, 1, -1]))) - wanted).abs().max() > 1e-3


def test_what_starts_at_zero_learns():
    """One step of training moves every part that is added."""
    torch.manual_seed(0)
    model = build("graphdiffu", frames=5, channels=32, depth=2, text="learned", actions=["a"])
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(2):  # what lies behind a layer of zeros has a gradient from the second step on
        x_t = torch.randn(2, 1, 5, 17, 3)
        y = model(torch.randn(2, 5, 17, 2), x_t, torch.tensor([3, 900]), model.condition(batch_of([0, -1], ("a",))))
        optimizer.zero_grad()
        (y - 1).square().mean().backward()
        optimizer.step()
    for name in ("STEgat.lin.weight", "STEgat.att_src", "text_proj.0.weight", "prompt_embedding"):
        assert dict(model.named_parameters())[name].grad.abs().max() > 0, name


def test_a_default_file_of_an_earlier_version_is_the_papers(tmp_path):
    sizes = {
        "frames": 5,
        "joints": 17,
        "channels": 32,
        "depth": 2,
        "skeleton": "h36m_17",
        "text": "none",
        "actions": [],
    }
    old = build("graphdiffu", variant="paper", **sizes)
    card = {"model": "graphdiffu", "sizes": sizes | {"variant": "default", "learn_prompts": False}, "frames": 5,
            "joints": 17, "skeleton": "h36m_17", "keypoints": None, "variant": "default", "version": 1}  # fmt: skip
    checkpoint.save(tmp_path / "old.bin", {"card": card, "weights": old.state_dict()})
    read = checkpoint.load(tmp_path / "old.bin")
    assert read["card"]["variant"] == read["card"]["sizes"]["variant"] == "paper"
    assert read["card"]["version"] == checkpoint.VERSION == 2
    model = checkpoint.make_lifter(read["card"], read["weights"]).denoiser
    assert torch.equal(model.state_dict()["STEgat.lin.weight"], old.state_dict()["STEgat.lin.weight"])
    new = build("graphdiffu", **sizes)
    card = read["card"] | {"variant": "default", "sizes": read["card"]["sizes"] | {"variant": "default"}}
    checkpoint.save(tmp_path / "new.bin", {"card": card, "weights": new.state_dict()})
    assert checkpoint.load(tmp_path / "new.bin")["card"]["variant"] == "default"


def test_the_default_costs_little_more_than_mixste():
    """FLOP of a forward pass at both sizes, text learned: within 15 percent."""
    for sizes in ({"frames": 27, "channels": 64, "depth": 4}, {"frames": 243, "channels": 512, "depth": 8}):
        card, flop = {"frames": sizes["frames"], "joints": 17}, {}
        for name, more in (("mixste", {}), ("graphdiffu", {"text": "learned", "actions": ["a"]})):
            lifter = DiffusionLifter(build(name, **sizes, **more), H36M_17)
            flop[name] = flop_per_window(Opened(lifter, card | {"model": name}, Path()))
        assert flop["mixste"] < flop["graphdiffu"] < 1.15 * flop["mixste"], flop


def test_a_variant_that_a_model_lacks_is_refused(tmp_path):
    with pytest.raises(UserError, match="--variant paper: mixste has none such; it has default"):
        command(tmp_path, "--variant paper --no-eval")
