"""The weights of the Grap2Eq vectors, which follow from the parameters' names, and how to compare with them."""

import zlib
from functools import cache

import numpy as np
import torch

from common.models import build

CLOSE = {"rtol": 0, "atol": 1e-5}
TINY = {"frames": 9, "joints": 17, "channels": 32, "depth": 3, "drop_path": 0.0, "variant": "published"}
NAMES = ("first", "second", "third")


@cache
def recipe(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The weights of the vectors, from the parameter's name."""
    z = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if any(part in name for part in ("token_embedding", "pos_embed", "positional_embedding", "ctx_")):
        z *= np.float32(0.5)
    elif len(shape) <= 1:
        z = (1 + 0.1 * z if name.endswith("weight") else 0.1 * z).astype(np.float32)
    else:
        z = z / np.sqrt(shape[-1]).astype(np.float32)
    return torch.from_numpy(z)


def fill(model: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(recipe(name, tuple(value.shape)))
    return model.eval()


def lite(**changes) -> torch.nn.Module:
    return fill(build("grap2eq_lite", **{**TINY, **changes}))


def section(v: dict, prefix: str) -> dict:
    return {key[len(prefix) :]: value for key, value in v.items() if key.startswith(prefix)}


def compare(ours: dict, v: dict, prefix: str = "") -> None:
    """Every out/ key under the prefix must be among ours, and close."""
    expected = section(v, prefix + "out/")
    assert expected and set(ours) == set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(ours[key], value, **CLOSE, msg=lambda m, key=key: f"{prefix}{key}: {m}")
