"""Hypotheses go through the network in chunks: chosen once for each load, by memory, halved when it runs out."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.datasets.h36m import SKELETON, load_h36m
from common.datasets.windows import Windows
from common.diffusion.lifter import DiffusionLifter
from common.engine import chunks
from common.engine.clips import lift_clip
from common.engine.evaluate import Sampling, evaluate, load_of, sample
from common.engine.opening import Opened
from common.errors import UserError
from common.models import build
from tests.tiny import CPU, h36m_folder

CARD = {"frames": 5, "model": "mixste", "dataset": "h36m"}


@pytest.fixture
def lifter():
    torch.manual_seed(3)
    return DiffusionLifter(build("mixste", frames=5, channels=16, depth=1), SKELETON).eval()


@pytest.fixture(scope="module")
def clips():
    return load_h36m(h36m_folder(), "cpn_ft_h36m_dbb", ["S9"])[:4]


@contextmanager
def memory_for(lifter, rows):
    """The lifter runs out of memory where more than `rows` hypotheses of windows (mirrored ones too) come at once."""
    calls = []

    def limit(network, arguments):
        b, h = arguments[1].shape[:2]
        calls.append(b * h)
        if b * h > rows:
            raise torch.OutOfMemoryError("injected")

    handle = lifter.denoiser.register_forward_pre_hook(limit)
    yield calls
    handle.remove()


def the_chunk(monkeypatch, value):
    monkeypatch.setattr(chunks, "_fastest", lambda probe, limit, device: value)


def test_out_of_memory_halves_the_chunk_and_repeats_the_batch(lifter, clips, monkeypatch):
    windows, sampling = Windows(clips, SKELETON, 5), Sampling(8, 2, batch=3)
    batch = windows.batch([0, 1, 2])
    the_chunk(monkeypatch, 2)
    expected = sample(lifter, windows, batch, sampling, CPU)
    chunks._CHOSEN.clear()
    the_chunk(monkeypatch, 8)
    with memory_for(lifter, 12) as calls:  # 2 x 3 windows: two hypotheses fit
        assert torch.equal(sample(lifter, windows, batch, sampling, CPU), expected)
        assert calls == [48, 24, *[12] * 8]  # chunks of 8 and 4 fail in their first call; then 4 chunks, 2 steps each
        calls.clear()
        sample(lifter, windows, batch, sampling, CPU)
        assert set(calls) == {12}  # what was learnt stays


def test_an_evaluation_goes_on_after_out_of_memory(lifter, clips, monkeypatch):
    windows, sampling = Windows(clips, SKELETON, 5), Sampling(4, 2, batch=3)
    the_chunk(monkeypatch, 4)
    whole = evaluate(lifter, windows, sampling, CPU)
    chunks._CHOSEN.clear()
    with memory_for(lifter, 12):
        halved = evaluate(lifter, windows, sampling, CPU)
    assert (whole.chunk, halved.chunk) == (4, 2)
    assert halved.frames.tolist() == whole.frames.tolist()
    assert abs(halved.sums["protocol_1"] - whole.sums["protocol_1"]).max() < 1e-3 * whole.frames.max()


@pytest.mark.parametrize("hypotheses", [1, 4])
def test_one_hypothesis_that_does_not_fit_is_told(lifter, clips, hypotheses):
    windows = Windows(clips, SKELETON, 5)
    with memory_for(lifter, 5), pytest.raises(UserError, match="3 window.s. .* -b"):
        sample(lifter, windows, windows.batch([0, 1, 2]), Sampling(hypotheses, 1), CPU)


def test_clips_of_one_shape_share_one_choice(lifter, clips, monkeypatch):
    """Timing the network again for every clip would cost more than lifting it."""
    searches = []
    monkeypatch.setattr(chunks, "_fastest", lambda *arguments: searches.append(1) or 2)
    short = replace(clips[1], keypoints_2d=clips[1].keypoints_2d[:7], positions_3d=clips[1].positions_3d[:7])
    short = replace(short, valid=short.valid[:7])
    for clip in (clips[0], short, clips[2]):
        lift_clip(Opened(lifter, CARD, Path()), clip, Sampling(4, 1, batch=4), CPU)
    assert len(searches) == 1  # the short clip has fewer windows: the choice for more serves it
    lift_clip(Opened(lifter, CARD, Path()), clips[0], Sampling(8, 1, batch=4), CPU)
    assert len(searches) == 2  # more hypotheses may come in larger chunks
    other = DiffusionLifter(lifter.denoiser, SKELETON)
    lift_clip(Opened(other, CARD, Path()), clips[0], Sampling(4, 1, batch=4), CPU)
    assert len(searches) == 3


def load(device="cuda", draws=100):
    return chunks.Load(torch.device(device), (5, 17, 2), False, True, 4, draws)


@pytest.mark.parametrize(("free", "fits"), [(10_000, 28), (1_000_000, 100), (1_000, 1), (0, 1)])
def test_the_chunk_is_planned_from_free_memory(monkeypatch, free, fits):
    """A call takes 400 bytes and 300 a hypothesis; nine tenths of 10,000 hold 28 of them."""
    now = {"held": 50, "peak": 0}

    def probe(size):
        now["peak"] = now["held"] + 400 + 300 * size

    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: now["held"])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: now["peak"])
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 50)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**9))
    assert chunks.fitting(probe, load()) == fits


def test_memory_that_ends_while_it_is_measured_leaves_one(monkeypatch):
    def probe(size):
        raise torch.OutOfMemoryError("injected")

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    assert chunks.fitting(probe, load()) == 1


def test_the_search_ends_where_a_hypothesis_gets_no_cheaper(monkeypatch):
    seconds = {1: 1.0, 2: 1.2, 4: 2.0, 7: 3.5}
    monkeypatch.setattr(chunks, "_seconds", lambda probe, size, device: seconds[size])
    assert chunks._fastest(lambda n: None, 7, CPU.device) == 4
    assert chunks._fastest(lambda n: None, 2, CPU.device) == 2

    def probe(size):
        if size > 2:
            raise torch.OutOfMemoryError("injected")

    assert chunks._fastest(probe, 7, CPU.device) == 2


def test_the_load_counts_every_draw(clips):
    batch = Windows(clips, SKELETON, 5).batch([0, 1])
    assert load_of(batch, Sampling(4, 2, repeat=3)) == chunks.Load(CPU.device, (5, 17, 2), False, True, 2, 12)
