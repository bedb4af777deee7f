"""Train a lifter, keep its checkpoints, and evaluate the chosen one."""

from __future__ import annotations

import time
from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from common.datasets import dataset, hold_out, load_clips
from common.datasets.clips import Clip
from common.datasets.windows import Windows, symmetric_starts
from common.diffusion.lifter import DiffusionLifter
from common.diffusion.single_pass import single_pass_training_loss
from common.engine import checkpoint
from common.engine.cards import check_card, new_card
from common.engine.clips import picture_of
from common.engine.devices import Place
from common.engine.evaluate import Sampling, evaluate
from common.engine.log import Board, say, write_training_log
from common.engine.train import Recipe, Trainer
from common.errors import UserError
from common.models import REGISTRY
from common.models.blocks import choose_attention
from common.programs.evaluate import evaluate_checkpoint

BEST = "best_epoch_1_1.bin"


def train(options: Namespace, place: Place, test: list[Clip] | None = None) -> dict | None:
    """Train as the flags say; returns the final evaluation's report, or None with --no-eval.

    `test` are the clips to evaluate on, by default those that the flags name.
    """
    notice = say if place.first else (lambda line: None)
    folder = Path(options.checkpoint)
    clips = load_clips(options, "train", notice)
    if test is None and (options.select == "test" or not options.no_eval):
        test = load_clips(options, "test", notice)
    training, judged = _split(clips, test, options.select, notice)
    lifter, card, content = _start(options, clips, folder)
    if hasattr(lifter.denoiser, "load_prompts"):
        lifter.denoiser.load_prompts(options.prompts, options.clip_weights)
    lifter.to(place.device)
    choose_attention(lifter, place.device, card["frames"], card["joints"], options.amp)
    if options.compile:
        lifter.denoiser.compile()

    skeleton, actions = dataset(options).skeleton, dataset(options).action_names(clips)
    model = REGISTRY[card["model"]]
    centre = model.centre_only
    published = options.protocol == "published"
    windows = Windows(
        training,
        skeleton,
        card["frames"],
        options.stride,
        place.device,
        action_names=actions,
        centre_only=centre,
        count_padding=published,
        starts_of=model.published_starts or symmetric_starts if published else symmetric_starts,
    )
    judge = None
    if judged:
        judge = Windows(judged, skeleton, card["frames"], None, place.device, published, actions, centre)
    loss = partial(single_pass_training_loss, published=published) if card["sizes"].get("single_pass") else None
    trainer = Trainer(lifter, windows, _recipe(options, card), place, loss)
    if content:
        trainer.restore(content)
    if place.first:
        folder.mkdir(parents=True, exist_ok=True)
        parameters = sum(p.numel() for p in lifter.parameters())
        notice(f"{card['model']}: {parameters:,} parameters; {len(windows):,} windows of {card['frames']} frames")
    _epochs(options, place, folder, trainer, card, judge)
    if options.no_eval:
        return None
    place.wait()
    return evaluate_checkpoint(options, place, checkpoint.find(folder, BEST), test)


def _split(clips: list[Clip], test: list[Clip] | None, select: str, notice) -> tuple[list[Clip], list[Clip]]:
    """(clips to train on, clips that choose the best epoch)."""
    if select == "test":
        notice("--select test: the best epoch is chosen on the test set, as published; its error is optimistic.")
        return clips, test
    if select == "last":
        return clips, []
    training, held = hold_out(clips)
    if not held:
        notice("Only one take to train on: none is held out, and the last epoch counts as the best.")
    return training, held


def _start(options: Namespace, clips: list[Clip], folder: Path) -> tuple[DiffusionLifter, dict, dict | None]:
    """A fresh lifter, or the one of --resume with its training state."""
    if not options.resume:
        card = new_card(options, clips)
        torch.manual_seed(options.seed)
        path = options.pretrained_model
        return checkpoint.make_lifter(card, checkpoint.load(Path(path))["weights"] if path else None), card, None
    path = checkpoint.find(folder, options.resume)
    content = checkpoint.load(path)
    if "optimizer" not in content or "history" not in content:
        raise UserError(f"{path}: no training state in this file; it can be evaluated but not resumed")
    check_card(content["card"], options)
    if options.epochs <= len(content["history"]):
        raise UserError(f"{path}: has {len(content['history'])} epochs already; ask for more with -e")
    return checkpoint.make_lifter(content["card"], content["weights"]), content["card"], content


def _recipe(options: Namespace, card: dict) -> Recipe:
    published = options.protocol == "published"
    return Recipe(
        epochs=options.epochs,
        windows=max(1, options.batch_size // card["frames"]),
        learning_rate=options.learning_rate,
        lr_decay=options.lr_decay,
        augment=not options.no_data_augmentation,
        squared=published and REGISTRY[card["model"]].squared_gradient,
        neutral=0.0 if published else 0.15,
        seed=options.seed,
        amp=options.amp,
        steps=2 if options.debug else None,
        max_steps=options.max_steps,
        max_seconds=options.max_seconds,
    )


def _epochs(
    options: Namespace, place: Place, folder: Path, trainer: Trainer, card: dict, judge: Windows | None
) -> None:
    board = Board(options.log, place.first and not options.nolog)
    shown = (judge or trainer.windows).clips[0]
    pictured = max(1, options.epochs // 10)  # every so many epochs
    published = options.protocol == "published"
    sampling = Sampling(windows=64, seed=options.seed, published=published, amp=options.amp, neutral=not published)

    def validate() -> float | None:
        if judge is None:
            return None
        errors = evaluate(trainer.lifter, judge, sampling, place, limit=2 if options.debug else None, title="held out")
        everything = errors.mean("protocol_1", np.ones(len(judge.clips), bool))
        return float(everything[0, errors.columns.index("P_Agg")])

    started = time.time()
    while trainer.epoch < options.epochs and not _finished(options, trainer, started):
        row = trainer.run_epoch(validate)
        best = min((r["valid_mm"] for r in trainer.history[:-1] if r["valid_mm"] is not None), default=None)
        if place.first:
            card["epoch"] = row["epoch"]
            weights = {key: value.detach().cpu() for key, value in trainer.lifter.denoiser.state_dict().items()}
            content = {"card": card, "weights": weights, **trainer.state()}
            if row["valid_mm"] is None or best is None or row["valid_mm"] < best:
                checkpoint.save(folder / BEST, content)
            if row["epoch"] % options.checkpoint_frequency == 0:
                checkpoint.save(folder / f"epoch_{row['epoch']}.bin", content)
            checkpoint.save(folder / "last.bin", content)
            write_training_log(folder, trainer.history)
            board.epoch(row)
            if row["epoch"] % pictured == 0:
                board.picture("Pose", partial(picture_of, trainer.lifter, shown, card, sampling, place), row["epoch"])
            _tell(row, options)
        place.wait()
    board.close()
    if place.first and options.export_training_curves:
        from common.viz.curves import training_curves

        training_curves(folder / "loss_3d.png", trainer.history)


def _finished(options: Namespace, trainer: Trainer, started: float) -> bool:
    """True when --max-steps, --max-seconds, --patience or --max_time says to stop."""
    scored = [row["valid_mm"] for row in trainer.history if row["valid_mm"] is not None]
    if trainer.spent():
        return True
    if options.patience and scored and len(scored) - 1 - scored.index(min(scored)) >= options.patience:
        return True
    return bool(options.max_time) and time.time() - started > 3600 * options.max_time


def _tell(row: dict, options: Namespace) -> None:
    valid = "" if row["valid_mm"] is None else f", held out {row['valid_mm']:.1f} mm"
    say(f"epoch {row['epoch']}/{options.epochs}: training {row['train_mm']:.1f} mm{valid}, {row['minutes']:.2f} min")
