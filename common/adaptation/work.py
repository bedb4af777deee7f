"""Adapt a source lifter as the flags say: clips in, checkpoints out."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import torch

from common.adaptation import results
from common.adaptation.adapt import Adapter, Recipe, mean_reprojection
from common.adaptation.data import in_layout, load_source, load_target, unlabelled
from common.adaptation.lifter import contents, count_adapted, load_adapted, make_adapted, read
from common.adaptation.score import score_lifter
from common.adaptation.source import check_source
from common.datasets.clips import Clip
from common.datasets.windows import Windows
from common.engine import checkpoint
from common.engine.cards import check_card
from common.engine.devices import Place
from common.engine.evaluate import Sampling
from common.engine.log import Board, say
from common.errors import UserError
from common.geometry.skeleton import H36M_17, SKELETONS
from common.models.blocks import choose_attention
from common.settings.adaptation import settings_of

BEST = "best_epoch.bin"


def adapt(options: Namespace, place: Place, source: Path) -> Path:
    """Adapt the source lifter as the flags say; returns the best epoch's file."""
    content = read(source)
    check_source(content, options, say)
    check_card(content["card"], options)
    clips, target = load_source(options, say), load_target(options, say)
    return adapt_clips(options, place, content, clips, *target)


def adapt_clips(
    options: Namespace, place: Place, content: dict, source: list[Clip], target: list[Clip], scored: list[Clip]
) -> Path:
    """Adapt on clips. The target's 3D is taken out before anything sees it, but for the root with --root gt; `scored`
    is read with --select test only."""
    folder, settings = Path(options.checkpoint), settings_of(options)
    folder.mkdir(parents=True, exist_ok=True)
    _say_what_reads_labels(options)
    torch.manual_seed(options.seed)
    resumed = None
    if options.resume:
        resumed = read(checkpoint.find(folder, options.resume))
        _check_resumed(resumed, settings, options)
        lifter = load_adapted(resumed, options.resume)
    else:
        lifter = make_adapted(content, settings)
    card = dict(resumed["card"] if resumed else content["card"])
    card |= {"seed": options.seed, "synthetic": options.demo or card.get("synthetic", False)}
    card["adaptation"] = settings | _facts(options)
    lifter.to(place.device)
    skeleton, frames = SKELETONS[card["skeleton"]], card["frames"]
    choose_attention(lifter, place.device, frames, card["joints"])

    blind = unlabelled(in_layout(target, H36M_17, skeleton), skeleton, keep_root=options.root == "gt")
    target_windows = Windows(blind, skeleton, frames, options.stride, place.device)
    source_windows = Windows(in_layout(source, H36M_17, skeleton), skeleton, frames, options.stride, place.device)
    adapter = Adapter(lifter, source_windows, target_windows, recipe_of(options, frames), place)
    if resumed:
        adapter.restore(resumed)
    judge = None
    if options.select == "test":
        judge = Windows(in_layout(scored, H36M_17, skeleton), skeleton, frames, None, place.device)
    low_rank, refiner = count_adapted(lifter)
    say(
        f"Adapting {low_rank:,} parameters of low rank and {refiner:,} of the refiner, of "
        f"{sum(p.numel() for p in lifter.parameters()):,}: {len(target_windows):,} target windows, "
        f"{len(source_windows):,} source windows of {frames} frames."
    )
    _epochs(options, place, adapter, card, judge)
    return checkpoint.find(folder, BEST)


def recipe_of(options: Namespace, frames: int) -> Recipe:
    return Recipe(
        epochs=options.epochs,
        windows=max(1, options.batch_size // frames),
        hypotheses=options.hypotheses,
        steps=options.sampling_timesteps,
        learning_rate=options.learning_rate,
        lr_decay=options.lr_decay,
        target_weights=(options.weight_target_2d, options.weight_target_3d),
        source_weights=(options.weight_source_2d, options.weight_source_3d),
        root=options.root,
        teacher=options.teacher,
        ema_decay=options.ema_decay,
        smoothing=options.placement_smoothing,
        detector_residual=not options.placement_exact_2d,
        published=options.protocol == "published",
        seed=options.seed,
        amp=options.amp,
        limit=2 if options.debug else None,
    )


def _facts(options: Namespace) -> dict:
    """How the weights came about, for the card."""
    names = ("target", "target_split", "root", "teacher", "select", "protocol", "hypotheses", "sampling_timesteps")
    return {name: getattr(options, name) for name in names} | {"target_subjects": options.subjects_test}


def _say_what_reads_labels(options: Namespace) -> None:
    if options.root == "gt":
        say("--root gt: the target's true root is read, as published; this is a label.")
    if options.select == "test":
        say("--select test: the best epoch is chosen by the target's labels, as published; its error is optimistic.")
    if options.target_split == "test":
        say("--target-split test: adapts on the 2D of the clips that are scored, as published (transductive).")


def _check_resumed(content: dict, settings: dict, options: Namespace) -> None:
    stored = content["card"].get("adaptation")
    if stored is None or "optimizer" not in content:
        raise UserError(f"{options.resume}: no adaptation to go on with in this file")
    for name, value in settings.items():
        if stored[name] != value:
            raise UserError(f"{options.resume}: its {name} is {stored[name]}, the flags ask for {value}")
    if options.epochs <= len(content["history"]):
        raise UserError(f"{options.resume}: has {len(content['history'])} epochs already; ask for more with -e")


def _epochs(options: Namespace, place: Place, adapter: Adapter, card: dict, judge: Windows | None) -> None:
    folder, board = Path(options.checkpoint), Board(options.log, not options.nolog)
    sampling = Sampling(options.hypotheses, options.sampling_timesteps, 64, options.seed, amp=options.amp)
    limit = adapter.recipe.limit
    measure = {"reprojection": "reprojection_px", "test": "valid_mm", "last": None}[options.select]

    def validate() -> dict:
        reprojection = mean_reprojection(adapter.lifter, adapter.target, sampling, place, limit)
        row = {"reprojection_px": reprojection, "valid_mm": None}
        if judge is not None:
            scores = score_lifter(
                adapter.lifter, judge, results.with_protocol_2(sampling), place, None, limit, "target"
            )
            row["valid_mm"] = scores["columns"]["P_Agg"]["action_wise"]["mpjpe"]
        return row

    while adapter.epoch < options.epochs:
        row = adapter.run_epoch(validate)
        row["train_mm"] = row["source_mm"]  # TensorBoard's name for it
        card["epoch"] = row["epoch"]
        content = {"card": card, **contents(adapter.lifter), **adapter.state()}
        earlier = [r[measure] for r in adapter.history[:-1]] if measure else []
        if measure is None or not earlier or row[measure] < min(earlier):
            checkpoint.save(folder / BEST, content)
        if row["epoch"] % options.checkpoint_frequency == 0:
            checkpoint.save(folder / f"epoch_{row['epoch']}.bin", content)
        checkpoint.save(folder / "last.bin", content)
        results.write_log(folder, adapter.history)
        board.epoch(row)
        say(results.epoch_line(row, options.epochs))
    board.close()
