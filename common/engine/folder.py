"""The folder of a run: tried before the work starts, locked while it goes on, and never written over in silence."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from common.engine.devices import Place
from common.engine.log import say
from common.errors import UserError
from common.files.writing import writable

LOCK = ".lock"
# What a training writes, and what a fresh one would write over.
OURS = ("last.bin", "best_epoch*.bin", "epoch_*.bin", "training_log.txt", "report.json")


@contextmanager
def claimed(folder: Path, place: Place) -> Iterator[Path]:
    """Hold the folder of a run for its whole length. Raises UserError where it cannot be written or is in use.

    The lock is the operating system's and goes with the process, however that ends. In a run of several processes the
    first one holds it.
    """
    lock = place.lead(lambda: _claim(folder))
    try:
        yield folder
    finally:
        if lock is not None:
            lock.release()
            _leave_nothing(folder)


def set_aside(folder: Path, ours: Sequence[str] = OURS) -> Path | None:
    """Move an earlier run's files to `previous/DATE/`, with a line; returns that folder, None where there were none.

    Called when a fresh run is ready to write its own: what went wrong before has moved nothing.
    """
    earlier = sorted({path for pattern in ours for path in folder.glob(pattern)})
    if not any(path.suffix in (".bin", ".pth") for path in earlier):
        return None
    aside = folder / "previous" / time.strftime("%Y-%m-%d_%H-%M-%S")
    aside.mkdir(parents=True)
    for path in earlier:
        path.replace(aside / path.name)
    say(f"{folder} held an earlier run; its {len(earlier)} files are now in {aside}")
    return aside


def _leave_nothing(folder: Path) -> None:
    """Remove a folder that holds nothing but our lock: the line was wrong, and nothing was begun."""
    if [path.name for path in folder.iterdir()] == [LOCK]:
        with suppress(OSError):
            (folder / LOCK).unlink()
            folder.rmdir()


def _claim(folder: Path) -> FileLock:
    lock = FileLock(writable(folder) / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{folder}: another run is at work there; wait for its end, or name another folder") from None
    except (OSError, NotImplementedError):
        say(f"note: {folder} cannot be locked on this file system; let no second run write there")
    return lock
