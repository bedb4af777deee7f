"""Reading foreign files without running what they say.

NumPy archives and PyTorch checkpoints of this field are pickles, and a pickle can run any program. The readers here
build arrays, tensors, dicts, lists, strings and numbers and refuse everything else by name.
"""

from __future__ import annotations

import pickle
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

from common.errors import UserError


class Inert:
    """Stands where a file holds a pickled NumPy RandomState: nothing of it is run or kept."""

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        pass

    def __call__(self, *args, **kwargs):
        return self


def _scalar(dtype, data=b""):
    return np.frombuffer(data, dtype)[0]


def _latin1(text, encoding):
    if encoding != "latin1":  # the only use of codecs.encode in NumPy's pickles
        raise pickle.UnpicklingError("codecs.encode")
    return text.encode("latin1")


def _array(subtype, shape, typecode):
    if subtype is not np.ndarray:
        raise pickle.UnpicklingError(f"an array of type {subtype}")
    return np.ndarray.__new__(np.ndarray, shape, typecode)


def _plain_dict(*factory):
    """A defaultdict becomes a dict: what would fill in missing keys is dropped."""
    return {}


_NUMPY = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("_codecs", "encode"): _latin1,
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): _plain_dict,
    # What a defaultdict names to fill in missing keys: a word, which nothing can call.
    **{(module, name): name for module in ("builtins", "__builtin__") for name in ("list", "dict", "int", "float")},
}
_RANDOM = {
    (module, name): Inert
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


def _unpickler(allowed: dict) -> type:
    class Restricted(pickle.Unpickler):
        def find_class(self, module, name):
            try:
                return allowed[module, name]
            except KeyError:
                raise pickle.UnpicklingError(f"{module}.{name}") from None

    return Restricted


_ArchiveUnpickler = _unpickler(_NUMPY)


def _refused(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: refused, its pickle asks for '{error}'; only arrays, dicts, lists and numbers are read")


def load_archive(path: str | Path) -> dict[str, object]:
    """Read an `.npz` archive whose members may be pickled dictionaries of arrays.

    Returns {member: array, or the dict/list that a 0-d object array holds}. Raises UserError for a missing or
    damaged file and for a pickle that asks for anything but plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    out = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as stream:
                    out[member.removesuffix(".npy")] = _read_npy(stream, path)
    except (zipfile.BadZipFile, EOFError, ValueError, OSError) as error:
        raise UserError(f"{path}: not a readable .npz archive ({error})") from None
    return out


def load_array(path: str | Path) -> object:
    """Read an `.npy` file under the same restriction."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with path.open("rb") as stream:
            return _read_npy(stream, path)
    except (EOFError, ValueError) as error:
        raise UserError(f"{path}: not a readable .npy file ({error})") from None


def _read_npy(stream, path):
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if not dtype.hasobject:
        data = np.frombuffer(stream.read(), dtype=dtype)
        data = data.reshape(shape[::-1]).T if fortran else data.reshape(shape)
        return data.copy()
    value = load_pickle(stream, path)
    return value.item() if isinstance(value, np.ndarray) and value.shape == () else value


def load_pickle(stream, path: str | Path = "pickle") -> object:
    """Read one pickle from a binary stream under the same restriction."""
    try:
        return _ArchiveUnpickler(stream, encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise _refused(Path(path), error) from None
    except (AttributeError, TypeError, IndexError, KeyError, ImportError) as error:
        raise UserError(f"{path}: damaged pickle ({error})") from None


_TORCH_NAMES = {
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    **{("torch", n): getattr(torch, n) for n in dir(torch) if n.endswith("Storage")},
    ("torch.storage", "UntypedStorage"): torch.UntypedStorage,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    **{("torch", n): d for n, d in vars(torch).items() if isinstance(d, torch.dtype)},
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
}


def load_torch(path: str | Path) -> dict:
    """Read a `torch.save` file (zip or the older format) onto the CPU.

    A pickled NumPy RandomState becomes an inert placeholder. Raises UserError for a missing or damaged file and for
    one that asks for any other class.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    restricted = _unpickler(_NUMPY | _RANDOM | _TORCH_NAMES)
    restricted.__name__ = restricted.__qualname__ = "Unpickler"
    module = types.SimpleNamespace(
        Unpickler=restricted,
        load=lambda stream, **kw: restricted(stream, **kw).load(),
        UnpicklingError=pickle.UnpicklingError,
        __name__="restricted_pickle",
    )
    try:
        return torch.load(path, map_location="cpu", pickle_module=module, weights_only=False)
    except pickle.UnpicklingError as error:
        raise _refused(path, error) from None
    except (
        RuntimeError,
        OSError,
        EOFError,
        zipfile.BadZipFile,
        AttributeError,
        TypeError,
        KeyError,
        ValueError,
    ) as error:
        raise UserError(f"{path}: not a readable checkpoint ({str(error).splitlines()[0]})") from None


class _Record:
    """An object of a TorchScript class: its attributes, without its methods."""

    def __setstate__(self, state):
        self.fields = state


def load_torchscript(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a TorchScript archive by their dotted names. Its programs are neither compiled nor run.

    Raises UserError for a damaged file and for one that asks for any other class.
    """
    path = Path(path)
    dtypes = {("torch", f"{d}Storage"): getattr(torch, d.lower()) for d in ("Float", "Half", "Double", "Long", "Int")}
    dtypes |= {("torch", "BFloat16Storage"): torch.bfloat16, ("torch", "BoolStorage"): torch.bool}

    def rebuild(storage, offset, size, stride, *unused):
        return storage.as_strided(size, stride, offset).clone()

    plain = {("torch.jit._pickle", f"build_{kind}list"): list for kind in ("int", "tensor", "double", "bool")}
    plain[("torch.jit._pickle", "restore_type_tag")] = lambda value, tag: value
    allowed = dtypes | plain | {("torch._utils", "_rebuild_tensor_v2"): rebuild, ("collections", "OrderedDict"): dict}

    class Restricted(_unpickler(allowed)):
        def find_class(self, module, name):
            return _Record if module.startswith("__torch__") else super().find_class(module, name)

        def persistent_load(self, key):
            _, dtype, name, _, count = key
            return torch.frombuffer(bytearray(archive.read(f"{root}/data/{name}")), dtype=dtype, count=count)

    def tensors(record, prefix=""):
        for name, value in record.fields.items():
            if isinstance(value, torch.Tensor):
                yield prefix + name, value
            elif isinstance(value, _Record) and isinstance(getattr(value, "fields", None), dict):
                yield from tensors(value, f"{prefix}{name}.")

    try:
        with zipfile.ZipFile(path) as archive:
            member = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            root = member.removesuffix("/data.pkl")
            with archive.open(member) as stream:
                return dict(tensors(Restricted(stream).load()))
    except pickle.UnpicklingError as error:
        raise _refused(path, error) from None
    except (zipfile.BadZipFile, StopIteration, AttributeError, TypeError, KeyError, ValueError, EOFError) as error:
        raise UserError(f"{path}: not a readable TorchScript archive ({error})") from None
