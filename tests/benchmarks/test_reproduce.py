"""docs/reproduce.md and Experiments.sh are current, complete, and made of commands that the programs accept."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks import reproduce
from common.programs import two_view
from common.settings.adaptation import read_settings
from common.settings.config_files import read_config
from common.settings.flags import parse
from common.settings.lifting import FLAGS
from common.settings.two_view_files import find_config, resolve
from common.settings.two_view_files import read_config as read_two_view

ROOT = Path(__file__).parents[2]
TABLE = reproduce.load_table()
COMMANDS = [
    pytest.param(run[kind], id=f"{run['name']}-{kind}")
    for run in TABLE["run"]
    for kind in reproduce.KINDS
    if kind in run
]


def _lifting(argv):
    """(whether it evaluates, lines about flags that do nothing) of a command line."""
    parsed = parse(argv, None, FLAGS, {}, config=read_config)
    return bool(parsed.values["evaluate"]), parsed.notices


def _adaptation(preset):
    def read(argv):
        settings, _, notices = read_settings(preset, argv)
        return bool(settings.task.evaluate), notices

    return read


def _two_view(argv):
    parsed = two_view.parser("").parse_args(argv)
    if not parsed.rescore:
        path = find_config(parsed.config)
        resolve(read_two_view(path), two_view.typed_settings(parsed), str(path))
    return not parsed.train, ()


PARSERS = dict.fromkeys(("main.py", "main_gt.py", "main_3dhp.py", "main_h36m.py", "main_humaneva.py"), _lifting) | {
    "h36m_transfer.py": _adaptation("h36m_transfer"),
    "h36m_3dhp_transfer.py": _adaptation("h36m_3dhp_transfer"),
    "main_diffpose_2view_frame.py": _two_view,
}


def test_both_files_are_current():
    for path, text in reproduce.outputs(TABLE).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python -m benchmarks.reproduce"


def test_check_tells_a_stale_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reproduce, "ROOT", tmp_path)
    assert reproduce.main(["--check"]) == 1
    assert "reproduce.md" in capsys.readouterr().out
    assert reproduce.main([]) == 0 and reproduce.main(["--check"]) == 0
    with (tmp_path / "Experiments.sh").open("a", encoding="utf-8") as stream:
        stream.write("# by hand\n")
    assert reproduce.main(["--check"]) == 1


def test_every_system_and_row_is_there():
    page = reproduce.page(TABLE)
    assert {run["system"] for run in TABLE["run"]} == {
        *("D3DP", "GraphDiffu", "Grap2Eq", "Diff3DHPE", "Dual-Diffusion", "PoSynDA")
    }
    rows = sum(len(run["published"]) for run in TABLE["run"])
    lines = [line for line in page.splitlines() if line.startswith("| [")]
    assert len(lines) == rows
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    unmeasured = sum("measured" not in row for run in TABLE["run"] for row in run["published"])
    assert sum(reproduce.NOT_MEASURED in line for line in lines) == unmeasured
    for run in TABLE["run"]:
        assert run["evaluate"] in page and run.get("train", "") in page
        assert reproduce.file_list(run, TABLE) or "train" not in run
        assert reproduce.weight_names(run)
    diff = {(run["data"], run["frames"]) for run in TABLE["run"] if run["system"] == "Diff3DHPE"}
    assert {("Human3.6M, CPN 2D", 81), ("Human3.6M, CPN 2D", 243)} < diff
    assert {("Human3.6M, ground-truth 2D", 81), ("Human3.6M, ground-truth 2D", 243)} < diff


def test_rows_say_where_a_figure_is_from():
    for run in TABLE["run"]:
        assert run.keys() <= {
            *("name", "system", "data", "frames", "sampling", "files", "train", "evaluate", "weights", "note"),
            "published",
        }
        for row in run["published"]:
            assert row["column"] and row["source"]
            assert row.keys() <= {*reproduce.METRICS, "column", "source", "measured", "read", "tolerance"}
            assert (row["column"] == "unknown") == (not row.keys() & reproduce.METRICS.keys())


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_script_runs_the_commands(tmp_path):
    """With a stand-in for python on the PATH that prints its arguments."""
    stand_in = tmp_path / "python"
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    stand_in.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}

    def experiments(*argv):
        command = ["bash", str(ROOT / "Experiments.sh"), *argv]
        return subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", cwd=tmp_path)

    for run in TABLE["run"]:
        for kind in [kind for kind in reproduce.KINDS if kind in run]:
            done = experiments(run["name"], kind)
            assert ["python", *done.stdout.splitlines()] == shlex.split(run[kind])
            assert done.returncode == 0
    wrong = experiments("d3dp", "train")
    assert wrong.returncode == 2 and "d3dp-h36m-cpn" in wrong.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_accepted(command):
    python, script, *argv = shlex.split(command)
    assert python == "python" and (ROOT / script).is_file()
    evaluates, notices = PARSERS[script](argv)
    assert evaluates == bool({"--evaluate", "--rescore", "--test_timesteps"} & set(argv))
    assert not notices  # a command of ours has no flag that does nothing
