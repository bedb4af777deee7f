"""What adaptation leaves: the table before and after, report.json, exports, the log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from common.adaptation.data import in_layout, load_target, target_data
from common.adaptation.lifter import RefinedLifter, for_evaluation, load_adapted, load_source_only, read
from common.adaptation.score import actions_table, score_lifter, table
from common.adaptation.source import check_source
from common.datasets import data_set_of
from common.datasets.clips import Clip
from common.datasets.windows import Windows
from common.engine import checkpoint, report
from common.engine.cards import resolve
from common.engine.devices import Place
from common.engine.evaluation import sampling_of
from common.engine.export_3dhp import score_exports
from common.engine.log import say
from common.files.writing import append_line, save_json, writable
from common.geometry.skeleton import H36M_17, SKELETONS
from common.models.blocks import choose_attention
from common.settings.adaptation import AdaptationSettings
from common.settings.lifting import Settings


def evaluate_file(
    settings: Settings, own: AdaptationSettings, place: Place, path: Path, *, scored: list[Clip] | None = None
) -> dict:
    """Score a checkpoint on the target, an adapted one before and after; write tables, report and exports."""
    folder = writable(Path(settings.run.checkpoint))
    content = read(path)
    card = content["card"]
    if "adaptation" not in card:
        check_source(content, settings, own.target, say)
    if card.get("source") != "published":
        resolve(settings, card)
    own = _follow_card(settings, own, card.get("adaptation", {}))
    if scored is None:
        scored = load_target(settings.data, own.target, own.target_split, say, scored_only=True)[1]
    skeleton = SKELETONS[card["skeleton"]]
    windows = Windows(
        in_layout(scored, H36M_17, skeleton),
        skeleton,
        card["frames"],
        device=place.device,
        published_test=settings.published,
    )
    sampling = sampling_of(settings, card, place)
    sampling, limit = replace(sampling, metrics=(*sampling.metrics, "p_mpjpe")), 2 if settings.run.debug else None
    exports = own.target == "3dhp" and not settings.run.debug

    def scores(lifter: RefinedLifter, export: Path, title: str) -> dict:
        lifter.to(place.device).eval()
        choose_attention(lifter, place.device, card["frames"], card["joints"])
        return score_lifter(
            lifter, windows, sampling, place, export=export if exports else None, limit=limit, title=title
        )

    adapted = "adaptation" in card
    before = scores(load_source_only(content), folder / "source_only", "before" if adapted else "source only")
    after = scores(for_evaluation(load_adapted(content, str(path))), folder, "after") if adapted else None
    target = target_data(settings.data, own.target)
    labels = data_set_of(target).labels(target)
    out = {
        "card": {name: value for name, value in card.items() if name != "mean_pose"},
        "checkpoint": {"file": path.name, "sha256": checkpoint.file_hash(path)},
        "synthetic": bool(card.get("synthetic")),
        "protocol": settings.data.protocol,
        "as_published": list(settings.published_settings),
        "target": {"dataset": own.target, "subjects": ",".join(settings.data.subjects_test), "split": own.target_split,
                   "labels": labels, "clips": len(scored)},
        "keypoints": settings.data.keypoints,
        "hypotheses": sampling.hypotheses,
        "steps": sampling.steps,
        "seed": sampling.seed,
        "frames": before["frames"],
        "columns": report.column_facts(tuple(before["columns"])),
        "before": before,
        "after": after,
    }  # fmt: skip
    _write(folder, out)
    if exports and after:
        score_exports(folder, Path(settings.evaluation.annotations), labels, list(after["columns"]))
    return out


def _follow_card(settings: Settings, own: AdaptationSettings, facts: dict) -> AdaptationSettings:
    """Score the clips that the checkpoint was not adapted on, as its card says, unless a flag says otherwise."""
    split = facts.get("target_split", own.target_split)
    if facts.get("target", own.target) != own.target:
        say(f"Warning: the checkpoint was adapted to {facts['target']}, not to {own.target}.")
    if split != own.target_split and "target_split" in settings.typed:
        say(f"Warning: the checkpoint was adapted with --target-split {split}, not {own.target_split}.")
        return own
    return replace(own, target_split=split)


def _write(folder: Path, out: dict) -> None:
    target = out["target"]["dataset"]
    before, after = out["before"], out["after"]
    facts = f"{'SYNTHETIC ' if out['synthetic'] else ''}target {target}, H={out['hypotheses']}, K={out['steps']}"
    if after is None:
        facts += ", source only"
    text = "\n".join(
        [
            table(f"{facts}, mean over {'sequences' if target == '3dhp' else 'actions'}", before, after),
            table(f"{facts}, mean over frames", before, after, "frame_wise"),
            actions_table(before, after),
        ]
    )
    print(text)
    name = f"{target}_test_log_H{out['hypotheses']}_K{out['steps']}.txt"
    append_line(folder / name, text + "\n")
    save_json(folder / "report.json", out)
    say(f"written: {folder / 'report.json'}, {folder / name}")


def epoch_line(row: dict, epochs: int) -> str:
    """One epoch for the eye and for training_log.txt."""
    labels = "" if row["valid_mm"] is None else f", target {row['valid_mm']:.2f} mm (labels)"
    return (
        f"epoch {row['epoch']}/{epochs}: "
        f"target {row['target_px']:.2f} px, {row['target_mm']:.2f} mm to the pseudo label; "
        f"placed source {row['source_px']:.2f} px, {row['source_mm']:.2f} mm; "
        f"reprojection {row['reprojection_px']:.3f} px{labels}; lr {row['lr']:.4g}, {row['minutes']:.2f} min"
    )
