"""The text conditioner: recorded encoder outputs, pairing of texts and poses, neutral prompts, learned prompts."""

from types import SimpleNamespace

import pytest
import torch

from common.errors import UserError
from common.models import build
from common.models.clip import random_tower
from common.models.graphdiffu import GraphDiffu
from common.models.text import TextAttention, TextCondition

NAMES = ("Eating", "Walking")


def batch(*action: int, names=NAMES) -> SimpleNamespace:
    return SimpleNamespace(action=torch.tensor(action), action_names=names)


def small(name: str = "finepose", **changes) -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = {"frames": 5, "joints": 17, "channels": 32, "depth": 2, "text": "learned", "actions": list(NAMES)} | changes
    model = build(name, **sizes)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval()


def with_tower(**changes) -> GraphDiffu:
    model = small("graphdiffu", text="clip", text_width=32, **changes)
    model.attach_tower(tower=random_tower(32))
    return model


def inputs(windows: int, hypotheses: int = 2, frames: int = 5):
    g = torch.Generator().manual_seed(3)
    x_2d, x_t = (torch.randn(windows, *s, generator=g) for s in ((frames, 17, 2), (hypotheses, frames, 17, 3)))
    return x_2d, x_t, torch.randint(1000, (windows,), generator=g)


@pytest.mark.parametrize("texts, rows", [("same", [0, 0, 0]), ("mixed", [0, 1, 2])])
@torch.no_grad()
def test_equals_the_recorded_encoder(graphdiffu_vectors, recorded_graphdiffu, texts, rows):
    v = graphdiffu_vectors
    condition = recorded_graphdiffu(v).condition(batch(*rows, names=("a", "b", "c")))
    torch.testing.assert_close(condition.e[condition.index], v[f"out/text_e_{texts}_text"], atol=1e-5, rtol=0)
    torch.testing.assert_close(condition.tokens[condition.index], v[f"out/text_Y_{texts}_text"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["finepose", "graphdiffu"])
@torch.no_grad()
def test_a_batch_of_two_actions_equals_the_two_alone(name):
    model = small(name)
    x_2d, x_t, t = inputs(3)
    together = model(x_2d, x_t, t, model.condition(batch(1, 0, 1)))
    for i, action in enumerate((1, 0, 1)):
        alone = model(x_2d[i : i + 1], x_t[i : i + 1], t[i : i + 1], model.condition(batch(action)))
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-6, rtol=1e-5)
    swapped = model(x_2d, x_t, t, model.condition(batch(0, 1, 0)))
    assert (swapped - together).abs().amax((1, 2, 3, 4)).min() > 1e-3  # the action matters


@torch.no_grad()
def test_the_encoder_runs_once_per_distinct_action():
    model, seen = small(), []
    model.textTransEncoder.register_forward_hook(lambda module, args, y: seen.append(args[0].shape[1]))
    condition = model.condition(batch(1, 0, 1, 1, 0, -1))
    x_2d, x_t, t = inputs(6)
    for step in range(3):
        model(x_2d, x_t, t, condition.from_hypothesis(step))
    assert seen == [3]  # neutral, Eating, Walking
    assert condition.e.shape == (3, 32) and torch.equal(condition.index, torch.tensor([2, 1, 2, 2, 1, 0]))
    twice = condition.doubled()
    assert twice.calls == 2 and torch.equal(twice.index, condition.index.repeat(2)) and twice.e is condition.e


@torch.no_grad()
def test_neutral_and_unknown_actions():
    model = small()
    neutral = model.condition(batch(-1)).e
    unknown = model.condition(batch(0, names=("Dancing",))).e
    assert torch.equal(neutral, unknown) and not torch.allclose(neutral, model.condition(batch(0)).e, atol=1e-3)
    # indices belong to the batch's names, not to the network's table
    swapped = model.condition(batch(0, 1, names=("Walking", "Eating")))
    told = model.condition(batch(1, 0))
    torch.testing.assert_close(swapped.e[swapped.index], told.e[told.index])

    nothing = small(text="none")
    assert nothing.actions == [] and torch.equal(nothing.condition(batch(0)).e, nothing.condition(batch(-1)).e)

    clip = with_tower()
    clip.condition(batch(-1, 0, names=("Eating", "Dancing")))
    with pytest.raises(UserError, match="no prompt for Dancing"):
        clip.condition(batch(1, names=("Eating", "Dancing")))
    with pytest.raises(UserError, match="--text"):
        small(text="words")


def test_only_rows_that_were_asked_for_learn():
    model = small().train()
    x_2d, x_t, t = inputs(2)
    model(x_2d, x_t, t, model.condition(batch(-1, 1))).square().sum().backward()
    moved = model.prompt_embedding.grad.abs().sum((1, 2)) > 0
    assert moved.tolist() == [True, False, True]  # neutral, Eating, Walking


def test_clip_features_must_be_there():
    model = small("graphdiffu", text="clip", text_width=32)
    with pytest.raises(UserError, match="no prompt features"):
        model.condition(batch(0))
    filled = with_tower()
    model.load_state_dict(filled.state_dict())
    torch.testing.assert_close(model.condition(batch(0)).e, filled.condition(batch(0)).e)
    assert not any(name.startswith("ctx_") for name, p in filled.named_parameters() if p.requires_grad)
    assert not any("token_embedding" in name for name in filled.state_dict())  # the tower is no part of the weights


def test_learn_prompts_trains_the_context_rows_through_the_frozen_tower():
    model = with_tower(learn_prompts=True).train()
    tower = model._tower[0]
    before = model.prompt_features.clone()
    x_2d, x_t, t = inputs(2)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(x_2d, x_t, t, model.condition(batch(0, 1))).square().sum().backward()
    assert all(ctx.grad.abs().sum() > 0 for ctx in model.ctx.values()) and set(model.ctx) == set(model.layout.ctx_rows)
    assert all(p.grad is None for p in tower.parameters())
    optimizer.step()
    saved = model.state_dict()  # the features follow the context rows, so that inference needs no CLIP
    assert (saved["prompt_features"] - before).abs().max() > 1e-4
    with torch.no_grad():
        told = model.eval().condition(batch(0)).e
        other = small("graphdiffu", text="clip", text_width=32, learn_prompts=True)
        other.load_state_dict(saved)
        torch.testing.assert_close(other.eval().condition(batch(0)).e, told)
        assert torch.equal(model.state_dict()["prompt_features"], saved["prompt_features"])
    with pytest.raises(UserError, match="--clip-weights"):
        other.train().condition(batch(0))
    with pytest.raises(UserError, match="--learn-prompts"):
        small(text="learned", learn_prompts=True)


@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_attention_per_token_counts_repeated_rows(training):
    """Published Grap2Eq attends across the rows of a batch; distinct rows with counts give the same."""
    model = small().train(training)
    model.text_attention = "per_token"
    rows = torch.tensor([2, 1, 2, 2, 0])
    whole = model.text_ln(model.textTransEncoder(model.prompt_embedding[rows]))  # over dimension 0: the batch
    _, tokens = model.encode_text(*torch.unique(rows, return_counts=True))
    torch.testing.assert_close(tokens[rows], whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stylized", [True, False])
@torch.no_grad()
def test_attention_to_text_by_its_formula(stylized):
    torch.manual_seed(0)
    layer = TextAttention(16, heads=2, stylized=stylized)
    for p in layer.parameters():
        p.copy_(torch.randn_like(p) / 4)
    x, tokens, code = torch.randn(2, 3, 4, 5, 16), torch.randn(2, 7, 16), torch.randn(2, 16)
    index = torch.tensor([1, 0])
    y = layer(x, code, TextCondition(tokens=tokens, index=index))
    assert y.shape == x.shape
    last = layer.proj_out.out_layers[2] if stylized else layer.out_layers[2]
    for b in range(2):
        text, query = layer.text_norm(tokens[index[b]]), layer.query(layer.norm(x[b]))  # (7, 16), (3, 4, 5, 16)
        key, value, heads = layer.key(text), layer.value(text), []
        for h in (slice(0, 8), slice(8, 16)):
            heads.append(torch.softmax(query[..., h] @ key[:, h].T / 8**0.5, -1) @ value[:, h])
        m = torch.cat(heads, -1)
        if stylized:
            scale, shift = layer.proj_out.emb_layers(code[b]).chunk(2)
            m = layer.proj_out.norm(m) * (1 + scale) + shift
        else:
            m = layer.norm(m)
        expected = last(torch.nn.functional.silu(m))
        torch.testing.assert_close(y[b], expected, atol=1e-5, rtol=1e-5)


def test_a_fresh_attention_to_text_changes_nothing():
    layer = TextAttention(16)
    condition = TextCondition(tokens=torch.randn(1, 7, 16), index=torch.zeros(2, dtype=torch.long))
    assert layer(torch.randn(2, 3, 4, 5, 16), torch.randn(2, 16), condition).abs().max() == 0
