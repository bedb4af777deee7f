"""What every program does around its work: signals, errors in one line, exit codes."""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from common.errors import UserError, visible

MENDABLE, INTERRUPTED = 2, 130  # exit codes


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP: the work ends as at Ctrl-C."""


def guarded(work: Callable[..., int | None], *arguments, advice: str = "") -> int:
    """Call work; turn what the user can mend into one line on stderr and exit code 2, an interruption into 130.

    Returns what work returns, 0 for None.

    advice: how to go on after an interruption.
    """
    before = {number: signal.signal(number, _end) for number in _signals()}
    try:
        return work(*arguments) or 0
    except UserError as error:
        _tell(f"error: {error}")
        return MENDABLE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _tell(visible(f"error: {where}{error.strerror or error}"))
        return MENDABLE
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or re.search("allocate memory|out of memory", str(error))):
            raise
        _tell("error: not enough memory; take a smaller batch, network or window, or fewer hypotheses at a time")
        return MENDABLE
    except KeyboardInterrupt as interruption:
        word = "ended by a signal" if isinstance(interruption, Ended) else "interrupted"
        _tell(f"{word}; {advice}" if advice else word)
        return INTERRUPTED
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if "common.engine.devices" in sys.modules:
            sys.modules["common.engine.devices"].leave()


def leave(code: int) -> NoReturn:
    """End the process at once, after what is registered for its end: taking PyTorch's modules down one by one costs a
    second and touches 130 MB. For programs whose files are closed and whose threads hold nothing."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # a pipe that was closed
            stream.flush()
    os._exit(code)


def _signals() -> list[int]:
    """SIGTERM and SIGHUP, where the system has them and this thread may listen."""
    try:
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
    except ValueError:  # not the main thread
        return []
    return [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def _end(number, frame):
    raise Ended


def _tell(line: str) -> None:
    """Print a line on stderr; of several processes on this machine that end with the same line, one does."""
    if "RANK" in os.environ and not _first_to_say(line):
        return
    print(line, file=sys.stderr, flush=True)


def _first_to_say(line: str) -> bool:
    """Whether no other process of this launch has said it: the first one makes a file of its name."""
    launch = [os.environ.get(name, "") for name in ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT")]
    name = hashlib.blake2b("\0".join([*launch, line]).encode(errors="replace"), digest_size=8).hexdigest()
    mark = Path(tempfile.gettempdir()) / f"said_{name}"
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return time.time() - mark.stat().st_mtime > 60  # of an earlier launch
    except OSError:
        return True
    atexit.register(mark.unlink, missing_ok=True)
    time.sleep(1)  # the others end meanwhile
    return True
