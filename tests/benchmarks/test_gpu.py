"""`benchmarks/gpu.sh`: its rehearsal runs whole, without what a bare PyTorch image lacks; a failure hides nothing."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import __main__ as door
from benchmarks.gpu import numerics, training
from benchmarks.gpu.record import Record, Skip, difference, gradient_difference, within
from benchmarks.work import MODES

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
# Of requirements.txt and requirements-dev.txt, what PyTorch, NumPy and SciPy do not bring along.
ABSENT = (
    *(
        "timm",
        "torchvision",
        "h5py",
        "matplotlib",
        "av",
        "imageio_ffmpeg",
        "open_clip",
        "ftfy",
        "tensorboard",
        "transformers",
        "rtmlib",
    ),
    *("onnx", "onnxruntime", "onnxscript", "torch_geometric", "playwright", "hypothesis", "pytest"),
)


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory):
    """The whole command, where none of ABSENT can be imported; its files, output and exit code."""
    folder = tmp_path_factory.mktemp("gpu")
    block = f"import sys\nfor name in {ABSENT!r}:\n    sys.modules[name] = None\n"
    (folder / "sitecustomize.py").write_text(block, encoding="utf-8")
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(folder)}
    command = ["bash", str(ROOT / "benchmarks/gpu.sh"), str(folder / "out"), "--rehearse", "--seconds", "2000"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)
    parts = {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in (folder / "out").glob("*.json")}
    return done, parts, folder / "out"


def test_the_rehearsal_passes_whole(rehearsal):
    done, parts, folder = rehearsal
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert set(parts) == {"a_numerics", "a_runs", "b_speed", "c_training"}
    for part in parts.values():
        assert part["finished"] and part["rehearsal"] and not part["left_out"]
        assert all(check["passed"] is not False for check in part["checks"])
    assert done.stdout.splitlines()[-1] == "every check passed"
    assert (folder / "summary.txt").read_text(encoding="utf-8").strip() == done.stdout.strip()
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert len(files) <= 8 and sum(p.stat().st_size for p in files) < 2**24


def test_the_rehearsal_names_what_it_skipped(rehearsal):
    _, parts, _ = rehearsal
    skipped = {row["check"]: row["why"] for part in parts.values() for row in part["skipped"]}
    assert set(skipped) == {"-gpu 0,1 against -gpu 0", "hypotheses: a chunk planned from free memory"}
    assert "needs two GPUs" in skipped["-gpu 0,1 against -gpu 0"]


def test_the_rehearsal_measures_every_stage(rehearsal):
    _, parts, folder = rehearsal
    checks = {c["check"]: c for c in parts["b_speed"]["checks"]}
    for stage in ("sampling", "training step", "forward"):
        rows = {r["variant"]: r for r in checks[f"{stage}: mixste, 243 frames, fp32, TF32, bf16"]["rows"]}
        assert set(rows) == {"plain TF32", "fp32", "TF32", "bf16"} and rows["plain TF32"]["times_plain"] == 1
        assert all(r["seconds"] > 0 and r["matmul_share"] > 0 for r in rows.values())
    forward, sampled = (checks[f"{s}: mixste, 243 frames, fp32, TF32, bf16"]["gflop"] for s in ("forward", "sampling"))
    assert sampled == pytest.approx(2 * forward)  # two steps
    assert {"attention, fused and plain", "matrix products", "whole evaluation: mixste, 243 frames"} < set(checks)
    trained = parts["c_training"]["checks"][0]
    assert trained["saved_at_s"] and (folder / "open_mixste_27f.bin").is_file()
    assert any("held" in line or "errors_mm" in line for line in trained["output"])


def test_without_a_gpu_it_says_so_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert door.main([str(tmp_path), "--part", "b_speed"]) == door.NO_GPU
    monkeypatch.setattr(door, "start", lambda *arguments: subprocess.Popen(["sh", "-c", f"exit {door.NO_GPU}"]))
    assert door.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == "no CUDA GPU found; --rehearse runs everything on the CPU\n"


def record(folder, seconds=60.0):
    return Record(folder / "x.json", seconds, {})


def read(folder):
    return json.loads((folder / "x.json").read_text(encoding="utf-8"))


def test_a_check_that_raises_keeps_its_traceback_and_the_next_goes_on(tmp_path):
    kept = record(tmp_path)
    kept.check("broken", lambda: {}["missing"])
    assert "KeyError: 'missing'" in read(tmp_path)["checks"][0]["traceback"]  # on disk before the next one
    kept.check("sound", lambda: within({"error": 0.5}, error=1.0))
    kept.check("wrong", lambda: within({"error": float("nan")}, error=1.0))
    assert [c["passed"] for c in read(tmp_path)["checks"]] == [False, True, False]


def test_what_a_part_raises_outside_its_checks_is_kept(tmp_path):
    kept = record(tmp_path)

    def part():
        kept.check("first", lambda: {"passed": True})
        raise ValueError("no such thing")

    kept.run(part)
    content = read(tmp_path)
    assert not content["finished"] and "ValueError: no such thing" in content["checks"][1]["traceback"]
    kept.run(lambda: None)
    assert read(tmp_path)["finished"]


def test_what_finds_no_time_is_left_out_by_name(tmp_path):
    kept = record(tmp_path, 5.0)
    kept.check("long", lambda: pytest.fail("must not run"), needs=100)

    def absent():
        raise Skip("needs h5py")

    kept.check("absent", absent)
    content = read(tmp_path)
    assert content["left_out"] == [{"check": "long", "why": "5 s were left, it takes about 100 s"}]
    assert content["skipped"] == [{"check": "absent", "why": "needs h5py"}] and not content["checks"]


def test_the_exit_code_tells_of_failures_and_of_what_was_left_out():
    def part(**lists):
        return {"part": "a_runs", "checks": [], "left_out": [], "skipped": []} | lists

    good = {"check": "one", "passed": True}
    assert door.summary([part(checks=[good, {"check": "two", "passed": None}], skipped=[{"check": "3", "why": ""}])])[1]
    text, passed = door.summary(
        [part(checks=[good, {"check": "x", "limits": {"error": 1}, "error": 2, "passed": False}])]
    )
    assert not passed and "FAILED   x: error 2 (at most 1)" in text
    text, passed = door.summary([part(left_out=[{"check": "y", "why": "0 s were left"}])])
    assert not passed and "left out y: 0 s were left" in text


def test_a_part_that_hangs_is_ended_with_its_children_and_keeps_what_it_found(tmp_path):
    record(tmp_path).check("first", lambda: {"passed": True})
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    process = subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
    start = time.monotonic()
    code = door.wait(process, 1.0)
    assert code < 0 and time.monotonic() - start < 20
    with pytest.raises(ProcessLookupError):
        for _ in range(100):  # until the killed child is gone too
            os.killpg(process.pid, 0)
            time.sleep(0.1)
    door.note_the_end(tmp_path / "x.json", code)
    content = read(tmp_path)
    assert [c["passed"] for c in content["checks"]] == [True, False] and content["checks"][1][
        "why"
    ] == "its time was up"
    door.note_the_end(tmp_path / "absent.json", 1)
    assert json.loads((tmp_path / "absent.json").read_text())["checks"][0]["why"] == "ended with 1"


@pytest.mark.parametrize("where", ["head.1.bias", "TTEblocks.0.attn.qkv.weight"])
def test_a_device_that_computes_something_else_is_found(monkeypatch, where):
    """One parameter off by a hundredth on the other side, as a faulty kernel would be."""
    twins = numerics.twins

    def faulty(name, size, device):
        cpu, other = twins(name, size, device)
        with torch.no_grad():
            other.network.get_parameter(where).mul_(1.01).add_(0.01)
        return cpu, other

    assert numerics.against_cpu("mixste", numerics.TINY, CPU)["passed"]
    monkeypatch.setattr(numerics, "twins", faulty)
    assert not numerics.against_cpu("mixste", numerics.TINY, CPU)["passed"]
    assert not numerics.samples("mixste", numerics.TINY, CPU)["passed"]


def test_a_wrong_attention_kernel_is_found(monkeypatch):
    right = torch.nn.functional.scaled_dot_product_attention
    shape = (4, 2, 17, 8)
    assert numerics.kernels(shape, torch.float32, CPU)["passed"]
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda q, k, v: right(q, k, v, scale=0.9 / 8**0.5)
    )
    assert not numerics.kernels(shape, torch.float32, CPU)["passed"]


def test_differences_are_relative_and_not_finite_is_infinite():
    a = torch.tensor([100.0, 1.0])
    assert difference(a + 1, a) == pytest.approx(0.01)
    assert difference(a * float("nan"), a) == float("inf")
    one, two = (torch.nn.Linear(2, 1) for _ in range(2))
    for layer, value in ((one, 1.0), (two, 1.1)):
        layer.weight.grad, layer.bias.grad = torch.full((1, 2), value), torch.ones(1)
    assert gradient_difference(one, two) == (pytest.approx(0.1 / 1.1), "weight")
    one.bias.grad = None
    assert gradient_difference(one, two)[0] == float("inf")


def test_absent_motion_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "MOTION", tmp_path)
    kept = Record(tmp_path / "c.json", 400.0, {})
    training.part(kept, CPU, rehearse=False)
    assert kept.content["skipped"][0]["why"] == "data/open_motion/data_3d_h36m.npz is not there"


def test_modes_that_are_timed_exist():
    from benchmarks.gpu import speed

    assert set(speed.MODES_HERE) | {"compiled bf16"} <= set(MODES)
    assert {f: (s.frames, s.channels, s.depth) for f, s in speed.PAPER.items()} == {
        f: (f, 512, 8) for f in (243, 81, 27)
    }
