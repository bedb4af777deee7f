"""How many hypotheses go through the network at a time: the fastest number that fits, found once for each load."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

from common.diffusion.lifter import Flip
from common.errors import UserError

SHARE = 0.9  # of the free GPU memory that may be planned for
GAIN = 0.97  # a larger chunk must take less than this share of the time a hypothesis

T = TypeVar("T")


@dataclass(frozen=True)
class Load:
    """What decides how many hypotheses to send at a time."""

    device: torch.device
    window: tuple[int, ...]  # (F, J, 2), the network's input
    amp: bool
    flip: Flip
    windows: int  # B
    draws: int  # hypotheses in all


_CHOSEN: WeakKeyDictionary[nn.Module, dict[Load, int]] = WeakKeyDictionary()


def in_chunks(lifter: nn.Module, load: Load, probe: Callable[[int], object], work: Callable[[int], T]) -> T:
    """`work(chunk)` with the chunk for this load. probe(n) sends n hypotheses through the network for one step.

    Out of GPU memory halves the chunk for the rest of the run and repeats the work. Noise belongs to a hypothesis, so
    the result is that of the smaller chunk. Raises UserError where a single hypothesis does not fit.
    """
    chosen = _CHOSEN.setdefault(lifter, {})
    while True:
        chunk = chunk_for(lifter, load)
        if chunk is None:
            chunk = chosen[load] = _fastest(probe, fitting(probe, load), load.device)
        try:
            return work(chunk)
        except torch.OutOfMemoryError:
            if chunk == 1:
                text = f"{load.windows} window(s) with one hypothesis do not fit in GPU memory"
                raise UserError(f"{text}; give fewer at a time with -b") from None
        # Not in the handler: there the traceback still holds the tensors of the failed call.
        _release(load.device)
        chosen[load] = chunk // 2


def chunk_for(lifter: nn.Module, load: Load) -> int | None:
    """The chunk chosen for this load, or for the smallest known load of its kind that is larger; None if none is."""
    if load.draws == 1:
        return 1
    chosen = _CHOSEN.get(lifter, {})
    if load in chosen:
        return chosen[load]
    larger = [
        known
        for known in chosen
        if replace(known, windows=load.windows, draws=load.draws) == load
        and known.windows >= load.windows
        and known.draws >= load.draws
    ]
    if not larger:
        return None
    return min(chosen[min(larger, key=lambda known: (known.windows, known.draws))], load.draws)


def remember(lifter: nn.Module, load: Load, chunk: int) -> None:
    """Take this chunk for this load instead of searching one."""
    _CHOSEN.setdefault(lifter, {})[load] = chunk


def fitting(probe: Callable[[int], object], load: Load) -> int:
    """How many hypotheses fit in the free GPU memory, by the peaks of one and of two; all of them elsewhere."""
    if load.device.type != "cuda":
        return load.draws
    one = two = None
    with suppress(torch.OutOfMemoryError):
        probe(1)  # warm-up: workspaces that stay
        one, two = (_peak(probe, n, load.device) for n in (1, 2))
    if two is None:
        _release(load.device)
        return 1
    each = max(two - one, 1)
    return max(1, min(load.draws, int((SHARE * free_memory(load.device) - (one - each)) / each)))


def _peak(probe: Callable[[int], object], size: int, device: torch.device) -> int:
    """Bytes that a probe needs beside what is held now."""
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    probe(size)
    return torch.cuda.max_memory_allocated(device) - before


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU that this process can still have: free on the card, or kept by PyTorch and unused."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _fastest(probe: Callable[[int], object], limit: int, device: torch.device) -> int:
    """The fastest a hypothesis of 1, 2, 4, ... and `limit`; the search stops where one gets no cheaper."""
    best, best_time, size = 1, float("inf"), 1
    while True:
        try:
            probe(size)  # warm-up: kernels, compilation, allocator
            each = _seconds(probe, size, device) / size
        except torch.OutOfMemoryError:
            each = float("inf")
        if each > GAIN * best_time or each == float("inf"):
            _release(device)
            return best
        best, best_time = size, each
        if size == limit:
            return best
        size = min(2 * size, limit)


def _seconds(probe: Callable[[int], object], size: int, device: torch.device) -> float:
    _synchronise(device)
    start = time.perf_counter()
    probe(size)
    _synchronise(device)
    return time.perf_counter() - start


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _release(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
