"""No test, and so no program that a test runs, opens a connection: Python's audit events tell of every one.

Sockets between processes of this machine (AF_UNIX) and a free port that torch's own launcher asks for are none.
"""

from __future__ import annotations

import sys

EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg")


class Guard:
    """Refuses connections while `on`, and remembers them: `seen` holds one line each."""

    def __init__(self):
        self.on, self.seen = False, []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple) -> None:
        if not self.on or event not in EVENTS:
            return
        address = arguments[0] if event.startswith("socket.get") else arguments[-1]
        if event == "socket.connect" and not isinstance(address, tuple):
            return  # a path: AF_UNIX
        self.seen.append(f"{event} {address}")
        raise ConnectionRefusedError(f"the tests forbid the network: {event} {address}")
