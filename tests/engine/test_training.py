import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from common.datasets import hold_out
from common.datasets.h36m import SKELETON, load_h36m
from common.datasets.windows import Windows
from common.diffusion.lifter import DiffusionLifter
from common.engine import checkpoint, training
from common.engine.recipe import LifterRecipe, lifter_recipe, with_recipe
from common.engine.trainer import LifterTrainer
from common.models import build
from tests.tiny import CPU, command, flags, h36m_folder, settings_of

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parents[1] / "vectors" / "golden_loss.json"


def trainer(**changes) -> LifterTrainer:
    torch.manual_seed(1)
    clips = [c for c in load_h36m(h36m_folder(), "cpn_ft_h36m_dbb", ["S1"]) if c.action_name == "Walking"]
    lifter = DiffusionLifter(build("mixste", frames=5, channels=32, depth=2), SKELETON)
    recipe = LifterRecipe(**({"epochs": 4, "batch": 12, "learning_rate": 1e-3, "lr_decay": 0.9} | changes))
    return LifterTrainer(lifter, Windows(clips, SKELETON, 5), recipe, CPU)


def test_loss_curve_is_the_golden_one():
    """A tiny run with default settings; made anew by `python -m tests.engine.test_training` when a change is meant."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    runner = trainer()
    curve = [runner.run_epoch(dict)["train_mm"] for _ in range(4)]
    np.testing.assert_allclose(curve, golden, rtol=2e-3)
    assert curve[-1] < 0.7 * curve[0]


def test_published_gradient_is_that_of_half_the_square():
    plain, squared = trainer(), trainer(squared=True)
    for runner in (plain, squared):
        runner.optimizer = torch.optim.SGD(runner.lifter.parameters(), lr=0.0)
        runner.run_epoch(dict)
    plain.lifter.train()
    rows = plain.batches(1)[-1]
    loss, frames = plain.step(rows, 1, len(plain.batches(1)) - 1).tolist()
    for a, b in zip(plain.lifter.parameters(), squared.lifter.parameters(), strict=True):
        torch.testing.assert_close(a.grad * (loss / frames), b.grad, rtol=1e-4, atol=1e-7)


def test_mirrored_copies_double_the_epoch():
    both, plain = (torch.cat(trainer(augment=augment).batches(1)) for augment in (True, False))
    assert len(both) == 2 * len(plain)


def test_held_out_takes_share_no_take_with_training():
    clips = load_h36m(h36m_folder(), "gt", ["S1", "S5"])
    kept, held = hold_out(clips)
    takes = {(c.subject, c.action) for c in held}
    assert takes and not takes & {(c.subject, c.action) for c in kept}
    assert len(kept) + len(held) == len(clips) and len(takes) == len({(c.subject, c.action) for c in clips}) // 10


def test_model_selection_does_not_see_the_test_set(tmp_path, monkeypatch):
    """With the test set's 3D replaced by NaN, the same epoch is chosen and its weights are the same, bit for bit."""
    original = training.load_clips

    def blind(options, role, notice):
        clips = original(options, role, notice)
        if role == "test":
            clips = [replace(c, positions_3d=c.positions_3d * np.nan) for c in clips]
        return clips

    command(tmp_path / "seeing", "--no-eval -e 3")
    monkeypatch.setattr(training, "load_clips", blind)
    command(tmp_path / "blind", "-e 3 --select held --debug --no-eval")
    monkeypatch.undo()
    command(tmp_path / "seeing_debug", "-e 3 --select held --debug --no-eval")
    one, other = (checkpoint.load(tmp_path / n / "best_epoch_1_1.bin") for n in ("blind", "seeing_debug"))
    assert one["card"]["epoch"] == other["card"]["epoch"]
    for name, value in one["weights"].items():
        assert torch.equal(value, other["weights"][name])


def test_select_last_keeps_the_last_epoch(tmp_path):
    command(tmp_path, "--select last --no-eval -e 3")
    assert checkpoint.load(tmp_path / "best_epoch_1_1.bin")["card"]["epoch"] == 3


def state_of(folder: Path) -> dict:
    content = checkpoint.load(folder / "last.bin")
    return {"weights": content["weights"], "optimizer": content["optimizer"], "epochs": len(content["history"])}


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def test_a_resumed_run_ends_as_a_whole_one(tmp_path):
    """With a rate that knows no end; one that falls over the run is in test_recipe.py."""
    command(tmp_path / "whole", "--no-eval -e 3 -lrd 0.9")
    command(tmp_path / "parts", "--no-eval -e 1 -lrd 0.9")
    command(tmp_path / "parts", "--no-eval -e 3 --resume last.bin")
    assert same(state_of(tmp_path / "whole"), state_of(tmp_path / "parts"))
    lines = (tmp_path / "parts" / "training_log.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split("]")[0] for line in lines[:3]] == ["[1", "[2", "[3"] and lines[3].startswith("best epoch")


@pytest.mark.parametrize("seed", range(int(os.environ.get("KILL_RUNS", "1"))))
def test_a_killed_run_resumes_to_the_bit(tmp_path, seed):
    """Two SIGKILLs a run at seeded moments, in steps and in writes. KILL_RUNS=10 makes twenty of them."""
    assert killed_run_matches(tmp_path, seed)


def killed_run_matches(folder: Path, seed: int, epochs: int = 6) -> bool:
    """Train whole; train with kills; compare. True if weights and optimiser are equal, bit for bit."""
    rng = np.random.default_rng(seed)
    arguments = ["--no-eval", "-e", str(epochs)]

    def start(name: str, more: list[str]) -> subprocess.Popen:
        line = [sys.executable, "main.py", *flags(folder / name), *arguments, *more]
        return subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)

    whole = start("whole", [])
    assert whole.wait() == 0, whole.stderr.read()
    kills = 0
    while True:
        there = (folder / "killed" / "last.bin").is_file()
        run = start("killed", ["--resume", "last.bin"] if there else [])
        if kills < 2:
            for line in run.stderr:  # the kill falls after the first epoch line, in a step or in a write
                if line.startswith("epoch"):
                    break
            time.sleep(rng.uniform(0, 0.25))
            if run.poll() is None:
                run.send_signal(signal.SIGKILL)
                run.wait()
                kills += 1
                continue
        code = run.wait()
        message = run.stderr.read()
        if code == 2 and "epochs already" in message:
            break
        assert code == 0, message
        break
    return same(state_of(folder / "whole"), state_of(folder / "killed"))


def test_two_processes_train_like_one(tmp_path):
    """torchrun with two gloo processes: the loss curve of one process to 1e-5, the same report."""
    command(tmp_path / "one", "-e 3 -num_proposals 2 -sampling_timesteps 2 --p2")
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "main.py"]
    line += [*flags(tmp_path / "two"), "-e", "3", "-num_proposals", "2", "-sampling_timesteps", "2", "--p2"]
    subprocess.run(line, cwd=ROOT, check=True, capture_output=True)
    one, two = (checkpoint.load(tmp_path / n / "last.bin")["history"] for n in ("one", "two"))
    for a, b in zip(one, two, strict=True):
        assert a["train_mm"] == pytest.approx(b["train_mm"], rel=1e-5)
        assert a["valid_mm"] == pytest.approx(b["valid_mm"], rel=1e-4)
    reports = [json.loads((tmp_path / n / "report.json").read_text(encoding="utf-8")) for n in ("one", "two")]
    assert reports[0]["frames"] == reports[1]["frames"]
    for a, b in zip(*(r["results"] for r in reports), strict=True):
        for protocol in ("protocol_1", "protocol_2"):
            assert a[protocol]["action_wise"] == pytest.approx(b[protocol]["action_wise"], abs=1e-2)


def test_as_published_sets_all_three(tmp_path):
    report = command(tmp_path, "--as-published -b 40")
    assert report["protocol"] == "published" and report["as_published"][:2] == ["--protocol published", "--select test"]
    recipe = lifter_recipe(with_recipe(settings_of(tmp_path, "--as-published")), 5, squared=True)
    assert recipe.squared and recipe.neutral == 0


def test_a_budget_of_steps_ends_in_the_middle_of_an_epoch():
    runner = trainer(max_steps=7)
    whole = len(runner.batches(1))
    while not runner.spent():
        runner.run_epoch(dict)
    assert runner.steps_done == 7 == sum(row["steps"] for row in runner.history)
    assert len(runner.history) == -(-7 // whole)
    resumed = trainer(max_steps=9)
    resumed.restore(runner.state())
    resumed.run_epoch(dict)
    assert resumed.steps_done == 9


def test_a_budget_of_seconds_ends_after_the_step_that_uses_it_up():
    runner = trainer(max_seconds=1e-6)
    runner.run_epoch(dict)
    assert runner.steps_done == 1 and runner.spent() and runner.history[0]["seconds"] > 0


if __name__ == "__main__":
    runner = trainer()
    GOLDEN.write_text(json.dumps([runner.run_epoch(dict)["train_mm"] for _ in range(4)]) + "\n")
