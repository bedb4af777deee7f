"""Which device to compute on, and how several processes find each other."""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from common.errors import UserError
from common.settings.lifting import RunSettings

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where this process computes: its device, and its rank among `world` processes."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """True in the one process that prints and writes."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()

    def lead(self, work: Callable[[], T]) -> T | None:
        """Let the first process do something before the others go on; returns what it gave, None in the others.

        Where it fails with a UserError, all processes end: the first with the error, the others without a word.
        """
        result, error = None, None
        if self.first:
            try:
                result = work()
            except UserError as mendable:
                error = mendable
        failed = bool(self.sum(torch.tensor(float(error is not None), device=self.device)))
        if error is not None:
            raise error
        if failed:
            raise SystemExit(2)
        return result


def wanted_gpus(text: str, say: Callable[[str], None]) -> list[int]:
    """GPU numbers of `-gpu 0,1`, those that are present; an empty list means the CPU. Says in one line what differs."""
    try:
        numbers = [int(part) for part in str(text).split(",") if part != ""]
    except ValueError:
        raise UserError(f"-gpu {text}: expected numbers such as 0 or 0,1, or -1 for the CPU, or mps") from None
    if any(n < 0 for n in numbers) or not numbers:
        say("Computing on the CPU, as asked.")
        return []
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        say("No CUDA GPU found: computing on the CPU. A full-size model is slow there.")
        return []
    present = [n for n in numbers if n < count]
    if len(present) < len(numbers):
        present = present or [0]
        say(f"-gpu {text}: this machine has {count} GPU(s); using {', '.join(map(str, present))}.")
    return present


def under_launcher() -> bool:
    """True in a process that torchrun, or `run_on`, started."""
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


def join(gpu: str, say: Callable[[str], None], *, keep: bool = True) -> Place:
    """The place of this process, joining the others where a launcher set the usual variables.

    keep: on a CPU keep freed memory for the next step; not for programs that read videos, whose frames would pile up.
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    say = say if rank == 0 else (lambda line: None)
    if str(gpu) == "mps":
        if not torch.backends.mps.is_available():
            raise UserError("-gpu mps: this machine or this PyTorch has no MPS device")
        return Place(torch.device("mps"))
    gpus = wanted_gpus(gpu, say)
    local = int(os.environ.get("LOCAL_RANK", rank))
    if gpus and under_launcher():
        local_world = int(os.environ.get("LOCAL_WORLD_SIZE", world))
        if local_world > 1 and len(gpus) == 1 and torch.cuda.device_count() >= local_world:
            gpus = list(range(local_world))  # `torchrun --nproc-per-node N` without -gpu means N GPUs
        if local_world > len(gpus):
            raise UserError(f"{local_world} processes for {len(gpus)} GPU(s); name one GPU a process with -gpu")
    device = torch.device("cuda", gpus[local % len(gpus)]) if gpus else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    elif keep:
        keep_memory()
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Place(device, rank, world)


def keep_memory() -> None:
    """Let this process keep the memory that it frees, where the C library is glibc.

    glibc returns large blocks to Linux, which zeroes them anew at every use: 15 % of a training step on the CPU at
    paper size (docs/benchmark.md). Other C libraries lack the call and are left as they are.
    """
    m_trim_threshold, m_mmap_max = -1, -4  # of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (TypeError, OSError, AttributeError):
        return
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, -1)


def leave() -> None:
    if dist.is_available() and dist.is_initialized():
        # PyTorch 2.6 joins gloo's threads while it holds Python's lock, which one that still has to let go of the last
        # tensor waits for: the process would hang at its end.
        time.sleep(0.1)
        dist.destroy_process_group()


def run_on(gpus: list[int], work: Callable[..., int], *arguments) -> int:
    """Run `work(*arguments)` in one process a GPU on this machine; return the worst exit code."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    processes = []
    for rank in range(len(gpus)):
        process = context.Process(target=_start, args=(rank, len(gpus), port, work, arguments))
        process.start()
        processes.append(process)
    for process in processes:
        process.join()
    return max(abs(process.exitcode or 0) for process in processes)


def _start(rank: int, world: int, port: int, work: Callable[..., int], arguments: tuple) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    raise SystemExit(work(*arguments))


def amp_of(run: RunSettings, published: bool, device: torch.device) -> bool:
    """Whether an evaluation runs in bf16: where asked for, and on CUDA unless told not to or scored as published.

    In bf16 the errors move by less than 0.1 mm, on a CPU and on one H100 (docs/sampling.md).
    """
    return run.amp or (device.type == "cuda" and not run.no_amp and not published)


def compile_network(network: nn.Module, device: torch.device) -> None:
    """Compile a network in place. Raises UserError, in a few seconds, where PyTorch cannot compile for the device."""
    try:
        torch.compile(lambda x: x.sin() * 2 + 1)(torch.zeros(8, device=device))
    except Exception as error:  # of any kind: no compiler, no headers, no Triton, a Python that is too new
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"--compile: PyTorch cannot compile here ({reason}); leave it out") from None
    network.compile()


@contextmanager
def fast_products(device: torch.device, wanted: bool) -> Iterator[None]:
    """Within, fp32 matrix products on CUDA run on the tensor cores, their factors rounded to TF32's ten bits."""
    before = torch.get_float32_matmul_precision()
    if wanted and device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def autocast(device: torch.device, amp: bool):
    """bf16 autocast where asked for."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if amp else nullcontext()
