"""Pickles of plain data, read without Python's unpickler: nothing in a file can be called, and nothing be set.

`pickle.Unpickler` with a list of names is not enough. Its BUILD sets attributes of what it is handed, lets a NumPy
dtype carry a state that hides an object field, and an array one that reads past its list; it takes memory of any size
for a memo. So the opcodes that plain data need (pickletools parses them) are interpreted here: numbers, text, lists,
tuples, dicts, sets, and the few names of a table. Arrays and dtypes are built from checked parts.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from common.errors import UserError
from common.files.limits import Budget

DEEPEST = 64  # containers within containers
OPCODE_COST = 64  # bytes that the smallest object takes
_KEYS = (str, int, float, bytes, bool, type(None), np.generic)
_LEAVES = (str, int, float, complex, bool, type(None), bytes, bytearray, np.generic, np.dtype)
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
        out[_key(key)] = value
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


def _key(key: object) -> object:
    """A dictionary's key or a set's member: a number, a text, or a tuple of such."""
    if not isinstance(key, _KEYS) and not (isinstance(key, tuple) and all(isinstance(k, _KEYS) for k in key)):
        raise Damaged(f"a key of type {type(key).__name__}")
    return key


def load_pickle(stream, path: object = "pickle", budget: Budget | None = None) -> Any:
    """Read one pickle of plain data from a binary stream; `path` names it in messages.

    Arrays, dicts, lists, tuples, sets, numbers and text. Raises UserError for anything else and for damage.
    """
    data = stream.read()
    return unpickle(io.BytesIO(data), path, NUMPY, budget or Budget(path, len(data)))


def unpickle(
    stream: io.BytesIO,
    path: object,
    table: dict[tuple[str, str], object],
    budget: Budget,
    *,
    persistent: Callable[[object], object] | None = None,
    leaves: tuple[type, ...] = (),
    names: Callable[[str, str], object] | None = None,
) -> Any:
    """Read one pickle, with the names of a table; the stream stands behind it afterwards.

    persistent: what a persistent id stands for; leaves: further types that values may have; names: asked for a name
    that is not in the table, None where it does not know it either.
    """
    machine = _Machine(table, persistent, names)
    try:
        value = machine.run(stream, budget)
        weigh(value, budget, leaves)
    except UserError:
        raise
    except Unknown as error:
        raise UserError(
            f"{path}: refused, its pickle asks for '{error}'; only arrays, dicts, lists and numbers are read "
            "(the file is damaged, or holds a program's own objects)"
        ) from None
    except RecursionError:
        raise UserError(f"{path}: damaged pickle (nested too deeply)") from None
    except Exception as error:  # whatever a wrong operand meets
        told = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(f"{path}: damaged pickle ({told})") from error
    return value


# Opcodes whose argument is the value that they push.
_PUSHED = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "STRING", "BINSTRING", "SHORT_BINSTRING",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    "FLOAT", "BINFLOAT",
}  # fmt: skip


class _Machine:
    """The stack machine of a pickle."""

    def __init__(self, table, persistent, names):
        self.table, self.persistent, self.names = table, persistent, names
        self.stack: list = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def run(self, stream: io.BytesIO, budget: Budget) -> Any:
        most = budget.left // OPCODE_COST
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > most:
                budget.take(count * OPCODE_COST, "its pickle")
            if opcode.name in _PUSHED:
                self.stack.append(argument)
            elif opcode.name == "STOP":
                break
            else:
                getattr(self, f"op_{opcode.name}", self.refuse)(argument)
        budget.take(count * OPCODE_COST, "its pickle")
        if len(self.stack) != 1:
            raise Damaged("its stack does not end with one object")
        return self.stack[0]

    def refuse(self, argument):
        raise Damaged("an opcode that plain data never need")

    def since_mark(self) -> list:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def take(self, count: int) -> list:
        if len(self.stack) - (self.marks[-1] if self.marks else 0) < count:
            raise Damaged("an empty stack")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def top(self, kind: type):
        if not self.stack or type(self.stack[-1]) is not kind:
            raise Damaged(f"no {kind.__name__} to fill")
        return self.stack[-1]

    def op_PROTO(self, version):
        if version > 5:
            raise Damaged(f"pickle protocol {version}")

    def op_FRAME(self, size):
        pass

    def op_MARK(self, _):
        self.marks.append(len(self.stack))

    def op_POP(self, _):
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.take(1)

    def op_POP_MARK(self, _):
        self.since_mark()

    def op_DUP(self, _):
        self.stack.append(self.stack[-1])

    def op_NONE(self, _):
        self.stack.append(None)

    def op_NEWTRUE(self, _):
        self.stack.append(True)

    def op_NEWFALSE(self, _):
        self.stack.append(False)

    def op_EMPTY_LIST(self, _):
        self.stack.append([])

    def op_EMPTY_DICT(self, _):
        self.stack.append({})

    def op_EMPTY_SET(self, _):
        self.stack.append(set())

    def op_EMPTY_TUPLE(self, _):
        self.stack.append(())

    def op_TUPLE(self, _):
        self.stack.append(tuple(self.since_mark()))

    def op_TUPLE1(self, _):
        self.stack.append(tuple(self.take(1)))

    def op_TUPLE2(self, _):
        self.stack.append(tuple(self.take(2)))

    def op_TUPLE3(self, _):
        self.stack.append(tuple(self.take(3)))

    def op_LIST(self, _):
        self.stack.append(self.since_mark())

    def op_DICT(self, _):
        items = self.since_mark()
        self.stack.append({})
        self.fill(items)

    def op_APPEND(self, _):
        (item,) = self.take(1)
        self.top(list).append(item)

    def op_APPENDS(self, _):
        items = self.since_mark()
        self.top(list).extend(items)

    def op_SETITEM(self, _):
        self.fill(self.take(2))

    def op_SETITEMS(self, _):
        self.fill(self.since_mark())

    def fill(self, items: list):
        target = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def op_ADDITEMS(self, _):
        items = self.since_mark()
        self.top(set).update(_key(item) for item in items)

    def op_MEMOIZE(self, _):
        self.put(len(self.memo))

    def put(self, number):
        self.memo[number] = value = self.stack[-1]
        if isinstance(value, Pending):
            value.places.append(number)

    op_PUT = op_BINPUT = op_LONG_BINPUT = put

    def get(self, number):
        self.stack.append(self.memo[number])

    op_GET = op_BINGET = op_LONG_BINGET = get

    def op_GLOBAL(self, text):
        self.find(*text.split(" ", 1))

    def op_STACK_GLOBAL(self, _):
        module, name = self.take(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise Damaged("a name that is no text")
        self.find(module, name)

    def find(self, module: str, name: str):
        found = self.table.get((module, name))
        if found is None and self.names is not None:
            found = self.names(module, name)
        if found is None:
            raise Unknown(f"{module}.{name}"[:120])
        self.stack.append(found)

    def call(self, _):
        function, arguments = self.take(2)
        if not isinstance(function, Call) or not isinstance(arguments, tuple):
            raise Damaged("a call of no function")
        self.stack.append(function.function(*arguments))

    op_REDUCE = op_NEWOBJ = call

    def op_BUILD(self, _):
        target, state = self.take(2)
        built = target
        if isinstance(target, Pending):
            built = target.build(state)
            self.memo |= dict.fromkeys(target.places, built)
        elif type(target) is not dict:  # attributes of an OrderedDict are dropped
            raise Damaged(f"a state for {type(target).__name__}")
        self.stack.append(built)

    def op_BINPERSID(self, _):
        (key,) = self.take(1)
        self.op_PERSID(key)

    def op_PERSID(self, key):
        if self.persistent is None:
            raise Damaged("a persistent id")
        self.stack.append(self.persistent(key))


def weigh(value: object, budget: Budget, leaves: tuple[type, ...] = ()) -> None:
    """Check what was read: plain types only, no circle, no deep nesting, and a size that the file may ask for.

    What is referred to many times counts many times, for those who walk through it or make one array of it meet it so.
    """
    sizes: dict[int, int] = {}

    def of(item: object, depth: int) -> int:
        if isinstance(item, np.ndarray) and not item.dtype.hasobject:
            return item.nbytes
        if not isinstance(item, dict | list | tuple | set | np.ndarray):
            if isinstance(item, (*_LEAVES, *leaves, Inert)):
                return len(item) if isinstance(item, str | bytes) else getattr(item, "nbytes", 32)
            raise Damaged(f"an object of type {type(item).__name__}")
        if id(item) in sizes:
            if sizes[id(item)] < 0:
                raise Damaged("something that contains itself")
            return sizes[id(item)]
        if depth > DEEPEST:
            raise RecursionError
        sizes[id(item)] = -1
        total = OPCODE_COST
        for part in item.values() if isinstance(item, dict) else item.flat if isinstance(item, np.ndarray) else item:
            total += 32 if type(part) in (float, int, bool) else of(part, depth + 1)
        sizes[id(item)] = total
        return total

    if (total := of(value, 0)) > budget.most:
        budget.take(total, "its content")
