"""Timing of variants side by side: A B A B, medians, and the machine's matrix-product rate around every call."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from tqdm import tqdm

SHORTEST = 0.05
# Processor time is what a busy machine leaves comparable; it counts every thread, so it is for one thread.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
PROBE = {"cpu": 1024, "cuda": 8192, "mps": 2048}  # rows of the square matrices of the rate


@dataclass(frozen=True)
class Variant:
    """One way to do the same work. `dtype` and `tf32` say at which matrix-product rate its share is taken."""

    name: str
    work: Callable[[], object]
    dtype: torch.dtype = torch.float32
    tf32: bool = False


@dataclass
class Timing:
    """Seconds of each round, and GFLOP/s of a matrix product just before and after each call."""

    seconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    warm_up: float = 0.0
    calls: int = 1  # in a row each round, so that short work is timed over SHORTEST seconds at least

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def ratio(self, baseline: Timing) -> float:
        """Median over the rounds of baseline / this: above 1 is faster. Each ratio is of neighbours in time."""
        return statistics.median(b / s for b, s in zip(baseline.seconds, self.seconds, strict=True))

    def share(self, flop: float) -> float:
        """Median over the rounds of the reached share of the matrix-product rate."""
        return statistics.median(flop / s / (r * 1e9) for s, r in zip(self.seconds, self.rates, strict=True))


class MatmulRate:
    """GFLOP/s of one square product, by dtype; the matrices are made once."""

    def __init__(self, device: torch.device, clock: str = "wall"):
        self.device, self.size, self.matrices = device, PROBE.get(device.type, 1024), {}
        self.clock = CLOCKS[clock]

    def __call__(self, dtype: torch.dtype, tf32: bool) -> float:
        if dtype not in self.matrices:
            self.matrices[dtype] = torch.randn(2, self.size, self.size, device=self.device).to(dtype)
            self._once(dtype, tf32)
        return self._once(dtype, tf32)

    def _once(self, dtype: torch.dtype, tf32: bool) -> float:
        a, b = self.matrices[dtype]
        set_tf32(tf32)
        synchronise(self.device)
        start = self.clock()
        a @ b
        synchronise(self.device)
        return 2e-9 * self.size**3 / (self.clock() - start)


def set_tf32(allowed: bool) -> None:
    torch.set_float32_matmul_precision("high" if allowed else "highest")


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def interleaved(
    variants: list[Variant],
    device: torch.device,
    rounds: int,
    title: str = "",
    clock: str = "wall",
    warm_up: int = 2,
) -> dict[str, Timing]:
    """Time the variants in turn, `rounds` times, after warm-up calls of each (compilation, caches, allocator)."""
    rate, timings = MatmulRate(device, clock), {v.name: Timing() for v in variants}
    bar = tqdm(total=len(variants) * (rounds + 1), desc=title, leave=False, mininterval=1)
    for variant in variants:
        set_tf32(variant.tf32)
        timing = timings[variant.name]
        timing.warm_up = _calls(variant, device, warm_up, clock)
        timing.calls = max(1, round(SHORTEST / _calls(variant, device, 1, clock)))
        bar.update()
    for _ in range(rounds):
        for variant in variants:
            timing = timings[variant.name]
            before = rate(variant.dtype, variant.tf32)
            set_tf32(variant.tf32)
            timing.seconds.append(_calls(variant, device, timing.calls, clock) / timing.calls)
            timing.rates.append((before + rate(variant.dtype, variant.tf32)) / 2)
            bar.update()
    bar.close()
    set_tf32(False)
    return timings


def _calls(variant: Variant, device: torch.device, count: int, clock: str) -> float:
    """Seconds of so many calls."""
    synchronise(device)
    start = CLOCKS[clock]()
    for _ in range(count):
        variant.work()
    synchronise(device)
    return CLOCKS[clock]() - start


def machine(device: torch.device) -> dict:
    """What the figures were taken on."""
    facts = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
    if hasattr(os, "getloadavg"):  # how busy the machine is with other work
        facts["load_average"] = round(os.getloadavg()[0], 1)
    return facts
