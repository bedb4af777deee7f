"""The training loop. Every draw is a function of (seed, epoch, step), so that a resumed run repeats a whole one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from common.datasets.windows import Windows
from common.diffusion.lifter import DiffusionLifter
from common.diffusion.noise import seed_of
from common.engine.devices import Place, autocast
from common.errors import UserError
from common.models.blocks import share_batch


@dataclass(frozen=True)
class Recipe:
    """How to train. `windows` is the global batch, over all processes."""

    epochs: int
    windows: int
    learning_rate: float = 6e-5
    lr_decay: float = 0.993
    weight_decay: float = 0.1
    augment: bool = True
    squared: bool = False  # the published gradient, of L^2 / 2
    neutral: float = 0.0  # share of windows whose action the network is not told
    seed: int = 1
    amp: bool = False
    steps: int | None = None  # at most so many steps an epoch
    max_steps: int | None = None  # end the run after so many steps
    max_seconds: float | None = None  # end the run after so much time in training steps


class _Loss(nn.Module):
    """The lifter's loss as a forward pass, which is what DistributedDataParallel wraps."""

    def __init__(self, lifter: DiffusionLifter, loss: Callable | None):
        super().__init__()
        self.lifter = lifter
        self.loss = loss

    def forward(self, batch, t, noise):
        """(loss, error in metres) summed over the real frames; a loss of one's own counts as its error."""
        if self.loss is None:
            return self.lifter.training_losses(batch, t, noise)
        loss = self.loss(self.lifter, batch)
        return loss, loss.detach()


class Trainer:
    """Holds the optimiser and runs epochs. `loss(lifter, batch)` replaces the diffusion loss (single-pass training)."""

    def __init__(
        self, lifter: DiffusionLifter, windows: Windows, recipe: Recipe, place: Place, loss: Callable | None = None
    ):
        self.lifter, self.windows, self.recipe, self.place = lifter, windows, recipe, place
        trained = [p for p in lifter.parameters() if p.requires_grad]
        fused = place.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.AdamW(
            trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=fused
        )
        self.history: list[dict] = []
        self.steps_done, self.seconds = 0, 0.0  # over all epochs
        self.objective: nn.Module = _Loss(lifter, loss)
        if place.world > 1:
            ids = [place.device.index] if place.device.type == "cuda" else None
            self.objective = DistributedDataParallel(self.objective, device_ids=ids)

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
        """What a checkpoint needs beside the weights. All randomness derives from the seed, the epoch and the step."""
        return {"optimizer": self.optimizer.state_dict(), "rng": {"seed": self.recipe.seed}, "history": self.history}

    def restore(self, content: dict) -> None:
        self.optimizer.load_state_dict(content["optimizer"])
        self.history = list(content["history"])
        self.steps_done = sum(row.get("steps", 0) for row in self.history)
        self.seconds = sum(row.get("seconds", 0.0) for row in self.history)

    def _order(self, epoch: int) -> Tensor:
        """This epoch's order of windows, plain (row < W) and mirrored (row >= W)."""
        count = len(self.windows) * (2 if self.recipe.augment else 1)
        generator = torch.Generator().manual_seed(seed_of(self.recipe.seed, "order", epoch))
        return torch.randperm(count, generator=generator)

    def run_epoch(self, validate: Callable[[], float | None]) -> dict:
        """One pass over the windows; returns the history's new row: losses in mm, minutes, learning rate."""
        recipe, epoch, start = self.recipe, self.epoch + 1, time.time()
        parts = self._order(epoch).split(recipe.windows)[: recipe.steps]
        total = torch.zeros(2, dtype=torch.float32, device=self.place.device)  # error sum, frames
        self.lifter.train()
        budget = recipe.max_steps or recipe.max_seconds  # ends the run before its epochs do
        title = f"epoch {epoch}" if budget else f"epoch {epoch}/{recipe.epochs}"
        bar = tqdm(parts, desc=title, leave=False, disable=not self.place.first, mininterval=1)
        before, already = self.steps_done, self.seconds
        for step, rows in enumerate(bar):
            if self.spent():
                break
            total += self._step(rows, epoch, step)
            self.steps_done, self.seconds = self.steps_done + 1, already + time.time() - start
            if step % 50 == 49:
                bar.set_postfix_str(f"{self._mean_mm(total):.1f} mm")
        train_mm = self._mean_mm(self.place.sum(total))
        self.lifter.eval()
        row = {
            "epoch": epoch,
            "lr": self.optimizer.param_groups[0]["lr"],
            "train_mm": train_mm,
            "valid_mm": validate(),
            "steps": self.steps_done - before,
            "seconds": self.seconds - already,
            "minutes": (time.time() - start) / 60,
        }
        for group in self.optimizer.param_groups:
            group["lr"] *= recipe.lr_decay
        self.history.append(row)
        return row

    def _mean_mm(self, total: Tensor) -> float:
        error, frames = total.tolist()
        if not math.isfinite(error):
            raise UserError("training diverged (the loss is not finite); lower -lr; the last checkpoint is intact")
        return 1000 * error / max(frames, 1)

    def _step(self, rows: Tensor, epoch: int, step: int) -> Tensor:
        """One optimiser step on a global batch; returns (error sum, frames) of this process's part, on the device."""
        recipe, place = self.recipe, self.place
        count = len(self.windows)
        seed = seed_of(recipe.seed, "step", epoch, step)
        generator = torch.Generator().manual_seed(seed)
        t = torch.randint(len(self.lifter.diffusion.abar), (len(rows),), generator=generator)
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
        self.optimizer.step()
        return torch.stack([error.float(), weight * batch.mask.sum().float()])

    def _pose_shape(self) -> tuple[int, ...]:
        return (self.windows.output, len(self.windows.skeleton), 3)
