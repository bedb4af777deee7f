"""Damage to a valid file: of its bytes, of its text, and of what its container holds, packed anew so that it opens.

`damage(data, rng)` recognises the container (zip, NumPy, pickle, JSON, MAT v5, safetensors, text) by its bytes.
"""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import zipfile
import zlib

import numpy as np

NUMBERS = (0, 1, -1, 2, 7, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63))
WORDS = (
    "",
    "nan",
    "inf",
    "-1",
    "0",
    "1e400",
    "9" * 30,
    "9" * 5000,
    "x" * 300,
    "..",
    "../../x",
    "/etc",
    "\x1b[2J",
    "é",
    "[" * 600,
    "{",
    "null",
    "true",
    "\n",
    "\u202e",
    "ROOT",
    "End",
    "Frames:",
    "!!python/name:os.system",
    "&a",
    "*a",
)
VALUES = (
    None,
    True,
    0,
    -1,
    1.5,
    float("nan"),
    float("inf"),
    10**12,
    10**40,
    "",
    "x",
    "../../x",
    [],
    {},
    [[]],
    [None],
    {"a": 1},
)


def damage(data: bytes, rng: random.Random) -> bytes:
    """One to three random changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = _structure(data, rng) if rng.random() < 0.6 else _bytes(data, rng)
    return data


def _bytes(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    size = max(1, len(out))
    at = rng.randrange(size) if rng.random() < 0.6 else rng.randrange(min(size, 256))
    kind = rng.randrange(9)
    if kind == 0 and out:
        out[at] ^= 1 << rng.randrange(8)
    elif kind == 1 and out:
        out[at] = rng.randrange(256)
    elif kind == 2:
        out[at : at + 4] = struct.pack(rng.choice("<>") + "q", rng.choice(NUMBERS))[:4]
    elif kind == 3:
        out[at : at + 8] = struct.pack(rng.choice("<>") + "q", rng.choice(NUMBERS))
    elif kind == 4:
        del out[at : at + rng.choice((1, 4, 8, 64))]
    elif kind == 5:
        out[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 4, 16))))
    elif kind == 6:
        del out[at:]
    elif kind == 7:
        other = rng.randrange(size)
        out[at : at + 32] = out[other : other + 32]
    else:
        out[at:at] = out[at : at + rng.choice((8, 64, 512))]
    return bytes(out)


def _structure(data: bytes, rng: random.Random) -> bytes:
    try:
        if data[:2] == b"PK":
            return _zip(data, rng)
        if data[:6] == b"\x93NUMPY":
            return _npy(data, rng)
        if data[:1] == b"\x80":
            return _pickle(data, rng)
        if data[:6] == b"MATLAB" and data[8:9] != b".":
            return _mat(data, rng)
        if data[8:9] == b"{" and struct.unpack("<Q", data[:8])[0] < len(data):
            return _safetensors(data, rng)
        if data.lstrip()[:1] in (b"{", b"["):
            return json.dumps(_value(json.loads(data), rng)).encode()
        return _text(data.decode(), rng).encode()
    except Exception:  # what is damaged already may not open
        return _bytes(data, rng)


def _text(text: str, rng: random.Random) -> str:
    cut = " " if rng.random() < 0.6 else "\n"
    words = text.split(cut)
    at = rng.randrange(len(words))
    kind = rng.randrange(4)
    if kind == 0:
        words[at] = rng.choice(WORDS)
    elif kind == 1:
        del words[at]
    elif kind == 2:
        words.insert(at, rng.choice(words))
    else:
        other = rng.randrange(len(words))
        words[at], words[other] = words[other], words[at]
    return cut.join(words)


def _value(value: object, rng: random.Random, depth: int = 0) -> object:
    """A plain value with one random part replaced, removed, renamed or repeated."""
    deeper = depth < 6 and rng.random() < 0.8
    if isinstance(value, dict) and value and deeper:
        key = rng.choice(list(value))
        kind = rng.randrange(8)
        if kind == 0:
            return {k: v for k, v in value.items() if k != key}
        if kind == 1:
            return {rng.choice(("x", "", "../y")) if k == key else k: v for k, v in value.items()}
        return {k: _value(v, rng, depth + 1) if k == key else v for k, v in value.items()}
    if isinstance(value, list | tuple) and len(value) and deeper:
        at, kind = rng.randrange(len(value)), rng.randrange(8)
        items = list(value)
        if kind == 0:
            del items[at]
        elif kind == 1:
            items.insert(at, items[at])
        else:
            items[at] = _value(items[at], rng, depth + 1)
        return type(value)(items)
    if isinstance(value, np.ndarray) and rng.random() < 0.9:
        return _array(value, rng)
    if type(value).__name__ == "Tensor" and rng.random() < 0.9:
        return _tensor(value, rng)
    return rng.choice(VALUES)


def _array(array: np.ndarray, rng: random.Random) -> object:
    if array.dtype == object:
        if array.shape == ():
            out = np.empty((), object)
            out[()] = _value(array[()], rng)
            return out
        out = array.copy()
        out.flat[rng.randrange(max(out.size, 1))] = _value(out.flat[0], rng)
        return out
    kind = rng.randrange(9)
    if kind == 0:
        return array[: rng.randrange(3)]
    if kind == 1:
        return array[None]
    if kind == 2:
        return array.T
    if kind == 3:
        return array.ravel()
    if kind == 4 and not array.dtype.names:
        return array.astype(rng.choice(("i1", "U5", "S3", "c8", "bool", "f2", ">f8", "u8")))
    if kind == 5:
        return array.tolist()
    if kind == 6 and array.size and array.dtype.kind == "f":
        out = array.copy()
        out.flat[rng.randrange(out.size)] = rng.choice((np.nan, np.inf, 1e38, -1e38, 0))
        return out
    if kind == 7 and array.dtype.names:
        name = rng.choice(array.dtype.names)
        return array[[n for n in array.dtype.names if n != name]].copy()
    if kind == 8 and array.size and array.dtype.kind in "iu":
        out = array.copy()
        out.flat[rng.randrange(out.size)] = rng.choice((0, 1, 100, -1 if array.dtype.kind == "i" else 7))
        return out
    return np.repeat(array, 2, 0) if array.ndim else array


def _tensor(tensor, rng: random.Random):
    kind = rng.randrange(5)
    if kind == 0:
        return tensor[None]
    if kind == 1:
        return tensor.long() if tensor.is_floating_point() else tensor.float()
    if kind == 2 and tensor.dim():
        return tensor[:1].expand(1 + rng.randrange(10**6), *tensor.shape[1:])
    if kind == 3:
        return tensor.reshape(-1)
    return tensor * float("nan")


def _npy(data: bytes, rng: random.Random) -> bytes:
    """Another header, or another value."""
    if rng.random() < 0.5:
        size = struct.unpack("<H", data[8:10])[0]
        header = _text(data[10 : 10 + size].decode("latin1"), rng).encode("latin1", "replace")
        return data[:8] + struct.pack("<H", len(header) & 0xFFFF) + header + data[10 + size :]
    stream = io.BytesIO()
    value = _value(np.load(io.BytesIO(data), allow_pickle=True), rng)
    value = value if isinstance(value, np.ndarray) else np.array(value, object)
    np.save(stream, value, allow_pickle=True)
    return stream.getvalue()


def _pickle(data: bytes, rng: random.Random) -> bytes:
    return pickle.dumps(_value(pickle.loads(data), rng), rng.choice((0, 2, 4, 5)))


def _zip(data: bytes, rng: random.Random) -> bytes:
    """Members changed inside and packed with right checksums; or a torch file of a changed value."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
        packed = archive.infolist()[0].compress_type
    if any(name.endswith("/data.pkl") for name in members) and rng.random() < 0.6:
        import torch

        if not any(name.endswith("constants.pkl") for name in members):
            stream = io.BytesIO()
            value = torch.load(io.BytesIO(data), weights_only=False)
            torch.save(_value(value, rng), stream)
            return stream.getvalue()
    name = rng.choice(list(members))
    kind = rng.randrange(6)
    if kind == 0:
        del members[name]
    elif kind == 1:
        members[rng.choice(("x", "../x", name + "/", "a.npy"))] = members.pop(name)
    elif kind == 2:
        members[name] = _bytes(members[name], rng)
    else:
        members[name] = _structure(members[name], rng)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packed) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _mat(data: bytes, rng: random.Random) -> bytes:
    """A variable changed inside, packed again where it was packed."""
    out, at = data[:128], 128
    order = "<" if data[126:128] == b"IM" else ">"
    while at < len(data):
        kind, size = struct.unpack(order + "II", data[at : at + 8])
        content = data[at + 8 : at + 8 + size]
        at += 8 + size
        if kind == 15:
            content = zlib.compress(_words(zlib.decompress(content), rng))
        else:
            content = _words(content, rng)
        out += struct.pack(order + "II", kind, len(content)) + content
    return out


def _words(data: bytes, rng: random.Random) -> bytes:
    """A 32-bit word of the header replaced: types, sizes, dimensions."""
    out = bytearray(data)
    at = 4 * rng.randrange(max(1, min(len(out), 160) // 4))
    out[at : at + 4] = struct.pack("<q", rng.choice((*NUMBERS, rng.randrange(20))))[:4]
    return bytes(out)


def _safetensors(data: bytes, rng: random.Random) -> bytes:
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    if "__metadata__" in header and rng.random() < 0.7:
        name = rng.choice(list(header["__metadata__"]))
        changed = _value(json.loads(header["__metadata__"][name]), rng)
        header["__metadata__"][name] = json.dumps(changed)
    else:
        header = _value(header, rng)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :]
