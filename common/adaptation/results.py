"""What adaptation leaves: the table before and after, report.json, exports, the log."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from common.adaptation.data import in_layout, load_target, target_options
from common.adaptation.lifter import RefinedLifter, for_evaluation, load_adapted, load_source_only, read
from common.adaptation.score import actions_table, score_lifter, table
from common.adaptation.source import check_source
from common.datasets import dataset
from common.datasets.clips import Clip
from common.datasets.windows import Windows
from common.engine import checkpoint, report
from common.engine.cards import check_card
from common.engine.devices import Place
from common.engine.evaluate import EVALUATION_WINDOWS, Sampling
from common.engine.log import say
from common.geometry.skeleton import H36M_17, SKELETONS
from common.models.blocks import choose_attention
from common.programs.export_3dhp import score_exports


def sampling_of(options: Namespace) -> Sampling:
    """How the flags ask to sample; -b counts windows only where a checkpoint is evaluated."""
    typed = options.typed.get("batch_size") if options.evaluate else None
    return Sampling(
        hypotheses=options.hypotheses,
        steps=options.sampling_timesteps,
        windows=options.batch_size_eval or typed or EVALUATION_WINDOWS,
        seed=options.seed,
        protocol_2=True,
        published=options.protocol == "published",
        amp=options.amp,
    )


def with_protocol_2(sampling: Sampling) -> Sampling:
    return replace(sampling, protocol_2=True)


def evaluate_file(options: Namespace, place: Place, path: Path, scored: list[Clip] | None = None) -> dict:
    """Score a checkpoint on the target, an adapted one before and after; write tables, report and exports."""
    content = read(path)
    card = content["card"]
    if "adaptation" not in card:
        check_source(content, options, say)
    if card.get("source") != "published":
        check_card(card, options)
    _follow_card(options, card.get("adaptation", {}))
    if scored is None:
        scored = load_target(options, say, scored_only=True)[1]
    skeleton = SKELETONS[card["skeleton"]]
    published = options.protocol == "published"
    windows = Windows(in_layout(scored, H36M_17, skeleton), skeleton, card["frames"], None, place.device, published)
    folder, sampling, limit = Path(options.checkpoint), sampling_of(options), 2 if options.debug else None
    exports = options.target == "3dhp" and not options.debug

    def scores(lifter: RefinedLifter, export: Path, title: str) -> dict:
        lifter.to(place.device).eval()
        choose_attention(lifter, place.device, card["frames"], card["joints"])
        return score_lifter(lifter, windows, sampling, place, export if exports else None, limit, title)

    adapted = "adaptation" in card
    before = scores(load_source_only(content), folder / "source_only", "before" if adapted else "source only")
    after = scores(for_evaluation(load_adapted(content, str(path))), folder, "after") if adapted else None
    labels = dataset(target_options(options)).labels(target_options(options))
    out = {
        "card": {name: value for name, value in card.items() if name != "mean_pose"},
        "checkpoint": {"file": path.name, "sha256": checkpoint.file_hash(path)},
        "synthetic": bool(card.get("synthetic")),
        "protocol": options.protocol,
        "as_published": options.published_settings,
        "target": {"dataset": options.target, "subjects": options.subjects_test, "split": options.target_split,
                   "labels": labels, "clips": len(scored)},
        "keypoints": options.keypoints,
        "hypotheses": sampling.hypotheses,
        "steps": sampling.steps,
        "seed": options.seed,
        "frames": before["frames"],
        "columns": report.column_facts(tuple(before["columns"])),
        "before": before,
        "after": after,
    }  # fmt: skip
    _write(options, out)
    if exports and after:
        score_exports(folder, Path(options.annotations), labels, list(after["columns"]))
    return out


def _follow_card(options: Namespace, facts: dict) -> None:
    """Score the clips that the checkpoint was not adapted on, as its card says, unless a flag says otherwise."""
    split = facts.get("target_split", options.target_split)
    if split != options.target_split and "target_split" in options.typed:
        say(f"Warning: the checkpoint was adapted with --target-split {split}, not {options.target_split}.")
    elif split != options.target_split:
        options.target_split = split
    if facts.get("target", options.target) != options.target:
        say(f"Warning: the checkpoint was adapted to {facts['target']}, not to {options.target}.")


def _write(options: Namespace, out: dict) -> None:
    folder = Path(options.checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    before, after = out["before"], out["after"]
    facts = (
        f"{'SYNTHETIC ' if out['synthetic'] else ''}target {options.target}, H={out['hypotheses']}, K={out['steps']}"
    )
    if after is None:
        facts += ", source only"
    text = "\n".join(
        [
            table(f"{facts}, mean over {'sequences' if options.target == '3dhp' else 'actions'}", before, after),
            table(f"{facts}, mean over frames", before, after, "frame_wise"),
            actions_table(before, after),
        ]
    )
    print(text)
    name = f"{options.target}_test_log_H{out['hypotheses']}_K{out['steps']}.txt"
    with (folder / name).open("a", encoding="utf-8") as stream:
        stream.write(text + "\n")
    report.write(folder / "report.json", out)
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


def write_log(folder: Path, history: list[dict]) -> None:
    """Write the whole log anew from the history: a resumed run leaves no line twice."""
    lines = [epoch_line(row, len(history)) for row in history]
    (folder / "training_log.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
