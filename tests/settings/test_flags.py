"""Flags as fields: one default each, comma lists split one way, and a door that opens fast."""

import subprocess
import sys
import time
from argparse import ArgumentTypeError
from dataclasses import fields
from pathlib import Path

import pytest

from common.errors import UserError
from common.programs.main import read_settings
from common.settings import adaptation, figures, lifting, wild
from common.settings.flags import Flag, make_parser, names, numbers, parse

ROOT = Path(__file__).parents[2]
TABLES = {"lifting": lifting.FLAGS, "adaptation": adaptation.FLAGS, "figures": figures.FLAGS, "wild": wild.FLAGS}
SCRIPTS = sorted(path.name for path in ROOT.glob("*.py") if path.name != "setup.py")  # of the programs


@pytest.mark.parametrize(("text", "expected"), [("S1,S5", ("S1", "S5")), (" S1 , S5 ", ("S1", "S5")), ("*", ("*",))])
def test_a_comma_list(text, expected):
    assert names(text) == expected


@pytest.mark.parametrize("text", ["", "Walk,", ",S1", "S1,,S5", "S1,S1", "S1, S1"])
def test_an_empty_or_repeated_entry_is_an_error(text):
    with pytest.raises(ArgumentTypeError):
        names(text)


def test_numbers():
    assert numbers("0, 2") == (0, 2)
    with pytest.raises(ArgumentTypeError, match="such as 0 or 0,2"):
        numbers("one")


@pytest.mark.parametrize("line", ["-str S1,S1", "-a Walk,", "-ste ,S9"])
def test_a_wrong_list_is_one_line(line):
    with pytest.raises(UserError):
        read_settings("h36m", line.split())


@pytest.mark.parametrize("table", TABLES)
def test_each_name_and_each_field_stands_once(table):
    rows = TABLES[table]
    spelled = [name for row in rows for name in row.names]
    assert len(spelled) == len(set(spelled)) and len(rows) == len({row.destination for row in rows})
    for row in rows:
        assert row.help and "\n" not in row.help


@pytest.mark.parametrize("table", TABLES)
def test_help_tells_every_default(table):
    fields = {row.destination for row in TABLES[table] if row.names[0].startswith("-")}
    actions = [action for action in make_parser(None, TABLES[table], {})._actions if action.dest in fields]
    assert len(actions) == len(fields) and all("default" in action.help for action in actions)


def test_from_python_and_from_a_command_line_the_defaults_are_the_same():
    settings, _ = read_settings("h36m", [])
    python = lifting.Settings()
    preset = {"model", "checkpoint"}
    for part, cls in lifting.PARTS.items():
        for f in fields(cls):
            if f.name not in preset:
                assert getattr(getattr(settings, part), f.name) == getattr(getattr(python, part), f.name), f.name


def test_settings_are_changed_by_field():
    settings = lifting.Settings().changed(epochs=3, hypotheses=7, data_root="x")
    assert (settings.training.epochs, settings.evaluation.hypotheses, settings.data.data_root) == (3, 7, "x")
    assert settings.value("epochs") == 3


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_imports_no_torch_and_opens_fast(script):
    code = (
        "import sys, runpy; sys.argv = [sys.argv[1], '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    start = time.process_time()
    done = subprocess.run([sys.executable, "-c", code, script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower() and time.process_time() - start < 1


@pytest.mark.parametrize("script", ["main.py", "main_wild.py"])
def test_programs_work_from_any_folder(script, tmp_path):
    done = subprocess.run([sys.executable, str(ROOT / script), "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_empty_text_is_not_a_flag_left_out():
    flags = (Flag(("-r", "--resume"), "a file", default="", destination="resume"),)
    flags += (Flag(("--kind",), "a kind", default="", choices=("", "a"), destination="kind"),)
    assert parse(["--kind", ""], None, flags, {}).values == {"resume": "", "kind": ""}
    for line in (["-r", ""], ["--resume="]):
        with pytest.raises(UserError, match="--resume: an empty text"):
            parse(line, None, flags, {})


def test_names_are_typed_as_clips_have_them():
    assert names("S1, a\x1b[2J") == ("S1", "a\\x1b[2J")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--test-time-augmentation mean", "expected True, False or own"),
        ("--as-published --temperature 2,1", "--as-published sets --temperature 1,1; leave out --temperature 2,1"),
        ("--as-published --sampler heun", "--as-published sets --sampler ddim; leave out --sampler heun"),
        ("--as-published --test-time-augmentation own", "--as-published knows no --test-time-augmentation own"),
        ("--temperature 1,3", "--temperature 1,3: the second factor .* --temperature 1,1"),
        ("-sampling_timesteps 3 --sampler euler --temperature 2,3", "--temperature 2,3: .* --temperature 2,1"),
    ],
)
def test_what_cannot_act_is_refused(line, told):
    with pytest.raises(UserError, match=told):
        read_settings("h36m", line.split())
    for fine in ("--as-published --temperature 1,1", "-sampling_timesteps 2 --temperature 1,3", "--temperature 2,1"):
        read_settings("h36m", fine.split())
