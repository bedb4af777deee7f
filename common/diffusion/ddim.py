"""Diffusion over pose sequences: schedules, forward process, DDIM. Plain functions; coefficients in float64.

In float32, 1 - abar' - sigma^2 turns negative at t = 999 for five steps and eta = 1, and its root is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from common.errors import UserError


def _abar_of_curve(curve: Tensor) -> Tensor:
    """Cumulative signal share from a decreasing curve (T + 1,), each step's noise share at most 0.999."""
    betas = (1 - curve[1:] / curve[:-1]).clamp(0, 0.999)
    return torch.cumprod(1 - betas, 0)


def cosine_schedule(timesteps: int = 1000) -> Tensor:
    """abar_t (T,), float64 (Nichol and Dhariwal 2021, eq. 17, offset 0.008)."""
    s = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    return _abar_of_curve(torch.cos((s + 0.008) / 1.008 * math.pi / 2) ** 2)


def logcosine_schedule(timesteps: int = 1000) -> Tensor:
    """abar_t (T,), float64: the cosine curve over times 10^-2 to 1, evenly spaced in the logarithm (Diff3DHPE)."""
    s = torch.logspace(-2, 0, timesteps + 1, dtype=torch.float64)
    return _abar_of_curve(torch.cos((s + 0.008) / 1.008 * math.pi / 2) ** 2)


def linear_schedule(timesteps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """abar_t (T,), float64 (Ho et al. 2020)."""
    return torch.cumprod(1 - torch.linspace(first, last, timesteps, dtype=torch.float64), 0)


def q_sample(x_0: Tensor, t: Tensor, noise: Tensor, abar: Tensor, *, scale: float = 1.0) -> Tensor:
    """Forward process: sqrt(abar_t) * scale * x_0 + sqrt(1 - abar_t) * noise (DDPM eq. 4).

    x_0 and noise (B, ...); t (B,) integers; abar (T,) float64 on the CPU.
    """
    a = abar[t.cpu()].view(-1, *[1] * (x_0.dim() - 1))
    return a.sqrt().to(x_0) * scale * x_0 + (1 - a).sqrt().to(x_0) * noise


def network_input(x_t: Tensor, scale: float = 1.0, limit: float = 1.1) -> Tensor:
    """What the denoiser sees of a noisy pose: clamped to `limit` metres at the signal's scale, then unscaled."""
    return x_t.clamp(-limit * scale, limit * scale) / scale


def sampling_times(timesteps: int, steps: int) -> list[tuple[int, int]]:
    """(t, next t) of each step, from T - 1 down; the last next t is -1 and means the clean pose."""
    if not 1 <= steps <= timesteps:
        raise UserError(f"-sampling_timesteps {steps}: of the schedule's {timesteps} steps, 1 or more are taken")
    times = torch.linspace(-1, timesteps - 1, steps + 1, dtype=torch.float64).int().tolist()[::-1]
    return list(zip(times[:-1], times[1:], strict=True))


def ddim_step(x_t: Tensor, x_0: Tensor, abar_t: float, abar_next: float, eta: float, noise: Tensor | None) -> Tensor:
    """One DDIM step from x_t to the next noisy pose, given the estimate of x_0 (Song et al. 2021, eq. 12 and 16).

    The shares are Python floats (float64). noise is needed only for eta > 0.
    """
    eps = (x_t - math.sqrt(abar_t) * x_0) / math.sqrt(1 - abar_t)
    sigma = eta * math.sqrt((1 - abar_t / abar_next) * (1 - abar_next) / (1 - abar_t))
    x_next = math.sqrt(abar_next) * x_0 + math.sqrt(max(1 - abar_next - sigma**2, 0.0)) * eps
    return x_next + sigma * noise if sigma else x_next


def reverse_process(
    denoise: Callable[[Tensor, int], Tensor],
    noise: Callable[[int], Tensor],
    abar: Tensor,
    steps: int,
    *,
    eta: float = 1.0,
    step: Callable = ddim_step,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Run the reverse process; yield (x_t, estimate of x_0) of every step.

    denoise(x_t, t) returns the estimate of x_0; noise(k) returns standard normal noise in the shape of the poses,
    k = 0 for the start and k = 1, 2, ... for the step that follows. Gradients flow: callers choose `no_grad`.
    """
    x_t = noise(0)
    for k, (t, t_next) in enumerate(sampling_times(len(abar), steps)):
        x_0 = denoise(x_t, t)
        yield x_t, x_0
        if t_next >= 0:
            fresh = noise(k + 1) if eta > 0 else None
            x_t = step(x_t, x_0, float(abar[t]), float(abar[t_next]), eta, fresh)
