"""Velocity training: flow matching on straight paths (Lipman et al. 2023, section 4.1; Liu et al. 2023, section 2).

A path runs straight from the pose to the noise, x_s = (1 - s) x_0 + s eps, and the network is to say its velocity
u = eps - x_0; from there x_0 = x_s - s u. Every x_t of a noise schedule lies on such a path: with a = sqrt(abar_t) and
b = sqrt(1 - abar_t), s = b / (a + b) and x_s = x_t / (a + b). So noise, times and samplers stay the schedule's, and the
lifter hands out estimates of x_0 as ever.

Of u the best linear guess from x_s alone is known, k x_s, and the network says the rest: it need not carry the noise
through its layers to the millimetre (preconditioning; Karras et al. 2022, section 5).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from common.errors import UserError

if TYPE_CHECKING:
    from common.diffusion.lifter import Diffusion

OBJECTIVES = ("x0", "velocity")
SPREAD = 0.3  # standard deviation of a coordinate of root-relative poses, in the network's unit


def trained_for(diffusion: Diffusion, objective: str) -> Diffusion:
    """A diffusion whose network is trained to say x_0 (the diffusion as it is) or the velocity.

    The velocity's loss is its mean squared error: what a flow follows is the mean velocity. Raises UserError for
    another word.
    """
    if objective not in OBJECTIVES:
        raise UserError(f"--objective {objective}: unknown; there are {', '.join(OBJECTIVES)}")
    if objective == "x0":
        return diffusion
    weight = partial(loss_weight, scale=diffusion.scale)
    return replace(diffusion, clamp_input=False, weight=weight, reading=reading(diffusion.abar, diffusion.scale))


def place_on_path(abar: Tensor) -> tuple[Tensor, Tensor]:
    """(s, a + b) of signal shares abar: x_t = (a + b) x_s."""
    a, b = abar.sqrt(), (1 - abar).sqrt()
    return b / (a + b), a + b


def loss_weight(abar: Tensor, scale: float = 1.0) -> Tensor:
    """What makes a squared error of x_0 one of the velocity: its error is that of scale * x_0 over s."""
    return (scale / place_on_path(abar)[0]) ** 2


def reading(abar: Tensor, scale: float = 1.0) -> Tensor:
    """How to read a network's answer at each t: rows (3, T), float64. It sees row 0 times x_t, and x_0 is row 1 times
    x_t + row 2 times its answer, with poses of the size `scale` in x_t."""
    s, size = place_on_path(abar)
    variance = (scale * SPREAD) ** 2
    known = (s - (1 - s) * variance) / ((1 - s) ** 2 * variance + s**2)  # of x_s in u
    return torch.stack([1 / size, (1 - s * known) / size / scale, -s / scale])


def read_pose(
    network: nn.Module, rows: Tensor, x_2d: Tensor, x_t: Tensor, t: Tensor, condition: object = None
) -> Tensor:
    """x_0 from a network that says velocities, with a denoiser's call: (B, H, F, J, 3). rows: of `reading`, in x_t's
    type, on its device."""
    seen, kept, said = rows[:, t].view(3, -1, 1, 1, 1, 1)
    answer = network(x_2d, seen * x_t, t, condition)
    return kept * x_t + said * answer
