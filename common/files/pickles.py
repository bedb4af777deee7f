"""Pickles of plain data, read without Python's unpickler: nothing in a file can be called, and nothing be set.

`pickle.Unpickler` with a list of names is not enough. Its BUILD sets attributes of what it is handed, lets a NumPy
dtype carry a state that hides an object field, and an array one that reads past its list; it takes memory of any size
for a memo. So the opcodes that plain data need (pickletools parses them) are interpreted here: numbers, text, lists,
tuples, dicts, sets, and the few names of a table (common/files/pickle_names.py).
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np

from common.errors import UserError
from common.files.limits import Budget
from common.files.pickle_names import NUMPY, Call, Damaged, Inert, Pending, Unknown, key_of

DEEPEST = 64  # containers within containers
OPCODE_COST = 64  # bytes that the smallest object takes
_LEAVES = (str, int, float, complex, bool, type(None), bytes, bytearray, np.generic, np.dtype)


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
            target[key_of(key)] = value

    def op_ADDITEMS(self, _):
        items = self.since_mark()
        self.top(set).update(key_of(item) for item in items)

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
