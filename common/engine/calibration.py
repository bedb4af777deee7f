"""`--calibration`: how honest the hypotheses of a lifter are on clips with a known truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from common.datasets.windows import Batch, Windows
from common.diffusion.lifter import DiffusionLifter
from common.engine.devices import Place
from common.engine.evaluate import Sampling, batch_of, row_batches, sample
from common.errors import UserError
from common.scoring.calibration import LEFT_OUT, QUANTILES, odds_of, summary
from common.settings.lifting import Settings

SAMPLES = 200  # of each window: the published number
AT_A_TIME = 20  # of them; only what they say at the last step is kept
LEAST = 500  # joints of an action or a range of confidence: of fewer nothing is told
CONFIDENCE = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # limits of its ranges


@dataclass(frozen=True)
class Records:
    """One row a valid frame, one column a joint but the root; lengths in metres."""

    rank: np.ndarray  # (N, J)
    spread: np.ndarray
    error: np.ndarray
    energy: np.ndarray
    clip: np.ndarray  # (N,), number of the clip
    confidence: np.ndarray | None  # (N, J) of the 2D, where every clip has one
    joints: tuple[str, ...]
    windows: int


def measure(
    lifter: DiffusionLifter,
    windows: Windows,
    sampling: Sampling,
    place: Place,
    *,
    samples: int = SAMPLES,
    every: int = 1,
    limit: int | None = None,
    title: str = "calibration",
) -> Records:
    """Draw `samples` hypotheses of every `every`-th window and compare them with the truth; at most `limit` batches.

    They pass through the network `AT_A_TIME` together, and one batch of windows is in memory. The windows are dealt to
    the processes in turn; each returns all records.
    """
    asked = replace(sampling, hypotheses=samples)
    parts = row_batches(windows, asked.batch, asked.apart(), every)[:limit]
    kept = [j for j in range(len(windows.skeleton)) if j != windows.skeleton.root]
    table = torch.zeros(4, sum(map(len, parts)), windows.output, len(kept))
    offsets = np.cumsum([0, *map(len, parts)])
    lifter.eval()
    mine = range(place.rank, len(parts), place.world)
    for n in tqdm(mine, desc=title, leave=False, disable=not place.first, mininterval=1):
        batch = batch_of(windows, parts[n], asked)
        odds = odds_of(draw(lifter, windows, batch, asked, place)[..., kept, :], batch.positions_3d[..., kept, :])
        found = torch.stack([odds.rank, odds.spread, odds.error, odds.energy])  # (4, B, F, J)
        table[:, offsets[n] : offsets[n + 1]] = found.cpu()
    table = place.sum(table.to(place.device)).cpu()
    rows = torch.cat(list(parts)) if parts else torch.zeros(0, dtype=torch.long)
    mask = windows.mask.cpu()[rows]  # (W, F)
    arrays = table[:, mask].numpy()  # (4, N, J)
    clip = np.repeat(windows.clip_of[rows.numpy()], mask.sum(1).numpy())
    joints = tuple(windows.skeleton.joints[j] for j in kept)
    rank, spread, error, energy = arrays
    return Records(rank, spread, error, energy, clip, _confidence(windows, rows, mask, kept), joints, len(rows))


def draw(lifter: DiffusionLifter, windows: Windows, batch: Batch, sampling: Sampling, place: Place) -> Tensor:
    """The hypotheses (B, H, F, J, 3) of a batch at the last step, a few through the network at a time. They are those
    that `sample` draws together."""
    parts = []
    for first in range(0, sampling.hypotheses, AT_A_TIME):
        count = min(AT_A_TIME, sampling.hypotheses - first)
        some = replace(sampling, hypotheses=count)
        parts.append(sample(lifter, windows, batch, some, place, first=first, of=sampling.hypotheses)[:, -1])
    return torch.cat(parts, 1)


def _confidence(windows: Windows, rows: Tensor, mask: Tensor, kept: Sequence[int]) -> np.ndarray | None:
    if any(clip.confidence is None for clip in windows.clips):
        return None
    found = []
    for row, valid in zip(rows.tolist(), mask.numpy(), strict=True):
        clip = windows.clips[windows.clip_of[row]]
        frames = windows.frames_of(row)[valid].clip(0, len(clip) - 1)
        found.append(clip.confidence[frames][:, kept])
    return np.concatenate(found)


def report(records: Records, actions: Sequence[str]) -> dict:
    """The figures of `summary` over everything, and in short by joint, action and range of the 2D's confidence.

    actions: of each clip, in order.
    """
    everything = np.ones(len(records.rank), bool)
    names = np.array(actions)[records.clip]
    out = {
        **_figures(records, everything),
        "joints": {j: _short(_figures(records, everything, n)) for n, j in enumerate(records.joints)},
        "actions": {
            a: _short(_figures(records, names == a))
            for a in dict.fromkeys(actions)
            if (names == a).sum() * len(records.joints) >= LEAST
        },
        "quantiles": QUANTILES.tolist(),
        "left_out": LEFT_OUT.tolist(),
    }
    if records.confidence is not None:
        out["confidence"] = {}
        for low, high in zip(CONFIDENCE[:-1], CONFIDENCE[1:], strict=True):
            inside = (records.confidence >= low) & ((records.confidence < high) | (high == CONFIDENCE[-1]))
            if inside.sum() >= LEAST:
                columns = [x[inside][:, None] for x in (records.rank, records.spread, records.error, records.energy)]
                out["confidence"][f"{low:g} to {high:g}"] = _short(summary(*columns))
    return out


def _figures(records: Records, rows: np.ndarray, joint: int | None = None) -> dict:
    columns = slice(None) if joint is None else [joint]
    return summary(*(x[rows][:, columns] for x in (records.rank, records.spread, records.error, records.energy)))


def _short(figures: dict) -> dict:
    return {key: value for key, value in figures.items() if not isinstance(value, list)}


def run(
    settings: Settings, lifter: DiffusionLifter, windows: Windows, sampling: Sampling, place: Place
) -> dict[str, dict]:
    """The report's `calibration`: the sampler, its figures, and those at temperature 1 where it is another one."""
    how: dict[str, Any] = {"every": settings.evaluation.calibration_every, "limit": 2 if settings.run.debug else None}
    actions = [clip.action_name for clip in windows.clips]
    records = measure(lifter, windows, sampling, place, **how)
    if not len(records.rank):
        raise UserError("--calibration: no valid frame in the windows looked at; lower --calibration-every")
    out = {
        "sampler": {
            "samples": SAMPLES,
            "windows": f"{records.windows} of {len(windows)}",
            "hypotheses": sampling.hypotheses,
            "steps": sampling.steps,
            "sampler": sampling.sampler,
            "eta": lifter.diffusion.eta if sampling.sampler == "ddim" else 0.0,
            "temperature": list(sampling.temperature),
            "flip": sampling.flip,
            "repeat": sampling.repeat,
            "seed": sampling.seed,
            "compared": records.rank.size,
        }
    }
    if sampling.temperature != (1, 1):
        plain = replace(sampling, temperature=(1.0, 1.0))
        before = measure(lifter, windows, plain, place, **how, title="calibration, temperature 1")
        out["before"] = report(before, actions)
    return out | {"figures": report(records, actions)}


def write_page(folder: Path, title: str, found: dict) -> Path:
    """calibration.html of the report's `calibration`."""
    from common.viz.calibration import sampler_line, write_page  # Matplotlib: evaluating needs none

    name = "as sampled" if "before" not in found else "with this temperature"
    sets = {"temperature 1": found["before"]} if "before" in found else {}
    return write_page(
        folder / "calibration.html", title, sampler_line(found["sampler"]), sets | {name: found["figures"]}
    )
