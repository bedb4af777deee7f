"""The folder of a run: locked, tried, and never written over in silence."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from common.engine import checkpoint
from common.engine.devices import Place
from common.engine.folder import claimed, set_aside
from common.errors import UserError
from common.files.writing import writable
from tests.tiny import CPU, command, flags

ROOT = Path(__file__).parents[2]


def test_a_fresh_run_keeps_what_an_earlier_one_left(tmp_path, capsys):
    command(tmp_path, "--no-eval -e 2")
    earlier = (tmp_path / "best_epoch_1_1.bin").read_bytes()
    command(tmp_path, "--no-eval -e 1 --seed 2")
    aside = list((tmp_path / "previous").iterdir())
    assert len(aside) == 1 and (aside[0] / "best_epoch_1_1.bin").read_bytes() == earlier
    assert {"last.bin", "best_epoch_1_1.bin", "training_log.txt"} <= {path.name for path in aside[0].iterdir()}
    assert checkpoint.load(tmp_path / "last.bin")["card"]["seed"] == 2
    assert "previous" in capsys.readouterr().err


def test_a_wrong_line_moves_nothing(tmp_path):
    command(tmp_path, "--no-eval -e 1")
    with pytest.raises(UserError):
        command(tmp_path, "--no-eval -e 1 -str S77")
    assert (tmp_path / "last.bin").is_file() and not (tmp_path / "previous").exists()


def test_a_wrong_line_leaves_no_folder(tmp_path):
    with pytest.raises(UserError):
        command(tmp_path / "new", "--no-eval -e 1 -str S77")
    assert not (tmp_path / "new").exists()


def test_a_resumed_run_moves_nothing(tmp_path):
    command(tmp_path, "--no-eval -e 1")
    command(tmp_path, "--no-eval -e 2 --resume last.bin")
    assert not (tmp_path / "previous").exists()


def test_weights_of_others_stay_where_they_are(tmp_path):
    """A published file in the folder is no run of ours: nothing writes over it."""
    (tmp_path / "h36m_best_epoch.bin").write_bytes(b"published")
    assert set_aside(tmp_path) is None
    assert (tmp_path / "h36m_best_epoch.bin").read_bytes() == b"published" and not (tmp_path / "previous").exists()


def test_a_second_run_in_the_same_folder_is_told(tmp_path):
    with claimed(tmp_path, CPU):
        line = [sys.executable, "main.py", *flags(tmp_path), "--no-eval", "-e", "1"]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "another run is at work there" in done.stderr.strip().splitlines()[-1]
    assert not list(tmp_path.glob("*.bin"))


def test_parts_of_a_killed_run_are_removed(tmp_path):
    part = tmp_path / ".last.bin.999999999.part"
    part.write_bytes(b"half")
    with claimed(tmp_path, CPU):
        assert not part.exists()


def test_a_folder_that_cannot_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        writable(tmp_path / "file" / "below")


def test_what_fails_in_the_first_process_ends_all(monkeypatch):
    """The others leave without a word."""
    first, other = Place(torch.device("cpu")), Place(torch.device("cpu"), rank=1, world=2)
    monkeypatch.setattr(Place, "sum", lambda self, value: torch.ones_like(value))

    def work():
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        first.lead(work)
    with pytest.raises(SystemExit) as end:
        other.lead(work)
    assert end.value.code == 2
