"""A published Dual-Diffusion file, a list of five, becomes the two-view program's form."""

import pytest
import torch

from common.binocular import checkpoint as two_view
from common.models.two_view import GraphDenoiser
from common.programs import import_checkpoint
from common.programs.doctor import OK, check_file
from common.programs.export import read_safetensors


@pytest.fixture
def published(tmp_path):
    torch.manual_seed(0)
    networks = [GraphDenoiser(hid_dim=16, num_layer=2, n_head=4, dropout=0.0) for _ in range(2)]
    weights, ema = (network.state_dict() for network in networks)
    state = {f"module.{key}": value for key, value in weights.items()}
    torch.save([state, {"state": {}}, 7, 100, ema], tmp_path / "ckpt.pth")
    return tmp_path / "ckpt.pth", weights, ema


def test_both_sets_of_weights_arrive(published, capsys):
    source, weights, ema = published
    target = source.parent / "ours.bin"
    assert import_checkpoint.main([str(source), "-o", str(target)]) == 0
    assert "dual_diffusion, two views" in capsys.readouterr().out
    content = two_view.load(target)
    assert content["card"]["epoch"] == 7 and content["card"]["settings"]["model.hid_dim"] == 16
    for name, wanted in (("weights", weights), ("ema", ema)):
        assert content[name].keys() == wanted.keys()
        assert all(torch.equal(content[name][key], value) for key, value in wanted.items())
    for path in (source, target):
        finding = check_file(path)
        assert finding.state == OK and "two-view" in finding.text


def test_safetensors(published):
    source, weights, ema = published
    target = source.parent / "ours.safetensors"
    assert import_checkpoint.main([str(source), "-o", str(target)]) == 0
    content = read_safetensors(target)
    assert len(content["weights"]) == 2 * len(weights)
    assert all(torch.equal(content["weights"][f"ema.{key}"], value) for key, value in ema.items())


def test_an_unfit_file_is_refused(published, capsys):
    source, weights, _ = published
    short = {key: value for key, value in weights.items() if key != "gconv_input.bias"}
    torch.save([short, {}, 1, 1, None], source)
    assert import_checkpoint.main([str(source), "-o", str(source.parent / "x.bin")]) == 2
    assert "gconv_input.bias" in capsys.readouterr().err
    assert not (source.parent / "x.bin").exists()
