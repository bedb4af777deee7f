"""The dual diffusion: 2D poses of all views are noised; each step triangulates, denoises in 3D and projects back.

Dual-Diffusion (NeurIPS 2024), section 3. Coefficients in float64. A process is two curves over time, the share of the
signal and the share of the noise, so that the published process and the one without shrinking use the same sampler.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.diffusion.ddim import linear_schedule, sampling_times
from common.errors import UserError
from common.geometry.skeleton import STEREO_17
from common.geometry.stereo import project, stretch, triangulate

UNIT_BASELINE = 400.0  # millimetres: the baseline at which normalised depths are left alone
NEAREST = 0.1  # metres: in the training loss nothing comes nearer to a camera


def schedule(kind: str, timesteps: int, first: float, last: float) -> Tensor:
    """abar_t (T,), float64, of a noise schedule: linear, quad, const, jsd or sigmoid.

    first and last lie between 0 and 1, both excluded: without noise in the first step the reverse process divides by
    zero, with nothing but noise before the last one as well. Raises UserError for others.
    """
    for name, beta in (("beta_start", first), ("beta_end", last)):
        if not 0 < beta < 1:
            raise UserError(f"diffusion.{name} is {beta}: must be between 0 and 1")
    if kind == "linear":
        return linear_schedule(timesteps, first, last)
    steps = torch.arange(timesteps, dtype=torch.float64)
    betas = {
        "quad": lambda: torch.linspace(first**0.5, last**0.5, timesteps, dtype=torch.float64) ** 2,
        "const": lambda: torch.full((timesteps,), last, dtype=torch.float64),
        "jsd": lambda: 1 / (timesteps - steps),
        "sigmoid": lambda: torch.linspace(-6, 6, timesteps, dtype=torch.float64).sigmoid() * (last - first) + first,
    }
    if kind not in betas:
        raise UserError(f"diffusion.beta_schedule: {kind!r} is none of linear, {', '.join(betas)}")
    return torch.cumprod(1 - betas[kind](), 0)


@dataclass(frozen=True)
class Process:
    """u_t = signal_t u_0 + noise_t sigma eps, both curves (T,) float64."""

    signal: Tensor
    noise: Tensor

    @classmethod
    def of(cls, abar: Tensor, kind: str = "published") -> Process:
        """`published`: signal sqrt(abar), noise sqrt(1 - abar); it shrinks poses towards the crop's centre, which no
        detector does. `unshrunk`: signal 1, the same noise (variance exploding)."""
        if kind not in ("published", "unshrunk"):
            raise UserError(f"diffusion.forward: {kind!r} is neither published nor unshrunk")
        return cls(abar.sqrt() if kind == "published" else torch.ones_like(abar), (1 - abar).sqrt())

    def __len__(self) -> int:
        return len(self.signal)

    def at(self, t: int) -> tuple[float, float]:
        """(signal, noise) at time t; -1 is the clean pose."""
        return (float(self.signal[t]), float(self.noise[t])) if t >= 0 else (1.0, 0.0)

    def sample(self, clean: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Forward process: clean and noise (B, V, J, 2), the noise already scaled by sigma; t (B,) integers."""
        shape = (-1, *[1] * (clean.dim() - 1))
        signal, share = (curve[t.cpu()].view(shape).to(clean) for curve in (self.signal, self.noise))
        return signal * clean + share * noise


def antithetic_times(count: int, timesteps: int, generator: torch.Generator | None = None) -> Tensor:
    """`count` diffusion times in pairs t and T - 1 - t, which lowers the variance of the loss: (count,) integers."""
    half = torch.randint(0, timesteps, (count // 2 + 1,), generator=generator)
    return torch.cat([half, timesteps - half - 1])[:count]


def time_grid(total: int, steps: int, kind: str) -> list[int]:
    """Times that the sampler visits, ascending, out of `total`.

    `uniform` and `quad` are the published grids: uniform steps by total // steps, which gives `steps` times only where
    it divides, and one step visits time 0 alone. `end` starts at total - 1 and always has `steps` times.
    """
    if not 1 <= steps <= total:
        raise UserError(f"--test_timesteps {steps}: must be between 1 and {total}")
    if kind == "uniform":
        return list(range(0, total, total // steps))
    if kind == "quad":
        return [int(s) for s in (torch.linspace(0, math.sqrt(total * 0.8), steps, dtype=torch.float64) ** 2)]
    if kind == "end":
        return [t for t, _ in sampling_times(total, steps)][::-1]
    raise UserError(f"--skip_type {kind!r} is none of uniform, quad, end")


@dataclass(frozen=True)
class Views:
    """What the 3D step needs to know about a batch: cameras and conditions."""

    projections: Tensor  # (B, V, 3, 4), world metres to crop units
    axis: Tensor  # (B, 3), direction of depth
    offset: Tensor  # (B,), metres: depth = axis . x + offset
    baseline: Tensor  # (B,), millimetres
    action: Tensor  # (B, 1)
    weights: Tensor | None = None  # (B, V, J), confidence of the detections

    def map(self, function: Callable[[Tensor], Tensor]) -> Views:
        """The same with a function applied to every tensor: an index, a device, a repetition."""
        fields = (self.projections, self.axis, self.offset, self.baseline, self.action, self.weights)
        return Views(*(None if f is None else function(f) for f in fields))


def lift(
    network: nn.Module,
    points: Tensor,
    t: Tensor,
    views: Views,
    *,
    depth_norm_by_bw: bool = False,
    root_relative: bool = True,
) -> Tensor:
    """Triangulate noisy 2D poses (B, V, J, 2), denoise in 3D: (B, J, 3), world metres.

    `depth_norm_by_bw` scales depth by baseline / 400 mm before the network and back after it.
    """
    noisy = triangulate(points, views.projections, views.weights).to(points.dtype)  # (B, J, 3)
    root = noisy[:, STEREO_17.root]  # (B, 3)
    depth = (root * views.axis.to(root)).sum(-1) + views.offset.to(root)  # (B,)
    shift = root[:, None] if root_relative else torch.zeros_like(root[:, None])
    pose = noisy - shift
    axis, factor = views.axis.to(pose), views.baseline.to(pose) / UNIT_BASELINE
    if depth_norm_by_bw:
        pose = stretch(pose, axis, factor)
    pose = network(pose, t, action=views.action.to(pose), depth=depth)
    if depth_norm_by_bw:
        pose = stretch(pose, axis, 1 / factor)
    return pose + shift


def losses(pose: Tensor, target: Tensor, target_2d: Tensor, projections: Tensor) -> dict[str, Tensor]:
    """Squared errors summed over a pose, averaged over the batch: {'2d': crop units, '3d': metres}.

    pose, target (B, J, 3); target_2d (B, V, J, 2); projections (B, V, 3, 4).
    """
    reprojected = project(pose, projections.to(pose), NEAREST)
    return {
        "2d": (target_2d - reprojected).square().sum((1, 2, 3)).mean(),
        "3d": (target - pose).square().sum((1, 2)).mean(),
    }


def reverse(
    denoise: Callable[[Tensor, int], Tensor],
    start: Tensor,
    grid: list[int],
    process: Process,
    eta: Tensor,
    noise: Callable[[int], Tensor],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Run the reverse process in 2D; yield (estimate of u_0, next u) of every step.

    start (B, H, V, J, 2), H = 1 where all hypotheses start alike: they are computed once until noise parts them.
    denoise(u, t) returns the estimate of u_0; noise(k) the k-th standard normal draw (B, H, V, J, 2); eta (B,).
    The noise is not scaled by the detector's sigma but by eta, which is its mean (published).
    """
    u = start
    for k, i in enumerate(reversed(grid)):
        j = grid[len(grid) - 2 - k] if k + 1 < len(grid) else -1
        (signal_i, noise_i), (signal_j, noise_j) = process.at(i), process.at(j)
        clean = denoise(u, i)
        e = (u - signal_i * clean) / noise_i
        # The variance that step i adds on top of step j; for the published process it is 1 - abar_i / abar_j.
        added = max(noise_i**2 - (signal_i / signal_j * noise_j) ** 2, 0.0)
        c1 = eta.view(-1, 1, 1, 1, 1).double() * (noise_j / noise_i * math.sqrt(added))
        c2 = (noise_j**2 - c1**2).clamp_min(0).sqrt()
        u = signal_j * clean + c2.to(u) * e
        if j >= 0 and bool((c1 > 0).any()):
            u = u + c1.to(u) * noise(k)
        yield clean, u
