"""Files are whole or not there at all; JSON is valid; one room writes."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from common.files import writing
from common.files.writing import try_writing, whole_file

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("a.txt", lambda path: writing.save_text(path, "new")),
        ("a.json", lambda path: writing.save_json(path, {"new": 1})),
        ("a.yml", lambda path: writing.save_yaml(path, {"new": 1})),
        ("a.npy", lambda path: writing.save_npy(path, np.zeros(3))),
        ("a.npz", lambda path: writing.save_npz(path, a=np.zeros(3))),
        ("a.pkl", lambda path: writing.save_pickle(path, [1])),
        ("a.mat", lambda path: writing.save_mat(path, {"a": np.zeros(3)})),
    ],
)
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, name, save):
    path = tmp_path / "below" / name
    save(path)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing.os, "fsync", full)
    with pytest.raises(UserError, match=f"cannot write .*{name}: No space left"):
        save(path)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [name]


def test_a_number_that_is_not_finite_becomes_null(tmp_path):
    path = writing.save_json(tmp_path / "a.json", {"a": [float("nan"), 1.5, float("inf")], "b": {"c": (1, 2)}})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": [None, 1.5, None], "b": {"c": [1, 2]}}


def test_lines_are_appended_whole(tmp_path):
    for line in ("one", "two\n"):
        writing.append_line(tmp_path / "log.txt", line)
    assert (tmp_path / "log.txt").read_text() == "one\ntwo\n"


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot write"):
        writing.save_text(tmp_path / "file" / "a.txt", "x")


def test_what_a_killed_process_left_is_swept(tmp_path):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    gone, ours = tmp_path / f".a.bin.{dead.stdout.strip()}.part", tmp_path / f".b.bin.{os.getpid()}.part"
    for path in (gone, ours):
        path.write_bytes(b"half")
    writing.sweep(tmp_path)
    assert not gone.exists() and ours.exists()


_WORDS = (r"\.write_text\(", r"\.write_bytes\(", r'open\("[wax]', r"np\.savez?\w*\(", r"savemat\(", r"\.savefig\(")
WRITES = re.compile("|".join((*_WORDS, r"json\.dump\(", r"pickle\.dump\(")))


def test_one_room_writes():
    """Elsewhere only the temporary file of `whole_file` is written, and the trial of a folder."""
    for path in [*(ROOT / "common").rglob("*.py"), *(ROOT / "data").glob("*.py")]:
        if path.name == "writing.py":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if WRITES.search(line) and not re.search(r"temporary|trial", line):
                raise AssertionError(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")


def test_a_place_is_tried_and_left_as_it_was(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    try_writing(tmp_path / "a" / "b", "poses.npz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
    for folder, name in (("file", "x"), ("file/a", "x"), (".", "folder"), (".", "n" * 300), ("n" * 300, "x")):
        with pytest.raises(UserError, match="cannot"):
            try_writing(tmp_path / folder, name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_a_folder_is_no_file_to_write():
    with pytest.raises(UserError, match="it is a folder"), whole_file("."):
        pass
