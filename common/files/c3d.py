"""C3D, the binary format of motion capture (c3d.org): labelled 3D points over time.

A file is blocks of 512 bytes: a header, parameters in named groups, then the frames: four values a point (x, y, z and
a residual, negative where the point was not seen), and analog samples, which are passed over. Numbers are Intel's or
MIPS's; files of DEC computers are refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from common.errors import UserError
from common.files.limits import reading, understanding

BLOCK = 512
_INTEL, _DEC, _MIPS = 84, 85, 86
_TYPES = {-1: "S1", 1: "i1", 2: "i2", 4: "f4"}


@dataclass(frozen=True)
class Points:
    """positions (T, N, 3), float64, in the file's `units`; NaN where a point was not seen."""

    labels: tuple[str, ...]
    positions: np.ndarray
    rate: float
    units: str
    parameters: dict[str, Any]  # 'POINT:LABELS': list of text, number or list of numbers


def read_c3d(path: Path | str, data: bytes | None = None) -> Points:
    """The points of a C3D file; `data` are its bytes where they were read already. Raises UserError."""
    if data is None:
        with reading(path, "C3D file") as path:
            return _points(path, path.read_bytes())
    with understanding(path, "C3D file"):
        return _points(path, data)


def _points(path: Path | str, data: bytes) -> Points:
    if len(data) < 2 * BLOCK or data[1] != 0x50:
        raise UserError(f"{path}: not a C3D file")
    start = (data[0] - 1) * BLOCK
    processor = data[start + 3]
    if processor not in (_INTEL, _MIPS):
        raise UserError(f"{path}: a C3D file of a computer that is not known here (code {processor})")
    order: Literal["<", ">"] = "<" if processor == _INTEL else ">"
    count, analog, first, last = struct.unpack_from(f"{order}4H", data, 2)
    scale, block, _, rate = struct.unpack_from(f"{order}fHHf", data, 12)
    parameters = _parameters(data, start, order)
    frames = last - first + 1
    width = 4 * count + analog
    dtype = np.dtype(f"{order}{'f4' if scale < 0 else 'i2'}")
    begin = (block - 1) * BLOCK
    if not 0 < count < 1000 or frames < 1 or begin < start or len(data) - begin < frames * width * dtype.itemsize:
        raise UserError(f"{path}: cut off or damaged: {frames} frames of {count} points do not fit into its bytes")
    table = np.frombuffer(data, dtype, frames * width, begin).reshape(frames, width)[:, : 4 * count]
    with np.errstate(all="ignore"):  # a damaged file has any numbers
        table = table.reshape(frames, count, 4).astype(np.float64)
        positions = table[..., :3] * (1.0 if scale < 0 else scale)
    positions[table[..., 3] < 0] = np.nan
    labels = parameters.get("POINT:LABELS", [])
    names = tuple(labels if isinstance(labels, list) else [labels])[:count]
    rate = float(parameters.get("POINT:RATE", rate) or rate)
    return Points(names, positions, rate, str(parameters.get("POINT:UNITS", "")), parameters)


def _parameters(data: bytes, start: int, order: Literal["<", ">"]) -> dict[str, Any]:
    """{'GROUP:NAME': value}: groups have negative numbers, and their parameters the same, positive."""
    groups: dict[int, str] = {}
    found: dict[tuple[int, str], object] = {}
    at = start + 4
    while True:
        length, group = struct.unpack_from("2b", data, at)
        if length == 0 or group == 0:
            break
        name = data[at + 2 : at + 2 + abs(length)].decode("ascii", "replace").upper()
        at += 2 + abs(length)
        (step,) = struct.unpack_from(f"{order}H", data, at)
        if group < 0:
            groups[-group] = name
        else:
            found[group, name] = _value(data, at + 2, order)
        if step == 0:
            break
        at += step
    return {f"{groups.get(group, group)}:{name}": value for (group, name), value in found.items()}


def _value(data: bytes, at: int, order: Literal["<", ">"]) -> Any:
    """A number, a list of numbers, a text or a list of texts."""
    kind, dimensions = struct.unpack_from("bB", data, at)
    shape = list(data[at + 2 : at + 2 + dimensions])
    dtype = np.dtype(_TYPES[kind]).newbyteorder(order)
    size = int(np.prod(shape, dtype=np.int64)) if shape else 1
    array = np.frombuffer(data, dtype, size, at + 2 + dimensions) if size else np.zeros(0, dtype)
    if kind == -1:
        width = shape[0] if shape else 1
        text = array.tobytes().decode("latin-1")
        rows = [text[i : i + width].strip(" \0") for i in range(0, len(text), width or 1)]
        return rows if len(shape) > 1 else "".join(rows)
    return array.tolist() if shape else array[0].item()
