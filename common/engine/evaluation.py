"""Evaluate a checkpoint and write its report."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from common.datasets import data_set_of, load_clips
from common.datasets.clips import Clip
from common.datasets.windows import Windows
from common.engine import calibration, checkpoint, report
from common.engine.devices import Place, amp_of, compile_network
from common.engine.evaluate import EVALUATION_WINDOWS, Errors, Sampling, check_told, estimate_seconds, evaluate
from common.engine.export_3dhp import PoseCollector, score_exports
from common.engine.log import say
from common.engine.opening import Opened, open_lifter
from common.files.writing import append_line, save_json, writable
from common.models import entry
from common.models.blocks import Attention
from common.models.condition import as_batch
from common.scoring.hypotheses import available
from common.scoring.metrics import metrics_named, mpjpe, p_mpjpe
from common.settings.lifting import Settings


def evaluate_checkpoint(settings: Settings, place: Place, path: Path, clips: list[Clip] | None = None) -> dict:
    """Score a checkpoint on the test clips: tables on screen, text log, report.json. Returns the report."""
    notice = say if place.first else (lambda line: None)
    data, folder = settings.data, Path(settings.run.checkpoint)
    metrics_named(settings.evaluation.metrics)  # a wrong name is told before the work
    place.lead(lambda: writable(folder))
    opened = open_lifter(path, settings, place, notice)
    lifter, card = opened.lifter, opened.card
    clips = load_clips(data, "test", notice) if clips is None else clips
    trained_on = (card.get("subjects") or "").split(",") if card.get("dataset") == data.dataset else ()
    shared = warn_of_shared_subjects(trained_on, [clip.subject for clip in clips], notice)
    flop = flop_per_window(opened)
    if settings.run.compile:
        compile_network(lifter.denoiser, place.device)
    source = data_set_of(data)
    windows = Windows(
        clips,
        source.skeleton,
        card["frames"],
        device=place.device,
        published_test=settings.published,
        action_names=source.action_names(clips),
        centre_only=opened.centre_only,
    )
    told_of = text_told(settings, card)
    sampling = sampling_of(settings, card, place)
    if told_of in ("action", "both"):
        check_told(lifter, windows)
    _announce(lifter, windows, sampling, place, notice)
    columns = list(available(windows.has_camera))
    exporter = PoseCollector(windows, columns, sampling.steps) if data.dataset == "3dhp" else None
    few = 2 if settings.run.debug else None  # batches
    errors = evaluate(lifter, windows, sampling, place, observe=exporter, limit=few)
    results = report.summarise(errors, clips)
    told = None
    if told_of == "both":
        with_action = replace(sampling, neutral=False)
        told = report.summarise(evaluate(lifter, windows, with_action, place, title="with actions", limit=few), clips)
    means = mean_pose_errors(card, clips, source.skeleton.root) if card.get("mean_pose") else None
    out = {
        "card": {k: v for k, v in card.items() if k != "mean_pose"},
        "checkpoint": {"file": path.name, "sha256": checkpoint.file_hash(path)},
        "synthetic": bool(card.get("synthetic")),
        "protocol": data.protocol,
        "as_published": list(settings.published_settings),
        "dataset": data.dataset,
        "keypoints": data.keypoints,
        "labels": source.labels(data),
        **source.facts(data),
        "subjects": ",".join(data.subjects_test),
        "actions": ",".join(data.actions),
        "subjects_also_trained_on": shared,
        "eval_text": told_of,
        "hypotheses": sampling.hypotheses,
        "steps": sampling.steps,
        "sampler": sampling.sampler,
        "test_time_augmentation": sampling.flip,
        "repeat_n": sampling.repeat,
        "bf16": sampling.amp,
        "temperature": list(sampling.temperature),
        "seed": sampling.seed,
        "frames": int(errors.frames.sum()),
        "cost": _cost(lifter, windows, sampling, errors, flop, place),
        "units": {m.key: m.unit for m in metrics_named(sampling.metrics).values()},
        "columns": report.column_facts(errors.columns),
        "mean_pose": means,
        "results": results,
        "clips": report.clip_errors(errors, clips),
    }
    if told:
        out["results_with_action"] = told
    if settings.evaluation.calibration:
        out["calibration"] = calibration.run(settings, lifter, windows, sampling, place)
    notes = []
    if settings.published:
        notes.append(f"P_Best is chosen per batch of -b {sampling.batch} windows")
    if card["variant"] == "published" and entry(card["model"]).batch_note:
        notes.append(f"{entry(card['model']).batch_note}, so -b {sampling.batch} matters")
    if not windows.has_camera:
        notes.append("no intrinsics are known here: R_Agg, J_Agg_fit and J_Agg cannot be computed")
    out["notes"] = notes
    if settings.evaluation.by_subject:
        of = {s: np.array([clip.subject == s for clip in clips]) for s in dict.fromkeys(c.subject for c in clips)}
        of = {subject: rows for subject, rows in of.items() if errors.frames[rows].any()}
        out["subjects_results"] = {s: report.summarise(errors, clips, rows) for s, rows in of.items()}
    if exporter:
        exporter.write(folder, place)
    if place.first:
        _write(folder, source.name, out, columns)
        if exporter:
            score_exports(folder, Path(settings.evaluation.annotations), out["labels"], columns)
    return out


def sampling_of(settings: Settings, card: dict, place: Place) -> Sampling:
    """How the settings ask to sample with the model of a card, at a place."""
    asked = settings.evaluation
    return Sampling(
        hypotheses=asked.hypotheses,
        steps=asked.sampling_timesteps,
        batch=asked.batch_size_eval or EVALUATION_WINDOWS,
        seed=settings.run.seed,
        metrics=tuple(dict.fromkeys(("mpjpe", *(("p_mpjpe",) if asked.p2 else ()), *asked.metrics))),
        published=settings.published,
        amp=amp_of(settings.run, settings.published, place.device),
        flip=asked.test_time_augmentation,
        repeat=asked.repeat_n,
        sampler=asked.sampler,
        temperature=asked.temperature,
        neutral=text_told(settings, card) in ("neutral", "both"),
        mixes_texts=mixes_texts(card),
    )


def mixes_texts(card: dict) -> bool:
    """Whether the network of a card mixes up the texts of a batch."""
    return card["variant"] == "published" and entry(card["model"]).mixes_texts


def text_told(settings: Settings, card: dict) -> str | None:
    """What the network is told of a test clip's action: None for models without text."""
    if card["sizes"].get("text", "none") == "none":
        return None
    return settings.evaluation.eval_text or ("action" if settings.published else "neutral")


def warn_of_shared_subjects(train: Sequence[str], test: Sequence[str], notice: Callable[[str], None]) -> list[str]:
    """Say loudly which people are in the training and in the test set; returns them."""
    both = sorted(set(train) & set(test))
    if both:
        notice(f"WARNING: {', '.join(both)}: in the training set AND in the test set. The test errors are too good.")
    return both


def _announce(lifter, windows: Windows, sampling: Sampling, place: Place, notice) -> None:
    """Say what an evaluation that takes long will cost, before it starts."""
    seconds = estimate_seconds(lifter, windows, sampling, place)
    if seconds > 1800:
        notice(
            f"This evaluation will take about {seconds / 3600:.1f} hours here: {len(windows):,} windows x "
            f"{sampling.hypotheses} hypotheses x {sampling.steps} steps. Fewer of either take proportionally less."
        )


def flop_per_window(opened: Opened) -> int:
    """FLOP (two a multiply-add) of one network call on one window with one hypothesis, counted without computing.

    A text condition is not counted: it is computed once per action.
    """
    lifter, card = opened.lifter, opened.card
    with torch.no_grad():
        condition = lifter.denoiser.condition(as_batch(torch.full((1,), -1, device=lifter.mirror.device)))
    if condition is not None:
        tensors = {k: v.to("meta") for k, v in vars(condition).items() if isinstance(v, torch.Tensor)}
        condition = replace(condition, **tensors)
    denoiser = copy.deepcopy(lifter.denoiser).to("meta")
    for module in denoiser.modules():
        if isinstance(module, Attention):
            module.fused_attn = False  # the same products, in a form that is counted on every device
    shape = (card["frames"], card["joints"])
    keypoints = torch.empty(1, *shape, 2, device="meta")
    x_t = torch.empty(1, 1, opened.answered, card["joints"], 3, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        denoiser(keypoints, x_t, torch.zeros(1, dtype=torch.long, device="meta"), condition)
    return counter.get_total_flops()


def _cost(lifter, windows: Windows, sampling: Sampling, errors: Errors, flop: int, place: Place) -> dict:
    return {
        "parameters": sum(p.numel() for p in lifter.parameters()),
        "flop_per_forward": flop,
        "calls_per_window": sampling.calls,
        "flop_per_window": flop * sampling.calls,
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


def _write(folder: Path, name: str, out: dict, columns: list[str]) -> None:
    title = f"{'SYNTHETIC ' if out['synthetic'] else ''}{out['dataset']}, H={out['hypotheses']}, K={out['steps']}"
    print(report.table(out["results"], columns, title, out["mean_pose"]))
    log = report.published_log(out["results"], columns)
    for subject, results in out.get("subjects_results", {}).items():
        print(report.table(results, columns, f"{title}, subject {subject}"))
        log += f"----subject {subject}----\n" + report.published_log(results, columns)
    log_file = folder / f"{name}_test_log_H{out['hypotheses']}_K{out['steps']}.txt"
    append_line(log_file, ("SYNTHETIC\n" if out["synthetic"] else "") + log)
    save_json(folder / "report.json", out)
    cost = out["cost"]
    if "results_with_action" in out:
        print(report.table(out["results_with_action"], columns, f"{title}, told the action"))
    if "calibration" in out:
        page = calibration.write_page(folder, f"{title}: calibration", out["calibration"])
        say(f"written: {page}")
    for note in out["notes"]:
        say(f"note: {note}")
    say(
        f"{cost['parameters']:,} parameters, {cost['flop_per_window'] / 1e9:.4g} GFLOP a window, "
        f"{cost['seconds']:.0f} s, seed {out['seed']}, 2D {out['keypoints']}, "
        f"checkpoint {out['checkpoint']['sha256']}; "
        f"written: {folder / 'report.json'}, {log_file}"
    )
