"""Noise that depends on what is sampled and on nothing else: not on the device, the batch or the order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def seed_of(*parts: object) -> int:
    """A 63-bit seed from any printable parts, the same on every machine."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def window_noise(
    seed: int, keys: Sequence[str], hypotheses: range, shape: tuple[int, ...], *, device: torch.device | str = "cpu"
) -> Callable[[int], Tensor]:
    """Standard normal noise (B, H, *shape) for windows named `keys`, one CPU generator a (seed, window, hypothesis).

    Returns noise(k) for the sampler's k-th draw; k counts up from 0.
    """
    generators = [[torch.Generator().manual_seed(seed_of(seed, key, h)) for h in hypotheses] for key in keys]

    def noise(k: int) -> Tensor:
        rows = [torch.stack([torch.randn(shape, generator=g) for g in row]) for row in generators]
        return torch.stack(rows).to(device)

    return noise


def tempered(noise: Callable[[int], Tensor], first: float, later: float) -> Callable[[int], Tensor]:
    """The same noise times `first` where sampling starts (k = 0) and times `later` at its later draws: more than 1
    spreads the hypotheses, less gathers them."""
    return lambda k: noise(k) * (first if k == 0 else later)
