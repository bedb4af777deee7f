"""Follow the diffusion of one frame: the forward process of its pose, the reverse process of its reconstruction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from common.datasets.clips import Clip
from common.diffusion.ddim import q_sample
from common.diffusion.lifter import DiffusionLifter, Flip, in_order
from common.diffusion.noise import seed_of
from common.engine.chunks import in_chunks
from common.engine.clips import answered_frames, rows_for, windows_of
from common.engine.devices import Place, autocast
from common.engine.evaluate import Sampling, batch_of, evidence_of, load_of, noise_of
from common.engine.opening import Opened
from common.scoring.hypotheses import AGGREGATIONS, ONE_POSE, average_repeats


@dataclass(frozen=True)
class Trace:
    """The reverse process of one frame in S steps: H draws, root-relative, camera frame, metres."""

    states: np.ndarray  # (H, S, J, 3), x_t after each step; the last is the last estimate
    estimates: np.ndarray  # (H, S, J, 3), x_0 as estimated in each step
    aggregates: np.ndarray  # (S, J, 3), the one pose made of each step's estimates


@torch.no_grad()
def trace_frame(opened: Opened, clip: Clip, sampling: Sampling, place: Place, frame: int) -> Trace:
    """Sample the window that answers for this frame of a clip, with the noise of `lift_clip`, and keep every step."""
    lifter = opened.lifter
    windows = windows_of(opened, clip, place)
    row = rows_for(windows, [frame])[0]
    batch = batch_of(windows, [row], sampling)
    at = frame - int(answered_frames(windows, row)[0])
    load, noise = load_of(batch, sampling), noise_of(windows, batch, sampling, place)

    def follow(draws: int, count: int, flip: Flip, chunk: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(states, estimates) of `count` steps, each (1, S, draws, F, J, 3)."""
        states, estimates, order = [], [], []
        with autocast(place.device, sampling.amp):
            runs = lifter.follow(batch, draws, count, noise, flip=flip, sampler=sampling.sampler, chunk=chunk)
            for part, run in runs:
                steps = list(run)
                states.append(torch.stack([x_t for x_t, _ in steps], 1).float())  # (1, S, chunk, F, J, 3)
                estimates.append(torch.stack([x_0 for _, x_0 in steps], 1).float())
                order += part
        return in_order(states, order), in_order(estimates, order)

    work = partial(follow, load.draws, sampling.steps, sampling.flip)
    before, x_0 = in_chunks(lifter, load, lambda n: follow(n, 1, sampling.flip is True, n), work)
    x_0[..., lifter.skeleton.root, :] = 0
    after = torch.cat([before[:, 1:], x_0[:, -1:]], 1)
    hypotheses = average_repeats(x_0, sampling.repeat) if sampling.repeat > 1 else x_0
    aggregates = AGGREGATIONS[ONE_POSE](hypotheses, evidence_of(batch, windows))  # (1, S, F, J, 3)
    return Trace(
        after[0, :, :, at].transpose(0, 1).cpu().numpy(),
        x_0[0, :, :, at].transpose(0, 1).cpu().numpy(),
        aggregates[0, :, at].cpu().numpy(),
    )


def forward_states(lifter: DiffusionLifter, pose: np.ndarray, seed: int, count: int = 40) -> tuple[np.ndarray, list]:
    """(x_t of one pose (J, 3) at `count` evenly spaced times (count, J, 3) in metres, the times)."""
    diffusion = lifter.diffusion
    total = len(diffusion.abar)
    times = [n * total // count for n in range(count)] if total >= count else list(range(total))
    generator = torch.Generator().manual_seed(seed_of(seed, "forward"))
    noise = torch.randn(len(times), *pose.shape, generator=generator)
    clean = torch.from_numpy(pose).float().expand(len(times), *pose.shape) / diffusion.unit
    states = q_sample(clean, torch.tensor(times), noise, diffusion.abar, scale=diffusion.scale)
    return (states * diffusion.unit).numpy(), times
