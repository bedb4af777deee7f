"""What the names in a pickle of plain data mean: NumPy's arrays, dtypes and numbers, built from checked parts.

`common.files.pickles` reads the pickle; a name that no table here holds stands for nothing and is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

_KEYS = (str, int, float, bytes, bool, type(None), np.generic)
# The plain dtypes: bool, integers, floats, complex, text of fixed width.
_PLAIN = re.compile(r"([<>=|]?)(\?|b1|[iu][1248]|f[248]|c8|c16|[SUa]\d{1,7})")


class Damaged(Exception):
    """A pickle that does not make sense."""


class Unknown(Exception):
    """A pickle that asks for a name outside the table."""


class Inert:
    """Stands where a file holds a pickled random state: nothing of it is kept."""


class Pending:
    """An object that a pickle makes empty and then gives its state; `places` are its numbers in the memo."""

    def __init__(self):
        self.places: list[int] = []

    def build(self, state: object) -> Any:
        raise NotImplementedError


class Nothing(Pending):
    """Takes any state and becomes an `Inert`, or the value given."""

    def __init__(self, value: object = None):
        super().__init__()
        self.value = value

    def build(self, state):
        return Inert() if self.value is None else self.value


def plain_dtype(text: Any) -> np.dtype:
    """A dtype of the list of plain ones; raises Damaged for any other."""
    match = _PLAIN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise Damaged(f"the dtype {str(text)[:40]}")
    return np.dtype(text.replace("a", "S"))


def field_shape(shape: object) -> tuple[int, ...]:
    """The shape of a field or of an array: whole numbers, none negative."""
    dims = shape if isinstance(shape, tuple) else (shape,)
    if len(dims) > 32 or not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**48 for n in dims):
        raise Damaged(f"an array of shape {str(shape)[:60]}")
    return tuple(dims)


def checked_array(data: bytes | memoryview, dtype: np.dtype, shape: tuple[int, ...], fortran: bool) -> np.ndarray:
    """An array of its own from raw bytes; their number must fit."""
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise Damaged(f"{len(data)} bytes for an array {shape} of {dtype}")
    if dtype.itemsize == 0 or not data:
        return np.zeros(shape, dtype)
    array = np.frombuffer(data, dtype)
    _check_text(array)
    return (array.reshape(shape[::-1]).T if fortran else array.reshape(shape)).copy(order="K")


def _check_text(array: np.ndarray) -> None:
    """NumPy's Unicode is 32 bits a character, of which most are none."""
    if array.dtype.names:
        for name in array.dtype.names:
            _check_text(array[name])
    elif array.dtype.kind == "U" and array.size:
        order = array.dtype.str[0].replace("|", "=")
        if np.ascontiguousarray(array).view(f"{order}u4").max() > 0x10FFFF:
            raise Damaged("a text of impossible characters")


class _Dtype(Pending):
    """A pickled dtype. Its state may tell the byte order, and the fields of a structured one, each checked."""

    def __init__(self, text, *flags):
        super().__init__()
        text = text.decode("latin1") if isinstance(text, bytes) else text
        if isinstance(text, str) and re.fullmatch(r"\|?V\d{1,9}", text):
            self.size, self.value = int(text.lstrip("|")[1:]), None
        elif text in ("O", "O4", "O8", "|O"):
            self.size, self.value = None, np.dtype(object)
        else:
            self.size, self.value = None, plain_dtype(text)

    def build(self, state):
        if not isinstance(state, tuple) or len(state) not in (8, 9) or (len(state) == 9 and state[8] is not None):
            raise Damaged("a dtype's state")
        _, order, inner, names, fields = state[:5]
        if self.size is None:
            if (inner, names, fields) != (None, None, None) or order not in ("<", ">", "|", "="):
                raise Damaged("a dtype with a state")
            return self.value if order == "|" else self.value.newbyteorder(order)
        if inner is not None and names is None:
            base, shape = inner
            shape = field_shape(shape)
            if not isinstance(base, np.dtype) or base.hasobject or base.itemsize * math.prod(shape) != self.size:
                raise Damaged("a dtype with an array in it")
            return np.dtype((base, shape))
        if inner is not None or not names or set(names) != set(fields):
            raise Damaged("a dtype without fields")
        parts = [fields[name][:2] for name in names]
        if not all(isinstance(d, np.dtype) and not d.hasobject and isinstance(at, int) for d, at in parts):
            raise Damaged("a dtype's fields")
        formats, offsets = zip(*parts, strict=True)
        return np.dtype({"names": list(names), "formats": formats, "offsets": offsets, "itemsize": self.size})


class _Array(Pending):
    """A pickled array, empty until its state comes."""

    def __init__(self, subtype, shape=(0,), typecode=b"b"):
        super().__init__()
        if subtype is not np.ndarray or tuple(shape) != (0,):
            raise Damaged("an array of another class")

    def build(self, state):
        _, shape, dtype, fortran, data = state
        shape = field_shape(shape)
        if not isinstance(dtype, np.dtype):
            raise Damaged("an array's dtype")
        if dtype.hasobject:
            if not isinstance(data, list) or len(data) != math.prod(shape):
                raise Damaged(f"{type(data).__name__} for an array of objects {shape}")
            array = np.empty(len(data), object)
            for n, value in enumerate(data):
                array[n] = value
            return array.reshape(shape, order="F" if fortran else "C")
        data = data.encode("latin1") if isinstance(data, str) else data
        if not isinstance(data, bytes | bytearray):
            raise Damaged("an array's data")
        return checked_array(data, dtype, shape, bool(fortran))


def _scalar(dtype, data=b""):
    data = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(dtype, np.dtype) or dtype.hasobject or not isinstance(data, bytes):
        raise Damaged("a NumPy number")
    return checked_array(data, dtype, (), False)[()]


def _from_buffer(data, dtype, shape, order):
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise Damaged("an array's dtype")
    return checked_array(bytes(data), dtype, field_shape(shape), order == "F")


def _latin1(text, encoding):
    if not isinstance(text, str) or encoding != "latin1":  # the only use of codecs.encode in NumPy's pickles
        raise Damaged("codecs.encode")
    return text.encode("latin1")


def _mapping(*args):
    """OrderedDict and defaultdict: a plain dictionary; a default's factory and attributes are dropped."""
    pairs = args[0] if args and isinstance(args[0], list) else []
    out: dict = {}
    for key, value in pairs:
        out[key_of(key)] = value
    return out


class Call:
    """A name of the table that may be called."""

    def __init__(self, function: Callable):
        self.function = function


_FACTORIES = {"list": list, "dict": dict, "int": int, "float": float}  # what a defaultdict names; nothing calls them
_CONSTANTS = {(module, name): kind for module in ("builtins", "__builtin__") for name, kind in _FACTORIES.items()}
_CONSTANTS[("numpy", "ndarray")] = np.ndarray
NUMPY: dict[tuple[str, str], object] = _CONSTANTS | {
    ("numpy", "dtype"): Call(_Dtype),
    **{(f"numpy.{core}.multiarray", "_reconstruct"): Call(_Array) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): Call(_scalar) for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): Call(_from_buffer) for core in ("core", "_core")},
    ("_codecs", "encode"): Call(_latin1),
    ("collections", "OrderedDict"): Call(_mapping),
    ("collections", "defaultdict"): Call(_mapping),
}
RANDOM: dict[tuple[str, str], object] = {
    (module, name): Call(lambda *args: Nothing())
    for module, name in [
        ("numpy.random.mtrand", "RandomState"),
        ("numpy.random._pickle", "__randomstate_ctor"),
        ("numpy.random._pickle", "__bit_generator_ctor"),
        ("numpy.random._pickle", "__generator_ctor"),
        ("numpy.random._mt19937", "MT19937"),
        ("numpy.random._pcg64", "PCG64"),
        ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"),
        ("numpy.random.bit_generator", "SeedSequence"),
    ]
}


def key_of(key: object) -> object:
    """A dictionary's key or a set's member: a number, a text, or a tuple of such."""
    if not isinstance(key, _KEYS) and not (isinstance(key, tuple) and all(isinstance(k, _KEYS) for k in key)):
        raise Damaged(f"a key of type {type(key).__name__}")
    return key
