"""The one place that fetches something from the network: told in a line, checked by its hash, whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from common.errors import UserError
from common.files.writing import whole_file

SILENCE = 30  # seconds without a byte after which a server counts as gone
PIECE = 1 << 20


@dataclass(frozen=True)
class Remote:
    """A file that others offer: what it is, where it lies, its size in words, its SHA-256, and how to do without it."""

    what: str
    url: str
    size: str
    sha256: str
    otherwise: str

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


def fetch(remote: Remote, target: Path, offline: bool = False) -> Path:
    """Fetch a file to `target`, with a line on stderr before and a progress bar; returns `target`.

    Raises UserError where `offline` forbids it, the network fails, or the file is not the one that is meant.
    """
    where = f"{remote.what}: {remote.name}, {remote.size}, from {remote.url}"
    if offline:
        raise UserError(f"--offline: not fetched: {where}; {remote.otherwise}")
    print(f"fetching {where} to {target} (--offline forbids it)", file=sys.stderr)
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(remote.url, timeout=SILENCE) as answer, whole_file(target) as temporary:
            total = int(answer.headers.get("Content-Length") or 0) or None
            bar = tqdm(total=total, desc=remote.name, unit="B", unit_scale=True, dynamic_ncols=True)
            with bar, temporary.open("wb") as stream:
                while piece := answer.read(PIECE):
                    stream.write(piece)
                    digest.update(piece)
                    bar.update(len(piece))
            if digest.hexdigest() != remote.sha256:
                raise UserError(
                    f"what was fetched is not {where}: its SHA-256 is {digest.hexdigest()}, not {remote.sha256}; "
                    f"nothing was kept; {remote.otherwise}"
                )
    except (OSError, http.client.HTTPException, ValueError) as error:  # urllib's errors are OSErrors
        reason = getattr(error, "reason", None) or error
        raise UserError(f"cannot be fetched ({reason}): {where}; {remote.otherwise}") from None
    return target
