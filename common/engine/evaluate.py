"""The evaluation loop: hypotheses of every window, each way to aggregate them scored against the truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from common.datasets.windows import Batch, Windows
from common.diffusion.lifter import DiffusionLifter
from common.diffusion.noise import window_noise
from common.engine.chunks import Load, chunk_for, in_chunks
from common.engine.devices import Place, autocast
from common.scoring.hypotheses import AGGREGATIONS, Evidence, available, average_repeats
from common.scoring.metrics import mpjpe, procrustes_align

EVALUATION_WINDOWS = 4  # windows at a time where -b does not say


@dataclass(frozen=True)
class Sampling:
    """What to sample and how to score it."""

    hypotheses: int = 1
    steps: int = 1
    windows: int = EVALUATION_WINDOWS  # at a time; P_Best under the published protocol depends on it
    seed: int = 1
    protocol_2: bool = False
    published: bool = False
    amp: bool = False
    neutral: bool = False  # hide the action
    flip: bool = True
    repeat: int = 1  # each hypothesis is the mean of so many draws


@dataclass
class Errors:
    """Sums of frame errors in mm, per protocol: (clips, steps, columns), float64, and the frames behind them."""

    columns: tuple[str, ...]
    sums: dict[str, np.ndarray]
    frames: np.ndarray  # (clips,)
    seconds: float = 0.0
    chunk: int = 0
    extra: dict = field(default_factory=dict)

    def mean(self, protocol: str, clips: np.ndarray) -> np.ndarray:
        """Mean over the frames of some clips, (steps, columns), mm."""
        return self.sums[protocol][clips].sum(0) / max(self.frames[clips].sum(), 1)


def evaluate(
    lifter: DiffusionLifter,
    windows: Windows,
    sampling: Sampling,
    place: Place,
    observe: Callable[[Batch, dict[str, Tensor]], None] | None = None,
    limit: int | None = None,
    title: str = "evaluating",
) -> Errors:
    """Sample every window and score it. `observe(batch, {'hypotheses': ..., column: (B, K, F, J, 3)})` sees the poses.

    The windows are dealt to the processes in turn; every process returns the sums over all of them. No network
    output depends on the truth, and aggregations receive only what they may read.
    """
    # Published evaluations run one action at a time: where the network mixes up the texts of a batch, so does this one.
    apart = sampling.published or (getattr(lifter.denoiser, "mixes_texts", False) and not sampling.neutral)
    rows = _slices(windows, sampling.windows, apart)[:limit]
    aggregations = available(windows.has_camera)
    names = tuple(aggregations)
    protocols = ("protocol_1", "protocol_2") if sampling.protocol_2 else ("protocol_1",)
    sums = {p: torch.zeros(len(windows.clips), sampling.steps, len(names), dtype=torch.float64) for p in protocols}
    frames = torch.zeros(len(windows.clips), dtype=torch.float64)
    lifter.eval()
    start, chunk = time.time(), 0
    bar = tqdm(rows[place.rank :: place.world], desc=title, leave=False, disable=not place.first, mininterval=1)
    for part in bar:
        batch = batch_of(windows, part, sampling)
        poses = sample(lifter, windows, batch, sampling, place)  # (B, K, H, F, J, 3)
        chunk = chunk or chunk_for(lifter, load_of(batch, sampling))
        evidence = evidence_of(batch)
        columns = {name: a(poses, evidence) for name, a in aggregations.items()}  # each (B, K, F, J, 3)
        if observe:
            observe(batch, {"hypotheses": poses, **columns})
        scored = score(poses, columns, evidence, sampling)
        clip = torch.from_numpy(windows.clip_of)[part]
        mask = batch.mask.sum(1).cpu().double()  # (B,)
        frames.index_add_(0, clip, mask)
        for protocol, errors in scored.items():  # (B, K, columns, F)
            kept = torch.where(batch.mask[:, None, None], errors.float(), 0).sum(-1)  # MPS has no float64
            sums[protocol].index_add_(0, clip, 1000 * kept.cpu().double())
    group = [place.sum(t.to(place.device)).cpu() if place.world > 1 else t for t in (frames, *sums.values())]
    result = dict(zip(protocols, (t.numpy() for t in group[1:]), strict=True))
    return Errors(names, result, group[0].numpy(), time.time() - start, chunk)


def batch_of(windows: Windows, rows: Sequence[int] | Tensor, sampling: Sampling) -> Batch:
    """Some windows; the action is hidden where the sampling says so."""
    return windows.batch(rows, untold=torch.ones(len(rows), dtype=torch.bool) if sampling.neutral else None)


def check_told(lifter: DiffusionLifter, windows: Windows) -> None:
    """Raise UserError where the network is to be told of an action that it has no prompt for: before the work."""
    actions = SimpleNamespace(action=windows.action.unique(), action_names=windows.action_names)
    with torch.no_grad():
        lifter.denoiser.condition(actions)


def evidence_of(batch: Batch) -> Evidence:
    """The batch's evidence, with a dimension for the steps."""
    intrinsics = batch.intrinsics.unsqueeze(1) if batch.intrinsics is not None else None
    return Evidence(batch.target_2d.unsqueeze(1), intrinsics, batch.root.unsqueeze(1), batch.positions_3d.unsqueeze(1))


@torch.no_grad()
def sample(lifter: DiffusionLifter, windows: Windows, batch: Batch, sampling: Sampling, place: Place) -> Tensor:
    """All hypotheses of a batch at every step, (B, K, H, F, J, 3), root joint at zero."""
    keys = [windows.key(row) for row in batch.rows.tolist()]
    shape = (windows.output, len(windows.skeleton), 3)
    load = load_of(batch, sampling)

    def noise(hypotheses: range):
        return window_noise(sampling.seed, keys, hypotheses, shape, place.device)

    def draw(draws: int, steps: int, chunk: int) -> Tensor:
        with autocast(place.device, sampling.amp):
            return lifter.sample(batch, draws, steps, noise, sampling.flip, chunk).float()

    poses = in_chunks(lifter, load, lambda n: draw(n, 1, n), lambda chunk: draw(load.draws, sampling.steps, chunk))
    if sampling.repeat > 1:
        poses = average_repeats(poses, sampling.repeat)
    poses[..., windows.skeleton.root, :] = 0
    return poses


def load_of(batch: Batch, sampling: Sampling) -> Load:
    """What sampling this batch asks of the device."""
    x, draws = batch.keypoints_2d, sampling.hypotheses * sampling.repeat
    return Load(x.device, tuple(x.shape[1:]), sampling.amp, sampling.flip, len(x), draws)


def score(poses: Tensor, columns: dict[str, Tensor], evidence: Evidence, sampling: Sampling) -> dict[str, Tensor]:
    """Frame errors of each column (B, K, columns, F), metres, by protocol. One Procrustes pass serves all columns."""
    target = evidence.pose.unsqueeze(2)  # (B, 1, 1, F, J, 3)
    stacked = torch.stack(list(columns.values()), 2)  # (B, K, columns, F, J, 3)
    first = mpjpe(stacked, target)
    scored = {"protocol_1": first}
    if sampling.protocol_2:
        aligned = procrustes_align(torch.cat([stacked, poses], 2), target)
        ours, hypotheses = aligned.split([len(columns), poses.shape[2]], 2)
        scored["protocol_2"] = second = mpjpe(ours, target)
        for c, row in enumerate(AGGREGATIONS[name] for name in columns):
            # A choice of whole poses by the truth is made in the protocol that is scored; joints are assembled, then
            # aligned (published: aligned, then assembled).
            if (row.oracle and not row.assembles) or (row.assembles and sampling.published):
                second[:, :, c] = mpjpe(row.of_aligned(poses, hypotheses, evidence), evidence.pose)
    if sampling.published:
        whole = [c for c, name in enumerate(columns) if AGGREGATIONS[name].oracle and not AGGREGATIONS[name].assembles]
        for errors, compared in ((first, poses), *([(second, hypotheses)] if sampling.protocol_2 else [])):
            errors[:, :, whole] = _best_of_batch(mpjpe(compared, target)).unsqueeze(2)
    return scored


def _best_of_batch(errors: Tensor) -> Tensor:
    """The published P_Best: per step, the one hypothesis that is best over the batch. (B, K, H, F) to (B, K, F)."""
    best = errors.mean((0, 3)).argmin(1)  # (K,)
    return errors.gather(2, best.view(1, -1, 1, 1).expand(len(errors), -1, 1, errors.shape[3])).squeeze(2)


def _slices(windows: Windows, count: int, apart: bool) -> list[Tensor]:
    """Rows of the windows in batches of `count`; with `apart`, a batch stays within a clip (the published protocol)."""
    rows = torch.arange(len(windows))
    if not apart:
        return list(rows.split(count))
    out = []
    for clip in dict.fromkeys(windows.clip_of.tolist()):
        out += rows[torch.from_numpy(windows.clip_of == clip)].split(count)
    return out


def _synchronise(place: Place) -> None:
    if place.device.type == "cuda":
        torch.cuda.synchronize(place.device)


def estimate_seconds(lifter: DiffusionLifter, windows: Windows, sampling: Sampling, place: Place) -> float:
    """Seconds that an evaluation will take, from one step of one hypothesis of the first windows."""
    count = min(sampling.windows, len(windows))
    probe = Sampling(1, 1, count, amp=sampling.amp, flip=sampling.flip)
    batch = batch_of(windows, range(count), sampling)
    sample(lifter, windows, batch, probe, place)
    _synchronise(place)
    start = time.perf_counter()
    sample(lifter, windows, batch, probe, place)
    _synchronise(place)
    each = (time.perf_counter() - start) / count
    return each * len(windows) * sampling.hypotheses * sampling.steps / place.world
