"""The fuzzer: readers in child processes, which are counted when they crash, hang or fill the memory.

An input is named by format, seed and number, and made again from these.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import random
import resource
import shutil
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.formats_more import FORMATS
from tests.fuzz.mutate import damage

SLOWEST = 5.0  # seconds of processor time for one file
LARGEST = 600 * 2**20  # bytes by which a reader may grow: the 64 MB that any file may claim, copies, libraries


@dataclass
class Result:
    """Of one format: inputs read, refused with one line, and survivors {kind: (count, number of the first)}."""

    read: int = 0
    refused: int = 0
    survivors: Counter = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)

    def count(self, number: int, outcome: str) -> None:
        if outcome == "read":
            self.read += 1
        elif outcome == "refused":
            self.refused += 1
        else:
            self.survivors[outcome] += 1
            self.first.setdefault(outcome, number)

    @property
    def inputs(self) -> int:
        return self.read + self.refused + sum(self.survivors.values())


def make(name: str, folder: Path) -> bytes:
    """The valid files of a format; the content of the one to be damaged."""
    with contextlib.redirect_stderr(io.StringIO()):
        FORMATS[name].make(folder)
    return (folder / FORMATS[name].target).read_bytes()


def damaged(name: str, valid: bytes, seed: int, number: int) -> bytes:
    """Input `number` of a format."""
    return damage(valid, random.Random(f"{name} {seed} {number}"))


def attempt(name: str, folder: Path) -> str:
    """Read what lies in the folder: 'read', 'refused', or what went wrong and where."""
    from common.errors import UserError

    start = time.process_time()
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            FORMATS[name].read(folder)
        outcome = "read"
    except UserError as error:
        outcome = "refused" if len(str(error).splitlines()) == 1 else "a message of several lines"
    except Exception as error:
        ours = [
            f for f in traceback.extract_tb(error.__traceback__) if "/common/" in f.filename or "/data/" in f.filename
        ]
        place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "outside"
        outcome = f"{type(error).__name__} at {place}"
    if time.process_time() - start > SLOWEST:
        return f"took {time.process_time() - start:.0f} s"
    return outcome


def _grown() -> int:
    """The peak of this process's memory, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _limit_memory() -> None:
    with Path("/proc/self/statm").open() as stream:
        used = int(stream.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 4 * 2**30, used + 4 * 2**30))


def _work(name: str, folder: str, valid: bytes, seed: int, pipe) -> None:
    """Child: read the inputs that the parent names until it says None."""
    folder = Path(folder)
    target = folder / FORMATS[name].target
    attempt(name, folder)  # imports what the reader needs
    if Path("/proc/self/statm").is_file():
        _limit_memory()
    peak = _grown()
    pipe.send("ready")
    while (number := pipe.recv()) is not None:
        target.write_bytes(damaged(name, valid, seed, number))
        peak = max(_grown(), peak)  # what making the damage took is not the reader's
        outcome = attempt(name, folder)
        grown, peak = _grown() - peak, max(_grown(), peak)
        pipe.send(f"took {grown >> 20} MB" if grown > LARGEST else outcome)


class Worker:
    """A child process for one format, started anew after a crash."""

    def __init__(self, name: str, seed: int):
        self.name, self.seed = name, seed
        self.folder = Path(tempfile.mkdtemp(prefix="fuzz_"))
        self.valid = make(name, self.folder)
        self.process = None

    def start(self) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, other = context.Pipe()
        arguments = (self.name, str(self.folder), self.valid, self.seed, other)
        (self.folder / FORMATS[self.name].target).write_bytes(self.valid)
        self.process = context.Process(target=_work, args=arguments, daemon=True)
        self.process.start()
        other.close()
        if not self.pipe.poll(120) or self.pipe.recv() != "ready":
            raise RuntimeError(f"{self.name}: the reader does not start")

    def run(self, number: int) -> str:
        if self.process is None:
            self.start()
        self.pipe.send(number)
        try:
            if self.pipe.poll(12 * SLOWEST):  # on a busy machine; the child counts its own processor time
                return self.pipe.recv()
            outcome = "hangs"
        except EOFError:
            self.process.join()
            outcome = f"dies of signal {-(self.process.exitcode or 0)}"
        self.stop()
        return outcome

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def fuzz(names: list[str], seed: int, until: float, most: int, say=print, batch: int = 100) -> dict[str, Result]:
    """Take the formats in turn, `batch` inputs each, until a time (monotonic) or a number of inputs of each format."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in names:  # what the readers import is imported once, before the children are forked
        with tempfile.TemporaryDirectory() as folder:
            make(name, Path(folder))
            attempt(name, Path(folder))
    results = {name: Result() for name in names}
    done = 0
    while done < most and time.monotonic() < until:
        for name in names:
            worker = Worker(name, seed)
            try:
                for number in range(done, min(done + batch, most)):
                    if time.monotonic() >= until:
                        break
                    outcome = worker.run(number)
                    if outcome not in ("read", "refused") and outcome not in results[name].survivors:
                        say(f"{name} input {number}: {outcome}")
                    results[name].count(number, outcome)
            finally:
                worker.close()
        done += batch
    return results
