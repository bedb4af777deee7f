"""MATLAB's MAT v5 files: every element's header is checked here, in Python, before SciPy sees the file.

SciPy's reader is compiled, trusts the sizes and dimensions that a file declares, and can be crashed by them. A child
process would keep such a crash away, but not the memory that it takes, and costs a second a file; the headers are few
and simple. SciPy is handed a file made anew of the elements that passed: unpacked within the budget, of the classes
that it reads with plain arrays (numbers, text, cells, structs). Other classes (sparse, objects, functions) come back
as `Unread`.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files.limits import Budget, reading
from common.files.pickle_names import Damaged
from common.files.pickles import DEEPEST

_SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}  # bytes of a number, by data type
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED, _TEXT = 1, 5, 6, 14, 15, (16, 17, 18)
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17
_UNREAD = {_OBJECT: "object", _SPARSE: "sparse", _FUNCTION: "function_handle", _OPAQUE: "object"}
_HEADER = 128
_LONGEST_NAME = 1024


@dataclass(frozen=True)
class Unread:
    """A variable of a MATLAB class that only MATLAB reads."""

    matlab_class: str


def load_mat(path: str | Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray | Unread]:
    """The variables of a MAT v5 file (all, or those named), as `scipy.io.loadmat` gives them.

    Raises UserError for a missing or damaged file, and for MAT v4 and v7.3 (`open_hdf5` reads the latter).
    """
    import scipy.io

    with reading(path, "MAT v5 file", "mat", "hdf5", "") as path:
        data = path.read_bytes()
        budget = Budget(path, len(data))
        unread: dict[str, np.ndarray | Unread] = {}
        checked = bytearray(_file_header(data, path))
        for element, order in _elements(data, budget):
            name, matlab_class = _Checker(element, order, budget).variable()
            if not name or (names is not None and name not in names):
                continue
            if matlab_class is not None:
                unread[name] = Unread(matlab_class)
            else:
                checked += element
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = scipy.io.loadmat(io.BytesIO(checked))
        return unread | {name: value for name, value in content.items() if not name.startswith("__")}


def _file_header(data: bytes, path: Path) -> bytes:
    if data[:10] == b"MATLAB 7.3" or data[:4] == b"\x89HDF":
        raise UserError(f"{path}: a v7.3 .mat file (HDF5), a v5 one is expected; save it with -v7")
    if len(data) < _HEADER or data[126:128] not in (b"IM", b"MI"):
        raise UserError(f"{path}: not a readable MAT v5 file (no header of that kind); save it with -v7 in MATLAB")
    (version,) = struct.unpack("<H" if data[126:128] == b"IM" else ">H", data[124:126])
    if version != 0x0100 or 0 in data[:4]:
        raise UserError(f"{path}: not a readable MAT v5 file (version {version:#x}); save it with -v7 in MATLAB")
    return data[:116] + bytes(8) + data[124:128]  # without the place of the subsystem's data


def _elements(data: bytes, budget: Budget) -> Iterator[tuple[bytes, str]]:
    """The matrices of a file with their tags, unpacked, and the byte order."""
    order = "<" if data[126:128] == b"IM" else ">"
    at = _HEADER
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        element = data[at : at + 8 + size]
        if len(element) < 8 + size:
            raise Damaged("it ends within a variable")
        at += 8 + size
        if kind == _COMPRESSED:
            inflate = zlib.decompressobj()
            element = inflate.decompress(element[8:], budget.left + 1)
            budget.take(len(element), "a packed variable")
            if inflate.unconsumed_tail or not inflate.eof:
                raise Damaged("a packed variable that does not end")
            kind, size = struct.unpack_from(f"{order}II", element)
            if len(element) != 8 + size:
                raise Damaged("a packed variable of another size than it says")
        if kind != _MATRIX:
            raise Damaged(f"an element of type {kind}")
        yield element, order


class _Checker:
    """Walks through one variable as SciPy does, and finds it whole."""

    def __init__(self, data: bytes, order: str, budget: Budget):
        self.data, self.order, self.budget = data, order, budget
        self.at = 0

    def variable(self) -> tuple[str, str | None]:
        """The name, and the MATLAB class where it is one that is not read."""
        end = self.matrix_tag(len(self.data))
        if self.at == end:
            return "", None
        return self.matrix(end, 0)

    def matrix_tag(self, end: int) -> int:
        kind, start, size = self.tag(end)
        if kind != _MATRIX or start != self.at + 8 or size % 8:
            raise Damaged(f"an element of type {kind} in place of a matrix")
        self.at = start
        return start + size

    def tag(self, end: int) -> tuple[int, int, int]:
        """(data type, where its data begin, bytes) of the element here; short ones keep them in the tag."""
        if self.at + 8 > end:
            raise Damaged("an element that does not end")
        kind, size = struct.unpack_from(f"{self.order}II", self.data, self.at)
        start = self.at + 8
        if kind >> 16:
            kind, size, start = kind & 0xFFFF, kind >> 16, self.at + 4
            if size > 4:
                raise Damaged("a short element that is too long")
        if start + size > end:
            raise Damaged("an element longer than what holds it")
        return kind, start, size

    def element(self, end: int, kinds: Sequence[int]) -> tuple[int, bytes]:
        """Data type and bytes of a plain element, which must be of one of the types; steps over it and its padding."""
        kind, start, size = self.tag(end)
        if kind not in kinds:
            raise Damaged(f"an element of type {kind}")
        self.at = start + size if start == self.at + 8 else self.at + 8
        self.at += -(self.at - start) % 8 if self.at == start + size and start % 8 == 0 else 0
        if self.at > end:
            raise Damaged("an element without its padding")
        return kind, self.data[start : start + size]

    def name(self, end: int) -> str:
        _, text = self.element(end, (_INT8, 16))
        if len(text) > _LONGEST_NAME:
            raise Damaged("a name that is too long")
        return text.decode("latin1").rstrip("\0")

    def matrix(self, end: int, depth: int) -> tuple[str, str | None]:
        if depth > DEEPEST:
            raise RecursionError
        self.budget.take(256, "its cells")
        _, flags = self.element(end, (_UINT32,))
        if len(flags) != 8:
            raise Damaged("array flags of another size")
        (flags,) = struct.unpack(f"{self.order}I", flags[:4])
        matlab_class, is_complex = flags & 0xFF, bool(flags & 0x800)
        if matlab_class in _UNREAD:
            if depth:
                raise Damaged(f"a {_UNREAD[matlab_class]} within a variable")
            return self.unread(end, matlab_class)
        count = self.dimensions(end)
        name = self.name(end)
        if matlab_class == _CELL:
            self.matrices(end, count, depth)
        elif matlab_class == _STRUCT:
            self.matrices(end, count * self.fields(end), depth)
        elif matlab_class == _CHAR:
            kind, text = self.element(end, (1, 2, 3, 4, *_TEXT))
            if kind not in _TEXT and len(text) != count * _SIZES[kind]:
                raise Damaged(f"{len(text)} bytes for {count} characters")
        elif 6 <= matlab_class <= 15:
            for _ in range(1 + is_complex):
                kind, numbers = self.element(end, tuple(_SIZES))
                if len(numbers) != count * _SIZES[kind]:
                    raise Damaged(f"{len(numbers)} bytes for {count} numbers of type {kind}")
        else:
            raise Damaged(f"MATLAB class {matlab_class}")
        if self.at != end:
            raise Damaged("a matrix of another size than it says")
        return name, None

    def dimensions(self, end: int) -> int:
        """The number of entries; the memory that they will take is asked for."""
        _, sizes = self.element(end, (_INT32,))
        if len(sizes) % 4 or not 2 <= len(sizes) // 4 <= 32:
            raise Damaged("dimensions of another size")
        sizes = struct.unpack(f"{self.order}{len(sizes) // 4}i", sizes)
        if min(sizes) < 0:
            raise Damaged(f"dimensions {list(sizes)}")
        count = math.prod(sizes)
        self.budget.take(16 * count, "an array")
        return count

    def fields(self, end: int) -> int:
        """The number of a struct's fields."""
        _, length = self.element(end, (_INT32,))
        _, names = self.element(end, (_INT8,))
        (length,) = struct.unpack(f"{self.order}i", length)
        if not 0 < length <= _LONGEST_NAME or len(names) % length:
            raise Damaged("a struct's names")
        return len(names) // length

    def matrices(self, end: int, count: int, depth: int) -> None:
        if 8 * count > end - self.at:
            raise Damaged(f"{count} cells in {end - self.at} bytes")
        for _ in range(count):
            inner = self.matrix_tag(end)
            if self.at < inner:
                self.matrix(inner, depth + 1)

    def unread(self, end: int, matlab_class: int) -> tuple[str, str]:
        """The name and class of a variable that is left out."""
        if matlab_class == _OPAQUE:
            name, _, told = self.name(end), self.name(end), self.name(end)
            return name, told or "object"
        self.dimensions(end)
        name = self.name(end)
        return name, self.name(end) if matlab_class == _OBJECT else _UNREAD[matlab_class]
