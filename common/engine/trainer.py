"""The training loop. Every draw is a function of (seed, epoch, step), so that a resumed run repeats a whole one.

`Trainer` is what all trainings share: epochs, budget, progress, history, optimiser. A subclass says what the rows of an
epoch are and what a step does; `LifterTrainer` trains a diffusion lifter.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from common.datasets.windows import Windows
from common.diffusion.lifter import DiffusionLifter
from common.diffusion.noise import seed_of
from common.engine.devices import Place, autocast
from common.engine.recipe import LifterRecipe, Recipe, average_of, draw_steps, loss_terms, rate, set_drop_path
from common.errors import UserError
from common.models.blocks import share_batch


class Trainer(ABC):
    """Runs epochs and remembers them. `state` and `restore` are all that a resumed run needs beside the weights."""

    advice = "lower -lr"  # where the loss is not finite

    def __init__(self, recipe: Recipe, optimizer: torch.optim.Optimizer, place: Place):
        self.recipe, self.optimizer, self.place = recipe, optimizer, place
        self.history: list[dict] = []
        self.steps_done, self.seconds = 0, 0.0  # over all epochs

    @abstractmethod
    def batches(self, epoch: int) -> Sequence:
        """What the steps of an epoch work on, in order; epochs count from 1."""

    @abstractmethod
    def step(self, rows, epoch: int, step: int) -> Tensor:
        """One optimiser step; returns sums of this process, on the device, that `summary` turns into means."""

    @abstractmethod
    def summary(self, sums: Tensor, steps: int) -> dict[str, float]:
        """An epoch's means by name, from the sums over its steps and processes. One that is not finite ends the run."""

    @abstractmethod
    def modules(self) -> Iterable[nn.Module]:
        """What is in training mode during an epoch."""

    @abstractmethod
    def weights(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint stores of the networks, on the CPU: {'weights': ...} and what else there is."""

    def end(self, epoch: int) -> None:
        """Called after an epoch: the learning rate decays."""
        for group in self.optimizer.param_groups:
            group["lr"] *= self.recipe.lr_decay

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)

    def spent(self) -> bool:
        """Whether the recipe's budget of steps or seconds is used up; the same answer in every process."""
        recipe = self.recipe
        if recipe.max_seconds is not None:
            over = torch.tensor(float(self.seconds >= recipe.max_seconds), device=self.place.device)
            return bool(self.place.sum(over))
        return recipe.max_steps is not None and self.steps_done >= recipe.max_steps

    def state(self) -> dict:
        """What a resumed run needs beside the weights. All randomness derives from the seed, the epoch and the step."""
        return {"optimizer": self.optimizer.state_dict(), "rng": {"seed": self.recipe.seed}, "history": self.history}

    def restore(self, content: dict) -> None:
        """Go on where a checkpoint stopped; its weights are in the networks already."""
        self.optimizer.load_state_dict(content["optimizer"])
        self.history = list(content["history"])
        self.steps_done = sum(row.get("steps", 0) for row in self.history)
        self.seconds = sum(row.get("seconds", 0.0) for row in self.history)

    def run_epoch(self, validate: Callable[[], dict]) -> dict:
        """One pass; returns the history's new row: means, what `validate()` measured, steps, minutes, learning rate."""
        recipe, epoch, start = self.recipe, self.epoch + 1, time.time()
        parts = self.batches(epoch)[: recipe.limit]
        self._train(True)
        budget = recipe.max_steps or recipe.max_seconds  # ends the run before its epochs do
        title = f"epoch {epoch}" if budget else f"epoch {epoch}/{recipe.epochs}"
        bar = tqdm(parts, desc=title, leave=False, disable=not self.place.first, mininterval=1)
        before, already, total = self.steps_done, self.seconds, None
        for step, rows in enumerate(bar):
            if self.spent():
                break
            sums = self.step(rows, epoch, step)
            total = sums if total is None else total + sums
            self.steps_done, self.seconds = self.steps_done + 1, already + time.time() - start
            if step % 50 == 49:
                name, value = next(iter(self._means(total, step + 1).items()))
                bar.set_postfix_str(f"{name} {value:.4g}")
        self._train(False)
        steps = self.steps_done - before
        row = {"epoch": epoch, "lr": self.optimizer.param_groups[0]["lr"]}
        row |= self._means(self.place.sum(total), steps) if total is not None else {}
        row |= validate()
        row |= {"steps": steps, "seconds": self.seconds - already, "minutes": (time.time() - start) / 60}
        self.end(epoch)
        self.history.append(row)
        return row

    def _train(self, mode: bool) -> None:
        for module in self.modules():
            module.train(mode)

    def _means(self, sums: Tensor, steps: int) -> dict[str, float]:
        means = self.summary(sums, steps)
        if not all(math.isfinite(value) for value in means.values()):
            raise self.diverged("loss is")
        return means

    def diverged(self, what: str) -> UserError:
        """The error of a training whose loss or weights are not finite."""
        return UserError(f"training diverged (the {what} not finite); {self.advice}; the last checkpoint is intact")


class _Objective(nn.Module):
    """The lifter's loss as a forward pass, which is what DistributedDataParallel wraps."""

    def __init__(self, lifter: DiffusionLifter, loss: Callable | None, terms: Callable | None):
        super().__init__()
        self.lifter, self.loss, self.terms = lifter, loss, terms

    def forward(self, batch, t, noise):
        """(loss, error in metres) summed over the real frames; a loss of one's own counts as its error."""
        if self.loss is None:
            return self.lifter.training_losses(batch, t, noise, self.terms)
        loss = self.loss(self.lifter, batch)
        return loss, loss.detach()


class LifterTrainer(Trainer):
    """Trains a lifter on windows. `loss(lifter, batch)` replaces the diffusion loss (single-pass training); `source`
    makes the windows of an epoch, where they differ from one to the next."""

    recipe: LifterRecipe

    def __init__(
        self,
        lifter: DiffusionLifter,
        windows: Windows,
        recipe: LifterRecipe,
        place: Place,
        *,
        loss: Callable | None = None,
        source: Callable[[int], Windows] | None = None,
    ):
        self.lifter, self.windows, self.source = lifter, windows, source
        if recipe.drop_path is not None:
            set_drop_path(lifter.denoiser, recipe.drop_path)
        trained = [p for p in lifter.parameters() if p.requires_grad]
        fused = place.device.type in ("cpu", "cuda")
        optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=fused)
        super().__init__(recipe, optimizer, place)
        terms = loss_terms(recipe, lifter.skeleton, lifter.diffusion.abar)
        self.objective: nn.Module = _Objective(lifter, loss, terms)
        update = average_of(recipe.average)
        self.average = AveragedModel(lifter.denoiser, multi_avg_fn=update) if recipe.average else None  # type: ignore[arg-type]
        if place.world > 1:
            ids = [place.device.index] if place.device.type == "cuda" else None
            self.objective = DistributedDataParallel(self.objective, device_ids=ids)

    def modules(self) -> Iterable[nn.Module]:
        return (self.lifter,)

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """The moving average where there is one, and then the weights themselves as 'raw', to go on from."""
        raw = {key: value.detach().cpu() for key, value in self.lifter.denoiser.state_dict().items()}
        if not self.average:
            return {"weights": raw}
        average = self.average.module.state_dict()
        return {"weights": {key: value.detach().cpu() for key, value in average.items()}, "raw": raw}

    def restore(self, content: dict) -> None:
        super().restore(content)
        if self.average:
            self.average.module.load_state_dict(content["weights"])
            self.average.n_averaged.fill_(self.steps_done)
            self.lifter.denoiser.load_state_dict(content["raw"])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within, the lifter has the weights that are stored."""
        trained = self.lifter.denoiser
        if self.average:
            self.lifter.denoiser = self.average.module.train(trained.training)
        try:
            yield
        finally:
            self.lifter.denoiser = trained

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """This epoch's order of windows, plain (row < W) and mirrored (row >= W)."""
        if self.source:
            self.windows = self.source(epoch)
        count = len(self.windows) * (2 if self.recipe.augment else 1)
        generator = torch.Generator().manual_seed(seed_of(self.recipe.seed, "order", epoch))
        return torch.randperm(count, generator=generator).split(self.recipe.batch)

    def share_done(self, epoch: int, step: int) -> float:
        """The share of the run that is behind this step of this epoch; the same answer in every process."""
        recipe = self.recipe
        if recipe.max_steps:
            return self.steps_done / recipe.max_steps
        if recipe.max_seconds:
            seconds = torch.tensor(self.seconds, device=self.place.device)
            return float(self.place.sum(seconds)) / self.place.world / recipe.max_seconds
        rows = len(self.windows) * (2 if recipe.augment else 1)
        steps = min(-(-rows // recipe.batch), recipe.limit or math.inf)
        return (epoch - 1 + step / steps) / recipe.epochs

    def end(self, epoch: int) -> None:
        if self.recipe.schedule == "exponential":
            super().end(epoch)

    def summary(self, sums: Tensor, steps: int) -> dict[str, float]:
        error, frames = sums.tolist()
        return {"train_mm": 1000 * error / max(frames, 1)}

    def step(self, rows: Tensor, epoch: int, step: int) -> Tensor:
        """One optimiser step on a global batch; returns (error sum, frames) of this process's part, on the device."""
        recipe, place = self.recipe, self.place
        count = len(self.windows)
        seed = seed_of(recipe.seed, "step", epoch, step)
        generator = torch.Generator().manual_seed(seed)
        t = draw_steps(recipe.times, len(rows), len(self.lifter.diffusion.abar), generator)
        noise = torch.randn(len(rows), *self._pose_shape(), generator=generator)
        untold = torch.rand(len(rows), generator=generator) < recipe.neutral
        torch.manual_seed(seed)  # stochastic depth
        share = torch.arange(len(rows)).tensor_split(place.world)[place.rank]
        weight = float(len(share) > 0)
        share = share if len(share) else torch.zeros(1, dtype=torch.long)  # nothing left here: a step of weight 0
        share_batch(self.lifter, int(share[0]), len(share), len(rows))
        mine = rows[share]
        batch = self.windows.batch(mine % count, flipped=mine >= count, untold=untold[share])
        everyone = self.windows.mask[(rows % count).to(place.device)].sum().clamp_min(1)
        with autocast(place.device, recipe.amp):
            summed, error = self.objective(batch, t[share], noise[share].to(place.device, non_blocking=True))
        summed, error = weight * summed, weight * error
        loss = summed * place.world / everyone  # DDP averages gradients over processes
        if recipe.squared:
            loss = loss * (place.sum(summed.detach().clone()) / everyone)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if recipe.schedule != "exponential":
            share = rate(recipe.schedule, self.share_done(epoch, step), self.steps_done, recipe.warm_up)
            for group in self.optimizer.param_groups:
                group["lr"] = recipe.learning_rate * share
        self.optimizer.step()
        if self.average:
            self.average.update_parameters(self.lifter.denoiser)
        return torch.stack([error.float(), weight * batch.mask.sum().float()])

    def _pose_shape(self) -> tuple[int, ...]:
        return (self.windows.output, len(self.windows.skeleton), 3)
