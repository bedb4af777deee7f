"""Hypotheses on a card with little memory: the chunk is planned from what is free, and halved where it runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.gpu.record import Skip
from benchmarks.work import MODES, Bench, Size
from common.diffusion.noise import window_noise
from common.engine import chunks
from common.engine.evaluate import Sampling, load_of, sample

LARGE = Size(frames=243, channels=256, depth=2, windows=4, hypotheses=1, batch=4, samples=16, steps=2)
TINY = Size(frames=5, channels=16, depth=1, windows=2, hypotheses=1, batch=2, samples=8, steps=2)


class Case:
    """A lifter and a batch whose hypotheses are drawn in chunks."""

    def __init__(self, device: torch.device, rehearse: bool):
        self.device, self.size = device, TINY if rehearse else LARGE
        self.bench = Bench("mixste", self.size, device)
        self.lifter = self.bench.lifter(MODES["fp32"], False)
        self.batch = self.bench.windows.batch(range(self.size.windows))
        self.sampling = Sampling(self.size.samples, self.size.steps, self.size.windows)
        self.load = load_of(self.batch, self.sampling)

    def draw(self, chunk: int | None = None) -> Tensor:
        """All hypotheses; with `chunk`, that one is tried first."""
        if chunk:
            chunks.remember(self.lifter, self.load, chunk)
        return sample(self.lifter, self.bench.windows, self.batch, self.sampling, self.bench.place)

    @torch.no_grad()
    def probe(self, count: int) -> Tensor:
        """One step of so many hypotheses."""
        keys = [self.bench.windows.key(row) for row in self.batch.rows.tolist()]
        shape = (self.size.frames, len(self.lifter.skeleton), 3)
        noise = lambda hypotheses: window_noise(1, keys, hypotheses, shape, device=self.device)  # noqa: E731
        return self.lifter.sample(self.batch, count, 1, noise, flip=True, chunk=count)

    @property
    def chunk(self) -> int:
        return chunks.chunk_for(self.lifter, self.load)

    @contextmanager
    def room_for(self, hypotheses: int) -> Iterator[int]:
        """Leave memory for so many hypotheses at a time, a limit on a GPU; yields the bytes.

        Without a GPU a hook raises what a GPU would, and 0 is yielded.
        """
        if self.device.type != "cuda":

            def limit(network, arguments):
                if arguments[1].shape[1] > hypotheses:
                    raise torch.OutOfMemoryError("rehearsal: no room for so many hypotheses")

            handle = self.lifter.denoiser.register_forward_pre_hook(limit)
            try:
                yield 0
            finally:
                handle.remove()
            return
        one, two = (self.peak(chunk) for chunk in (1, 2))
        torch.cuda.empty_cache()
        wanted = one + (hypotheses - 1) * (two - one)
        total = torch.cuda.get_device_properties(self.device).total_memory
        torch.cuda.set_per_process_memory_fraction(wanted / total, self.device)
        try:
            yield wanted
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, self.device)

    def peak(self, chunk: int) -> int:
        """Bytes held at most while all hypotheses are drawn in such chunks."""
        self.draw(chunk)
        torch.cuda.reset_peak_memory_stats(self.device)
        self.draw(chunk)
        return torch.cuda.max_memory_allocated(self.device)


def planned(device: torch.device) -> dict:
    """On a card with room for five hypotheses, the chunk planned from free memory is drawn without running out.

    A limit stands for the small card, so that nothing else on this one is disturbed.
    """
    if device.type != "cuda":
        raise Skip("plans from a GPU's free memory; there is none")
    case = Case(device, False)
    facts = {"free_gb": chunks.free_memory(device) / 1e9, "plan_with_all_of_it": chunks.fitting(case.probe, case.load)}
    with case.room_for(5) as room:
        left = lambda where: room - torch.cuda.memory_allocated(where)  # noqa: E731
        with patch.object(chunks, "free_memory", left):
            plan = chunks.fitting(case.probe, case.load)
        before = torch.cuda.memory_stats(device)["num_ooms"]
        case.draw(plan)
        ran_out = torch.cuda.memory_stats(device)["num_ooms"] - before
    facts |= {"room_gb": room / 1e9, "plan": plan, "ran_out": ran_out}
    return facts | {"passed": 1 < plan <= 5 and not ran_out and case.chunk == plan}


def halved(device: torch.device, rehearse: bool) -> dict:
    """Where fewer hypotheses fit than are sent, the chunk is halved, with the poses of the smaller chunk to the bit."""
    case = Case(device, rehearse)
    with case.room_for(3):
        poses = case.draw(case.size.samples)
    expected = case.draw()  # the same chunk, and memory enough
    facts = {"hypotheses": case.size.samples, "halved_to": case.chunk}
    facts["largest_difference_mm"] = 1000 * float((poses - expected).abs().max())
    return facts | {"passed": case.chunk < case.size.samples and torch.equal(poses, expected)}
