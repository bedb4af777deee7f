"""The diffusion of Diff3DHPE as values: schedule, step, loss weight, normalisation.

Poses are divided by one number, the largest coordinate in the data, and the estimate of x_0 is clamped to [-1, 1].
The network sees x_t unclamped. The published evaluation takes one hypothesis; with `repeat_n` it takes the mean of
several.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

import numpy as np
from torch import Tensor

from common.diffusion.ddim import cosine_schedule, ddim_step, linear_schedule, logcosine_schedule
from common.diffusion.lifter import Diffusion
from common.errors import UserError

SCHEDULES = {"cosine": cosine_schedule, "linear": linear_schedule, "logcosine": logcosine_schedule}


def ddim_step_published(
    x_t: Tensor, x_0: Tensor, abar_t: float, abar_next: float, eta: float, noise: Tensor | None
) -> Tensor:
    """The DDIM step as the published code computes it: it takes abar_t x_0 from x_t where DDIM takes sqrt(abar_t) x_0.

    x_t then carries too much signal: for a perfect denoiser up to 1.39 times in 5 steps, 3.06 times in 20. With one
    or two steps it does not matter (abar_999 is almost 0). The same call as `common.diffusion.ddim.ddim_step`.
    """
    surplus = (math.sqrt(abar_t) - abar_t) * x_0
    return ddim_step(x_t + surplus, x_0, abar_t, abar_next, eta, noise)


COEFFICIENTS = {"textbook": ddim_step, "published": ddim_step_published}


def loss_weight(abar: Tensor, cap: float = 3.0) -> Tensor:
    """Weight of the squared error at signal share abar (B,): min(1 + abar / sqrt(1 - abar), cap)."""
    return (1 + abar / (1 - abar).sqrt()).clamp(max=cap)


def normalisation_scale(poses: Iterable[np.ndarray], root: int) -> float:
    """The largest absolute root-relative coordinate of some poses (T, J, 3), metres: the network's unit of length.

    Give the training poses. The published code takes it over training and test poses together (and over all 32
    recorded joints of Human3.6M), and does not store it with the weights.
    """
    largest = [float(abs(p - p[:, root : root + 1]).max(initial=0.0)) for p in poses]
    if not largest or not max(largest) > 0:
        raise UserError("the normalisation scale needs clips with 3D poses that are not all at the root")
    return max(largest)


def diff3dhpe_diffusion(
    *,
    unit: float = math.nan,
    beta_schedule: str = "cosine",
    timesteps: int = 1000,
    ddim_sampling_eta: float = 0.0,
    clip_denoised: bool = True,
    clip_loss: bool = True,
    ddim_coefficients: str | None = None,
    variant: str = "default",
) -> Diffusion:
    """The diffusion of both networks, from plain settings.

    unit is the normalisation scale in metres; unset it is NaN, so that a forgotten one shows. clip_denoised clamps
    the estimate of x_0; clip_loss caps the loss weight at 3. The variant 'published', in which published weights were
    made and scored, has the 'published' coefficients unless others are named, and averages the poses of the body and
    of the mirrored body after two separate runs.
    """
    if ddim_coefficients is None:
        ddim_coefficients = "published" if variant == "published" else "textbook"
    if beta_schedule not in SCHEDULES:
        raise UserError(f"--beta_schedule {beta_schedule}: unknown; there are {', '.join(sorted(SCHEDULES))}")
    if ddim_coefficients not in COEFFICIENTS:
        raise UserError(
            f"--ddim-coefficients {ddim_coefficients}: unknown; there are {', '.join(sorted(COEFFICIENTS))}"
        )
    return Diffusion(
        abar=SCHEDULES[beta_schedule](timesteps),
        eta=ddim_sampling_eta,
        unit=unit,
        limit=1.0 if clip_denoised else math.inf,
        clamp_input=False,
        step=COEFFICIENTS[ddim_coefficients],
        weight=partial(loss_weight, cap=3.0 if clip_loss else math.inf),
        mirror_apart=variant == "published",
    )
