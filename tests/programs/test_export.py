"""The exported step is the network; the document's NumPy sampler is the PyTorch sampler."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from common.diffusion.lifter import DiffusionLifter, d3dp_diffusion
from common.engine import checkpoint
from common.errors import UserError
from common.geometry.skeleton import H36M_17
from common.models import build
from common.programs import export

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
DOCUMENT = Path(__file__).parents[2] / "docs" / "onnx.md"


def make_checkpoint(path):
    torch.manual_seed(0)
    network = build("mixste", frames=9, joints=17, channels=32, depth=2)
    for p in network.parameters():  # away from the tidy start: zeros would hide errors
        torch.nn.init.normal_(p, std=0.1)
    card = {
        "model": "mixste", "sizes": {"frames": 9, "joints": 17, "channels": 32, "depth": 2}, "variant": "default",
        "frames": 9, "joints": 17, "skeleton": "h36m_17", "keypoints": "gt", "labels": None, "units": "m", "seed": 1,
        "epoch": 3, "version": checkpoint.VERSION, "diffusion": {"timesteps": 1000, "scale": 0.7},
    }  # fmt: skip
    torch.save({"card": card, "weights": network.state_dict()}, path)
    return network, card


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    network, card = make_checkpoint(folder / "last.bin")
    assert export.main([str(folder / "last.bin"), "--onnx", str(folder / "denoiser.onnx")]) == 0
    session = onnxruntime.InferenceSession(str(folder / "denoiser.onnx"))
    return network.eval(), session, card, folder


@pytest.mark.parametrize(("batch", "hypotheses"), [(1, 1), (2, 5), (7, 2)])
def test_one_step_at_any_batch_and_hypotheses(exported, batch, hypotheses):
    network, session, _, _ = exported
    x_2d, x_t = torch.rand(batch, 9, 17, 2), torch.randn(batch, hypotheses, 9, 17, 3)
    t = torch.randint(0, 1000, (batch,))
    with torch.no_grad():
        expected = network(x_2d, x_t, t).numpy()
    assert np.abs(expected).max() > 0.1
    got = session.run(None, {"x_2d": x_2d.numpy(), "x_t": x_t.numpy(), "t": t.numpy()})[0]
    np.testing.assert_allclose(got, expected, atol=1e-4)


def numpy_sampler():
    """The code of the document, as a reader copies it."""
    code = re.search(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.S).group(1)
    names = {}
    exec(compile(code, str(DOCUMENT), "exec"), names)
    assert len([line for line in code.splitlines() if line.strip()]) < 40
    return names["sample"]


@pytest.mark.parametrize("steps", [1, 5])
def test_the_documents_sampler_is_the_torch_sampler(exported, steps):
    network, session, card, _ = exported
    lifter = DiffusionLifter(network, H36M_17, d3dp_diffusion(scale=card["diffusion"]["scale"]))
    draws = torch.randn(steps + 1, 2, 3, 9, 17, 3, generator=torch.Generator().manual_seed(5))
    batch = SimpleNamespace(keypoints_2d=torch.rand(2, 9, 17, 2) * 2 - 1)
    with torch.no_grad():
        expected = lifter.sample(batch, 3, steps, lambda hypotheses: lambda k: draws[k])[:, -1].numpy()
    got = numpy_sampler()(session, batch.keypoints_2d.numpy(), steps, lambda k: draws[k].numpy())
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert expected.std() > 0.02  # not all at the clamp, not all zero


def test_metadata_tells_the_card(exported):
    _, session, card, _ = exported
    told = json.loads(session.get_modelmeta().custom_metadata_map["lifter"])
    assert told["card"] == card and told["mirror"] == H36M_17.mirror and told["step"] == "ddim_step"
    assert len(told["abar"]) == 1000 and told["scale"] == 0.7


def test_a_network_that_is_told_an_action(tmp_path):
    torch.manual_seed(0)
    sizes = {"frames": 3, "joints": 17, "channels": 16, "depth": 1}
    network = build("finepose", **sizes, text="learned", actions=["Eating", "Walking"]).eval()
    for p in network.parameters():
        if p.dim() > 1:
            torch.nn.init.normal_(p, std=0.4)
    with pytest.raises(UserError, match="Eating, Walking"):
        export.export_onnx(network, tmp_path / "x.onnx", 3, 17, action="Flying")
    export.export_onnx(network, tmp_path / "w.onnx", 3, 17, action="Walking")
    session = onnxruntime.InferenceSession(str(tmp_path / "w.onnx"))
    x_2d, x_t, t = torch.rand(2, 3, 17, 2), torch.randn(2, 2, 3, 17, 3), torch.tensor([5, 900])
    got = session.run(None, {"x_2d": x_2d.numpy(), "x_t": x_t.numpy(), "t": t.numpy()})[0]
    answers = []
    for action in (1, 0):
        told = SimpleNamespace(action=torch.full((2,), action), action_names=("Eating", "Walking"))
        with torch.no_grad():
            answers.append(network(x_2d, x_t, t, network.condition(told)).numpy())
    np.testing.assert_allclose(got, answers[0], atol=1e-4)
    assert np.abs(got - answers[1]).max() > 1e-3


def test_a_wrong_answer_is_not_kept(tmp_path, monkeypatch):
    network = build("mixste", frames=2, joints=17, channels=8, depth=1)
    monkeypatch.setattr(export, "_compare", lambda *_: 2e-4)
    with pytest.raises(RuntimeError, match="differs"):
        export.export_onnx(network, tmp_path / "denoiser.onnx", 2, 17)
    assert not (tmp_path / "denoiser.onnx").exists() and not list(tmp_path.glob(".*"))


def test_safetensors_with_a_card(tmp_path, capsys):
    pytest.importorskip("safetensors")
    network, card = make_checkpoint(tmp_path / "last.bin")
    assert export.main([str(tmp_path / "last.bin"), "--safetensors", str(tmp_path / "model.safetensors")]) == 0
    back = export.read_safetensors(tmp_path / "model.safetensors")
    assert back["card"] == card
    for name, value in network.state_dict().items():
        assert torch.equal(back["weights"][name], value)
    told = json.loads((tmp_path / "model.json").read_text("utf-8"))
    from common.engine.checkpoint import file_hash

    assert told["hash"] == file_hash(tmp_path / "model.safetensors")
    for name in ("model", "frames", "joints", "keypoints", "labels", "seed"):
        assert name in told
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="not a readable checkpoint in safetensors form"):
        export.read_safetensors(tmp_path / "bad.safetensors")


def test_errors_in_one_line(tmp_path, capsys, monkeypatch):
    make_checkpoint(tmp_path / "last.bin")
    assert export.main([str(tmp_path / "last.bin")]) == 2
    assert export.main([str(tmp_path / "last.bin"), "--safetensors", str(tmp_path / "x"), "--action", "Walking"]) == 2
    assert "--action says what the step of --onnx is told" in capsys.readouterr().err
    assert export.main([str(tmp_path / "none.bin"), "--onnx", "x"]) == 2
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    assert export.main([str(tmp_path / "last.bin"), "--onnx", str(tmp_path / "x.onnx")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith("error: ") for line in lines) and "pip install" in lines[1]
