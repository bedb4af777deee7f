"""What every program does around its work: signals, errors in one line, exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from common.errors import UserError

MENDABLE, INTERRUPTED = 2, 130  # exit codes


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP: the work ends as at Ctrl-C."""


def guarded(work: Callable[..., int], *arguments, advice: str = "") -> int:
    """Call work; turn what the user can mend into one line on stderr and exit code 2, an interruption into 130.

    advice: how to go on after an interruption. Of several processes the first one speaks.
    """
    before = {number: signal.signal(number, _end) for number in _signals()}
    try:
        return work(*arguments)
    except UserError as error:
        _tell(f"error: {error}")
        return MENDABLE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _tell(f"error: {where}{error.strerror or error}")
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
    if os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr, flush=True)
