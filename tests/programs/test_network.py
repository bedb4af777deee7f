"""Programs open no connection: neither when they are loaded, nor in the tests that run them (tests/conftest.py)."""

import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.programs.test_installation import programs

ROOT = Path(__file__).parents[2]
ALL_HELPS = """
import contextlib, io, json, runpy, sys
from tests.network import Guard
guard = Guard()
guard.on = True
told = {}
for command in json.loads(sys.argv[1]):
    sys.argv = [command.split()[-1], "--help"]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            if command.startswith("-m "):
                runpy.run_module(command[3:], run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(command, run_name="__main__")
        except SystemExit as end:
            told[command] = [end.code or 0, len(out.getvalue())]
print(json.dumps([told, guard.seen]))
"""


def test_no_program_needs_the_network_to_start():
    commands = [command for command in programs() if command != "-m benchmarks.temperature"]  # it has no flags
    line = [sys.executable, "-W", "ignore", "-c", ALL_HELPS, json.dumps(commands)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    told, seen = json.loads(done.stdout.splitlines()[-1])
    assert seen == []
    assert set(told) == set(commands) and all(code == 0 and text > 100 for code, text in told.values()), told


@pytest.mark.parametrize("how", ["connect", "look up", "urllib"])
def test_the_guard_bites(no_network, how):
    with pytest.raises(OSError, match="forbid the network"):
        if how == "connect":
            socket.create_connection(("127.0.0.1", 9), timeout=1)
        elif how == "look up":
            socket.getaddrinfo("example.org", 80)
        else:
            urllib.request.urlopen("http://example.org/", timeout=1)
    assert len(no_network.seen) == 1
    no_network.seen.clear()
