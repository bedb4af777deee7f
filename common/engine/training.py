"""Train a lifter, keep its checkpoints, and evaluate the chosen one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from common.datasets import data_set_of, hold_out, load_clips
from common.datasets.augment import usable, varied
from common.datasets.clips import Clip
from common.datasets.windows import CUTS, Windows
from common.diffusion.lifter import DiffusionLifter
from common.engine import checkpoint
from common.engine.cards import changes, new_card, recipe_of, resolve, resumed
from common.engine.clips import picture_of
from common.engine.devices import Place, compile_network, fast_products
from common.engine.evaluate import Sampling, evaluate
from common.engine.evaluation import evaluate_checkpoint, warn_of_shared_subjects
from common.engine.folder import claimed, set_aside
from common.engine.log import say
from common.engine.opening import Opened
from common.engine.recipe import lifter_recipe, variations, with_recipe
from common.engine.run import Plan, run
from common.engine.trainer import LifterTrainer
from common.errors import UserError
from common.files.limits import understanding
from common.models import entry
from common.models.blocks import choose_attention
from common.scoring.metrics import metrics_named
from common.settings.lifting import Settings

BEST = "best_epoch_1_1.bin"


def train(settings: Settings, place: Place, test: list[Clip] | None = None) -> dict | None:
    """Train as the settings say; returns the final evaluation's report, or None with --no-eval.

    `test` are the clips to evaluate on, by default those of the settings.
    """
    folder = Path(settings.run.checkpoint)
    metrics_named(settings.evaluation.metrics)  # a wrong name is told before the work
    with claimed(folder, place):
        settings = _train(settings, place, test, folder)
        if settings.training.no_eval:
            return None
        place.wait()
        return evaluate_checkpoint(settings, place, checkpoint.find(folder, BEST), test)


def _train(settings: Settings, place: Place, test: list[Clip] | None, folder: Path) -> Settings:
    """Train to the end; returns the settings as a resumed run takes them."""
    notice = say if place.first else (lambda line: None)
    content = _resumed_content(settings, folder) if settings.training.resume else None
    if content:
        with understanding(settings.training.resume, "checkpoint"):
            card = resolve(settings, content["card"])
            settings, said = resumed(settings, card)
        for line in said:
            notice(line)
        changed = changes(card, settings)
        settings = with_recipe(settings, published="recipe" not in card)  # before cards told, all learned as published
        card["history"], card["recipe"] = [*card.get("history", []), *changed], recipe_of(settings)
    else:
        settings = with_recipe(settings)
    data, training = settings.data, settings.training
    clips = load_clips(data, "train", notice)
    if test is None and (training.select == "test" or not training.no_eval):
        test = load_clips(data, "test", notice)
    warn_of_shared_subjects(data.subjects_train, [clip.subject for clip in test or ()], notice)
    chosen, judged = _split(clips, test, training.select, notice)
    if content:
        lifter = checkpoint.make_lifter(card, content["weights"])
    else:
        card = new_card(settings, clips)
        torch.manual_seed(settings.run.seed)
        first = checkpoint.load(Path(training.pretrained_model)) if training.pretrained_model else None
        if first:
            checkpoint.same_objective(first["card"], card, training.pretrained_model)
        lifter = checkpoint.make_lifter(card, first and first["weights"])
    model = entry(card["model"])
    model.prepare(lifter.denoiser, settings.model.prompts, settings.model.clip_weights, settings.run.offline)
    lifter.to(place.device)
    choose_attention(lifter, place.device, card["frames"], card["joints"], amp=settings.run.amp)
    if settings.run.compile:
        compile_network(lifter.denoiser, place.device)

    source = data_set_of(data)
    cut = partial(
        Windows,
        skeleton=source.skeleton,
        length=card["frames"],
        device=place.device,
        action_names=source.action_names(clips),
        centre_only=model.centre_only,
    )
    starts_of = CUTS[model.published_cut if data.published else "symmetric"]
    windows = cut(chosen, stride=training.stride, count_padding=data.published, starts_of=starts_of)
    judge = cut(judged, published_test=data.published) if judged else None
    trainer = LifterTrainer(
        lifter,
        windows,
        lifter_recipe(
            settings, card["frames"], squared=model.squared_gradient and checkpoint.objective_of(card) == "x0"
        ),
        place,
        loss=model.loss(card["sizes"], data.published),
        source=_varying(settings, chosen, partial(cut, stride=training.stride), notice),
    )
    if content:
        trainer.restore(content)
        if any(change["setting"] == "learning_rate" for change in changed):
            for group in trainer.optimizer.param_groups:
                group["lr"] = training.learning_rate
    parameters = sum(p.numel() for p in lifter.parameters())
    notice(f"{card['model']}: {parameters:,} parameters; {len(windows):,} windows of {card['frames']} frames")
    if not content and not settings.task.demo:
        place.lead(lambda: set_aside(folder))
    _epochs(settings, place, folder, trainer, card, judge)
    return settings


def _resumed_content(settings: Settings, folder: Path) -> dict:
    path = checkpoint.find(folder, settings.training.resume)
    content = checkpoint.load(path)
    if "optimizer" not in content or "history" not in content:
        raise UserError(f"{path}: no training state in this file; it can be evaluated but not resumed")
    if settings.training.epochs <= len(content["history"]):
        raise UserError(f"{path}: has {len(content['history'])} epochs already; ask for more with -e")
    return content


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


def _varying(settings: Settings, clips: list[Clip], cut: Callable, notice) -> Callable[[int], Windows] | None:
    """What makes the windows of an epoch where the recipe varies the training data; None where it does not."""
    kinds = usable(variations(settings), clips, notice)
    if not kinds:
        return None
    least = settings.model.number_of_frames

    def source(epoch: int) -> Windows:
        rng = np.random.default_rng([settings.run.seed, epoch])
        return cut(varied(clips, kinds, data_set_of(settings.data).skeleton, least, rng))

    return source


def _epochs(
    settings: Settings, place: Place, folder: Path, trainer: LifterTrainer, card: dict, judge: Windows | None
) -> None:
    lifter: DiffusionLifter = trainer.lifter
    training, published = settings.training, settings.published
    shown = (judge or trainer.windows).clips[0]
    sampling = Sampling(
        batch=64, seed=settings.run.seed, published=published, amp=settings.run.amp, neutral=not published
    )

    def validate() -> dict:
        if judge is None:
            return {"valid_mm": None}
        limit = 2 if settings.run.debug else None
        with trainer.averaged():
            errors = evaluate(lifter, judge, sampling, place, limit=limit, title="held out")
        everything = errors.mean("protocol_1", np.ones(len(judge.clips), bool))
        return {"valid_mm": float(everything[0, errors.columns.index("P_Agg")])}

    def tell(row: dict) -> str:
        valid = "" if row["valid_mm"] is None else f", held out {row['valid_mm']:.1f} mm"
        done = f"epoch {row['epoch']}/{training.epochs}: training {row['train_mm']:.1f} mm"
        return f"{done}{valid}, {row['minutes']:.2f} min"

    plan = Plan(
        folder=folder,
        epochs=training.epochs,
        best={"valid_mm": BEST},
        every=training.checkpoint_frequency,
        log=None if training.nolog else training.log,
        patience=training.patience,
        max_hours=training.max_time,
        tell=tell,
    )
    opened = Opened(lifter, card, folder / plan.last)

    def picture() -> np.ndarray:
        with trainer.averaged():
            return picture_of(opened, shown, sampling, place)

    with fast_products(place.device, wanted=not published and not settings.run.no_amp):
        run(trainer, plan, card, place, validate, picture=picture)
    if place.first and training.export_training_curves:
        from common.viz.curves import training_curves  # Matplotlib: slow to import

        training_curves(folder / "loss_3d.png", trainer.history)
