"""Files written whole or not at all: a kill or a full disk leaves the old file or the new one."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common.errors import UserError

# Reasons why a file cannot be written.
_WRITING = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ENOENT),
}


def whole_file_name(path: Path) -> Path:
    """Where a file is written until it is whole. UserError for a path without a name, as '.'."""
    if not path.name:
        raise UserError(f"cannot write {path}: it is a folder")
    return path.with_name(f".{path.name}.{os.getpid()}.part")


@contextlib.contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success flush it to disk and rename, else remove it. Makes the folder.

    Raises UserError where the place cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    temporary = whole_file_name(path)
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno not in _WRITING:  # what the caller read meanwhile may fail too
            raise
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    except RuntimeError as error:  # PyTorch's own words
        if "PytorchStreamWriter" not in str(error) and "inline_container" not in str(error):
            raise
        raise UserError(f"cannot write {path}: is the disk full? ({str(error).splitlines()[0]})") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def writable(folder: Path) -> Path:
    """Make the folder if need be, try it, and clear it of what a killed run left half written.

    Raises UserError where nothing can be written there.
    """
    trial = folder / ".trial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial.write_bytes(b"x")
        trial.unlink()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
    sweep(folder)
    return folder


def try_writing(folder: Path, name: str = "") -> None:
    """Before long work: whether files can be written into the folder; it is left as it was, made or not.

    name: of the file that is to lie there. Raises UserError where nothing can be written, or not under that name.
    """
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]  # the innermost first
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
    writable(folder)
    try:
        if name and (folder / name).is_dir():
            raise UserError(f"cannot write {folder / name}: it is a folder")
        if name:
            with whole_file_name(folder / name).open("wb"):
                pass
            whole_file_name(folder / name).unlink()
    except OSError as error:
        raise UserError(f"cannot write {folder / name}: {error.strerror}") from None
    for path in missing:
        path.rmdir()


def sweep(folder: Path) -> None:
    """Remove the temporary files of processes that are gone: killed while they wrote into this folder."""
    for left in folder.glob(".*.part"):
        number = left.name.split(".")[-2]
        if not (number.isdigit() and _alive(int(number))):
            left.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is somebody else's, or the system cannot tell
        return True
    return True


def save_npz(path: Path | str, **members) -> Path:
    """A compressed NumPy archive, whole or not at all; returns its path."""
    with whole_file(path) as temporary, temporary.open("wb") as stream:  # savez adds an ending to names, not to streams
        np.savez_compressed(stream, **members)
    return Path(path)


def save_npy(path: Path | str, array: np.ndarray) -> Path:
    """An array as `.npy`, whole or not at all; one of objects (a label file's dict) is pickled, as published."""
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=array.dtype.hasobject)
    return Path(path)


def save_pickle(path: Path | str, content: object) -> Path:
    """A pickle of plain data, whole or not at all; returns its path."""
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        pickle.dump(content, stream)
    return Path(path)


def save_mat(path: Path | str, arrays: dict[str, np.ndarray]) -> Path:
    """A MAT v5 file, whole or not at all."""
    import scipy.io

    with whole_file(path) as temporary, temporary.open("wb") as stream:
        scipy.io.savemat(stream, arrays)
    return Path(path)


def save_text(path: Path | str, text: str) -> Path:
    """A UTF-8 text file with plain newlines, whole or not at all; returns its path."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return Path(path)


def save_figure(path: Path | str, figure, **options) -> Path:
    """A Matplotlib figure in the format of the name's ending, whole or not at all; returns its path."""
    path = Path(path)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip(".") or "png", **options)
    return path


def save_json(path: Path | str, content: object) -> Path:
    """A JSON file, whole or not at all; a number that is not finite, which JSON lacks, becomes null."""
    return save_text(path, json.dumps(_finite(content), indent=1, allow_nan=False) + "\n")


def save_yaml(path: Path | str, content: dict) -> Path:
    """A YAML file, whole or not at all; returns its path."""
    import yaml  # here: a run on a bare GPU machine writes none

    return save_text(path, yaml.safe_dump(content))


def append_line(path: Path | str, text: str) -> None:
    """Add text to a file in one write, a newline at its end: a kill leaves whole lines."""
    with Path(path).open("a", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(text if text.endswith("\n") else text + "\n")


def _finite(content: object) -> object:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
