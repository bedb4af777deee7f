"""--objective and --sampler through the programs: train, resume, evaluate, export, main_wild.py; what is refused."""

import json
import shlex

import numpy as np
import pytest
import torch

from common.engine import checkpoint
from common.engine.trainer import LifterTrainer
from common.geometry.skeleton import H36M_17
from common.programs import export, wild
from common.programs.main import main
from tests.people import in_camera, pixels, walker
from tests.programs.test_export import numpy_sampler
from tests.tiny import command, flags, h36m_folder


@pytest.fixture(scope="module")
def velocity(tmp_path_factory):
    folder = tmp_path_factory.mktemp("velocity")
    return folder, command(folder, "--objective velocity -num_proposals 2 -sampling_timesteps 3 --sampler heun -cf 1")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    command(folder, "-e 1 --no-eval")
    return folder


def line(*parts) -> tuple[int, list[str]]:
    return main("h36m", None, [str(part) for part in parts])


def test_a_velocity_lifter_trains_and_says_what_it_is(velocity):
    folder, report = velocity
    assert report["card"]["diffusion"]["objective"] == "velocity" and report["sampler"] == "heun"
    assert report["cost"]["calls_per_window"] == 2 * 5 * 2  # H = 2, 2 K - 1 calls, and the mirrored body
    assert report["cost"]["flop_per_window"] == report["cost"]["flop_per_forward"] * 20
    first, second = checkpoint.load(folder / "last.bin")["history"]
    assert second["train_mm"] < first["train_mm"] < 1000  # told in mm of the pose
    errors = [step["protocol_1"]["frame_wise"]["P_Agg"] for step in report["results"]]
    assert len(errors) == 3 and all(0 < e < 1000 for e in errors)


def test_a_resumed_run_goes_on_to_the_bit(velocity, tmp_path):
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "last.bin").write_bytes((velocity[0] / "epoch_1.bin").read_bytes())
    resume = f"-gpu -1 --nolog --no-eval --data-root {h36m_folder()} -c {tmp_path / 'cut'} --resume last.bin -e 2"
    assert line(*shlex.split(resume)) == 0
    whole, cut = (checkpoint.load(f / "last.bin") for f in (velocity[0], tmp_path / "cut"))
    assert cut["card"]["diffusion"]["objective"] == "velocity"
    assert all(torch.equal(whole["weights"][name], value) for name, value in cut["weights"].items())


def test_checkpoints_load_only_as_what_they_are(velocity, plain, tmp_path, capsys):
    for folder, other, own in ((velocity[0], "x0", "velocity"), (plain, "velocity", "x0")):
        for task in (["--evaluate", "last.bin"], ["--resume", "last.bin", "-e", 9]):
            assert line(*flags(folder), "--objective", other, *task) == 2
            said = capsys.readouterr().err.strip().splitlines()[-1]
            assert f"--objective {other} contradicts the checkpoint, which has {own}" in said
        start = ["--pretrained_model", folder / "last.bin", "--no-eval"]
        assert line(*flags(tmp_path / other), "--objective", other, *start) == 2
        assert f"trained with --objective {own}, this run has {other}" in capsys.readouterr().err
    assert line(*flags(velocity[0]), "--objective", "velocity", "--evaluate", "last.bin") == 0


def test_a_card_that_does_not_say_is_of_x0(plain, tmp_path, capsys):
    content = checkpoint.load(plain / "last.bin")
    del content["card"]["diffusion"]["objective"]
    checkpoint.save(tmp_path / "last.bin", content)
    assert line(*flags(tmp_path), "--objective", "velocity", "--evaluate", "last.bin") == 2
    assert "which has x0" in capsys.readouterr().err
    content["card"]["diffusion"]["objective"] = "eps"
    checkpoint.save(tmp_path / "last.bin", content)
    assert line(*flags(tmp_path), "--evaluate", "last.bin") == 2
    assert "--objective eps: unknown" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--as-published --sampler heun", "--as-published sets --sampler ddim; leave out --sampler heun"),
        ("--as-published --objective velocity", "--as-published sets --objective x0"),
        ("--sampler euler --ddim_sampling_eta 0.5", "--ddim_sampling_eta is DDIM's noise; --sampler euler adds none"),
        ("--model grap2eq_lite --single-pass --objective velocity", "--single-pass has no noise"),
        ("--sampler ancestral", "invalid choice: 'ancestral'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path, typed, said, capsys):
    assert line(*flags(tmp_path / "new"), *typed.split()) == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "new").exists()


def test_every_sampler_evaluates_and_one_step_is_the_same(plain):
    found = {}
    for sampler in ("ddim", "dpm++", "heun", "euler"):
        report = command(plain, f"--evaluate last.bin --sampler {sampler} -sampling_timesteps 3 -num_proposals 2")
        found[sampler] = [step["protocol_1"]["frame_wise"]["P_Agg"] for step in report["results"]]
        assert json.loads((plain / "report.json").read_text("utf-8"))["sampler"] == sampler
    assert len({errors[0] for errors in found.values()}) == 1  # the first step is one call from the same noise
    assert len({errors[-1] for errors in found.values()}) == 4


def test_the_published_gradient_is_not_taken_of_a_velocity(tmp_path, monkeypatch):
    seen, made = [], LifterTrainer.__init__

    def look(self, lifter, windows, recipe, *more, **named):
        seen.append(recipe.squared)
        made(self, lifter, windows, recipe, *more, **named)

    monkeypatch.setattr(LifterTrainer, "__init__", look)
    for objective in ("x0", "velocity"):
        command(tmp_path / objective, f"-e 1 --no-eval --protocol published --objective {objective} --select last")
    assert seen == [True, False]


def test_the_exported_step_gives_poses(velocity, tmp_path):
    """The document's sampler around the ONNX file of a velocity network is the lifter's own."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    assert export.main([str(velocity[0] / "last.bin"), "--onnx", str(tmp_path / "step.onnx")]) == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "step.onnx"))
    content = checkpoint.load(velocity[0] / "last.bin")
    lifter = checkpoint.make_lifter(content["card"], content["weights"]).eval()
    draws = torch.randn(3, 2, 3, 5, 17, 3, generator=torch.Generator().manual_seed(5))
    batch = type("Batch", (), {"keypoints_2d": torch.rand(2, 5, 17, 2) * 2 - 1})
    with torch.no_grad():
        expected = lifter.sample(batch, 3, 2, lambda hypotheses: lambda k: draws[k])[:, -1].numpy()
    got = numpy_sampler()(session, batch.keypoints_2d.numpy(), 2, lambda k: draws[k].numpy())
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert expected.std() > 0.02


@pytest.mark.parametrize("more", [["--sampler", "dpm++", "-sampling_timesteps", 3], ["--stream", "--delay", 1]])
def test_main_wild_takes_both(velocity, tmp_path, more):
    points = pixels(in_camera(walker(12, 50)), 160, 120, focal=120.0)[None]
    np.save(tmp_path / "one.npy", np.concatenate([points, np.ones((*points.shape[:3], 1))], -1).astype(np.float32))
    typed = [tmp_path / "one.npy", "--layout", "h36m", "--size", "160x120", "--fps", 50, "--outputs", "poses"]
    typed += ["-c", velocity[0], "--evaluate", "last.bin", "-o", tmp_path / "out", *more]
    assert wild.main("test", [str(word) for word in typed]) == 0
    with np.load(tmp_path / "out" / "poses.npz") as file:
        positions = next(file[name] for name in file.files if "positions" in name)
    assert positions.shape[-2:] == (len(H36M_17), 3) and np.isfinite(positions).all()
