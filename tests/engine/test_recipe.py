"""The recipe: its parts by known answers, what flags make of it, and that a resumed run repeats a whole one."""

import math
from dataclasses import asdict, fields

import pytest
import torch

from common.datasets.h36m import SKELETON
from common.diffusion.ddim import cosine_schedule
from common.engine import checkpoint, run
from common.engine.recipe import (
    FLOOR,
    LifterRecipe,
    average_of,
    bone_error,
    draw_steps,
    lifter_recipe,
    loss_terms,
    rate,
    set_drop_path,
    step_weights,
    velocity_error,
    with_recipe,
)
from common.errors import UserError
from common.models import build
from common.programs.main import read_settings
from common.settings.recipe import PUBLISHED, filled, frames_of, rate_of
from tests.engine.test_training import same, state_of, trainer
from tests.tiny import command

NEW = "--schedule cosine --average 0.9 --times noise --velocity-loss 0.5 --bone-loss 0.5 --vary body,turn,speed,hidden"


@pytest.mark.parametrize("schedule", ["cosine", "stable"])
def test_the_rate_rises_and_falls(schedule):
    shares = [rate(schedule, n / 3000, n, 300) for n in range(3001)]
    assert shares[0] == pytest.approx(1 / 300, rel=1e-3) and shares[149] == pytest.approx(0.5, abs=0.01)
    top = shares.index(max(shares))
    assert top == 299 or schedule == "stable"
    assert shares[300:] == sorted(shares[300:], reverse=True) and shares[-1] == pytest.approx(FLOOR)
    assert rate(schedule, 0.5, 1500, 300) == pytest.approx(0.505 if schedule == "cosine" else 1.0)
    assert rate("stable", 0.9, 2700, 300) == pytest.approx(FLOOR + (1 - FLOOR) / 2)
    assert rate(schedule, 0.1, 3, 300) > 0.97  # a run of 30 steps does not rise for 300


def test_draws_of_diffusion_steps():
    def draws(how):
        return draw_steps(how, 200_000, 1000, torch.Generator().manual_seed(0)).float()

    for how in ("uniform", "noise", "logit-normal"):
        t = draws(how)
        assert t.min() >= 0 and t.max() <= 999 and torch.equal(t, draws(how))
    assert draws("uniform").mean() == pytest.approx(499.5, abs=3)
    assert draws("noise").mean() == pytest.approx(1000 * (1 - 1 / 3) - 0.5, abs=3)  # E[1 - u^2] = 2/3
    middle = draws("logit-normal")
    assert middle.median() == pytest.approx(500, abs=5)
    quarter = torch.tensor(1 / (1 + math.exp(0.6745))) * 1000  # the normal's first quartile
    assert middle.quantile(0.25) == pytest.approx(float(quarter), abs=5)


def test_the_uniform_draw_is_the_one_of_old():
    t = draw_steps("uniform", 5, 1000, torch.Generator().manual_seed(3))
    assert torch.equal(t, torch.randint(1000, (5,), generator=torch.Generator().manual_seed(3)))


def test_weights_of_diffusion_steps():
    abar = cosine_schedule()
    weights = step_weights("signal", abar)
    assert step_weights("even", abar) is None and weights.mean() == pytest.approx(1, rel=1e-5)
    assert weights[0] == weights[100] and weights[999] < 1e-6  # SNR is 5 or more for the first hundreds of steps
    t = int((abar > 0.5).sum())  # here SNR is about 1
    assert weights[t] / weights[0] == pytest.approx(1 / 5, rel=0.01)


def test_velocity_and_bone_errors():
    pose = torch.randn(1, 1, 17, 3, generator=torch.Generator().manual_seed(0)).expand(2, 4, 17, 3)
    steps = torch.arange(4.0).view(1, 4, 1, 1) * torch.tensor([0.03, 0.04, 0.0])
    mask = torch.ones(2, 4, dtype=torch.bool)
    mask[1, 1] = False
    expected = torch.tensor([[0.0, 0.05, 0.05, 0.05], [0.0, 0.0, 0.0, 0.05]])
    torch.testing.assert_close(velocity_error(pose + steps, pose, mask), expected)
    assert velocity_error(pose[:, :1], pose[:, :1], mask[:, :1]).tolist() == [[0.0], [0.0]]
    lengths = torch.stack([(pose[0, 0, a] - pose[0, 0, b]).norm() for a, b in SKELETON.edges])
    torch.testing.assert_close(bone_error(1.1 * pose, pose, SKELETON), (0.1 * lengths.mean()).expand(2, 4))
    torch.testing.assert_close(bone_error(pose + 1, pose, SKELETON), torch.zeros(2, 4), atol=1e-6, rtol=0)


def test_terms_of_the_loss():
    abar, x, mask = cosine_schedule(), torch.randn(2, 3, 17, 3), torch.ones(2, 3, dtype=torch.bool)
    losses, t = torch.ones(2, 3), torch.tensor([0, 999])
    assert loss_terms(LifterRecipe(epochs=1, batch=1), SKELETON, abar) is None
    terms = loss_terms(LifterRecipe(epochs=1, batch=1, bones=2.0, loss_weight="signal"), SKELETON, abar)
    out = terms(losses, 1.1 * x, x, mask, t)
    wanted = (losses + 2 * bone_error(1.1 * x, x, SKELETON)) * step_weights("signal", abar)[t][:, None]
    torch.testing.assert_close(out, wanted)


def test_the_average_forgets_the_first_weights():
    average, update = [torch.zeros(1)], average_of(0.9)
    for n in range(1, 200):
        update(average, [torch.ones(1)], torch.tensor(n))
    assert average[0] == pytest.approx(1, abs=1e-6)
    average = [torch.zeros(1)]
    update(average, [torch.ones(1)], torch.tensor(1))
    assert average[0] == pytest.approx(1 - 2 / 11)
    update(average, [torch.ones(1)], torch.tensor(1000))
    assert average[0] == pytest.approx(1 - 0.9 * 2 / 11)


def test_drop_path_is_set_by_depth():
    network = build("mixste", frames=3, channels=16, depth=3)
    set_drop_path(network, 0.3)
    assert [block.drop_path1.probability for block in network.STEblocks] == pytest.approx([0, 0.15, 0.3])
    set_drop_path(network, 0.0)
    assert [block.drop_path2.probability for block in network.TTEblocks] == [0, 0, 0]
    set_drop_path(network, 0.1)  # built without: keeps none
    assert network.STEblocks[2].drop_path1.probability == 0


def test_rules_of_width_and_length():
    assert [rate_of(c) for c in (32, 64, 512)] == [2e-3, 2e-3, 2.5e-4]
    assert [frames_of(f) // f for f in (1, 27, 81, 243, 4096)] == [8, 8, 8, 4, 1]


def recipe_of(line: str, preset: str = "h36m") -> LifterRecipe:
    settings = with_recipe(read_settings(preset, line.split())[0])
    return lifter_recipe(settings, settings.model.number_of_frames, squared=True)


def test_untyped_flags_mean_the_default_and_typed_ones_win():
    plain = recipe_of("--model mixste -f 27 -cs 64")
    assert (plain.schedule, plain.batch, plain.learning_rate, plain.average) == ("stable", 8, 2e-3, 0)
    typed = recipe_of("--model mixste -f 27 -cs 64 -lr 2e-4 -b 108 --average 0.9 --schedule cosine")
    assert (typed.schedule, typed.batch, typed.learning_rate, typed.average) == ("cosine", 4, 2e-4, 0.9)
    assert recipe_of("").learning_rate == 2.5e-4 and recipe_of("").batch == 4  # 512 channels, 243 frames


OTHERWISE = {"squared": False, "neutral": 0.15, "epochs": 120}  # what --protocol default and 120 epochs make of it


def of_old(**changes) -> dict:
    """The published recipe as it was before there was another."""
    old = {"epochs": 100, "batch": 4, "learning_rate": 6e-5, "lr_decay": 0.993, "squared": True, "neutral": 0.0}
    return asdict(LifterRecipe(**(old | changes)))


@pytest.mark.parametrize(
    ("preset", "line", "changes"),
    [
        ("h36m", "--as-published", {}),
        ("h36m", "--protocol published", {}),
        ("h36m_gt", "-lrd 0.998", OTHERWISE | {"lr_decay": 0.998}),
        ("h36m", "--as-published -lr 1e-3 -lrd 0.9 -b 729", {"learning_rate": 1e-3, "lr_decay": 0.9, "batch": 3}),
        ("3dhp", "--as-published", {"learning_rate": 7e-5, "lr_decay": 0.995, "epochs": 120}),
        ("3dhp", "-lrd 0.99", OTHERWISE | {"learning_rate": 7e-5, "lr_decay": 0.99}),
        ("h36m_grap2eq", "--as-published", {"batch": 4, "epochs": 60}),
        ("humaneva", "--as-published", {"batch": 4, "epochs": 60}),
    ],
)
def test_the_published_recipe_and_published_lines(preset, line, changes):
    assert asdict(recipe_of(line, preset)) == of_old(**changes)


def test_class_defaults_are_the_published_recipe():
    stands = {f.name: f.default for f in fields(LifterRecipe)}
    names = {"velocity_loss": "velocity", "bone_loss": "bones"}
    for name, value in PUBLISHED.items():
        if name not in ("batch_size", "vary", "drop_path"):
            assert stands[names.get(name, name)] == value, name


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"lr_decay": 0.9, "schedule": "cosine"}, "--lr-decay: goes with"),
        ({"schedule": "exponential", "warm_up": 5}, "--warm-up: goes with"),
        ({"vary": ("body", "soul")}, "--vary soul: unknown"),
        ({"vary": ("none", "body")}, "--vary none: unknown"),
    ],
)
def test_contradictions_are_told(given, said):
    with pytest.raises(UserError, match=said):
        filled(given, published=False, channels=64, length=27)


def test_filling_twice_changes_nothing():
    for given in ({}, {"lr_decay": 0.5}, {"schedule": "exponential"}, {"schedule": "stable", "vary": ("body",)}):
        once = filled(given, published=False, channels=64, length=27)
        assert filled(once, published=False, channels=512, length=243) == once
        assert filled(once, published=True, channels=512, length=243) == once


def test_a_run_that_stops_goes_on_to_the_bit(tmp_path, monkeypatch, capsys):
    """The default recipe with everything that it can vary, stopped after its first epoch."""
    command(tmp_path / "whole", f"--no-eval -e 3 {NEW}")
    finished = run._finished
    monkeypatch.setattr(run, "_finished", lambda trainer, *rest: trainer.epoch == 1 or finished(trainer, *rest))
    command(tmp_path / "parts", f"--no-eval -e 3 {NEW}")
    monkeypatch.undo()
    assert len(state_of(tmp_path / "parts")["optimizer"]["state"]) and state_of(tmp_path / "parts")["epochs"] == 1
    command(tmp_path / "parts", "--no-eval -e 3 --resume last.bin")
    assert same(state_of(tmp_path / "whole"), state_of(tmp_path / "parts"))
    content = checkpoint.load(tmp_path / "whole" / "last.bin")
    assert content["card"]["recipe"]["vary"] == ["body", "turn", "speed", "hidden"]
    assert not same(content["weights"], content["raw"])
    from common.programs.main import main

    code = main("h36m", None, ["-c", str(tmp_path / "parts"), "-r", "last.bin", "-e", "4", "--average", "0"])
    assert code == 2 and "--average 0.0: the run to go on with has 0.9" in capsys.readouterr().err


def test_what_is_kept_and_judged_is_the_average():
    runner = trainer(average=0.5, schedule="cosine", warm_up=2)
    runner.run_epoch(dict)
    own = runner.lifter.denoiser
    with runner.averaged():
        inside = runner.lifter.denoiser.state_dict()
        assert runner.lifter.denoiser is not own and same(dict(inside), runner.weights()["weights"])
    assert runner.lifter.denoiser is own and same(dict(own.state_dict()), runner.weights()["raw"])
    assert not same(runner.weights()["raw"], runner.weights()["weights"])


def test_a_cosine_ends_with_the_budget():
    for budget in ({"max_steps": 9, "epochs": 1000}, {"epochs": 2}):
        runner = trainer(schedule="cosine", warm_up=3, **budget)
        rates = []
        step = runner.optimizer.step

        def noted(*args, step=step, runner=runner, rates=rates):
            rates.append(runner.optimizer.param_groups[0]["lr"])
            return step(*args)

        runner.optimizer.step = noted
        while not runner.spent() and runner.epoch < 2:
            runner.run_epoch(dict)
        assert max(rates) <= 1e-3 and rates[-1] < 0.15e-3 and rates.index(max(rates)) <= 3


def test_as_published_trains_to_the_bit_as_its_recipe_typed_out(tmp_path):
    line = "--as-published --no-eval -e 2 -b 40"
    command(tmp_path / "a", line)
    typed = "--schedule exponential -lrd 0.993 --weight-decay 0.1 --average 0 --times uniform --loss-weight even"
    command(tmp_path / "b", f"{line} {typed} --velocity-loss 0 --bone-loss 0 --vary none --drop-path 0.1")
    assert same(state_of(tmp_path / "a"), state_of(tmp_path / "b"))
