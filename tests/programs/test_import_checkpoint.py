"""A published file becomes one of ours, parameter for parameter."""

import pytest
import torch

from common.engine import checkpoint
from common.models import build
from common.programs import import_checkpoint
from common.programs.export import read_safetensors


@pytest.fixture
def published(tmp_path):
    """The layout of D3DP's files: 'model_pos' with prefixed names, schedule buffers beside the network."""
    torch.manual_seed(0)
    network = build("mixste", frames=9, joints=17, channels=16, depth=2)
    state = {f"module.pose_estimator.{name}": value for name, value in network.state_dict().items()}
    state |= {"module.betas": torch.rand(1000), "module.alphas_cumprod": torch.rand(1000)}
    torch.save({"epoch": 42, "lr": 1e-5, "model_pos": state, "min_loss": 39.9}, tmp_path / "h36m_best_epoch.bin")
    return tmp_path / "h36m_best_epoch.bin", network.state_dict()


@pytest.mark.parametrize("name", ["ours.bin", "ours.safetensors"])
def test_every_parameter_arrives(published, name, capsys):
    source, weights = published
    target = source.parent / name
    assert import_checkpoint.main([str(source), "-o", str(target), "-k", "cpn_ft_h36m_dbb"]) == 0
    assert "mixste, 9 frames, 17 joints" in capsys.readouterr().out
    content = read_safetensors(target) if name.endswith("safetensors") else checkpoint.load(target)
    assert content["card"]["keypoints"] == "cpn_ft_h36m_dbb" and content["card"]["epoch"] == 42
    assert content["card"]["imported_from"]["hash"] == checkpoint.file_hash(source)
    assert content["weights"].keys() == weights.keys()
    assert all(torch.equal(content["weights"][key], value) for key, value in weights.items())


def test_errors(published, capsys):
    source, weights = published
    assert import_checkpoint.main([str(source)]) == 0
    assert import_checkpoint.main([str(source)]) == 2  # the file is there
    state = dict(weights)
    state.pop("head.1.bias")
    torch.save({"model_pos": state}, source)
    assert import_checkpoint.main([str(source), "-o", str(source.parent / "x.bin")]) == 2
    assert not (source.parent / "x.bin").exists()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "exists already" in lines[0] and "head.1.bias" in lines[1]
