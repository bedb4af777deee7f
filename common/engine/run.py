"""A training from its first epoch to its last: what is saved, logged and told after each. All trainings run here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from common.engine import checkpoint
from common.engine.devices import Place
from common.engine.log import Board, epoch_line, epoch_lines, say, write_training_log
from common.engine.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Plan:
    """When a run ends and what it leaves in its folder.

    best: of each measure in the history's rows the file of the epoch with the smallest; where an epoch has none (no
    clips are held out), it counts as the best.
    """

    folder: Path
    epochs: int
    last: str = "last.bin"
    best: Mapping[str, str] = field(default_factory=dict)
    every: int | None = None  # also epoch_N.bin, every so many epochs
    log: str | None = None  # folder of TensorBoard logs
    patience: int | None = None  # stop after so many epochs without a better one, by the first measure of `best`
    max_hours: float | None = None
    lines: Callable[[list[dict]], list[str]] = epoch_lines  # of training_log.txt, from the history
    tell: Callable[[dict], str] = epoch_line  # of the screen
    say: Callable[[str], None] = say


def run(
    trainer: Trainer,
    plan: Plan,
    card: dict,
    place: Place,
    validate: Callable[[], dict],
    *,
    picture: Callable[[], np.ndarray] | None = None,
) -> None:
    """Train to the last epoch. After each, the first process writes `last`, the best files, the log and TensorBoard.

    validate() returns what it measured, {measure: number or None}; picture() draws an image for TensorBoard. Raises
    UserError, and writes nothing, where the weights are not finite.
    """
    board = Board(plan.log, place.first and plan.log is not None)
    pictured = max(1, plan.epochs // 10)  # every so many epochs
    started = time.time()
    while trainer.epoch < plan.epochs and not _finished(trainer, plan, started):
        row = trainer.run_epoch(validate)
        if place.first:
            card["epoch"] = row["epoch"]
            content = {"card": card, **trainer.weights(), **trainer.state()}
            if not finite(content["weights"]):
                raise trainer.diverged("weights are")
            for measure, name in plan.best.items():
                if is_best(trainer.history, measure):
                    checkpoint.save(plan.folder / name, content)
            if plan.every and row["epoch"] % plan.every == 0:
                checkpoint.save(plan.folder / f"epoch_{row['epoch']}.bin", content)
            checkpoint.save(plan.folder / plan.last, content)
            write_training_log(plan.folder, plan.lines(trainer.history))
            board.epoch(row)
            if picture and row["epoch"] % pictured == 0:
                board.picture("Pose", picture, row["epoch"])
            plan.say(plan.tell(row))
        place.wait()
    board.close()


def is_best(history: list[dict], measure: str) -> bool:
    """Whether the last row is the best so far; a row without the measure always is."""
    value = history[-1].get(measure)
    earlier = [row[measure] for row in history[:-1] if row.get(measure) is not None]
    return value is None or not earlier or value < min(earlier)


def finite(weights: dict[str, torch.Tensor]) -> bool:
    """Whether every weight is a finite number: a checkpoint of others is worth nothing."""
    return all(bool(value.isfinite().all()) for value in weights.values() if value.is_floating_point())


def _finished(trainer: Trainer, plan: Plan, started: float) -> bool:
    """True when the budget, --patience or --max_time says to stop."""
    if trainer.spent():
        return True
    measure = next(iter(plan.best), None)
    scored = [row[measure] for row in trainer.history if row.get(measure) is not None]
    if plan.patience and scored and len(scored) - 1 - scored.index(min(scored)) >= plan.patience:
        return True
    return bool(plan.max_hours) and time.time() - started > 3600 * plan.max_hours
