"""What every reader of this room keeps to: how much a file may ask for, and one clear line for a bad file.

A file may declare at most max(64 MB, 200 x its own bytes), whatever its format; readers ask a `Budget` before they take
memory. `reading` names files that are something else than they were given for (a Git LFS pointer, a web page, an empty
download, an archive) and turns whatever a decoder raises on a damaged file into one UserError.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from common.errors import UserError

FLOOR = 64 * 2**20  # bytes
RATIO = 200


class Budget:
    """Bytes that one file may still ask for."""

    def __init__(self, path: object, size: int):
        self.path = path
        self.most = self.left = max(FLOOR, RATIO * size)

    def take(self, count: int, what: str) -> None:
        """Spend `count` bytes on `what`; UserError where the file has no right to so many."""
        if not 0 <= count <= self.left:
            raise UserError(
                f"{self.path}: {what} claims {_bytes(count)}, far more than a file of its size can hold; "
                "it is damaged or was made to fill the memory"
            )
        self.left -= count


def _bytes(count: int) -> str:
    return f"{count / 2**20:.3g} MB" if 0 <= count < 10**18 else "an impossible number of bytes"


# First bytes: (what the reader calls it, what to tell the user).
_AGAIN = "download it again"
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "lfs", "a Git LFS pointer, not the file itself: run 'git lfs pull', or " + _AGAIN),
    (b"\x1f\x8b", "gzip", "a gzip archive: unpack it first (gunzip, or tar -xzf)"),
    (b"BZh", "bzip2", "a bzip2 archive: unpack it first (bunzip2, or tar -xjf)"),
    (b"\xfd7zXZ\0", "xz", "an xz archive: unpack it first (unxz, or tar -xJf)"),
    (b"7z\xbc\xaf\x27\x1c", "7z", "a 7z archive: unpack it first"),
    (b"Rar!", "rar", "a RAR archive: unpack it first"),
    (b"\x89HDF\r\n\x1a\n", "hdf5", "an HDF5 file"),
    (b"\x93NUMPY", "npy", "a NumPy array (.npy)"),
    (b"%PDF", "pdf", "a PDF document"),
    (b"\x89PNG", "png", "a PNG picture"),
    (b"\xff\xd8\xff", "jpeg", "a JPEG picture"),
)
_HTML = (b"<!doctype html", b"<html", b"<head", b"<?xml", b"<error", b"<!--")


def recognise(path: Path) -> tuple[str, str]:
    """(kind, sentence) of a file by its first bytes; kind '' where they tell nothing."""
    with path.open("rb") as stream:
        head = stream.read(1024)
    if not head:
        return "empty", f"an empty file, perhaps of a download that failed: {_AGAIN}"
    if not head.strip(b"\0"):
        return "zeros", f"a file that begins with zeros, perhaps of a download that did not end: {_AGAIN}"
    for signature, kind, sentence in _SIGNATURES:
        if head.startswith(signature):
            return kind, sentence
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        return "zip", "a zip archive"
    if head[257:262] == b"ustar":
        return "tar", "a tar archive: unpack it first (tar -xf)"
    if head.startswith(b"MATLAB 5.0"):
        return "mat", "a MAT v5 file"
    if head.startswith(b"MATLAB 7.3"):
        return "hdf5", "a MAT v7.3 file"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_HTML):
        return "html", f"a web page, not the file (a login or an error page?): {_AGAIN}"
    return "", ""


def is_folder(path: Path | str) -> bool:
    """Whether there is a folder of that name; no for a name that cannot be."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def require(path: Path | str) -> Path:
    """The path of a regular file; UserError where there is none."""
    path = Path(path)
    try:
        if path.is_file():
            return path
        if path.is_dir():
            what = "a folder, not a file"
        elif path.exists():
            what = "a pipe or a device, not a file: save what it gives first"
        else:
            what = "a link that leads nowhere" if path.is_symlink() else "no such file"
    except (OSError, ValueError) as error:  # a name too long, a NUL in it, links in a circle
        what = f"no usable name of a file ({_told(error)})"
    shown = str(path)
    raise UserError(f"{shown if len(shown) < 400 else shown[:60] + '...' + shown[-60:]}: {what}")


@contextlib.contextmanager
def reading(path: Path | str, kind: str, *own: str) -> Iterator[Path]:
    """Read a file as `kind` ('.npz archive'): gives its path; every failure inside becomes one UserError.

    own: names of `recognise` that this kind may begin with; any other known beginning is told as what it is. Decoders
    (zipfile, SciPy, HDF5, FFmpeg, ...) meet damage with any exception, so all are caught; a UserError passes as it is.
    """
    path = require(path)
    try:
        found, sentence = recognise(path)
        if found and found not in own:
            raise UserError(f"{path}: not a readable {kind} but {sentence}")
        yield path
    except UserError:
        raise
    except OSError as error:
        if error.errno not in errno.errorcode or error.errno in (errno.EINVAL, errno.EILSEQ):  # h5py's and PyAV's own
            raise UserError(f"{path}: not a readable {kind} ({_told(error)}); {_remedy(path)}") from error
        raise UserError(f"{path}: cannot be read ({os.strerror(error.errno)})") from error
    except Exception as error:
        raise UserError(f"{path}: not a readable {kind} ({_told(error)}); {_remedy(path)}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # how a library in Rust fails
            raise
        raise UserError(f"{path}: not a readable {kind}; {_remedy(path)}") from error


@contextlib.contextmanager
def understanding(source: object, what: str) -> Iterator[None]:
    """Make sense of what was read: a value of another type, shape or size than the format has becomes a UserError.

    For the code that takes foreign lists and dictionaries apart, not for computing with them.
    """
    try:
        yield
    except (
        AttributeError, LookupError, TypeError, ValueError, ArithmeticError, AssertionError, MemoryError, RuntimeError,
        struct.error,
    ) as error:  # fmt: skip
        raise UserError(f"{source}: not a readable {what} ({_told(error)})") from error


def _told(error: BaseException) -> str:
    """An exception in a few words."""
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines()
    text = lines[0][:120] if lines else ""
    if isinstance(error, KeyError):
        return f"no {text}"
    return text or type(error).__name__


def _remedy(path: Path) -> str:
    if path.stat().st_size < 4096 and path.suffix:
        return "it is damaged or no file of this kind"
    return "it is damaged or cut off: copy or download it again"
