"""BlazePose's weights: fetched once through pip, checked, and run by an interpreter (here a stand-in)."""

import hashlib
import subprocess
import sys
import types
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from common.geometry.skeleton import COCO_FEET_21
from common.wild.blazepose import weights
from common.wild.detect import load_detector

CONTENT = {name: name.encode() * 99 for name in weights.WEIGHTS.files}
SHAPES = {"pose_detection.tflite": [(2254, 12), (2254, 1)],
          "pose_landmark_full.tflite": [(195,), (1,), (256, 256, 1), (64, 64, 39), (117,)]}  # fmt: skip


class Interpreter:
    """In the form of LiteRT's: outputs are zeros of the real networks' shapes; remembers the input."""

    given = {}

    def __init__(self, path, num_threads):
        self.name = Path(path).name
        assert num_threads >= 1

    def allocate_tensors(self):
        pass

    def get_input_details(self):
        return [{"index": 7}]

    def get_output_details(self):
        return [{"index": n, "shape": np.array([1, *shape])} for n, shape in enumerate(SHAPES[self.name])]

    def set_tensor(self, index, value):
        assert index == 7 and value.dtype == np.float32
        self.given[self.name] = value

    def invoke(self):
        pass

    def get_tensor(self, index):
        return np.full((1, *SHAPES[self.name][index]), -9.0, np.float32)


@pytest.fixture
def pip(tmp_path, monkeypatch):
    """pip downloads a wheel with `pip.content`, or fails with `pip.error`; counts its calls."""
    state = types.SimpleNamespace(calls=[], content=dict(CONTENT), error="")

    def run(line, **options):
        state.calls.append(line)
        if state.error:
            return subprocess.CompletedProcess(line, 1, "", state.error)
        with zipfile.ZipFile(Path(line[line.index("--dest") + 1]) / "mediapipe-0.10.21-py3-none-any.whl", "w") as wheel:
            for name, data in state.content.items():
                wheel.writestr(name, data)
        return subprocess.CompletedProcess(line, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("HOME", str(tmp_path))
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in CONTENT.items()}
    monkeypatch.setattr(weights, "WEIGHTS", replace(weights.WEIGHTS, files=digests))
    module = types.ModuleType("ai_edge_litert.interpreter")
    module.Interpreter = Interpreter
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", module)
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: name)
    return state


def test_fetched_once_with_a_line_and_never_again(pip, tmp_path, capsys):
    detector, layout = load_detector()
    assert layout is COCO_FEET_21
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and all(name in said[0] for name in (*SHAPES, "mediapipe==0.10.21", "36 MB", "--offline"))
    (line,) = pip.calls
    assert (
        line[:4] == [sys.executable, "-m", "pip", "download"] and "--no-deps" in line and line[-1].endswith("0.10.21")
    )
    folder = tmp_path / ".cache" / "blazepose"
    assert sorted(p.name for p in folder.iterdir()) == sorted(SHAPES)
    load_detector(offline=True)
    load_detector(weights=folder)
    assert len(pip.calls) == 1 and not capsys.readouterr().err


def test_the_networks_get_what_they_were_made_for(pip):
    detector, _ = load_detector()
    image = np.full((70, 80, 3), 255, np.uint8)
    assert detector(image).shape == (0, 21, 3)
    given = Interpreter.given["pose_detection.tflite"]
    assert given.shape == (1, 224, 224, 3) and given.max() == pytest.approx(1) and given.min() == -1  # black bars
    assert detector.look(image, np.array([40, 30, 60, 0.0])) is None
    given = Interpreter.given["pose_landmark_full.tflite"]
    assert given.shape == (1, 256, 256, 3) and given.min() == pytest.approx(1)  # the edge goes on
    raw, score, heat = detector.mark(given[0])
    assert raw.shape == (39, 5) and score == -9 and heat.shape == (64, 64, 39)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda pip: setattr(pip, "error", "WARNING: x\nERROR: no network"), r"no network.*--detector-weights"),
        (lambda pip: pip.content.popitem(), "has no member"),
        (lambda pip: pip.content.update({next(iter(CONTENT)): b"other"}), "not the file that is meant"),
    ],
)
def test_what_is_not_the_file_is_not_kept(pip, tmp_path, change, told):
    change(pip)
    with pytest.raises(UserError, match=told) as caught:
        load_detector()
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("pose_landmark_full.tflite")) or not list(tmp_path.rglob("pose_detection.tflite"))


def test_offline_and_folders_that_lack_them(pip, tmp_path):
    with pytest.raises(UserError, match="--offline: not fetched.*pose_detection.tflite.*mediapipe.*--detector-weights"):
        load_detector(offline=True)
    with pytest.raises(UserError, match="no such file; wanted are.*pose_landmark_full.tflite out of the wheel"):
        load_detector(weights=tmp_path)
    for name in SHAPES:
        (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(UserError, match="not the file that is meant"):
        load_detector(weights=tmp_path)
    assert not pip.calls


def test_a_damaged_cache_is_told(pip, tmp_path):
    load_detector()
    (tmp_path / ".cache" / "blazepose" / "pose_detection.tflite").write_bytes(b"cut")
    with pytest.raises(UserError, match="blazepose/pose_detection.tflite: not the file that is meant"):
        load_detector()


def test_without_the_library(monkeypatch):
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="ai-edge-litert: pip install -r requirements-wild.txt"):
        load_detector()
