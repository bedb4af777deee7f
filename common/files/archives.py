"""Zip archives (.npz files and checkpoints are such) and the arrays in them."""

from __future__ import annotations

import ast
import io
import math
import re
import struct
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.files.limits import Budget, reading
from common.files.pickle_names import NUMPY, Damaged, checked_array, field_shape, plain_dtype
from common.files.pickles import unpickle

_PIECE = 1 << 20
_LONGEST_HEADER = 1 << 16  # of an .npy file


class Zip:
    """A zip archive whose members are read whole, within a budget, their checksums tested."""

    def __init__(self, path: Path, budget: Budget):
        self.path = path
        try:
            self.archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile:
            with path.open("rb") as stream:
                begun = stream.read(2) == b"PK"
            if begun:
                raise UserError(
                    f"{path}: cut off, the end of the archive is missing: download or copy it again"
                ) from None
            raise
        self.members = {member.filename: member for member in self.archive.infolist()}
        budget.take(sum(member.file_size for member in self.archive.infolist()), "the archive")

    def __enter__(self) -> Zip:
        return self

    def __exit__(self, *error) -> None:
        self.archive.close()

    def read(self, name: str) -> bytearray:
        """A member's bytes. Raises UserError for an encrypted one and where they do not match their checksum."""
        member = self.members.get(name)
        if member is None:
            raise UserError(f"{self.path}: damaged, it has no member {name}")
        if member.flag_bits & 0x1:
            raise UserError(f"{self.path}: its member {name} is encrypted (or the file is damaged)")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError(f"{self.path}: its member {name} is packed in an unknown way (or the file is damaged)")
        data = bytearray()
        with self.archive.open(member) as stream:
            while piece := stream.read(_PIECE):
                data += piece
                if len(data) > member.file_size:
                    raise UserError(f"{self.path}: damaged, its member {name} is longer than it says")
        if len(data) != member.file_size:
            raise UserError(f"{self.path}: damaged, its member {name} is shorter than it says")
        return data


def load_archive(path: str | Path, members: Collection[str] | None = None) -> dict[str, Any]:
    """Read an `.npz` archive whose members may be pickled dictionaries of arrays: all of them, or those named.

    Returns {member: array, or the dict/list that a 0-d object array holds}. Raises UserError for a missing or
    damaged file and for a pickle that asks for anything but plain data.
    """
    with reading(path, ".npz archive", "zip") as path:
        budget = Budget(path, path.stat().st_size)
        with Zip(path, budget) as archive:
            names = [name for name in archive.members if name.endswith(".npy")]
            if not names:
                some = ", ".join(list(archive.members)[:3]) or "nothing"
                raise UserError(f"{path}: a zip archive of other files ({some}), not an .npz: unpack it first")
            wanted = {name.removesuffix(".npy"): name for name in names}
            if members is not None:
                wanted = {member: name for member, name in wanted.items() if member in members}
            return {member: _array(archive.read(name), path, budget) for member, name in wanted.items()}


def load_members(path: str | Path, names: Collection[str]) -> dict[str, bytes]:
    """The bytes of some members of a zip archive. Raises UserError for a damaged one and where one is not there."""
    with reading(path, "zip archive", "zip") as path, Zip(path, Budget(path, path.stat().st_size)) as archive:
        return {name: bytes(archive.read(name)) for name in names}


def load_array(path: str | Path) -> Any:
    """Read an `.npy` file under the same restriction."""
    with reading(path, ".npy file", "npy") as path:
        data = path.read_bytes()
        return _array(data, path, Budget(path, len(data)))


def _array(data: bytes | bytearray, path: Path, budget: Budget) -> Any:
    """The array of an .npy file's bytes, or the object that a pickled 0-d array holds."""
    shape, fortran, dtype, start = _header(data)
    if dtype is not None:
        if len(data) - start < math.prod(shape) * dtype.itemsize:
            raise UserError(f"{path}: cut off or damaged: an array {shape} of {dtype} does not fit into its bytes")
        end = start + math.prod(shape) * dtype.itemsize
        return checked_array(memoryview(data)[start:end], dtype, shape, fortran)
    value = unpickle(io.BytesIO(memoryview(data)[start:]), path, NUMPY, budget)
    return value.item() if isinstance(value, np.ndarray) and value.shape == () else value


def _header(data: bytes | bytearray) -> tuple[tuple[int, ...], bool, np.dtype | None, int]:
    """(shape, Fortran order, dtype or None for objects, where the data begin) of the NEP 1 format."""
    if data[:6] != b"\x93NUMPY" or len(data) < 12:
        raise Damaged("no NumPy header")
    major = data[6]
    if major not in (1, 2, 3):
        raise Damaged(f"format version {major}")
    size, start = (
        (struct.unpack_from("<H", data, 8)[0], 10) if major == 1 else (struct.unpack_from("<I", data, 8)[0], 12)
    )
    if size > _LONGEST_HEADER or start + size > len(data):
        raise Damaged("a header that does not end")
    text = bytes(data[start : start + size]).decode("utf-8" if major == 3 else "latin1")
    if text.count("(") + text.count("[") + text.count("{") > 4000 or re.search(r"[-+~(\[{]{40}", text):
        raise Damaged("a header nested too deeply")
    header = ast.literal_eval(re.sub(r"(\d)L\b", r"\1", text).strip())  # Python 2 wrote 10L
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise Damaged("a header without descr, fortran_order and shape")
    if not isinstance(header["shape"], tuple) or not isinstance(header["fortran_order"], bool):
        raise Damaged("a header of other types")
    shape = field_shape(header["shape"])
    dtype = None if header["descr"] in ("|O", "O") else _dtype(header["descr"])
    return shape, header["fortran_order"], dtype, start + size


def _dtype(descr: object, depth: int = 0) -> np.dtype:
    """A dtype of plain ones: a text, or a list of (name, dtype[, shape]) with '' for padding."""
    if isinstance(descr, str):
        return plain_dtype(descr)
    if not isinstance(descr, list) or not descr or depth > 4:
        raise Damaged("a dtype of other parts")
    names, formats, offsets, at = [], [], [], 0
    for name, inner, shape in _fields(descr):
        padding = re.fullmatch(r"\|V(\d{1,6})", inner) if name == "" and isinstance(inner, str) else None
        if padding:
            at += int(padding[1])
            continue
        field = np.dtype((_dtype(inner, depth + 1), shape)) if shape else _dtype(inner, depth + 1)
        names.append(name)
        formats.append(field)
        offsets.append(at)
        at += field.itemsize
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": at})


def _fields(descr: list) -> Iterator[tuple[str, object, tuple[int, ...]]]:
    for field in descr:
        if not isinstance(field, tuple) or len(field) not in (2, 3) or not isinstance(field[0], str):
            raise Damaged("a dtype's field")
        yield field[0], field[1], field_shape(field[2]) if len(field) == 3 else ()
