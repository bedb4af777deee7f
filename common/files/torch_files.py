"""Checkpoints as `torch.save` writes them (zip, and the older form), TorchScript archives, safetensors; on the CPU.

They are read here and not by `torch.load`: that one hands an archive with `constants.pkl` to TorchScript, which runs
what it holds, does not test the zip's checksums, and lets a tensor claim more memory than its storage has. A checkpoint
is one pickle and the raw bytes of its storages, in members of a zip or one after another.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.errors import UserError
from common.files.archives import Zip
from common.files.limits import Budget, reading
from common.files.pickle_names import NUMPY, RANDOM, Call, Damaged, Pending, field_shape
from common.files.pickles import unpickle
from common.files.texts import parse_json

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {
    f"{name}Storage": dtype
    for name, dtype in {
        "Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16,
        "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
        "Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128,
    }.items()
}  # fmt: skip
_LEAVES = (Tensor, torch.Size, torch.device, torch.dtype)
_OWN_FORM = ("zip", "")  # what a checkpoint may begin with


def _table(budget: Budget, path: Path) -> dict[tuple[str, str], object]:
    """The names that a checkpoint may ask for."""

    def rebuild(storage, offset, size, stride, *unused):
        """A tensor within its storage."""
        size, stride = field_shape(tuple(size)), field_shape(tuple(stride))
        (offset,) = field_shape(offset)
        last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        if not isinstance(storage, Tensor) or (math.prod(size) and last >= len(storage)):
            raise Damaged("a tensor beyond its storage")
        claimed = math.prod(size) * storage.element_size()
        if claimed > storage.element_size() * len(storage):
            budget.take(claimed, "a tensor")
        return storage.as_strided(size, stride, offset)

    table: dict[tuple[str, str], object] = {("torch", name): dtype for name, dtype in _STORAGES.items()}
    table |= {("torch", str(d).removeprefix("torch.")): d for d in set(_STORAGES.values())}
    table |= {
        ("torch._utils", "_rebuild_tensor_v2"): Call(rebuild),
        ("torch._utils", "_rebuild_parameter"): Call(lambda data, *unused: data),
        ("torch", "Size"): Call(lambda dims: torch.Size(field_shape(tuple(dims)))),
        ("torch", "device"): Call(torch.device),
        **{(module, "set"): Call(_set) for module in ("builtins", "__builtin__")},
    }
    return NUMPY | RANDOM | table


def _set(items: object = ()) -> set:
    if not isinstance(items, list | tuple | set) or not all(isinstance(item, str | int | float) for item in items):
        raise Damaged("a set")
    return set(items)


def load_torch(path: str | Path) -> Any:
    """Read a `torch.save` file (zip or the older format) onto the CPU; parameters come as tensors.

    A pickled NumPy RandomState becomes an inert placeholder. Raises UserError for a missing or damaged file, for one
    that asks for any other class, and for a TorchScript archive.
    """
    with reading(path, "checkpoint", *_OWN_FORM) as path:
        budget = Budget(path, path.stat().st_size)
        with path.open("rb") as stream:
            zipped = stream.read(4) == b"PK\x03\x04"
        if not zipped:
            return _load_legacy(path, budget)
        with Zip(path, budget) as archive:
            root = _root(archive)
            if is_torchscript(archive):
                raise UserError(
                    f"{path}: a TorchScript program, not weights; programs in files are not run. Save the model's "
                    "state_dict with torch.save instead (CLIP's own TorchScript file belongs to --clip-weights)"
                )
            if (order := f"{root}byteorder") in archive.members and archive.read(order) != b"little":
                raise UserError(f"{path}: written on a machine of another byte order (or damaged)")
            data = io.BytesIO(archive.read(f"{root}data.pkl"))
            return unpickle(
                data, path, _table(budget, path), budget, persistent=_storages(archive, root), leaves=_LEAVES
            )


def is_torchscript(archive: Zip) -> bool:
    """Whether a zip archive holds a program: such have constants, code, or the older model.json."""
    names = [name.split("/", 1)[-1] for name in archive.members]
    return any(name in ("constants.pkl", "model.json") or name.startswith("code/") for name in names)


def _root(archive: Zip) -> str:
    """The folder of the archive that holds data.pkl, with its slash."""
    roots = [name.removesuffix("data.pkl") for name in archive.members if name.endswith("/data.pkl")]
    if not roots and not is_torchscript(archive):
        some = ", ".join(list(archive.members)[:3]) or "nothing"
        raise UserError(f"{archive.path}: a zip archive of other files ({some}), not a checkpoint: unpack it first")
    return min(roots, key=len, default="")


def _storages(archive: Zip, root: str) -> Callable[[object], Tensor]:
    """What the persistent ids of a zip stand for: 1-D tensors over its members, each read once."""
    known: dict[str, Tensor] = {}

    def storage(key: object) -> Tensor:
        kind, dtype, name, _, count = key
        (count,) = field_shape(count)
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(name, str):
            raise Damaged("a storage")
        if name not in known:
            data = archive.read(f"{root}data/{name}")
            if len(data) < count * dtype.itemsize:
                raise UserError(f"{archive.path}: damaged, storage {name} is shorter than it says")
            known[name] = torch.frombuffer(data, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)
        if known[name].dtype != dtype or len(known[name]) != count:
            raise Damaged(f"two types of storage {name}")
        return known[name]

    return storage


def _load_legacy(path: Path, budget: Budget) -> Any:
    """The form before PyTorch 1.6: five pickles, then each storage as its count and its bytes."""
    stream = io.BytesIO(path.read_bytes())
    size = len(stream.getbuffer())
    storages: dict[str, Tensor] = {}

    def storage(key: object) -> Tensor:
        kind, dtype, name, _, count, view = key
        (count,) = field_shape(count)
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(name, str):
            raise Damaged("a storage")
        if name not in storages:
            if count * dtype.itemsize > size:
                raise UserError(f"{path}: cut off or damaged: storage {name} does not fit into the file")
            storages[name] = torch.zeros(count, dtype=dtype)
        if storages[name].dtype != dtype:
            raise Damaged(f"two types of storage {name}")
        if view is None:
            return storages[name]
        _, offset, length = view
        (offset, length) = field_shape((offset, length))
        if offset + length > len(storages[name]):
            raise Damaged("a view beyond its storage")
        return storages[name][offset : offset + length]

    def plain() -> Any:
        return unpickle(stream, path, NUMPY, budget)

    try:
        magic, protocol = plain(), plain()
    except UserError:
        magic = protocol = None
    if magic != _LEGACY_MAGIC or protocol != 1001:
        raise UserError(f"{path}: not a checkpoint: neither torch.save's zip nor its older form")
    machine = plain()
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise UserError(f"{path}: written on a machine of another byte order (or damaged)")
    value = unpickle(stream, path, _table(budget, path), budget, persistent=storage, leaves=_LEAVES)
    keys = plain()
    if not isinstance(keys, list) or set(map(str, keys)) != set(storages):
        raise UserError(f"{path}: damaged, its storages are not those that it lists")
    for key in keys:
        target = storages[str(key)]
        (count,) = struct.unpack("<q", stream.read(8))
        data = stream.read(target.nbytes)
        if count != len(target) or len(data) != target.nbytes:
            raise UserError(f"{path}: cut off or damaged: storage {key} is not whole")
        if count:
            target.view(torch.uint8).copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    return value


class _Record(Pending):
    """An object of a TorchScript class: its attributes, without its methods."""

    def build(self, state):
        if not isinstance(state, dict):
            raise Damaged("an object without attributes")
        self.fields = state
        return self


def load_torchscript(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a TorchScript archive by their dotted names. Its programs are neither compiled nor run.

    Raises UserError for a damaged file and for one that asks for any other class.
    """
    lists = {("torch.jit._pickle", f"build_{kind}list"): Call(list) for kind in ("int", "tensor", "double", "bool")}
    lists[("torch.jit._pickle", "restore_type_tag")] = Call(lambda value, tag: value)

    def names(module: str, name: str):
        return Call(lambda *args: _Record()) if module.startswith("__torch__") else None

    def tensors(record: _Record, prefix: str = "", depth: int = 0):
        if depth > 64:
            raise RecursionError
        for name, value in getattr(record, "fields", {}).items():
            if isinstance(value, Tensor):
                yield prefix + str(name), value
            elif isinstance(value, _Record):
                yield from tensors(value, f"{prefix}{name}.", depth + 1)

    with reading(path, "TorchScript archive", "zip") as path:
        budget = Budget(path, path.stat().st_size)
        with Zip(path, budget) as archive:
            root = _root(archive)
            data = io.BytesIO(archive.read(f"{root}data.pkl"))
            table, leaves = _table(budget, path) | lists, (*_LEAVES, _Record)
            value = unpickle(data, path, table, budget, persistent=_storages(archive, root), leaves=leaves, names=names)
            if not isinstance(value, _Record):
                raise UserError(f"{path}: a checkpoint of torch.save, not a TorchScript archive")
            return dict(tensors(value))


def load_clip_weights(path: str | Path) -> dict[str, Tensor]:
    """CLIP's state dict from OpenAI's TorchScript archive, a torch.save file or .safetensors; no code of it is run."""
    path = Path(path)
    if path.suffix == ".safetensors":
        return load_safetensors(path)[0]
    with reading(path, "file of CLIP weights", *_OWN_FORM) as path, path.open("rb") as stream:
        zipped = stream.read(4) == b"PK\x03\x04"
    if zipped:
        with (
            reading(path, "file of CLIP weights", "zip"),
            Zip(path, Budget(path, path.stat().st_size)) as archive,
        ):
            program = is_torchscript(archive)
        if program:
            return load_torchscript(path)
    state = load_torch(path)
    state = state.get("state_dict", state) if isinstance(state, dict) else None
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise UserError(f"{path}: no weights of CLIP in this file")
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def load_safetensors(path: str | Path, kind: str = ".safetensors file") -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a `.safetensors` file, copied, and its metadata; `kind` stands in messages."""
    from safetensors import safe_open

    with reading(path, kind, "") as path:
        size = path.stat().st_size
        with path.open("rb") as stream:
            (header,) = struct.unpack("<Q", stream.read(8).ljust(8, b"\xff"))
            if header > size - 8 or header > 1 << 26:
                raise UserError(f"{path}: not a readable {kind} (its header is longer than it, or it is cut off)")
        with safe_open(str(path), framework="pt") as file:
            # cloned: get_tensor maps the file, which may be written anew
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})


def safetensors_card(path: Path | str, metadata: dict[str, str], key: str) -> dict:
    """The JSON object that a `.safetensors` file keeps in its metadata under `key`."""
    card = parse_json(metadata[key], path, f"'{key}' in its metadata")
    if not isinstance(card, dict):
        raise UserError(f"{path}: the '{key}' in its metadata is no JSON object")
    return card
