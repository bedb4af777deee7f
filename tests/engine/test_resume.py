"""--resume goes on with the run that was: its settings count where nothing is typed; what contradicts them is told."""

import shlex

import pytest
import torch

from common.engine import checkpoint
from common.engine.run import finite
from common.errors import UserError
from common.programs.main import main
from tests.tiny import command, h36m_folder


@pytest.fixture
def begun(tmp_path):
    command(tmp_path, "--no-eval -e 1 --seed 3 -lrd 0.5 --subset 0.5")
    return tmp_path


def resume(folder, more: str, capsys) -> tuple[int, str]:
    """A line with nothing typed but where the data are."""
    line = f"-gpu -1 --nolog --no-eval --data-root {h36m_folder()} -c {folder} --resume last.bin {more}"
    code = main("h36m", None, shlex.split(line))
    return code, capsys.readouterr().err


def test_stored_settings_count_where_nothing_is_typed(begun, capsys):
    code, err = resume(begun, "-e 2", capsys)
    assert code == 0, err
    content = checkpoint.load(begun / "last.bin")
    recipe = content["card"]["recipe"]
    assert recipe["seed"] == 3 and recipe["subset"] == 0.5 and recipe["subjects_train"] == ["S1", "S5"]
    first, second = content["history"]
    assert second["lr"] == pytest.approx(0.5 * first["lr"]) and first["steps"] == second["steps"]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("-str S1,S6", "--subjects-train S1,S6: the run to go on with has S1,S5"),
        ("--subset 1", "--subset 1.0: the run to go on with has 0.5"),
        ("-k gt", "--keypoints gt"),
        ("--seed 4", "--seed 4"),
        ("-b 80", "--batch-size 80"),
        ("-lrd 0.9", "--lr-decay 0.9"),
        ("-s 3", "--stride 3"),
        ("--select last", "--select last"),
        ("-a Walking", "--actions Walking"),
    ],
)
def test_another_training_is_refused(begun, capsys, typed, said):
    before = (begun / "last.bin").read_bytes()
    code, err = resume(begun, f"-e 2 {typed}", capsys)
    last = err.strip().splitlines()[-1]
    assert code == 2 and last.startswith("error: ") and said in last
    assert (begun / "last.bin").read_bytes() == before


def test_the_test_set_is_part_of_a_training_that_it_chooses(tmp_path, capsys):
    command(tmp_path, "--no-eval -e 1 --select test --debug")
    code, err = resume(tmp_path, "-e 2 -ste S11", capsys)
    assert code == 2 and "--subjects-test S11: the run to go on with has S9" in err


def test_the_learning_rate_may_change_and_the_card_tells(begun, capsys):
    code, err = resume(begun, "-e 2 -lr 5e-4", capsys)
    assert code == 0 and "--learning-rate 0.0005 from here on; so far it was 0.001." in err
    content = checkpoint.load(begun / "last.bin")
    assert content["history"][1]["lr"] == pytest.approx(5e-4)
    assert content["card"]["history"] == [{"after_epoch": 1, "setting": "learning_rate", "from": 1e-3, "to": 5e-4}]


def test_the_same_settings_typed_again_are_no_contradiction(begun, capsys):
    code, err = resume(begun, "-e 2 --seed 3 -lrd 0.5 --subset 0.5 -str S1,S5 -f 5 -cs 16 --model mixste", capsys)
    assert code == 0, err


def test_training_subjects_in_the_test_set_are_named(tmp_path, capsys):
    report = command(tmp_path, "-e 1 --debug -ste S5,S9")
    assert "S5: in the training set AND in the test set" in capsys.readouterr().err
    assert report["subjects_also_trained_on"] == ["S5"]


def test_weights_that_are_not_finite_are_not_saved(tmp_path, monkeypatch, capsys):
    """The last step of an epoch may break the weights while the epoch's mean loss is still a number."""
    from common.engine.trainer import LifterTrainer

    command(tmp_path, "--no-eval -e 1")
    before = (tmp_path / "last.bin").read_bytes()
    step = LifterTrainer.step

    def broken(self, rows, epoch, number):
        sums = step(self, rows, epoch, number)
        next(self.lifter.parameters()).data.fill_(float("nan"))
        return torch.nan_to_num(sums)

    monkeypatch.setattr(LifterTrainer, "step", broken)
    with pytest.raises(UserError, match="weights are not finite"):
        command(tmp_path, "--no-eval -e 2 -r last.bin")
    assert (tmp_path / "last.bin").read_bytes() == before
    assert finite({"a": torch.zeros(2), "n": torch.tensor(1)}) and not finite({"a": torch.tensor([1, float("nan")])})
