"""How a lifter learns, as values and short functions: the rate over the run, diffusion steps, the loss's terms.

Every draw takes its generator, and the rate follows from the steps done: a resumed run repeats a whole one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.geometry.skeleton import Skeleton
from common.models.blocks import DropPath
from common.settings.lifting import Settings
from common.settings.recipe import FIELDS, NOTHING, PUBLISHED, filled

FLOOR = 0.01  # share of the greatest learning rate at the end of the run
RISE = 0.1  # of the run, at most, in which the rate rises
STABLE = 0.8  # of the run, after which a stable rate falls
SIGNAL = 5.0  # signal-to-noise ratio from which on diffusion steps weigh alike


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What every training is told. `batch` counts the rows (windows, frames) of a step, over all processes."""

    epochs: int
    batch: int
    learning_rate: float
    lr_decay: float = 1.0  # factor on the rate after each epoch
    seed: int = 1
    amp: bool = False
    limit: int | None = None  # at most so many steps an epoch
    max_steps: int | None = None  # end the run after so many steps
    max_seconds: float | None = None  # end the run after so much time in training steps


@dataclass(frozen=True, kw_only=True)
class LifterRecipe(Recipe):
    """How to train a lifter. The defaults are the published ones."""

    learning_rate: float = 6e-5
    lr_decay: float = 0.993
    schedule: str = "exponential"  # or 'cosine', 'stable': see `rate`
    warm_up: int = 0  # steps in which the rate of 'cosine' and 'stable' rises
    weight_decay: float = 0.1
    augment: bool = True  # mirrored windows too
    squared: bool = False  # the published gradient, of L^2 / 2
    neutral: float = 0.0  # share of windows whose action the network is not told
    times: str = "uniform"  # see `draw_steps`
    loss_weight: str = "even"  # see `step_weights`
    velocity: float = 0.0  # weight of the velocities' error in the loss
    bones: float = 0.0  # weight of the bone lengths' error in the loss
    average: float = 0.0  # decay of the moving average of the weights that is stored; 0: the weights themselves
    drop_path: float | None = None  # stochastic depth of the last block; None: as the network was built


def with_recipe(settings: Settings, *, published: bool = False) -> Settings:
    """The settings with every part of the recipe that is not set filled in, by `common.settings.recipe.filled`."""
    given = {name: settings.value(name) for name in FIELDS}
    sizes = {"channels": settings.model.channels, "length": settings.model.number_of_frames}
    return settings.changed(**filled(given, published=published or settings.published, **sizes))


def lifter_recipe(settings: Settings, length: int, *, squared: bool) -> LifterRecipe:
    """The recipe of settings that `with_recipe` has filled; windows have `length` frames."""
    training, recipe, published = settings.training, settings.recipe, settings.published
    return LifterRecipe(
        epochs=training.epochs,
        batch=max(1, training.batch_size // length),
        learning_rate=training.learning_rate,
        lr_decay=training.lr_decay or 1.0,
        schedule=recipe.schedule,
        warm_up=recipe.warm_up,
        weight_decay=recipe.weight_decay,
        augment=not training.no_data_augmentation,
        squared=squared and published,
        neutral=0.0 if published else 0.15,
        times=recipe.times,
        loss_weight=recipe.loss_weight,
        velocity=recipe.velocity_loss,
        bones=recipe.bone_loss,
        average=recipe.average,
        drop_path=None if recipe.drop_path == PUBLISHED["drop_path"] else recipe.drop_path,
        seed=settings.run.seed,
        amp=settings.run.amp,
        limit=2 if settings.run.debug else None,
        max_steps=training.max_steps,
        max_seconds=training.max_seconds,
    )


def variations(settings: Settings) -> tuple[str, ...]:
    """The kinds of made training data of filled settings."""
    return () if settings.recipe.vary == NOTHING else settings.recipe.vary


def rate(schedule: str, share: float, steps: int, warm_up: int) -> float:
    """The learning rate as a share of its greatest, after `steps` steps that are a `share` of the run.

    It rises in `warm_up` steps, or in a tenth of the run where that is less. 'cosine' then falls along half a cosine
    (Loshchilov and Hutter 2017), 'stable' stays, and falls linearly in the last fifth (Hu et al. 2024); both to FLOOR.
    """
    rise = min(1.0, max((steps + 1) / max(warm_up, 1), share / RISE))
    if schedule == "cosine":
        fall = 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    else:
        fall = min(1.0, (1 - share) / (1 - STABLE))
    return rise * (FLOOR + (1 - FLOOR) * max(fall, 0.0))


def draw_steps(how: str, count: int, steps: int, generator: torch.Generator) -> Tensor:
    """Diffusion steps (count,) of [0, steps): 'uniform'; 'logit-normal', mostly in the middle (Esser et al. 2024); or
    'noise', steps (1 - u^2) for u uniform, mostly where sampling starts."""
    if how == "uniform":
        return torch.randint(steps, (count,), generator=generator)
    if how == "noise":
        u = torch.rand(count, generator=generator)
        share = 1 - u * u
    else:
        share = torch.randn(count, generator=generator).sigmoid()
    return (share * steps).long().clamp_max(steps - 1)


def step_weights(how: str, abar: Tensor) -> Tensor | None:
    """Weights (T,) of the diffusion steps in the loss, of mean 1, or None for 'even'. 'signal': min(SNR, 5), by the
    signal-to-noise ratio of each step (Hang et al. 2023, for networks that estimate x_0)."""
    if how == "even":
        return None
    weights = (abar / (1 - abar)).clamp(max=SIGNAL)
    return (weights / weights.mean()).float()


def velocity_error(x: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """(B, F): mean distance of the joints' velocities (B, F, J, 3), per frame, at the later of two real frames."""
    error = (x.diff(dim=1) - target.diff(dim=1)).norm(dim=-1).mean(-1) * (mask[:, 1:] & mask[:, :-1])
    return nn.functional.pad(error, (1, 0))


def bone_error(x: Tensor, target: Tensor, skeleton: Skeleton) -> Tensor:
    """(B, F): mean absolute error of the bones' lengths of poses (B, F, J, 3)."""
    child, parent = map(list, zip(*skeleton.edges, strict=True))
    lengths = [(pose[..., child, :] - pose[..., parent, :]).norm(dim=-1) for pose in (x, target)]
    return (lengths[0] - lengths[1]).abs().mean(-1)


def loss_terms(recipe: LifterRecipe, skeleton: Skeleton, abar: Tensor) -> Callable[..., Tensor] | None:
    """What the recipe makes of a loss: (losses (B, F), x_0, target, mask, t) to losses (B, F); None: nothing."""
    weights = step_weights(recipe.loss_weight, abar)
    if weights is None and not recipe.velocity and not recipe.bones:
        return None

    def apply(losses: Tensor, x_0: Tensor, target: Tensor, mask: Tensor, t: Tensor) -> Tensor:
        if recipe.velocity:
            losses = losses + recipe.velocity * velocity_error(x_0, target, mask)
        if recipe.bones:
            losses = losses + recipe.bones * bone_error(x_0, target, skeleton)
        return losses if weights is None else losses * weights[t.cpu()].to(losses)[:, None]

    return apply


def average_of(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], None]:
    """AveragedModel's update: a moving average whose decay rises to `decay`, so that the first weights are forgotten
    within some steps."""

    @torch.no_grad()
    def update(average: Sequence[Tensor], current: Sequence[Tensor], count: Tensor) -> None:
        n = int(count)
        torch._foreach_lerp_(list(average), list(current), 1 - min(decay, (1 + n) / (10 + n)))

    return update


def set_drop_path(network: nn.Module, greatest: float) -> None:
    """Stochastic depth up to `greatest`, by depth as the network was built; a network without any keeps none."""
    layers = [module for module in network.modules() if isinstance(module, DropPath)]
    built = max((layer.probability for layer in layers), default=0.0)
    for layer in layers:
        layer.probability *= greatest / built if built else 0.0
