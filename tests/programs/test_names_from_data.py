"""Subjects, actions and cameras of any name: what is written stays in its folder, nothing reaches the terminal raw."""

import shutil

import numpy as np
import pytest

from common.errors import visible
from common.programs import main as lifting
from common.programs.visualise import main as draw
from tests.fuzz.formats import _custom

SUBJECT = "../../S\x1b[2J"
ACTIONS = ["../../../../x", "/etc/x", "a\x1b[2J\nb", "..", "\u202ex", "con", "n" * 300]
RAW = ("\x1b", "\u202e")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with data of such names, and a checkpoint trained on them, in the middle of an empty folder."""
    folder = tmp_path_factory.mktemp("outer") / "a" / "b" / "c" / "work"
    folder.mkdir(parents=True)
    _custom(folder)
    for name, key in (("data_3d_custom_x.npz", "positions_3d"), ("data_2d_custom_x.npz", "positions_2d")):
        with np.load(folder / name, allow_pickle=True) as archive:
            members = {n: archive[n] for n in archive.files}
        one = members[key].item()["S1"]["Walk"]
        members[key] = np.array({SUBJECT: dict.fromkeys(ACTIONS, one)}, dtype=object)
        if "cameras" in members:
            members["cameras"].item()["*"][0]["id"] = "../../cam\x1b[2J\n"
        np.savez(folder / name, **members)
    line = ["--model", "mixste", "--nolog", "-f", "3", "-cs", "8", "-dep", "1", "-b", "60", "-e", "1", "-c"]
    assert lifting.main("h36m", None, [*common(folder), *line, str(folder / "ck"), "-str", SUBJECT]) == 0
    return folder


def common(folder):
    return ["-gpu", "-1", "-d", "custom", "-k", "x", "--data-root", str(folder), "-ste", SUBJECT]


def written(folder) -> set:
    outer = folder.parents[3]
    assert all(path.is_relative_to(folder) for path in outer.rglob("*") if path.is_file())
    return {path for path in folder.rglob("*") if path.is_file() and path.suffix != ".npz"}


@pytest.mark.parametrize(
    ("kind", "more", "count"),
    [
        ("figure", [], 6),
        ("figure", ["--viz-output", "OUT/g.svg", "--viz-frame", "0"], 1),
        ("animation", ["--viz-output", "OUT/o.gif", "--viz-limit", "1"], 3),
    ],
)
def test_pictures_stay_in_their_folder(place, capsys, kind, more, count):
    before = written(place)
    actions = ["-a", ",".join(ACTIONS if "g.svg" in str(more) else ACTIONS[:3:2])]
    model = ["-c", str(place / "ck"), "--evaluate", "last.bin"]
    more = [word.replace("OUT", str(place / "out")) for word in more]
    assert draw(kind, None, [*common(place), *model, *actions, *more]) == 0
    told = capsys.readouterr()
    assert not any(mark in told.out + told.err for mark in RAW)
    assert len(written(place) - before) >= count
    shutil.rmtree(place / "out", ignore_errors=True)


def test_evaluation_and_viewer_stay_in_their_folder(place, capsys):
    line = ["-c", str(place / "ck"), "--evaluate", "last.bin", "--viewer", "--nolog"]
    assert lifting.main("h36m", None, [*common(place), *line]) == 0
    told = capsys.readouterr()
    assert not any(mark in told.out + told.err for mark in RAW) and visible("a\x1b[2J\nb") in told.out
    pages = [path for path in written(place) if path.suffix == ".html"]
    assert pages and not any(mark in path.read_text("utf-8") for path in pages for mark in RAW)
