"""docs/published_interface.md: its flags parse with their programs, its programs and settings files are there."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "published_interface.md").read_text(encoding="utf-8")
VERDICTS = ("same", "accepted", "differs", "refused", "likewise", "more:")


def tables() -> dict[str, list[tuple[str, str]]]:
    """Rows (published, here) of every table, by 'SYSTEM: HEADING'."""
    found, system, heading = {}, "", ""
    for line in PAGE.splitlines():
        if line.startswith("## "):
            system, heading = line[3:], "table"
        elif line.startswith("### "):
            heading = line[4:]
        elif line.startswith("| ") and not line.startswith("| published"):
            published, here = (cell.strip() for cell in line.strip("|").split(" | ", 1))
            found.setdefault(f"{system}: {heading}", []).append((published, here))
    return found


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


FLAGS = [
    (heading.split("`")[1], flag)
    for heading, rows in tables().items()
    if "Flags of `" in heading
    for published, _ in rows
    for flag in codes(published)
]


@pytest.mark.parametrize("script", dict.fromkeys(script for script, _ in FLAGS))
def test_every_flag_parses(script, monkeypatch, capsys):
    """Typed with a flag that no program has, each line is refused for that one alone."""
    wrong = []
    for name, flag in FLAGS:
        if name != script:
            continue
        monkeypatch.setattr(sys, "argv", [script, *shlex.split(flag), "--no-such-flag"])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        last = capsys.readouterr().err.strip().splitlines()[-1]
        if stop.value.code != 2 or not last.endswith("unrecognized arguments: --no-such-flag"):
            wrong.append((flag, last))
    assert not wrong


def test_there_are_flags_of_every_program():
    assert len(FLAGS) > 200 and len({script for script, _ in FLAGS}) == 5


def test_programs_and_settings_files_are_there():
    for heading, rows in tables().items():
        for published, here in rows:
            for name in codes(published):
                if heading.endswith("Settings files") and name.startswith("configs/"):
                    assert (ROOT / name).is_file(), name
                if heading.endswith("Programs") and here.startswith("same"):
                    assert (ROOT / name).is_file(), name
    shipped = {f"configs/{p.name}" for p in (ROOT / "configs").iterdir() if "diffpose" in p.name or "S2S" in p.name}
    assert shipped == {n for row in tables().values() for cell, _ in row for n in codes(cell) if n in shipped}


def test_every_row_has_a_verdict_and_a_difference_its_reason():
    for rows in tables().values():
        for published, here in rows:
            assert here.startswith(VERDICTS), (published, here)
            assert not re.search(r"differs\W*$", here), f"{published}: why?"
