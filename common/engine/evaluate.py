"""The evaluation loop: hypotheses of every window, each way to aggregate them scored against the truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from common.datasets.windows import Batch, Windows
from common.diffusion.lifter import DiffusionLifter, Flip
from common.diffusion.noise import tempered, window_noise
from common.diffusion.samplers import network_calls
from common.engine.chunks import Load, chunk_for, in_chunks
from common.engine.devices import Place, autocast
from common.geometry.skeleton import Skeleton
from common.models.condition import as_batch
from common.scoring.hypotheses import AGGREGATIONS, Evidence, available, average_repeats
from common.scoring.metrics import Metric, metrics_named, mpjpe

EVALUATION_WINDOWS = 4  # windows at a time where -b does not say


@dataclass(frozen=True)
class Sampling:
    """What to sample and how to score it."""

    hypotheses: int = 1
    steps: int = 1
    batch: int = EVALUATION_WINDOWS  # windows at a time; P_Best under the published protocol depends on it
    seed: int = 1
    metrics: tuple[str, ...] = ("mpjpe",)  # rows of METRICS; MPJPE is always there
    published: bool = False
    amp: bool = False
    neutral: bool = False  # hide the action
    mixes_texts: bool = False  # windows of several actions may not share a batch (`Entry.mixes_texts`)
    flip: Flip = True
    repeat: int = 1  # each hypothesis is the mean of so many draws
    sampler: str = "ddim"  # a row of SAMPLERS
    temperature: tuple[float, float] = (1.0, 1.0)  # factors of the noise at the start and of that of the later steps

    @property
    def calls(self) -> int:
        """How often a window goes through the network."""
        bodies = 2 if self.flip is True else 1
        return self.hypotheses * self.repeat * network_calls(self.sampler, self.steps) * bodies

    def apart(self) -> bool:
        """Whether a batch stays within a clip. Published evaluations run one action at a time: where the network mixes
        up the texts of a batch, so does this one."""
        return self.published or (self.mixes_texts and not self.neutral)


@dataclass
class Errors:
    """Sums of frame errors, by the metric's key: (clips, steps, columns), float64, and the frames behind them."""

    columns: tuple[str, ...]
    sums: dict[str, np.ndarray]
    frames: np.ndarray  # (clips,)
    counts: dict[str, np.ndarray]  # (clips,), of each metric: fewer than `frames` where it compares neighbours
    seconds: float = 0.0
    chunk: int = 0
    extra: dict = field(default_factory=dict)

    def mean(self, metric: str, clips: np.ndarray) -> np.ndarray:
        """Mean over the frames of some clips, (steps, columns), in the metric's unit. NaN where there is no frame."""
        count = self.counts[metric][clips].sum()
        return self.sums[metric][clips].sum(0) / (count or np.nan)


def evaluate(
    lifter: DiffusionLifter,
    windows: Windows,
    sampling: Sampling,
    place: Place,
    *,
    observe: Callable[[Batch, dict[str, Tensor]], None] | None = None,
    limit: int | None = None,
    title: str = "evaluating",
) -> Errors:
    """Sample every window and score it. `observe(batch, {'hypotheses': ..., column: (B, K, F, J, 3)})` sees the poses.

    The windows are dealt to the processes in turn; every process returns the sums over all of them. No network
    output depends on the truth, and aggregations receive only what they may read.
    """
    metrics = metrics_named(sampling.metrics)
    over_clips = {name: m for name, m in metrics.items() if m.lost}
    rows = row_batches(windows, sampling.batch, sampling.apart() or bool(over_clips))[:limit]
    aggregations = available(windows.has_camera)
    names = tuple(aggregations)
    shape = (len(windows.clips), sampling.steps, len(names))
    sums = {m.key: torch.zeros(shape, dtype=torch.float64) for m in metrics.values() if not m.lost}
    frames = torch.zeros(len(windows.clips), dtype=torch.float64)
    whole = ClipErrors(windows, over_clips, shape) if over_clips else None
    lifter.eval()
    start, chunk = time.time(), 0
    # Neighbouring frames are compared within a process, so then a clip is one process's.
    mine = (
        [r for r in rows if windows.clip_of[int(r[0])] % place.world == place.rank]
        if over_clips
        else (rows[place.rank :: place.world])
    )
    bar = tqdm(mine, desc=title, leave=False, disable=not place.first, mininterval=1)
    for part in bar:
        batch = batch_of(windows, part, sampling)
        poses = sample(lifter, windows, batch, sampling, place)  # (B, K, H, F, J, 3)
        chunk = chunk or chunk_for(lifter, load_of(batch, sampling))
        evidence = evidence_of(batch, windows)
        columns = {name: a(poses, evidence) for name, a in aggregations.items()}  # each (B, K, F, J, 3)
        if observe:
            observe(batch, {"hypotheses": poses, **columns})
        scored = frame_errors(poses, columns, evidence, windows.skeleton, sampling)
        clip = torch.from_numpy(windows.clip_of)[part]
        mask = batch.mask.sum(1).cpu().double()  # (B,)
        frames.index_add_(0, clip, mask)
        for name, errors in scored.items():  # (B, K, columns, F)
            kept = torch.where(batch.mask[:, None, None], errors.float(), 0).sum(-1)  # MPS has no float64
            sums[metrics[name].key].index_add_(0, clip, metrics[name].factor * kept.cpu().double())
        if whole:
            whole.add(batch, torch.stack(list(columns.values()), 2))
    counts = {key: frames.clone() for key in sums}
    if whole:
        whole.finish()
        sums, counts = sums | whole.sums, counts | whole.counts
    if place.world > 1:
        frames, *rest = (place.sum(t.to(place.device)).cpu() for t in (frames, *sums.values(), *counts.values()))
        sums = dict(zip(sums, rest[: len(sums)], strict=True))
        counts = dict(zip(counts, rest[len(sums) :], strict=True))
    keys = [m.key for m in metrics.values()]
    found = {key: sums[key].numpy() for key in keys}
    return Errors(names, found, frames.numpy(), {key: counts[key].numpy() for key in keys}, time.time() - start, chunk)


class ClipErrors:
    """Metrics that compare neighbouring frames, over whole clips: windows come in order and are put together again.

    Only the clip in hand is kept. A value counts where all the frames behind it are valid.
    """

    def __init__(self, windows: Windows, metrics: dict[str, Metric], shape: tuple[int, int, int]):
        self.windows, self.metrics, self.shape, self.clip = windows, metrics, shape, -1
        self.sums = {m.key: torch.zeros(shape, dtype=torch.float64) for m in metrics.values()}
        self.counts = {m.key: torch.zeros(shape[0], dtype=torch.float64) for m in metrics.values()}

    def add(self, batch: Batch, poses: Tensor) -> None:
        """Take the poses (B, K, columns, F, J, 3) of a batch."""
        poses, truth, mask = poses.cpu(), batch.positions_3d.cpu(), batch.mask.cpu()
        for b, row in enumerate(batch.rows.tolist()):
            if self.windows.clip_of[row] != self.clip:
                self.finish()
                self.clip = int(self.windows.clip_of[row])
                frames, joints = len(self.windows.clips[self.clip]), poses.shape[-2]
                self.poses = torch.zeros(*self.shape[1:], frames, joints, 3)
                self.truth = torch.zeros(frames, joints, 3)
                self.valid = torch.zeros(frames, dtype=torch.bool)
            at = torch.from_numpy(self.windows.frames_of(row))
            inside = (at >= 0) & (at < len(self.valid))
            self.poses[:, :, at[inside]] = poses[b][:, :, inside]
            self.truth[at[inside]], self.valid[at[inside]] = truth[b][inside], mask[b][inside]

    def finish(self) -> None:
        """Score the clip in hand."""
        if self.clip < 0:
            return
        for m in self.metrics.values():
            count = len(self.valid) - m.lost
            if count > 0:
                kept = torch.stack([self.valid[n : n + count] for n in range(m.lost + 1)]).all(0)
                errors = m.of(self.poses, self.truth, self.windows.skeleton).double()  # (K, columns, F - lost)
                self.sums[m.key][self.clip] = m.factor * torch.where(kept, errors, 0).sum(-1)
                self.counts[m.key][self.clip] = kept.sum()
        self.clip = -1


def batch_of(windows: Windows, rows: Sequence[int] | Tensor, sampling: Sampling) -> Batch:
    """Some windows; the action is hidden where the sampling says so."""
    return windows.batch(rows, untold=torch.ones(len(rows), dtype=torch.bool) if sampling.neutral else None)


def check_told(lifter: DiffusionLifter, windows: Windows) -> None:
    """Raise UserError where the network is to be told of an action that it has no prompt for, or of a camera that is
    not known: before the work."""
    actions = windows.action.unique()
    intrinsics = windows.intrinsics[: len(actions)] if windows.has_camera else None
    with torch.no_grad():
        lifter.denoiser.condition(as_batch(actions, windows.action_names, intrinsics, camera=False))


def evidence_of(batch: Batch, windows: Windows) -> Evidence:
    """The evidence of a batch of windows, with a dimension for the steps."""
    intrinsics = batch.intrinsics.unsqueeze(1) if batch.intrinsics is not None else None
    rates = [windows.clips[clip].fps for clip in windows.clip_of[batch.rows.numpy()]]
    return Evidence(
        batch.target_2d.unsqueeze(1),
        intrinsics,
        batch.root.unsqueeze(1),
        batch.positions_3d.unsqueeze(1),
        fps=torch.tensor(rates, device=batch.keypoints_2d.device).unsqueeze(1),
        skeleton=windows.skeleton,
        mask=batch.mask.unsqueeze(1),
    )


@torch.no_grad()
def sample(
    lifter: DiffusionLifter,
    windows: Windows,
    batch: Batch,
    sampling: Sampling,
    place: Place,
    *,
    first: int = 0,
    of: int | None = None,
) -> Tensor:
    """All hypotheses of a batch at every step, (B, K, H, F, J, 3), root joint at zero.

    From the `first`-th on, of so many in all, where others are drawn apart.
    """
    load, noise = load_of(batch, sampling), noise_of(windows, batch, sampling, place)
    asked = range(first * sampling.repeat, first * sampling.repeat + load.draws)

    def draw(draws: range, steps: int, chunk: int, flip: Flip) -> Tensor:
        with autocast(place.device, sampling.amp):
            how: dict[str, Any] = {"flip": flip, "sampler": sampling.sampler, "chunk": chunk}
            how |= {"of": of * sampling.repeat} if of else {}
            return lifter.sample(batch, draws, steps, noise, **how).float()

    def probe(count: int) -> Tensor:
        """So many hypotheses at a time, which turns of both bodies would halve."""
        return draw(range(count), 1, count, sampling.flip is True)

    poses = in_chunks(lifter, load, probe, lambda chunk: draw(asked, sampling.steps, chunk, sampling.flip))
    if sampling.repeat > 1:
        poses = average_repeats(poses, sampling.repeat)
    poses[..., windows.skeleton.root, :] = 0
    return poses


def noise_of(
    windows: Windows, batch: Batch, sampling: Sampling, place: Place
) -> Callable[[range], Callable[[int], Tensor]]:
    """The noise of a batch's hypotheses, for `DiffusionLifter.follow`."""
    keys = [windows.key(row) for row in batch.rows.tolist()]
    shape = (windows.output, len(windows.skeleton), 3)

    def noise(draws: range) -> Callable[[int], Tensor]:
        drawn = window_noise(sampling.seed, keys, draws, shape, device=place.device)
        return drawn if sampling.temperature == (1, 1) else tempered(drawn, *sampling.temperature)

    return noise


def load_of(batch: Batch, sampling: Sampling) -> Load:
    """What sampling this batch asks of the device."""
    x, draws = batch.keypoints_2d, sampling.hypotheses * sampling.repeat
    return Load(x.device, tuple(x.shape[1:]), sampling.amp, sampling.flip, len(x), draws)


def frame_errors(
    poses: Tensor, columns: dict[str, Tensor], evidence: Evidence, skeleton: Skeleton, sampling: Sampling
) -> dict[str, Tensor]:
    """Frame errors of each column (B, K, columns, F), metres, by metric. One alignment serves all columns.

    Metrics over whole clips are left to `ClipErrors`.
    """
    target = evidence.pose.unsqueeze(2)  # (B, 1, 1, F, J, 3)
    stacked = torch.stack(list(columns.values()), 2)  # (B, K, columns, F, J, 3)
    rows = [AGGREGATIONS[name] for name in columns]
    whole = [c for c, row in enumerate(rows) if row.oracle and not row.assembles]
    scored = {}
    for name, metric in metrics_named(sampling.metrics).items():
        if metric.lost:
            continue
        ours, hypotheses = stacked, poses
        if metric.align:
            ours, hypotheses = metric.align(torch.cat([stacked, poses], 2), target).split(
                [len(columns), poses.shape[2]], 2
            )
        scored[name] = errors = metric.of(ours, target, skeleton)
        if metric.align:
            for c, row in enumerate(rows):
                # A choice of whole poses by the truth is made in the protocol that is scored; joints are assembled,
                # then aligned (published: aligned, then assembled).
                if c in whole or (row.assembles and sampling.published):
                    errors[:, :, c] = metric.of(row.of_aligned(poses, hypotheses, evidence), evidence.pose, skeleton)
        if sampling.published and metric.key in ("protocol_1", "protocol_2"):
            errors[:, :, whole] = _best_of_batch(mpjpe(hypotheses, target)).unsqueeze(2)
    return scored


def _best_of_batch(errors: Tensor) -> Tensor:
    """The published P_Best: per step, the one hypothesis that is best over the batch. (B, K, H, F) to (B, K, F)."""
    best = errors.mean((0, 3)).argmin(1)  # (K,)
    return errors.gather(2, best.view(1, -1, 1, 1).expand(len(errors), -1, 1, errors.shape[3])).squeeze(2)


def row_batches(windows: Windows, count: int, apart: bool, every: int = 1) -> list[Tensor]:
    """Rows of every `every`-th window in batches of `count`; with `apart`, a batch stays within a clip."""
    rows = torch.arange(0, len(windows), every)
    if not apart:
        return list(rows.split(count))
    clips, out = windows.clip_of[rows.numpy()], []
    for clip in dict.fromkeys(clips.tolist()):
        out += rows[torch.from_numpy(clips == clip)].split(count)
    return out


def _synchronise(place: Place) -> None:
    if place.device.type == "cuda":
        torch.cuda.synchronize(place.device)


def estimate_seconds(lifter: DiffusionLifter, windows: Windows, sampling: Sampling, place: Place) -> float:
    """Seconds that an evaluation will take, from one step of one hypothesis of the first windows."""
    count = min(sampling.batch, len(windows))
    probe = Sampling(1, 1, count, amp=sampling.amp, flip=sampling.flip)
    batch = batch_of(windows, range(count), sampling)
    sample(lifter, windows, batch, probe, place)
    _synchronise(place)
    start = time.perf_counter()
    sample(lifter, windows, batch, probe, place)
    _synchronise(place)
    each = (time.perf_counter() - start) / count
    asked = sampling.hypotheses * sampling.repeat * network_calls(sampling.sampler, sampling.steps)
    return each * len(windows) * asked / place.world
