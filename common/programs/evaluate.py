"""Evaluate a checkpoint and write its report."""

from __future__ import annotations

import copy
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from common.datasets import dataset, load_clips
from common.datasets.clips import Clip
from common.datasets.windows import Windows
from common.diffusion.lifter import DiffusionLifter
from common.engine import checkpoint, report
from common.engine.devices import Place
from common.engine.evaluate import EVALUATION_WINDOWS, Errors, Sampling, check_told, estimate_seconds, evaluate
from common.engine.log import say
from common.engine.opening import open_lifter
from common.models import REGISTRY
from common.programs.export_3dhp import Export3DHP, score_exports
from common.scoring.hypotheses import available
from common.scoring.metrics import mpjpe, p_mpjpe


def evaluate_checkpoint(options: Namespace, place: Place, path: Path, clips: list[Clip] | None = None) -> dict:
    """Score a checkpoint on the test clips: tables on screen, text log, report.json. Returns the report."""
    notice = say if place.first else (lambda line: None)
    lifter, card = open_lifter(path, options, place, notice)
    clips = load_clips(options, "test", notice) if clips is None else clips
    flop = flop_per_window(lifter, card)
    if options.compile:
        lifter.denoiser.compile()
    published = options.protocol == "published"
    skeleton, centre = dataset(options).skeleton, REGISTRY[card["model"]].centre_only
    actions = dataset(options).action_names(clips)
    windows = Windows(clips, skeleton, card["frames"], None, place.device, published, actions, centre)
    sampling = replace(sampling_of(options), neutral=text_told(options, card) in ("neutral", "both"))
    if text_told(options, card) in ("action", "both"):
        check_told(lifter, windows)
    _announce(lifter, windows, sampling, place, notice)
    columns = list(available(windows.has_camera))
    exporter = Export3DHP(windows, columns, sampling.steps) if options.dataset == "3dhp" else None
    errors = evaluate(lifter, windows, sampling, place, exporter, limit=2 if options.debug else None)
    results = report.summarise(errors, clips)
    told = None
    if text_told(options, card) == "both":
        with_action = replace(sampling, neutral=False)
        told = report.summarise(evaluate(lifter, windows, with_action, place, title="with actions"), clips)
    means = mean_pose_errors(card, clips, dataset(options).skeleton.root) if card.get("mean_pose") else None
    out = {
        "card": {k: v for k, v in card.items() if k != "mean_pose"},
        "checkpoint": {"file": path.name, "sha256": checkpoint.file_hash(path)},
        "synthetic": bool(card.get("synthetic")),
        "protocol": options.protocol,
        "as_published": getattr(options, "published_settings", []),
        "dataset": options.dataset,
        "keypoints": options.keypoints,
        "labels": dataset(options).labels(options),
        "subjects": options.subjects_test,
        "actions": options.actions,
        "eval_text": text_told(options, card),
        "hypotheses": sampling.hypotheses,
        "steps": sampling.steps,
        "seed": options.seed,
        "frames": int(errors.frames.sum()),
        "cost": _cost(lifter, windows, sampling, errors, flop, place),
        "columns": report.column_facts(errors.columns),
        "mean_pose": means,
        "results": results,
        "clips": report.clip_errors(errors, clips),
    }
    if told:
        out["results_with_action"] = told
    notes = []
    if published:
        notes.append(f"P_Best is chosen per batch of -b {sampling.windows} windows")
    if card["model"] == "graphdiffu" and card["variant"] == "published":
        notes.append(f"published graph: the first window of each batch is special, so -b {sampling.windows} matters")
    if not windows.has_camera:
        notes.append("no intrinsics are known here: R_Agg, J_Agg_fit and J_Agg cannot be computed")
    out["notes"] = notes
    if options.by_subject:
        of = {s: np.array([clip.subject == s for clip in clips]) for s in dict.fromkeys(c.subject for c in clips)}
        of = {subject: rows for subject, rows in of.items() if errors.frames[rows].any()}
        out["subjects_results"] = {s: report.summarise(errors, clips, rows) for s, rows in of.items()}
    if exporter:
        exporter.write(Path(options.checkpoint), place)
    if place.first:
        _write(options, out, columns)
        if exporter:
            score_exports(Path(options.checkpoint), Path(options.annotations), out["labels"], columns)
    return out


def sampling_of(options: Namespace) -> Sampling:
    """How the flags ask to sample; -b counts windows only where a checkpoint is evaluated."""
    typed = options.batch_size_eval or (options.typed.get("batch_size") if options.evaluate else None)
    return Sampling(
        hypotheses=options.hypotheses,
        steps=options.sampling_timesteps,
        windows=typed or EVALUATION_WINDOWS,
        seed=options.seed,
        protocol_2=options.p2,
        published=options.protocol == "published",
        amp=options.amp,
        flip=options.test_time_augmentation,
        repeat=options.repeat_n,
    )


def text_told(options: Namespace, card: dict) -> str | None:
    """What the network is told of a test clip's action: None for models without text."""
    if card["sizes"].get("text", "none") == "none":
        return None
    return options.eval_text or ("action" if options.protocol == "published" else "neutral")


def _announce(lifter, windows: Windows, sampling: Sampling, place: Place, notice) -> None:
    """Say what an evaluation that takes long will cost, before it starts."""
    seconds = estimate_seconds(lifter, windows, sampling, place)
    if seconds > 1800:
        notice(
            f"This evaluation will take about {seconds / 3600:.1f} hours here: {len(windows):,} windows x "
            f"{sampling.hypotheses} hypotheses x {sampling.steps} steps. Fewer of either take proportionally less."
        )


def flop_per_window(lifter: DiffusionLifter, card: dict) -> int:
    """FLOP (two a multiply-add) of one network call on one window with one hypothesis, counted without computing.

    A text condition is not counted: it is computed once per action.
    """
    untold = SimpleNamespace(action=torch.full((1,), -1, device=lifter.mirror.device), action_names=())
    with torch.no_grad():
        condition = lifter.denoiser.condition(untold)
    if condition is not None:
        tensors = {k: v.to("meta") for k, v in vars(condition).items() if isinstance(v, torch.Tensor)}
        condition = replace(condition, **tensors)
    denoiser = copy.deepcopy(lifter.denoiser).to("meta")
    for module in denoiser.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # the same products, in a form that is counted on every device
    shape = (card["frames"], card["joints"])
    keypoints = torch.empty(1, *shape, 2, device="meta")
    frames_out = 1 if REGISTRY[card["model"]].centre_only else card["frames"]
    x_t = torch.empty(1, 1, frames_out, card["joints"], 3, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        denoiser(keypoints, x_t, torch.zeros(1, dtype=torch.long, device="meta"), condition)
    return counter.get_total_flops()


def _cost(lifter, windows: Windows, sampling: Sampling, errors: Errors, flop: int, place: Place) -> dict:
    return {
        "parameters": sum(p.numel() for p in lifter.parameters()),
        "flop_per_forward": flop,
        "flop_per_window": flop * 2 * sampling.hypotheses * sampling.steps,
        "windows": len(windows),
        "seconds": round(errors.seconds, 2),
        "device": torch.cuda.get_device_name(place.device) if place.device.type == "cuda" else str(place.device),
        "processes": place.world,
        "hypotheses_at_a_time": errors.chunk,
    }


def mean_pose_errors(card: dict, clips: list[Clip], root: int) -> dict:
    """The error of answering every frame with the training mean, mm, averaged as the results are."""
    mean = torch.tensor(card["mean_pose"], dtype=torch.float32)
    totals: dict[str, np.ndarray] = {}
    for clip in clips:
        poses = torch.from_numpy(clip.positions_3d[clip.valid])
        poses = poses - poses[:, root : root + 1]
        sums = [float(f(mean.expand_as(poses), poses).sum()) for f in (mpjpe, p_mpjpe)]
        row = np.array([*sums, len(poses)])
        totals[clip.action_name] = totals.get(clip.action_name, 0) + row
    table = np.array(list(totals.values()))  # (actions, 3)
    action_wise = 1000 * (table[:, :2] / table[:, 2:].clip(1)).mean(0)
    frame_wise = 1000 * table[:, :2].sum(0) / max(table[:, 2].sum(), 1)
    protocols = ("protocol_1", "protocol_2")
    return {
        p: {"action_wise": float(action_wise[i]), "frame_wise": float(frame_wise[i])} for i, p in enumerate(protocols)
    }


def _write(options: Namespace, out: dict, columns: list[str]) -> None:
    folder = Path(options.checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{'SYNTHETIC ' if out['synthetic'] else ''}{options.dataset}, H={out['hypotheses']}, K={out['steps']}"
    print(report.table(out["results"], columns, title, out["mean_pose"]))
    log = report.published_log(out["results"], columns)
    for subject, results in out.get("subjects_results", {}).items():
        print(report.table(results, columns, f"{title}, subject {subject}"))
        log += f"----subject {subject}----\n" + report.published_log(results, columns)
    name = f"{dataset(options).name}_test_log_H{out['hypotheses']}_K{out['steps']}.txt"
    with (folder / name).open("a", encoding="utf-8") as stream:
        stream.write(("SYNTHETIC\n" if out["synthetic"] else "") + log)
    report.write(folder / "report.json", out)
    cost = out["cost"]
    if "results_with_action" in out:
        print(report.table(out["results_with_action"], columns, f"{title}, told the action"))
    for note in out["notes"]:
        say(f"note: {note}")
    say(
        f"{cost['parameters']:,} parameters, {cost['flop_per_window'] / 1e9:.4g} GFLOP a window, "
        f"{cost['seconds']:.0f} s, seed {out['seed']}, 2D {out['keypoints']}, "
        f"checkpoint {out['checkpoint']['sha256']}; "
        f"written: {folder / 'report.json'}, {folder / name}"
    )
