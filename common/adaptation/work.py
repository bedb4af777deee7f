"""Adapt a source lifter as the settings say: clips in, checkpoints out."""

from __future__ import annotations

from pathlib import Path

import torch

from common.adaptation.adapt import AdaptationRecipe, Adapter, mean_reprojection
from common.adaptation.data import in_layout, load_source, load_target, unlabelled
from common.adaptation.lifter import count_adapted, load_adapted, make_adapted, read
from common.adaptation.results import epoch_line
from common.adaptation.score import score_lifter
from common.adaptation.source import check_source
from common.datasets.clips import Clip
from common.datasets.windows import Windows
from common.engine import checkpoint
from common.engine.cards import resolve
from common.engine.devices import Place
from common.engine.evaluate import Sampling
from common.engine.folder import claimed, set_aside
from common.engine.log import say
from common.engine.run import Plan, run
from common.errors import UserError
from common.geometry.skeleton import H36M_17, SKELETONS
from common.models import build
from common.models.blocks import choose_attention
from common.models.low_rank import add_lora
from common.settings.adaptation import AdaptationSettings
from common.settings.lifting import Settings

BEST = "best_epoch.bin"
# By --select: the measure in the history's rows whose smallest value is best; 'last' has none.
MEASURES = {"reprojection": "reprojection_px", "test": "valid_mm", "last": "none"}


def adapt(settings: Settings, own: AdaptationSettings, place: Place, source: Path) -> Path:
    """Adapt the source lifter as the settings say; returns the best epoch's file."""
    content = read(source)
    check_source(content, settings, own.target, say)
    content["card"] = resolve(settings, content["card"])
    clips, target = load_source(settings.data, say), load_target(settings.data, own.target, own.target_split, say)
    return adapt_clips(settings, own, place, content, clips, *target)


def check_target(settings: Settings, own: AdaptationSettings) -> None:
    """Raise a UserError for a target or layers that are not there: before a source lifter is trained for them."""
    load_target(settings.data, own.target, own.target_split, lambda line: None)
    add_lora(build("mixste", frames=1, joints=17, channels=8, depth=1), targets=own.lora_targets)


def adapt_clips(
    settings: Settings,
    own: AdaptationSettings,
    place: Place,
    content: dict,
    source: list[Clip],
    target: list[Clip],
    scored: list[Clip],
) -> Path:
    """Adapt on clips. The target's 3D is taken out before anything sees it, but for the root with --root gt; `scored`
    is read with --select test only."""
    folder, resume = Path(settings.run.checkpoint), settings.training.resume
    with claimed(folder, place):
        _say_what_reads_labels(own)
        torch.manual_seed(settings.run.seed)
        resumed = None
        if resume:
            resumed = read(checkpoint.find(folder, resume))
            _check_resumed(resumed, settings, own)
            lifter = load_adapted(resumed, resume)
        else:
            lifter = make_adapted(content, own.network)
        card = dict(resumed["card"] if resumed else content["card"])
        card |= {"seed": settings.run.seed, "synthetic": settings.task.demo or card.get("synthetic", False)}
        card["adaptation"] = own.network | facts_of(settings, own)
        lifter.to(place.device)
        skeleton, frames = SKELETONS[card["skeleton"]], card["frames"]
        choose_attention(lifter, place.device, frames, card["joints"])

        def cut(clips: list[Clip], stride: int | None) -> Windows:
            return Windows(clips, skeleton, frames, stride=stride, device=place.device)

        blind = unlabelled(in_layout(target, H36M_17, skeleton), skeleton, keep_root=own.root == "gt")
        target_windows = cut(blind, settings.training.stride)
        source_windows = cut(in_layout(source, H36M_17, skeleton), settings.training.stride)
        adapter = Adapter(lifter, source_windows, target_windows, recipe_of(settings, own, frames), place)
        if resumed:
            adapter.restore(resumed)
        judge = cut(in_layout(scored, H36M_17, skeleton), None) if own.select == "test" else None
        low_rank, refiner = count_adapted(lifter)
        say(
            f"Adapting {low_rank:,} parameters of low rank and {refiner:,} of the refiner, of "
            f"{sum(p.numel() for p in lifter.parameters()):,}: {len(target_windows):,} target windows, "
            f"{len(source_windows):,} source windows of {frames} frames."
        )
        if not resume and not settings.task.demo:
            set_aside(folder)
        _epochs(settings, own, place, adapter, card, judge)
        return checkpoint.find(folder, BEST)


def recipe_of(settings: Settings, own: AdaptationSettings, frames: int) -> AdaptationRecipe:
    training, sampling = settings.training, settings.evaluation
    return AdaptationRecipe(
        epochs=training.epochs,
        batch=max(1, training.batch_size // frames),
        hypotheses=sampling.hypotheses,
        steps=sampling.sampling_timesteps,
        learning_rate=training.learning_rate,
        lr_decay=training.lr_decay,
        target_weights=(own.weight_target_2d, own.weight_target_3d),
        source_weights=(own.weight_source_2d, own.weight_source_3d),
        root=own.root,
        teacher=own.teacher,
        ema_decay=own.ema_decay,
        smoothing=own.placement_smoothing,
        size=own.size,
        detector_residual=not own.placement_exact_2d,
        published=settings.published,
        seed=settings.run.seed,
        amp=settings.run.amp,
        limit=2 if settings.run.debug else None,
    )


def facts_of(settings: Settings, own: AdaptationSettings) -> dict:
    """How the weights came about, for the card."""
    names = ("target", "target_split", "root", "teacher", "size", "select")
    sampling = settings.evaluation
    return {name: getattr(own, name) for name in names} | {
        "protocol": settings.data.protocol,
        "hypotheses": sampling.hypotheses,
        "sampling_timesteps": sampling.sampling_timesteps,
        "target_subjects": ",".join(settings.data.subjects_test),
    }


def _say_what_reads_labels(own: AdaptationSettings) -> None:
    if own.root == "gt":
        say("--root gt: the target's true root is read, as published; this is a label.")
    if own.select == "test":
        say("--select test: the best epoch is chosen by the target's labels, as published; its error is optimistic.")
    if own.target_split == "test":
        say("--target-split test: adapts on the 2D of the clips that are scored, as published (transductive).")


def _check_resumed(content: dict, settings: Settings, own: AdaptationSettings) -> None:
    resume = settings.training.resume
    stored = content["card"].get("adaptation")
    if stored is None or "optimizer" not in content:
        raise UserError(f"{resume}: no adaptation to go on with in this file")
    for name, value in (own.network | facts_of(settings, own)).items():
        if name in stored and stored[name] != value:
            raise UserError(f"{resume}: its {name} is {stored[name]}, the flags ask for {value}")
    if settings.training.epochs <= len(content["history"]):
        raise UserError(f"{resume}: has {len(content['history'])} epochs already; ask for more with -e")


def _epochs(
    settings: Settings, own: AdaptationSettings, place: Place, adapter: Adapter, card: dict, judge: Windows | None
) -> None:
    asked, training = settings.evaluation, settings.training
    sampling = Sampling(
        asked.hypotheses,
        asked.sampling_timesteps,
        64,
        settings.run.seed,
        amp=settings.run.amp,
        metrics=("mpjpe", "p_mpjpe"),
    )
    limit = adapter.recipe.limit

    def validate() -> dict:
        reprojection = mean_reprojection(adapter.lifter, adapter.target, sampling, place, limit=limit)
        row = {"reprojection_px": reprojection, "valid_mm": None}
        if judge is not None:
            scores = score_lifter(adapter.lifter, judge, sampling, place, export=None, limit=limit, title="target")
            row["valid_mm"] = scores["columns"]["P_Agg"]["action_wise"]["mpjpe"]
        return row

    plan = Plan(
        folder=Path(settings.run.checkpoint),
        epochs=training.epochs,
        best={MEASURES[own.select]: BEST},
        every=training.checkpoint_frequency,
        log=None if training.nolog else training.log,
        lines=lambda history: [epoch_line(row, len(history)) for row in history],
        tell=lambda row: epoch_line(row, training.epochs),
    )
    run(adapter, plan, card, place, validate)
