"""One's own denoiser against its base: the answer, a file that changes, files that are none."""

from pathlib import Path

import pytest

from benchmarks import idea
from common.models import REGISTRY
from tests.tiny import h36m_folder

ROOT = Path(__file__).parents[2]
MINE = """
from common.models.mixste import MixSTE
from common.models.registry import Entry

class Mine(MixSTE):
    def first_spatial(self, x, condition):
        return 0 * super().first_spatial(x, condition)

ENTRY = Entry(build=Mine)
"""


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(idea, "WHERE", "-k gt -f 5 -cs 16 -dep 2 -gpu -1 --select last --nolog --p2 -a Walking")


def run(file, tmp_path, *more) -> int:
    line = [str(file), "--data", str(h36m_folder()), "-o", str(tmp_path / "runs"), "--steps", "3", *more]
    return idea.main(line)


def test_ktpformer_answers(tmp_path, capsys):
    assert run(ROOT / "common/models/ktpformer.py", tmp_path) == 0
    out = capsys.readouterr().out
    assert "ktpformer - mixste: " in out and "95% interval" in out and "times that of mixste" in out
    assert "3 steps a run" in out and "MADE-UP" not in out


def test_a_file_of_ones_own_and_a_change_of_it(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(MINE, encoding="utf-8")
    assert run(file, tmp_path, "--seeds", "1") == 0 and "mine" not in REGISTRY
    assert "mine - mixste" in capsys.readouterr().out
    assert run(file, tmp_path, "--seeds", "1") == 0
    assert capsys.readouterr().err.count("finished before") == 2
    file.write_text(MINE.replace("0 *", "2 *"), encoding="utf-8")
    assert run(file, tmp_path, "--seeds", "1") == 2
    assert "holds runs of another mine.py" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no such file"),
        ("x = 1", "no row of the registry"),
        ("1 / 0", "ZeroDivisionError"),
        ("d", "NameError"),
    ],
)
def test_files_that_are_none(text, said, tmp_path, capsys):
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    assert run(file, tmp_path) == 2
    assert said in capsys.readouterr().err


def test_wrong_lines(tmp_path, capsys):
    assert run(ROOT / "common/models/mixste.py", tmp_path) == 2
    assert "has the name of --base mixste" in capsys.readouterr().err
    assert run(ROOT / "common/models/ktpformer.py", tmp_path, "--base", "nothing") == 2
    assert "--base nothing: unknown" in capsys.readouterr().err
