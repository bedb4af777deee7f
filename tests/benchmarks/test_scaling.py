"""docs/scaling.md: its tables are current and follow their formula; its SLURM script resumes, and queues itself."""

import os
import shutil
import signal
import subprocess
import time
import tomllib
from pathlib import Path

import pytest

from benchmarks import hours
from common.settings.presets import PRESETS

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs/train.slurm"


def test_the_tables_on_the_page_are_current():
    page = hours.PAGE.read_text(encoding="utf-8")
    text = hours.tables(*hours.TRAINING, hours.SHARES)
    assert hours.placed(page, text) == page, "run python -m benchmarks.hours --write"


def test_hours_follow_the_formula():
    """By hand for D3DP: 243 x 17 tokens, 16 blocks of 4 C^2 + 2 C 2 C products, attention over 17 and 243 tokens."""
    job = hours.JOBS[0]
    tokens, c = 243 * 17, 512
    by_hand = 2 * (tokens * 16 * 8 * c**2 + tokens * 8 * 2 * c * (17 + 243))
    assert hours.flop(job) == pytest.approx(by_hand, rel=0.01)
    windows = 1_559_752 / 243 + 300
    assert hours.training_hours(job, 10**9, *hours.TRAINING, 1e12) == pytest.approx(400 * windows * 6e-3 / 3600)
    assert hours.evaluation_hours(job, 10**9, 20, 10, 1e12) == pytest.approx((543_344 / 243 + 118) * 0.4 / 3600)


def test_the_trainings_are_those_of_the_published_lines():
    runs = {
        r["name"]: r for r in tomllib.loads((ROOT / "benchmarks/reproduce.toml").read_text(encoding="utf-8"))["run"]
    }
    for job in hours.JOBS:
        line = runs[job.run]["train"].split()
        epochs = int(line[line.index("-e") + 1]) if "-e" in line else PRESETS["h36m_grap2eq"]["epochs"]
        assert (epochs, runs[job.run]["frames"]) == (job.epochs, job.frames)
        assert line[line.index("--model") + 1] == job.model if "--model" in line else job.model == "grap2eq"


def test_shares_that_mean_nothing_are_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        hours.main(["--share", "0"])
    assert stopped.value.code == 2 and "above 0" in capsys.readouterr().err


@pytest.fixture
def cluster(tmp_path):
    """Stand-ins for SLURM's commands on the PATH: what was called with what is written to `calls`."""
    tools = {
        "scontrol": 'if [ "$1" = show ]; then printf "node7\\nnode8\\n"; fi',
        "srun": 'exec "$@"',
        "torchrun": "sleep ${SECONDS_OF_TRAINING:-0} & wait $!",
    }
    for name, body in tools.items():
        tool = tmp_path / name
        tool.write_text(f'#!/bin/sh\necho {name} "$@" >> "{tmp_path}/calls"\n{body}\n', encoding="utf-8")
        tool.chmod(0o755)

    def submit(*flags, **environment):
        variables = {
            "SLURM_JOB_ID": "42",
            "SLURM_NNODES": "2",
            "SLURM_GPUS_ON_NODE": "4",
            "SLURM_JOB_NODELIST": "node[7-8]",
        }
        variables |= {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", **environment}
        return subprocess.Popen(["bash", str(SCRIPT), *flags], env=os.environ | variables, cwd=tmp_path)

    return submit


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_job_resumes_where_there_is_something_to_resume(cluster, tmp_path):
    folder = tmp_path / "a run"
    folder.mkdir()
    lines = []
    for file in ("other.bin", "last.bin"):
        (folder / file).touch()
        assert cluster(str(folder), "--model", "mixste", "-e", "7").wait(60) == 0
        lines.append(
            next(c for c in reversed((tmp_path / "calls").read_text().splitlines()) if c.startswith("torchrun"))
        )
    meet = "torchrun --nnodes 2 --nproc-per-node 4 --rdzv-id 42 --rdzv-backend c10d --rdzv-endpoint node7:29500"
    assert lines[0] == f"{meet} main.py --nolog --no-eval -c {folder} --model mixste -e 7"
    assert lines[1] == f"{meet} main.py --nolog --no-eval -c {folder} --resume last.bin --model mixste -e 7"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_job_whose_time_is_up_queues_itself_again(cluster, tmp_path):
    job = cluster(str(tmp_path), SECONDS_OF_TRAINING="60")
    for _ in range(300):
        if (tmp_path / "calls").is_file() and "torchrun" in (tmp_path / "calls").read_text():
            break
        time.sleep(0.1)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(30) != 0  # ended before its training
    assert "scontrol requeue 42" in (tmp_path / "calls").read_text()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_job_without_a_folder_says_what_it_needs(cluster):
    assert cluster().wait(30) != 0
