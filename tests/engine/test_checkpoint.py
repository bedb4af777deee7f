import json
from pathlib import Path

import numpy as np
import pytest
import torch

from common.diffusion.lifter import DiffusionLifter
from common.engine import checkpoint
from common.errors import UserError
from common.geometry.skeleton import H36M_17
from common.models import build

NAMES = Path(__file__).parents[1] / "vectors" / "d3dp_names.json"


@pytest.fixture(scope="module")
def published():
    """Full-size random weights under the published names, as a saved file holds them."""
    generator = torch.Generator().manual_seed(0)
    shapes = json.loads(NAMES.read_text(encoding="utf-8"))
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def saved(tmp_path, state, **extra):
    path = tmp_path / "h36m_best_epoch.bin"
    torch.save({"epoch": 7, "lr": 1e-5, "random_state": np.random.RandomState(0), "model_pos": state, **extra}, path)
    return path


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_full_size_published_file_is_imported_whole(tmp_path, published, prefix):
    path = saved(tmp_path, {prefix + name: value for name, value in published.items()})
    content = checkpoint.load(path)
    card = content["card"]
    assert (card["model"], card["frames"], card["joints"]) == ("mixste", 243, 17)
    assert (card["sizes"]["channels"], card["sizes"]["depth"], card["epoch"]) == (512, 8, 7)
    lifter = checkpoint.make_lifter(card, content["weights"])
    ours = lifter.denoiser.state_dict()
    compared = 0
    for name, value in published.items():
        if name.startswith("pose_estimator."):
            assert torch.equal(ours[name.removeprefix("pose_estimator.")], value), name
            compared += 1
    assert compared == len(ours) == 208


@pytest.mark.parametrize("damage", ["missing", "added", "transposed"])
def test_a_damaged_file_is_refused_by_name(tmp_path, published, damage):
    state, name = dict(published), "pose_estimator.STEblocks.3.attn.qkv.weight"
    if damage == "missing":
        del state[name]
    elif damage == "added":
        state["pose_estimator.STEblocks.3.attn.extra.weight"] = torch.zeros(3)
    else:
        state[name] = state[name].T
    with pytest.raises(UserError, match="STEblocks.3.attn"):
        checkpoint.load(saved(tmp_path, state))


def test_a_stranger_is_refused(tmp_path):
    with pytest.raises(UserError, match="no known network"):
        checkpoint.load(saved(tmp_path, {"conv.weight": torch.zeros(3, 3)}))


def test_saving_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "last.bin"
    checkpoint.save(path, {"value": 1})

    def broken(content, target):
        Path(target).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, {"value": 2})
    monkeypatch.undo()
    assert checkpoint.load_torch(path) == {"value": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.bin"]


def test_ours_come_back_as_they_were(tmp_path):
    torch.manual_seed(0)
    sizes = {"frames": 3, "joints": 17, "channels": 16, "depth": 1}
    lifter = DiffusionLifter(build("mixste", **sizes), H36M_17)
    card = {"model": "mixste", "sizes": sizes, "frames": 3, "joints": 17, "skeleton": "h36m_17", "keypoints": None}
    card |= {"diffusion": {"timesteps": 50}, "version": checkpoint.VERSION}
    checkpoint.save(tmp_path / "a.bin", {"card": card, "weights": lifter.denoiser.state_dict()})
    denoiser, read = checkpoint.load_model(tmp_path / "a.bin")
    assert read == card and not denoiser.training
    for name, value in lifter.denoiser.state_dict().items():
        assert torch.equal(denoiser.state_dict()[name], value)
    assert len(checkpoint.make_lifter(read).diffusion.abar) == 50


def test_a_missing_checkpoint_lists_those_there(tmp_path):
    (tmp_path / "epoch_20.bin").touch()
    with pytest.raises(UserError, match="epoch_20.bin"):
        checkpoint.find(tmp_path, "nothing.bin")


def test_best_epoch_has_two_names(tmp_path):
    (tmp_path / "best_epoch_1_1.bin").touch()
    assert checkpoint.find(tmp_path, "best_epoch.bin").name == "best_epoch_1_1.bin"


def stored(path, frames, **card):
    sizes = {"frames": frames, "joints": 17, "channels": 8, "depth": 1}
    card = {"model": "mixste", "sizes": sizes, "frames": frames, "joints": 17, "skeleton": "h36m_17", **card}
    card |= {"keypoints": None, "version": 1}
    checkpoint.save(path, {"card": card, "weights": {}})
    return path


LONG = "model_h36m_gt_heads=1_lrd0.998_s1_f1"


def test_a_long_folder_name_stands_for_the_training_folder(tmp_path, capsys):
    """GraphDiffu's evaluation lines name a folder that no training line makes."""
    short = stored(tmp_path / "model_h36m_gt" / "best_epoch_1_1.bin", 1, recipe={"stride": None, "lr_decay": 0.998})
    assert checkpoint.find(tmp_path / LONG, "best_epoch_1_1.bin") == short
    told = capsys.readouterr().err
    assert str(short) in told and told.count("\n") == 1
    assert checkpoint.find(tmp_path / LONG, "best_epoch.bin") == short
    own = stored(tmp_path / LONG / "best_epoch_1_1.bin", 1)
    assert checkpoint.find(tmp_path / LONG, "best_epoch_1_1.bin") == own
    published = stored(tmp_path / "model_3" / "a.bin", 243)  # such a file says its frames alone
    assert checkpoint.find(tmp_path / "model_3_heads=1_lrd0.998_s243_f243", "a.bin") == published


@pytest.mark.parametrize(
    ("frames", "recipe", "message"),
    [
        (243, {"stride": 243, "lr_decay": 0.998}, "has -f 243, not 1 and -s 243, not 1"),
        (1, {"stride": 3, "lr_decay": 0.998}, "has -s 3, not 1"),
        (1, {"stride": 1, "lr_decay": 0.993}, "has -lrd 0.993, not 0.998"),
    ],
)
def test_a_checkpoint_of_other_settings_is_not_taken(tmp_path, frames, recipe, message):
    short = stored(tmp_path / "model_h36m_gt" / "best_epoch_1_1.bin", frames, recipe=recipe)
    with pytest.raises(UserError, match=f"no such checkpoint; {short} {message}; checkpoints are in {short.parent}$"):
        checkpoint.find(tmp_path / LONG, "best_epoch_1_1.bin")


def test_folders_that_hold_checkpoints_are_named(tmp_path):
    for name in ("a/last.bin", "b/last.bin", "own/sub/last.bin"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=f"are in {tmp_path}/a, {tmp_path}/b, {tmp_path}/own/sub$"):
        checkpoint.find(tmp_path / "own", "last.bin")
    with pytest.raises(UserError, match="nor do those beside it"):
        checkpoint.find(tmp_path / "a" / "x" / "y", "last.bin")


def test_a_file_chosen_by_a_target_error_is_the_best_epoch(tmp_path, capsys):
    (tmp_path / "best_epoch_1_1.bin").touch()
    assert checkpoint.find(tmp_path, "best_epoch_20_10.bin").name == "best_epoch_1_1.bin"
    assert "best_epoch_1_1.bin" in capsys.readouterr().err
    (tmp_path / "best_epoch_20_10.bin").touch()
    assert checkpoint.find(tmp_path, "best_epoch_20_10.bin").name == "best_epoch_20_10.bin"
    assert capsys.readouterr().err == ""
