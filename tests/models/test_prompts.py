"""Prompts: token ids, CLIP's tower against transformers, weights read without running them, prompt files."""

import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from common.errors import UserError
from common.files.reading import load_clip_weights
from common.models import build, clip, prompts
from common.models import prompt_layouts as layouts
from common.models.clip import TextTower, load_tower, random_tower, tokenize
from common.models.prompt_layouts import LAYOUTS, initial_ctx
from common.models.prompts import find_prompts, read_prompts, write_prompts

# Of CLIP's byte-pair encoding without start and end.
IDS = {
    "a person": (320, 2533), "A person": (320, 2533), "speed": (4163,), "head": (1375,), "body": (1774,),
    "arm": (4793,), "leg": (4924,), "Directions": (16440,), "Discussion": (5060,), "Eating": (4371,),
    "Greeting": (17754,), "Photo": (1125,), "Posing": (10518,), "Purchases": (21887,), "Sitting": (4919,),
    "Smoking": (9038,), "Waiting": (2680,), "Walking": (3941,), "Jog": (31691,), "Box": (2063,), "Gestures": (43524,),
    "Phoning": (745, 5197), "WalkDog": (8588, 1929), "WalkTogether": (8588, 1952), "ThrowCatch": (3315, 3042),
    "SittingDown": (42988, 653, 1136),
}  # fmt: skip
START, END = 49406, 49407
STARTS = {
    "finepose_h36m": (0, 7, 19, 29, 39, 49, 63),
    "graphdiffu_h36m": (0, 7, 19, 29, 39, 49, 63),
    "finepose_3dhp": (0, 9, 21, 33, 45, 61),
    "graphdiffu_3dhp": (0, 9, 21, 33, 45, 61),
}


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """No test sees this user's caches or the network."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv(prompts.ALLOW_RANDOM, raising=False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *arguments: None)

    def no_network(*arguments, **options):
        raise OSError("the tests fetch nothing")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    return tmp_path / "home"


def tower_state(width: int = 64) -> dict[str, torch.Tensor]:
    """CLIP's names at a tiny size, image half and projection included; the whole vocabulary."""
    g = torch.Generator().manual_seed(1)
    tower = TextTower(width, 2, 1)
    state = {name: 0.1 * torch.randn(value.shape, generator=g) for name, value in tower.state_dict().items()}
    return state | {"visual.proj": torch.zeros(3), "text_projection": torch.eye(2), "logit_scale": torch.ones(())}


def test_token_ids():
    ids = tokenize(list(IDS))
    for row, tokens in zip(ids.tolist(), IDS.values(), strict=True):
        assert row == [START, *tokens, END] + [0] * (77 - 2 - len(tokens))


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_place_context_rows_and_words(name):
    layout = LAYOUTS[name]
    starts, position = [], 0
    for _, rows, tokens in layout.parts:
        starts.append(position)
        position += rows + tokens
    assert tuple(starts) == STARTS[name] and position == 77

    ctx = {part: rows + 100_000 for part, rows in initial_ctx(layout, 1).items()}
    actions = layouts.action_tokens(layout, ["SittingDown", "Eating"])
    words = tokenize(list(layouts.WORDS.values()))
    row = layouts.compose(layout, ctx, lambda ids: ids[..., None].float(), actions, words)[-1, :, 0]
    phrase = dict(zip(layouts.WORDS, words, strict=True)) | {"verb": actions[-1]}
    for (part, rows, tokens), start in zip(layout.parts, starts, strict=True):
        assert (row[start : start + rows] > 90_000).all()
        assert row[start + rows : start + rows + tokens].tolist() == phrase[part][:tokens].tolist()
    expected = [3, 4, 2] if name.endswith("h36m") else [76]  # 'a person', SittingDown, Eating
    assert layouts.e_positions(layout, actions).tolist() == expected


def test_fresh_context_rows_are_always_the_same():
    layout = LAYOUTS["finepose_h36m"]
    torch.manual_seed(1)
    first = build("finepose", frames=1, channels=32, depth=1, actions=["a"])
    torch.manual_seed(2)
    second = build("finepose", frames=1, channels=32, depth=1, actions=["b", "c"])
    for part, rows in initial_ctx(layout).items():
        assert torch.equal(first.ctx[part], rows) and torch.equal(second.ctx[part], rows)
        assert 0.015 < rows.std() < 0.025


@torch.no_grad()
def test_tower_equals_transformers():
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPTextConfig(
        vocab_size=99, hidden_size=128, intermediate_size=512, num_hidden_layers=3, num_attention_heads=2,
        max_position_embeddings=77, hidden_act="quick_gelu", bos_token_id=97, eos_token_id=98, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.CLIPTextModel(config).eval()
    for p in theirs.parameters():
        p.add_(0.2 * torch.randn_like(p))
    source = {name.removeprefix("text_model."): p for name, p in theirs.named_parameters()}
    state = {
        "token_embedding.weight": source["embeddings.token_embedding.weight"],
        "positional_embedding": source["embeddings.position_embedding.weight"],
        **{f"ln_final.{w}": source[f"final_layer_norm.{w}"] for w in ("weight", "bias")},
    }
    for i in range(3):
        a, b = f"encoder.layers.{i}.", f"transformer.resblocks.{i}."
        for w in ("weight", "bias"):
            qkv = [source[f"{a}self_attn.{part}_proj.{w}"] for part in "qkv"]
            state[f"{b}attn.in_proj_{w}"] = torch.cat(qkv)
            state[f"{b}attn.out_proj.{w}"] = source[f"{a}self_attn.out_proj.{w}"]
            state |= {f"{b}ln_{k}.{w}": source[f"{a}layer_norm{k}.{w}"] for k in (1, 2)}
            state[f"{b}mlp.c_fc.{w}"] = source[f"{a}mlp.fc1.{w}"]
            state[f"{b}mlp.c_proj.{w}"] = source[f"{a}mlp.fc2.{w}"]
    tower = TextTower.from_state(state)
    ids = torch.randint(1, 97, (4, 77))
    expected = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    torch.testing.assert_close(tower(tower.embed(ids)), expected, atol=2e-5, rtol=1e-5)


class _Named(nn.Module):
    """A module tree with the names of a state dict, as OpenAI's archive is one."""

    def __init__(self, state: dict[str, torch.Tensor]):
        super().__init__()
        for head in {name.split(".")[0] for name in state}:
            inner = {n.removeprefix(f"{head}."): v for n, v in state.items() if n.startswith(f"{head}.")}
            if inner:
                self.add_module(head, _Named(inner))
            else:
                setattr(self, head, nn.Parameter(state[head], requires_grad=False))

    def forward(self, x: torch.Tensor):
        return x


def test_weights_are_read_from_every_format(tmp_path):
    half = {name: value.half() for name, value in tower_state().items()}
    torch.jit.trace(_Named(half), torch.ones(1)).save(tmp_path / "archive.pt")
    torch.save({"state_dict": half}, tmp_path / "state.pt")
    save_file(half, tmp_path / "open_clip_model.safetensors")
    for file in ("archive.pt", "state.pt", "open_clip_model.safetensors"):
        state = load_clip_weights(tmp_path / file)
        assert set(half) <= set(state)
        assert all(torch.equal(state[name], value) for name, value in half.items())
    tower = load_tower(tmp_path / "archive.pt")
    assert tower.width == 64 and tower.positional_embedding.dtype == torch.float32
    assert not any(p.requires_grad for p in tower.parameters()) and not tower.train().training


class _Program:
    def __reduce__(self):
        return print, ("a program ran",)


def test_weights_that_are_programs_are_refused(tmp_path, capsys):
    torch.save({"weights": _Program()}, tmp_path / "state.pt")
    with zipfile.ZipFile(tmp_path / "archive.pt", "w") as archive:
        archive.writestr("a/constants.pkl", b"")
        archive.writestr("a/data.pkl", pickle.dumps(_Program()))
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 cut off")
    (tmp_path / "cut.safetensors").write_bytes(b"cut off")
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pt")
    for file in ("state.pt", "archive.pt", "cut.pt", "cut.safetensors", "other.pt", "absent.pt"):
        with pytest.raises(UserError, match=file) as caught:
            load_tower(tmp_path / file)
        assert "\n" not in str(caught.value)
    assert "a program ran" not in capsys.readouterr().out


def test_where_weights_are_looked_for(own_home, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"--text learned.*--prompts.*--clip-weights"):
        load_tower()
    fetched = tmp_path / "fetched.safetensors"
    save_file(tower_state(), fetched)
    hub = tmp_path / "hub.safetensors"
    save_file(tower_state(128), hub)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repo, name: str(hub))
    assert load_tower().width == 128
    own_home.joinpath(".cache/clip").mkdir(parents=True)
    torch.save(tower_state(192), own_home / ".cache/clip/ViT-B-32.pt")
    assert load_tower().width == 192
    assert load_tower(fetched).width == 64


def test_prompt_files(tmp_path, monkeypatch):
    layout, file = LAYOUTS["graphdiffu_h36m"], tmp_path / "prompts.safetensors"
    weights = tmp_path / "clip.safetensors"
    save_file(tower_state(), weights)
    told = ["--actions", "Eating", "SittingDown", "--out", str(file), "--clip-weights", str(weights)]
    assert prompts.main(told) == 0
    actions, features, positions = read_prompts(file, layout)
    assert actions == ["Eating", "SittingDown"] and positions.tolist() == [3, 2, 4]

    tower = load_tower(weights)
    ids = tokenize(["a person", "Eating", "SittingDown"])
    with torch.no_grad():
        words = tokenize(list(layouts.WORDS.values()))
        expected = tower(layouts.compose(layout, initial_ctx(layout, 64), tower.embed, ids, words))
    torch.testing.assert_close(features, expected)

    # a network takes the rows of its own actions, in its own order
    model = build("graphdiffu", frames=1, channels=32, depth=1, text_width=64, actions=["SittingDown", "Eating"])
    model.load_prompts(file)
    torch.testing.assert_close(model.prompt_features, features[[0, 2, 1]])
    assert model.prompt_positions.tolist() == [3, 4, 2]
    model.load_prompts(tmp_path / "absent")  # has its features: nothing is read
    stranger = build("graphdiffu", frames=1, channels=32, depth=1, text_width=64, actions=["Walking"])
    with pytest.raises(UserError, match="no prompt for Walking"):
        stranger.load_prompts(file)
    with pytest.raises(UserError, match="width 64, the network takes 512"):
        build("graphdiffu", frames=1, channels=32, depth=1, actions=["Eating"]).load_prompts(file)
    with pytest.raises(UserError, match="layout graphdiffu_h36m, this model reads finepose_h36m"):
        read_prompts(file, LAYOUTS["finepose_h36m"])
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(UserError, match="not a readable prompt file"):
        read_prompts(file, layout)
    save_file({"features": features}, file)
    with pytest.raises(UserError, match="not a prompt file"):
        read_prompts(file, layout)
    with pytest.raises(UserError, match="no such prompt file"):
        read_prompts(tmp_path / "absent", layout)


def test_a_random_tower_leaves_its_mark(tmp_path, monkeypatch, capsys):
    file, layout = tmp_path / "random.safetensors", LAYOUTS["graphdiffu_h36m"]
    assert prompts.main(["--random", "--out", str(file)]) == 0
    assert file.stat().st_size < 4e6
    with pytest.raises(UserError, match="random tower"):
        read_prompts(file, layout)
    monkeypatch.setenv(prompts.ALLOW_RANDOM, "1")
    actions, features, _ = read_prompts(file, layout)
    assert actions == layouts.H36M_ACTIONS and features.shape == (16, 77, 512) and torch.isfinite(features).all()
    verb = features[1:, 19]  # CLIP is causal: here it has seen the action
    assert torch.cdist(verb, verb).add(torch.eye(15) * 9).min() > 1e-3
    assert prompts.main(["--out", str(file), "--clip-weights", str(tmp_path / "absent.pt")]) == 2
    assert capsys.readouterr().err.strip() == f"error: {tmp_path / 'absent.pt'}: no such CLIP weights"


def test_features_are_computed_once_and_kept(own_home, tmp_path, monkeypatch):
    layout, weights, loaded = LAYOUTS["finepose_h36m"], tmp_path / "clip.safetensors", []
    save_file(tower_state(), weights)
    load = clip.load_tower
    monkeypatch.setattr(prompts, "load_tower", lambda path=None, offline=False: loaded.append(path) or load(weights))
    first, _ = find_prompts(layout, ["Eating"])
    again, _ = find_prompts(layout, ["Eating"])
    assert torch.equal(first, again) and len(loaded) == 1
    cache = own_home / ".cache/clip/prompts_finepose_h36m.safetensors"
    assert cache.is_file()
    more, _ = find_prompts(layout, ["Walking", "Eating"])  # a new action is added
    assert len(loaded) == 2 and torch.equal(more[2], first[1])
    assert json.loads(_metadata(cache))["actions"] == ["Eating", "Walking"]
    find_prompts(layout, ["Walking"])
    assert len(loaded) == 2
    # without labels there is one row, and it is kept as well
    for _ in range(2):
        features, positions = find_prompts(LAYOUTS["finepose_3dhp"], ["Walking"])
        assert features.shape == (1, 77, 64) and positions.tolist() == [76]
    assert len(loaded) == 3


def test_a_random_file_in_the_cache_is_refused_too(own_home, monkeypatch):
    layout = LAYOUTS["graphdiffu_3dhp"]
    write_prompts(prompts.cached_file(layout), layout, [], random_tower())
    with pytest.raises(UserError, match="random tower"):
        find_prompts(layout, [])
    monkeypatch.setenv(prompts.ALLOW_RANDOM, "1")
    assert find_prompts(layout, [])[0].shape == (1, 77, 512)


def _metadata(file: Path) -> str:
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        return opened.metadata()["prompts"]
