"""The diffusion around a denoiser: training loss and sampling of many hypotheses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from common.diffusion.ddim import cosine_schedule, ddim_step, network_input, q_sample
from common.diffusion.samplers import SAMPLERS
from common.diffusion.velocity import read_pose
from common.errors import UserError
from common.geometry.skeleton import Skeleton
from common.scoring.metrics import mpjpe

# The mirrored body: every step averages both bodies (True), or every other hypothesis is of the mirrored one ("own").
Flip = bool | Literal["own"]


@dataclass(frozen=True)
class Diffusion:
    """What one published system's diffusion is, as values. The defaults are D3DP's."""

    abar: Tensor = field(default_factory=cosine_schedule)  # (T,), float64
    eta: float = 1.0
    scale: float = 1.0  # of the signal before noise is added
    unit: float = 1.0  # metres of one network unit
    limit: float = 1.1  # the estimate of x_0 is clamped to this many network units
    clamp_input: bool = True  # the network sees x_t clamped to the same limit
    step: Callable = ddim_step
    weight: Callable[[Tensor], Tensor] | None = None  # abar_t (B,) to loss weights (B,); makes the loss weighted MSE
    reading: Tensor | None = None  # rows of `velocity.reading`: the network says velocities; None: it says x_0
    mirror_apart: bool = False  # the mirrored body has a run and noise of its own; the means are taken afterwards


def d3dp_diffusion(timesteps: int = 1000, scale: float = 1.0) -> Diffusion:
    """D3DP's diffusion: cosine schedule, stochastic DDIM (Shan et al. 2023, section 3.2)."""
    return Diffusion(abar=cosine_schedule(timesteps), scale=scale)


class DiffusionLifter(nn.Module):
    """A denoiser with its diffusion. Poses are root-relative, camera frame, metres; keypoints in screen units."""

    mirror: Tensor
    reading: Tensor | None

    def __init__(self, denoiser: nn.Module, skeleton: Skeleton, diffusion: Diffusion | None = None):
        super().__init__()
        self.denoiser = denoiser
        self.skeleton = skeleton
        self.diffusion = diffusion or Diffusion()
        self.register_buffer("mirror", torch.tensor(skeleton.mirror), persistent=False)
        rows = self.diffusion.reading
        self.register_buffer("reading", None if rows is None else rows.float(), persistent=False)

    def estimate(self, x_2d: Tensor, x_t: Tensor, t: Tensor, condition) -> Tensor:
        """The estimate of x_0 with a denoiser's call, whatever the network was trained to say."""
        if self.reading is None:
            return self.denoiser(x_2d, x_t, t, condition)
        return read_pose(self.denoiser, self.reading, x_2d, x_t, t, condition)

    def flip(self, x: Tensor) -> Tensor:
        """The mirrored body: x negated, left and right joints swapped. (..., J, 2 or 3)."""
        x = x.index_select(-2, self.mirror)
        return torch.cat([-x[..., :1], x[..., 1:]], -1)

    def training_loss(self, batch, t: Tensor, noise: Tensor) -> Tensor:
        """The loss of `training_losses`."""
        return self.training_losses(batch, t, noise)[0]

    def training_losses(
        self, batch, t: Tensor, noise: Tensor, terms: Callable[..., Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """(loss, MPJPE in metres) summed over the batch's real frames: divide by `batch.mask.sum()`.

        batch: keypoints_2d (B, F, J, 2), positions_3d (B, F, J, 3), mask (B, F); t (B,); noise (B, F, J, 3). The
        loss is MPJPE in metres (D3DP, eq. 6), or the weighted squared error where the diffusion has a weight.
        terms(losses (B, F), x_0, target, mask, t), poses in metres, makes something else of it.
        """
        d = self.diffusion
        target = batch.positions_3d / d.unit
        x_t = q_sample(target, t, noise, d.abar, scale=d.scale)
        seen = network_input(x_t, d.scale, d.limit) if d.clamp_input else x_t
        condition = self.denoiser.condition(batch)
        x_0 = self.estimate(batch.keypoints_2d, seen.unsqueeze(1), t.to(seen.device), condition).squeeze(1)
        errors = losses = mpjpe(x_0, target) * d.unit  # (B, F)
        if d.weight is not None:
            weight = d.weight(d.abar[t.cpu()]).to(x_0)
            losses = weight[:, None] * ((x_0 - target) ** 2).mean((-2, -1))
        if terms is not None:
            losses = terms(losses, x_0 * d.unit, batch.positions_3d, batch.mask, t)
        return (losses * batch.mask).sum(), (errors.detach() * batch.mask).sum()

    def prepared(self, batch, flip: bool, mirrored: bool = False) -> tuple[Tensor, Any]:
        """What all hypotheses and steps have in common: keypoints (B or 2B, F, J, 2) and condition.

        With `flip` those of the windows and of their mirror images as one batch, with `mirrored` of these alone. A
        denoiser may have a `prepared(keypoints, condition)` that puts into its condition what it need not compute at
        every call.
        """
        keypoints, condition = batch.keypoints_2d, self.denoiser.condition(batch)
        if mirrored:
            keypoints = self.flip(keypoints)
            condition = condition.mirrored() if condition is not None else None
        if flip:
            keypoints = torch.cat([keypoints, self.flip(keypoints)])
            condition = condition.doubled() if condition is not None else None
        prepare = getattr(self.denoiser, "prepared", None)
        return keypoints, condition if prepare is None else prepare(keypoints, condition)

    def reverse(
        self,
        batch,
        noise: Callable[[int], Tensor],
        steps: int,
        *,
        flip: bool = True,
        mirrored: bool = False,
        sampler: str = "ddim",
        first_hypothesis: int = 0,
        hypotheses: int | None = None,
        prepared: tuple[Tensor, Any] | None = None,
    ):
        """Yield (x_t, estimate of x_0) of every step, (B, H, F, J, 3), metres; the flipped body runs in one batch.

        These are the hypotheses from the first_hypothesis-th on, of so many in all (None: there are no others).
        Both bodies share noise and state, and every step averages them; where the diffusion says `mirror_apart`, each
        has its own (noise(k) is then called twice), and what is yielded is the mean of both. With `mirrored` the
        flipped body runs alone, and is turned back. `sampler` names a row of SAMPLERS; the diffusion's own step and
        noise are DDIM's. Raises UserError where the step is another.
        """
        d = self.diffusion
        if sampler != "ddim" and d.step is not ddim_step:
            raise UserError(
                f"--sampler {sampler}: this checkpoint's step is its own; --ddim-coefficients textbook has DDIM's"
            )
        own = {"eta": d.eta, "step": d.step} if sampler == "ddim" else {}
        apart, together = flip and d.mirror_apart, flip and not d.mirror_apart
        keypoints, condition = prepared or self.prepared(batch, flip, mirrored)
        if condition is not None:
            condition = condition.from_hypothesis(first_hypothesis, hypotheses)

        def mean_of_both(x: Tensor) -> Tensor:
            straight, flipped = x.chunk(2)
            return (straight + self.flip(flipped)) / 2

        def denoise(x_t: Tensor, t: int) -> Tensor:
            z = network_input(x_t, d.scale, d.limit) if d.clamp_input else x_t
            if together:
                z = torch.cat([z, self.flip(z)])  # (2B, H, F, J, 3)
            times = torch.full((len(z),), t, device=z.device, dtype=torch.long)
            x_0 = self.estimate(keypoints, z, times, condition).float()
            if together:
                x_0 = mean_of_both(x_0)
            return (d.scale * x_0).clamp(-d.limit * d.scale, d.limit * d.scale)

        def draw(k: int) -> Tensor:
            return torch.cat([noise(k), noise(k)]) if apart else noise(k)

        for x_t, x_0 in SAMPLERS[sampler](denoise, draw, d.abar, steps, **own):
            if apart:
                x_t, x_0 = mean_of_both(x_t), mean_of_both(x_0)
            if mirrored:
                x_t, x_0 = self.flip(x_t), self.flip(x_0)
            yield x_t * (d.unit / d.scale), x_0 * (d.unit / d.scale)

    def follow(
        self,
        batch,
        hypotheses: int | range,
        steps: int,
        noise: Callable[[range], Callable[[int], Tensor]],
        *,
        flip: Flip = True,
        chunk: int | None = None,
        sampler: str = "ddim",
        of: int | None = None,
    ) -> Iterator[tuple[range, Iterator[tuple[Tensor, Tensor]]]]:
        """Yield some hypotheses, at most `chunk`, with what `reverse` yields of them, until all were there.

        hypotheses: how many, or which; of: how many there are in all, where others are drawn apart. noise(range of
        hypotheses) returns their noise source (`noise.window_noise`).
        """
        asked = hypotheses if isinstance(hypotheses, range) else range(hypotheses)
        average, count, total = flip is True, chunk or len(asked), of or asked.stop
        for mirrored, draws in turns(asked, flip):
            prepared = self.prepared(batch, average, mirrored)
            how: dict[str, Any] = {"flip": average, "mirrored": mirrored, "sampler": sampler, "prepared": prepared}
            for first in range(0, len(draws), count):
                part = draws[first : first + count]
                before, body = divmod(part.start, part.step)  # of this body
                how |= {"first_hypothesis": before, "hypotheses": len(range(body, total, part.step))}
                yield part, self.reverse(batch, noise(part), steps, **how)

    def sample(self, batch, hypotheses: int | range, steps: int, noise: Callable, **how) -> Tensor:
        """Every step's estimates (B, K, H, F, J, 3), metres, root-relative.

        Arguments as `follow`. The result does not depend on how many hypotheses go through the network at a time.
        """
        parts, order = [], []
        for part, steps_of in self.follow(batch, hypotheses, steps, noise, **how):
            parts.append(torch.stack([x_0 for _, x_0 in steps_of], 1))  # (B, K, chunk, F, J, 3)
            order += part
        return in_order(parts, order)


def turns(hypotheses: range, flip: Flip) -> list[tuple[bool, range]]:
    """(Whether of the mirrored body, which hypotheses), the parts in which they are sampled: of "own" the odd ones."""
    if flip != "own":
        return [(False, hypotheses)]
    parts = ((bool(h % 2), range(h, hypotheses.stop, 2)) for h in hypotheses[:2])
    return sorted(parts, key=lambda part: part[0])


def in_order(parts: Sequence[Tensor], numbers: Sequence[int]) -> Tensor:
    """Parts of the hypotheses along axis 2 as one tensor, by their numbers."""
    whole = torch.cat(list(parts), 2)
    return whole if list(numbers) == sorted(numbers) else whole[:, :, torch.tensor(numbers).argsort()]
