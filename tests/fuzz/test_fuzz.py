"""A few damaged files of every format; `python -m tests.fuzz` makes as many as one likes."""

import tempfile
from pathlib import Path

import pytest

from tests.fuzz import run
from tests.fuzz.formats_more import FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_told_in_one_line(name):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        valid = run.make(name, folder)
        assert run.attempt(name, folder) == "read"
        for number in range(6):
            (folder / FORMATS[name].target).write_bytes(run.damaged(name, valid, 20, number))
            assert run.attempt(name, folder) in ("read", "refused"), number
