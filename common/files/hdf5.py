"""HDF5 files, MATLAB's v7.3 among them: plain arrays only, each checked against the budget before it is read.

Refused are links to other files, data kept in other files, virtual data sets, and types of variable length.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files.limits import Budget, reading
from common.files.writing import whole_file


class Tree:
    """An open HDF5 file: the names of its root, and their arrays."""

    def __init__(self, path: Path, file, budget: Budget):
        self.path, self.file, self.budget = path, file, budget

    def names(self) -> list[str]:
        """What the root holds."""
        with self._watched():
            return list(self.file)

    def __contains__(self, name: str) -> bool:
        return name in self.names()

    def matlab_class(self, name: str) -> str:
        """MATLAB's class of an entry, '' where none is told."""
        with self._watched():
            attributes = self._entry(name).attrs
            if "MATLAB_class" not in attributes:
                return ""
            kind = attributes.get_id("MATLAB_class")
            if kind.dtype.kind != "S" or math.prod(kind.shape) != 1 or kind.dtype.itemsize > 256:
                raise UserError(f"{self.path}: {name} has a class of an unknown kind")
            return np.asarray(attributes["MATLAB_class"]).ravel()[0].decode("latin1")

    def is_array(self, name: str) -> bool:
        """Whether an entry is an array of numbers."""
        import h5py

        with self._watched():
            entry = self._entry(name)
            return isinstance(entry, h5py.Dataset) and entry.dtype.kind in "biuf" and entry.shape is not None

    def array(self, name: str) -> np.ndarray:
        """An array of numbers. Raises UserError where there is none, or one that claims too much memory."""
        if not self.is_array(name):
            raise UserError(f"{self.path}: {name} is no array of numbers")
        with self._watched():
            data = self._entry(name)
            if data.external or data.is_virtual:
                raise UserError(f"{self.path}: {name} keeps its numbers in other files, which are not opened")
            self.budget.take(math.prod(data.shape) * data.dtype.itemsize, name)
            if data.chunks:
                self.budget.take(math.prod(data.chunks) * data.dtype.itemsize, f"a part of {name}")
            return np.asarray(data[()])

    def _entry(self, name: str):
        import h5py

        if name not in self.file:
            raise UserError(f"{self.path}: it has no {name}; it has {', '.join(self.names()[:8]) or 'nothing'}")
        link = self.file.get(name, getlink=True)
        if link is None:
            raise UserError(f"{self.path}: damaged, its {name} cannot be opened")
        if not isinstance(link, h5py.HardLink):
            raise UserError(f"{self.path}: {name} is a link to another place, which is not followed")
        return self.file[name]

    def _watched(self):
        return reading(self.path, "HDF5 file", "hdf5", "mat", "")


@contextlib.contextmanager
def open_hdf5(path: str | Path) -> Iterator[Tree]:
    """Open an HDF5 or MAT v7.3 file for reading. Raises UserError for a missing or damaged one."""
    import h5py

    with reading(path, "MAT v7.3 (HDF5) file", "hdf5", "mat", "") as path:
        if path.open("rb").read(10) == b"MATLAB 5.0":
            raise UserError(f"{path}: not a readable MAT v7.3 file but a MAT v5 one")
        file = h5py.File(path, "r")
    with file:
        yield Tree(path, file, Budget(path, path.stat().st_size))


def write_mat73(path: Path | str, arrays: dict[str, np.ndarray], cells: dict[str, tuple[np.ndarray, int]]) -> None:
    """Write a MAT v7.3 file, whole or not at all: double arrays in HDF5's order of dimensions (MATLAB's reversed), and
    cells of so many times one array."""
    import h5py

    with whole_file(path) as temporary:
        with h5py.File(temporary, "w", userblock_size=512) as file:
            for key, array in arrays.items():
                file.create_dataset(key, data=array).attrs["MATLAB_class"] = np.bytes_("double")
            for key, (content, count) in cells.items():
                inner = file.create_dataset(f"#refs#/{key}", data=content)
                inner.attrs["MATLAB_class"] = np.bytes_("double")
                cell = file.create_dataset(key, (count, 1), h5py.ref_dtype)
                cell[...] = inner.ref
                cell.attrs["MATLAB_class"] = np.bytes_("cell")
        with temporary.open("r+b") as stream:  # HDF5 begins behind MATLAB's header of 512 bytes
            stream.write(b"MATLAB 7.3 MAT-file, Platform: any, Created by: h5py HDF5 schema 1.00 .".ljust(116))
            stream.seek(124)
            stream.write(b"\x00\x02IM")
