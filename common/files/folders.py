"""Files in a folder and in the archives in it, as they were downloaded: nothing need be unpacked."""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.files.archives import Zip
from common.files.limits import Budget, reading, require
from common.files.texts import LARGEST_TEXT

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class Member:
    """A file: where it is, for messages and by its last part for its name, and how to read it.

    Read it before asking for the next one: an archive is read from its start to its end.
    """

    path: str
    read: Callable[[], bytes]

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.path.replace("\\", "/").split("/"))

    @property
    def name(self) -> str:
        return self.parts[-1]

    def text(self) -> str:
        return self.read().decode("utf-8-sig", errors="replace")


def files_below(root: Path, endings: tuple[str, ...], closed: str | None = None) -> Iterator[Member]:
    """Files whose names have one of the endings, in the order of their names: in the folder or archive `root`, in its
    folders, and in the archives in them. Archives with `closed` in their names stay closed: nothing is wanted of them.
    Raises UserError for what cannot be read.
    """
    if not root.exists():
        raise UserError(f"{root}: no such folder")
    for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
        lower = path.name.lower()
        if lower.startswith(".") or not path.is_file():
            continue
        if lower.endswith(endings):
            yield Member(str(path), lambda path=path: _whole(path))
        elif closed and closed in lower:
            continue
        elif lower.endswith(".zip"):
            yield from _in_zip(path, endings)
        elif lower.endswith(ARCHIVES):
            yield from _in_tar(path, endings)


def _whole(path: Path) -> bytes:
    if (size := require(path).stat().st_size) > LARGEST_TEXT:
        raise UserError(f"{path}: {size / 2**20:.0f} MB; no such file is so large")
    with reading(path, "file", ""):
        return path.read_bytes()


def _in_zip(path: Path, endings: tuple[str, ...]) -> Iterator[Member]:
    def read(name: str) -> bytes:
        with reading(path, "zip archive", "zip"):
            return bytes(archive.read(name))

    with reading(path, "zip archive", "zip"):
        archive = Zip(path, Budget(path, path.stat().st_size))
    with archive:
        for name in sorted(archive.members):
            if name.lower().endswith(endings):
                yield Member(f"{path}/{name}", lambda name=name: read(name))


def _in_tar(path: Path, endings: tuple[str, ...]) -> Iterator[Member]:
    budget = Budget(path, path.stat().st_size)

    def read(info: tarfile.TarInfo) -> bytes:
        with reading(path, "tar archive", "tar", "gzip"):
            return archive.extractfile(info).read()

    def following() -> tarfile.TarInfo | None:
        with reading(path, "tar archive", "tar", "gzip"):
            return archive.next()

    with contextlib.ExitStack() as stack:
        with reading(path, "tar archive", "tar", "gzip"):
            archive = stack.enter_context(tarfile.open(path))
        while (info := following()) is not None:
            budget.take(info.size, info.name)
            if info.isfile() and info.name.lower().endswith(endings):
                yield Member(f"{path}/{info.name}", lambda info=info: read(info))
