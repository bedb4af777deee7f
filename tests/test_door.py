"""Around every program's work: signals end it like Ctrl-C, an error is one line and is said once."""

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from common import door
from common.door import guarded
from common.engine import checkpoint
from common.errors import UserError
from tests.tiny import flags

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_work_with_a_message(tmp_path, number):
    line = [sys.executable, "-u", "main.py", *flags(tmp_path), "--no-eval", "-e", "10000"]
    heard = partial(signal.signal, number, signal.SIG_DFL)  # a background job, or nohup, hands on that it is ignored
    run = subprocess.Popen(
        line, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, preexec_fn=heard
    )
    for said in run.stderr:
        if said.startswith("epoch 2"):
            break
    run.send_signal(number)
    rest = run.stderr.read()
    assert run.wait() == 130 and "Traceback" not in rest
    assert "--resume last.bin" in rest.strip().splitlines()[-1]
    assert checkpoint.load(tmp_path / "last.bin")["card"]["epoch"] >= 1 and not list(tmp_path.glob(".*.part"))


def test_an_error_of_the_system_is_one_line(capsys):
    def work():
        raise OSError(28, "No space left on device", "/there/file")

    assert guarded(work) == 2
    assert capsys.readouterr().err == "error: /there/file: No space left on device\n"


def test_a_bug_keeps_its_traceback():
    def work():
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        guarded(work)


def test_of_several_processes_one_speaks(capsys, monkeypatch, tmp_path):
    def work():
        raise UserError("no")

    monkeypatch.setattr(door.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("MASTER_PORT", "1")
    for rank, told in (("1", "error: no\n"), ("0", ""), ("2", "")):  # whichever comes first
        monkeypatch.setenv("RANK", rank)
        assert guarded(work) == 2 and capsys.readouterr().err == told


def test_a_users_error_under_torchrun_is_told_once(tmp_path):
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "main.py"]
    done = subprocess.run([*line, *flags(tmp_path), "-str", "S77"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and done.stderr.count("no subject S77") == 1


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_too_little_memory_is_one_line(capsys, error):
    def work():
        raise error

    assert guarded(work) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: not enough memory") and len(told.splitlines()) == 1


def test_the_names_of_files_in_system_errors_cannot_act_on_the_terminal(capsys):
    def work():
        raise OSError(2, "No such file", "a\n\x1b[2J")

    assert guarded(work) == 2
    assert capsys.readouterr().err == "error: a\\n\\x1b[2J: No such file\n"


@pytest.mark.parametrize("code", [0, 2])
def test_leaving_runs_what_is_registered_and_flushes(code):
    text = f"""
import atexit, sys
from common.door import leave
atexit.register(print, "registered")
sys.stdout.write("buffered")
leave({code})
"""
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, "bufferedregistered\n", "")
