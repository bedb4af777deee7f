"""Samplers beside DDIM: the probability flow of the same diffusion, without fresh noise, in few steps.

Between the noise and the pose a sample follows one curve (Song et al. 2021, score SDEs, eq. 13; Karras et al. 2022,
eq. 4). Every sampler has the call of `reverse_process`, with its times, and yields (x_t, estimate of x_0) of every
step. The last step goes to the clean pose, which is the last estimate. Coefficients in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from torch import Tensor

from common.diffusion.ddim import reverse_process, sampling_times

Denoise = Callable[[Tensor, int], Tensor]
Noise = Callable[[int], Tensor]
Steps = Iterator[tuple[Tensor, Tensor]]


def flow(x_t: Tensor, x_0: Tensor, abar_t: float, abar_next: float) -> Tensor:
    """From x_t along the flow to the next noisy pose, exact where the estimate of x_0 stays the same.

    In y = x_t / sqrt(1 - abar) and r = sqrt(abar / (1 - abar)) the flow is dy/dr = x_0: this is a step of Euler there.
    """
    noise = math.sqrt((1 - abar_next) / (1 - abar_t))
    return noise * x_t + (math.sqrt(abar_next) - noise * math.sqrt(abar_t)) * x_0


def euler(denoise: Denoise, noise: Noise, abar: Tensor, steps: int) -> Steps:
    """Euler's method, first order: DDIM with eta = 0 (Song et al. 2021, DDIM, eq. 14; Karras et al. 2022, table 1)."""
    x_t = noise(0)
    for t, t_next in sampling_times(len(abar), steps):
        x_0 = denoise(x_t, t)
        yield x_t, x_0
        if t_next >= 0:
            x_t = flow(x_t, x_0, float(abar[t]), float(abar[t_next]))


def heun(denoise: Denoise, noise: Noise, abar: Tensor, steps: int) -> Steps:
    """Heun's method, second order (Karras et al. 2022, algorithm 1): K steps are 2 K - 1 calls.

    Over the angle p with cos p = sqrt(abar) the flow is dx_t/dp = (x_t cos p - x_0) / sin p. A second call where the
    step of `flow` ends; then the step again with the mean of both slopes. The last step is Euler's.
    """

    def slope(x_t: Tensor, x_0: Tensor, p: float) -> Tensor:
        return (x_t * math.cos(p) - x_0) / math.sin(p)

    x_t = noise(0)
    for t, t_next in sampling_times(len(abar), steps):
        x_0 = denoise(x_t, t)
        yield x_t, x_0
        if t_next >= 0:
            p, p_next = (math.acos(math.sqrt(float(abar[when]))) for when in (t, t_next))
            guess = flow(x_t, x_0, float(abar[t]), float(abar[t_next]))
            slopes = slope(x_t, x_0, p) + slope(guess, denoise(guess, t_next), p_next)
            x_t = x_t + (p_next - p) / 2 * slopes


def dpm_solver(denoise: Denoise, noise: Noise, abar: Tensor, steps: int) -> Steps:
    """DPM-Solver++(2M), second order (Lu et al. 2022, algorithm 2): one call a step.

    The estimate is carried forward along the line through the last two, over half the logarithm of the signal-to-noise
    ratio. The first and the last step are Euler's, so up to two steps there is no difference.
    """
    x_t, before = noise(0), None
    for t, t_next in sampling_times(len(abar), steps):
        x_0 = denoise(x_t, t)
        yield x_t, x_0
        if t_next >= 0:
            h = _half_log_snr(float(abar[t_next])) - _half_log_snr(float(abar[t]))
            ahead = x_0 if before is None else x_0 + (x_0 - before[0]) * (h / (2 * before[1]))
            before = x_0, h
            x_t = flow(x_t, ahead, float(abar[t]), float(abar[t_next]))


def _half_log_snr(abar: float) -> float:
    return 0.5 * math.log(abar / (1 - abar))


SAMPLERS: dict[str, Callable[..., Steps]] = {
    "ddim": reverse_process,
    "dpm++": dpm_solver,
    "heun": heun,
    "euler": euler,
}


def network_calls(sampler: str, steps: int) -> int:
    """How often a sampler asks the network for one hypothesis."""
    return 2 * steps - 1 if sampler == "heun" else steps
