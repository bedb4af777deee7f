"""Detection through rtmlib with tiny networks made here: a fixed person in a fixed box."""

import sys

import numpy as np
import pytest

from common.errors import UserError
from common.geometry.skeleton import COCO_17
from common.wild.detect import detect_people, open_rtmlib, weight_files


def constant_network(path, inputs, outputs):
    """An ONNX file that returns constants whatever it sees (its input is added with weight zero)."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants = [], []
    nodes.append(helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0))
    nodes.append(helper.make_node("Mul", ["mean", "nil"], ["nothing"]))
    constants.append(numpy_helper.from_array(np.float32(0), "nil"))
    infos = []
    for name, value in outputs.items():
        constants.append(numpy_helper.from_array(value.astype(np.float32), f"{name}_value"))
        nodes.append(helper.make_node("Add", [f"{name}_value", "nothing"], [name]))
        infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
    shape = helper.make_tensor_value_info("input", TensorProto.FLOAT, inputs)
    graph = helper.make_graph(nodes, "constant", [shape], infos, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)


@pytest.fixture
def weights(tmp_path):
    pytest.importorskip("rtmlib", reason="rtmlib is not installed (requirements-wild.txt)")
    # YOLOX with its own suppression: boxes x, y, x, y, score in the network's image of 64 x 64.
    constant_network(tmp_path / "yolox_tiny.onnx", [1, 3, 64, 64], {"dets": np.array([[[16, 8, 48, 56, 0.9]]])})
    # SimCC: each joint's x and y as the highest of 2 * 48 and 2 * 64 bins.
    x, y = np.zeros((1, 17, 96)), np.zeros((1, 17, 128))
    for j in range(17):
        x[0, j, 10 + 4 * j], y[0, j, 20 + 5 * j] = 0.8, 0.8
    constant_network(tmp_path / "rtmpose-s.onnx", [1, 3, 64, 48], {"simcc_x": x, "simcc_y": y})
    return tmp_path


def test_tiny_networks_find_the_person(weights):
    detector, layout = open_rtmlib(weights)
    assert layout is COCO_17
    people = detector(np.zeros((64, 64, 3), np.uint8))
    assert people.shape == (1, 17, 3)
    np.testing.assert_allclose(people[0, :, 2], 0.8, rtol=1e-5)
    # The box is 32 x 48, widened by 1.25 to the shape 3:4: 45 x 60 around (32, 32); bins are half pixels.
    j = np.arange(17)
    np.testing.assert_allclose(people[0, :, 0], (10 + 4 * j) / 2 / 48 * 45 + 32 - 22.5, atol=1e-3)
    np.testing.assert_allclose(people[0, :, 1], (20 + 5 * j) / 2 / 64 * 60 + 32 - 30, atol=1e-3)


def test_nobody_stays_nobody(weights):
    constant_network(weights / "yolox_tiny.onnx", [1, 3, 64, 64], {"dets": np.array([[[16, 8, 48, 56, 0.01]]])})
    detector, layout = open_rtmlib(weights)
    images = [np.zeros((64, 64, 3), np.uint8)] * 2
    found = detect_people(images, detector, layout, fps=25)
    assert [len(f) for f in found.frames] == [0, 0] and found.size == (64, 64) and found.fps == 25


def test_any_detector_serves():
    def detector(image):
        return np.full((2, 17, 3), image[0, 0, 0], np.float32)

    found = detect_people((np.full((4, 6, 3), n, np.uint8) for n in range(3)), detector, COCO_17)
    assert found.size == (6, 4) and [f.shape for f in found.frames] == [(2, 17, 3)] * 3
    assert found.frames[2][0, 0, 0] == 2
    with pytest.raises(UserError, match="no frames"):
        detect_people([], detector, COCO_17)


def test_weights_that_are_not_there(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="found no .onnx file"):
        weight_files(tmp_path)
    (tmp_path / "yolox.onnx").write_bytes(b"x")
    with pytest.raises(UserError, match="found yolox.onnx"):
        weight_files(tmp_path)
    (tmp_path / "rtmpose.onnx").write_bytes(b"x")
    if "rtmlib" in sys.modules or pytest.importorskip("rtmlib"):
        with pytest.raises(UserError, match="yolox_m.*zip and .*rtmpose-m.*zip"):
            open_rtmlib(tmp_path / "elsewhere")
        with pytest.raises(UserError, match="could not be loaded|not a readable ONNX network") as caught:
            open_rtmlib(tmp_path)
        assert "\n" not in str(caught.value)


def test_no_network_no_cache_is_one_line(tmp_path, monkeypatch, capsys):
    rtmlib = pytest.importorskip("rtmlib")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(sys.modules[rtmlib.BodyWithFeet.__module__.rsplit(".", 2)[0] + ".file"], "urlopen", unreachable)
    with pytest.raises(UserError, match="--detector-weights") as caught:
        open_rtmlib()
    assert "\n" not in str(caught.value)
    said = capsys.readouterr().err
    assert "fetching rtmlib's networks: https://" in said and str(tmp_path) in said
    monkeypatch.setattr(rtmlib.BodyWithFeet, "__init__", lambda *_, **__: pytest.fail("something was fetched"))
    with pytest.raises(UserError, match="--offline: not fetched.*https://.*--detector-weights"):
        open_rtmlib(offline=True)


def test_without_rtmlib(monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="requirements-wild.txt"):
        open_rtmlib()
