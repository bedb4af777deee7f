"""Which way to make one pose of many is the best: candidates on training performers, then the rows on held-out ones.

    python -m benchmarks.aggregate DATA_FOLDER [-c FILE] [--json FILE] [--write docs/aggregation.md]

DATA_FOLDER has data_3d_h36m.npz in the Human3.6M layout and its 2D, as `data/convert_cmu.py` writes them. Candidates
are looked at on S7 and S8, training performers, through Human3.6M's four cameras and through fresh random ones, four
for every five seconds; S9 and S11 judge, also with a wrong focal length. Every part is in --json as soon as it is done,
and taken from there when the command is repeated with the same checkpoint.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.open_motion import HELD_OUT, at_rate, load_takes, views
from benchmarks.paired import bootstrap
from benchmarks.wild import ROOT, Results, put_into_page
from common.datasets.clips import Clip
from common.datasets.h36m import load_h36m
from common.datasets.windows import Windows
from common.diffusion.lifter import Flip
from common.door import guarded
from common.engine import chunks
from common.engine.cards import trained_on
from common.engine.checkpoint import file_hash
from common.engine.devices import Place
from common.engine.evaluate import Sampling, evidence_of, load_of, sample
from common.engine.log import say
from common.engine.opening import Opened
from common.geometry.camera import fit_root, undistort
from common.geometry.skeleton import Skeleton
from common.scoring.hypotheses import (
    AGGREGATIONS,
    Evidence,
    assemble,
    reprojection_errors,
    s_agg,
    with_lengths,
)
from common.scoring.metrics import bone_lengths, joint_errors, mpjpe, n_mpjpe, p_mpjpe
from common.scoring.tables import fixed_width
from common.settings.wild import DEFAULT, FOLDER, InputSettings, WildSettings
from common.wild.heights import height_rule
from common.wild.lifting import open_model
from common.wild.skeletons import stature

CHOOSING = ("S7", "S8")
VIEWS, SEED = 4, 777  # random cameras of each piece
STEPS = 2
COUNTS = (20, 10)  # hypotheses, the first of one draw
AVERAGED = 5  # hypotheses whose steps average both bodies: as many network calls as 10 of which every other is mirrored
CAMERAS = {"h36m": "Human3.6M's cameras", "random": "random cameras"}
METRICS = {"mpjpe": mpjpe, "p_mpjpe": p_mpjpe, "n_mpjpe": n_mpjpe}
FOCAL = (0.75, 0.9, 1.1, 1.25)  # shares of the true focal length that are told
# Every which window is looked at: all of them would take an hour of one core.
EVERY = {
    "h36m": {"judged": 3, "chosen": 12, "focal": 12},
    "random": {"judged": 2, "chosen": 12, "focal": 20},
}
DETECTED = "cpn_ft_h36m_dbb"
RPEA_BEST, RPEA_TEMPERATURE = 8, 0.005  # hypotheses a joint; screen units
REFINEMENTS, REFINED = 3, 0.05  # steps down the reprojection error; the share of it that each takes
Row = Callable[[Tensor, Evidence], Tensor]


def best_few(errors: Tensor, count: int, temperature: float) -> Tensor:
    """Shares (..., H, F, J): a softmax over the `count` least errors of each joint, nothing for the others."""
    limit = errors.topk(min(count, errors.shape[-3]), dim=-3, largest=False).values[..., -1:, :, :]
    return torch.softmax(torch.where(errors <= limit, -errors / temperature, -torch.inf), -3)


def rpea(poses: Tensor, evidence: Evidence) -> Tensor:
    """FMPose3D's scheme: the best few of each joint by reprojection error, at the TRUE root."""
    errors = reprojection_errors(poses, evidence.root.unsqueeze(-4), evidence)
    return assemble(poses, best_few(errors, RPEA_BEST, RPEA_TEMPERATURE))


def errors_at_one_root(poses: Tensor, evidence: Evidence) -> Tensor:
    """Reprojection errors (..., H, F, J) of all hypotheses at the root that fits their mean."""
    roots = fit_root(poses.mean(-4), rays_of(poses, evidence))
    return reprojection_errors(poses, roots.unsqueeze(-4), evidence)


def rays_of(poses: Tensor, evidence: Evidence) -> Tensor:
    """The 2D on the ideal image plane (..., F, J, 2), as poses (..., H, F, J, 3) have it."""
    rays = undistort(evidence.keypoints_2d, evidence.intrinsics.unsqueeze(-2))
    return rays.expand(*poses.shape[:-4], *poses.shape[-3:-1], 2)


def one_root(poses: Tensor, evidence: Evidence) -> Tensor:
    return assemble(poses, torch.softmax(-errors_at_one_root(poses, evidence) / 0.02, -3))


def one_root_pose(poses: Tensor, evidence: Evidence) -> Tensor:
    errors = errors_at_one_root(poses, evidence).mean(-1, keepdim=True)
    return assemble(poses, torch.softmax(-errors / 0.005, -3).expand(*poses.shape[:-1]))


def one_root_best(poses: Tensor, evidence: Evidence) -> Tensor:
    return assemble(poses, best_few(errors_at_one_root(poses, evidence), RPEA_BEST, RPEA_TEMPERATURE))


def window_roots(poses: Tensor, rays: Tensor) -> Tensor:
    """Roots (..., F, 1, 3) of poses (..., F, J, 3), fitted once for a window: their distance changes evenly."""
    depth = fit_root(poses, rays)[..., 0, 2]  # (..., F)
    time = torch.linspace(-1, 1, depth.shape[-1]).to(depth)
    slope = (time * depth).sum(-1, keepdim=True) / (time * time).sum().clamp_min(1e-9)
    depth = (depth.mean(-1, keepdim=True) + slope * time).unsqueeze(-1)
    sideways = (rays * poses[..., 2:] - poses[..., :2]).mean(-2) + rays.mean(-2) * depth
    return torch.cat([sideways, depth], -1).unsqueeze(-2)


def window_root(poses: Tensor, evidence: Evidence) -> Tensor:
    roots = window_roots(poses.mean(-4), rays_of(poses, evidence))
    return assemble(poses, torch.softmax(-reprojection_errors(poses, roots.unsqueeze(-4), evidence) / 0.02, -3))


def refined(poses: Tensor, evidence: Evidence) -> Tensor:
    """The mean after a few damped steps that bring its joints sideways to the 2D, at the window's root."""
    pose, rays = poses.mean(-4), rays_of(poses, evidence)
    for _ in range(REFINEMENTS):
        placed = pose + window_roots(pose, rays)
        wrong = rays * placed[..., 2:] - placed[..., :2]
        pose = pose + REFINED * torch.cat([wrong, torch.zeros_like(wrong[..., :1])], -1)
        pose = pose - pose[..., evidence.skeleton.root, None, :]
    return pose


def refined_s(poses: Tensor, evidence: Evidence) -> Tensor:
    shift = refined(poses, evidence) - poses.mean(-4)
    return smoothed_with_lengths(poses, shift, evidence)


def nearest_mean(poses: Tensor, evidence: Evidence) -> Tensor:
    """The mean of the half of the hypotheses that is nearest to the mean, in each frame."""
    away = mpjpe(poses, poses.mean(-4, keepdim=True)).unsqueeze(-1)  # (..., H, F, 1)
    limit = away.topk(poses.shape[-4] // 2, dim=-3, largest=False).values[..., -1:, :, :]
    near = (away <= limit).to(poses)
    return assemble(poses, near / near.sum(-3, keepdim=True))


def geometric_median(poses: Tensor, evidence: Evidence) -> Tensor:
    """The least sum of distances to the hypotheses, joint by joint (Weiszfeld 1937)."""
    median = poses.mean(-4)
    for _ in range(12):
        weight = 1 / joint_errors(poses, median.unsqueeze(-4)).clamp_min(1e-4)
        median = (weight.unsqueeze(-1) * poses).sum(-4) / weight.sum(-3).unsqueeze(-1)
    return median


def smoothed_only(poses: Tensor, evidence: Evidence) -> Tensor:
    return s_agg(poses, replace(evidence, skeleton=None))


def lengths_only(poses: Tensor, evidence: Evidence) -> Tensor:
    return s_agg(poses, replace(evidence, fps=None))


def as_large(poses: Tensor, evidence: Evidence) -> Tensor:
    """The smoothed mean as large as the hypotheses are in the frames that were seen: one factor a window."""
    seen = evidence.mask[..., None, None]

    def size(x: Tensor, seen: Tensor) -> Tensor:
        return (x.square() * seen).sum((-1, -2, -3), keepdim=True).sqrt()

    pose = smoothed_only(poses, evidence)
    return pose * (size(poses, seen.unsqueeze(-4)).mean(-4) / size(pose, seen))


def weighed_first(poses: Tensor, evidence: Evidence) -> Tensor:
    """S_Agg with one_root in place of the mean."""
    return smoothed_with_lengths(poses, one_root(poses, evidence) - poses.mean(-4), evidence)


def smoothed_with_lengths(poses: Tensor, shift: Tensor, evidence: Evidence) -> Tensor:
    """S_Agg of another pose than the mean, `shift` (..., F, J, 3) from it; bones as long as the hypotheses' were."""
    pose = smoothed_only(poses + shift.unsqueeze(-4), evidence)
    lengths = bone_lengths(poses, evidence.skeleton).flatten(-3, -2).median(-2, keepdim=True).values
    return with_lengths(pose, lengths, evidence.skeleton)


def statures(poses: Tensor, skeleton: Skeleton) -> Tensor:
    """(..., 1, 1, 1), metres, of poses (..., F, J, 3): one a window."""
    known = np.ones((poses.shape[-3], len(skeleton)), bool)
    found = [stature(one[None], skeleton, known) for one in poses.flatten(0, -4).numpy()]
    return poses.new_tensor(found).reshape(*poses.shape[:-3], 1, 1, 1)


def as_tall(poses: Tensor, evidence: Evidence) -> Tensor:
    """S_Agg as tall as the person is, one factor a window: what main_wild.py does with `--height`."""
    pose = s_agg(poses, evidence)
    return pose * (statures(evidence.pose, evidence.skeleton) / statures(pose, evidence.skeleton))


def as_guessed(poses: Tensor, evidence: Evidence, rule: Callable[[float], float]) -> Tensor:
    """S_Agg as tall as the card's `heights` guess, one factor a window: what main_wild.py does without `--height`."""
    pose = s_agg(poses, evidence)
    lifted = statures(pose, evidence.skeleton)
    return pose * (lifted.clone().apply_(rule) / lifted)


ROWS: dict[str, Row] = {
    **{name: AGGREGATIONS[name] for name in ("P_Agg", "R_Agg", "S_Agg", "J_Agg_fit", "J_Agg")},
    "RPEA": rpea,
    "as tall": as_tall,
}
GUESSED = "as guessed"  # a row where the card has `heights`
ORDER = ("P_Agg", "R_Agg", "S_Agg", GUESSED, "as tall", "J_Agg_fit", "J_Agg", "RPEA")  # in the tables
LABELS = {"J_Agg": "J_Agg, true root", "RPEA": "RPEA, true root", "as tall": "S_Agg, height told",
          GUESSED: "S_Agg, height guessed"}  # fmt: skip
MEANS = ("P_Agg", "S_Agg")  # what is compared where every step averages both bodies
CANDIDATES: dict[str, tuple[str, Row]] = {
    "median": ("geometric median of the hypotheses", geometric_median),
    "nearest": ("only the half nearest to the mean", nearest_mean),
    "one root": ("weights a joint by reprojection, one root for all hypotheses", one_root),
    "one root, pose": ("weights a pose by reprojection, one root for all", one_root_pose),
    "one root, best": ("only the best 8 a joint, one root for all", one_root_best),
    "lengths": ("bones as long as the hypotheses', no smoothing", lengths_only),
    "smoothing": ("smoothing alone", smoothed_only),
    "size": ("smoothing, then as large as the hypotheses", as_large),
    "weighed": ("`S_Agg` of weights at one root in place of the mean", weighed_first),
    "window root": ("weights a joint by reprojection, one root for all hypotheses and frames", window_root),
    "refined": ("three steps down the reprojection error from the mean", refined),
    "refined, S": ("the same in place of the mean of `S_Agg`", refined_s),
}


def clips_of(folder: Path, subjects: tuple[str, ...], cameras: str, focal: float) -> list[Clip]:
    """Clips at the network's rate, whose cameras say `focal` times their true focal length."""
    if cameras == "random":
        clips = views(load_takes(folder, subjects), SEED, VIEWS)
    else:
        clips = [at_rate(clip) for clip in load_h36m(folder, DETECTED, list(subjects))]
    if focal == 1:
        return clips
    told = [tuple(focal * f for f in c.camera.intrinsics[:2]) + c.camera.intrinsics[2:] for c in clips]
    return [replace(c, camera=replace(c.camera, intrinsics=i)) for c, i in zip(clips, told, strict=True)]


def measure(
    model: Opened,
    clips: list[Clip],
    every: int,
    rows: dict[str, Row],
    counts: Sequence[int],
    place: Place,
    title: str,
    flip: Flip = "own",
) -> dict:
    """Sums of frame errors, mm, by count of hypotheses (the first of the greatest), row, metric and clip, and the
    frames of each clip."""
    windows = Windows(clips, model.skeleton, model.card["frames"], device=place.device)
    frames: dict[str, float] = {}
    sums: dict[str, dict] = {}
    seconds = {"sampling": 0.0, "S_Agg": 0.0}
    for part in tqdm(torch.arange(0, len(windows), every).split(4), desc=title, leave=False):
        start = time.process_time()
        poses = draw(model, windows, part, max(counts), place, flip)  # (B, 1, H, F, J, 3)
        seconds["sampling"] += time.process_time() - start
        batch = windows.batch(part)
        evidence, mask = evidence_of(batch, windows), batch.mask
        keys = [windows.clips[c].key for c in windows.clip_of[part.numpy()]]
        for key, count in zip(keys, mask.sum(1).tolist(), strict=True):
            frames[key] = frames.get(key, 0) + count
        for count in counts:
            for name, row in rows.items():
                start = time.process_time()
                pose = row(poses[:, :, :count], evidence)[:, 0]
                if name == "S_Agg" and count == max(counts):
                    seconds["S_Agg"] += time.process_time() - start
                for metric, of in METRICS.items():
                    errors = 1000 * (of(pose, batch.positions_3d) * mask).sum(1)
                    cell = sums.setdefault(str(count), {}).setdefault(name, {}).setdefault(metric, {})
                    for key, error in zip(keys, errors.tolist(), strict=True):
                        cell[key] = cell.get(key, 0.0) + error
    return {"frames": frames, "sums": sums, "seconds": seconds, "every": every, "windows": len(windows)}


def draw(model: Opened, windows: Windows, part: Tensor, count: int, place: Place, flip: Flip) -> Tensor:
    """Hypotheses (B, 1, H, F, J, 3) of some windows at the last step."""
    batch = windows.batch(part)
    sampling = Sampling(count, STEPS, batch=len(part), flip=flip)
    chunks.remember(model.lifter, load_of(batch, sampling), 1)
    return sample(model.lifter, windows, batch, sampling, place)[:, -1:]


def errors_of(part: dict, count: int, row: str, metric: str) -> dict:
    """A run as `paired.bootstrap` wants it."""
    sums = part["sums"][str(count)][row][metric]
    return {"clips": {k: {"frames": n, "error": sums[k] / max(n, 1)} for k, n in part["frames"].items()}}


def mean(part: dict, count: int, row: str, metric: str) -> float:
    return sum(part["sums"][str(count)][row][metric].values()) / sum(part["frames"].values())


def against(part: dict, count: int, row: str, metric: str, base: str = "P_Agg") -> str:
    """'-2.45 (-2.9 to -2.1)': the difference to P_Agg and its interval over takes."""
    found = bootstrap([errors_of(part, count, row, metric)], [errors_of(part, count, base, metric)], "error")
    return f"{found[0]:+.2f} ({found[1]:+.2f} to {found[2]:+.2f})"


def tables(content: dict) -> list[tuple[str, list[list]]]:
    parts, out = content["parts"], []
    for cameras in ("h36m", "random"):
        part = parts.get(f"judged {cameras} 1")
        for count in COUNTS if part else ():
            rows: list[list] = [["", "MPJPE", "against `P_Agg`", "P-MPJPE", "against `P_Agg`", "N-MPJPE"]]
            for name in (n for n in ORDER if n in part["sums"][str(count)]):
                cells = [mean(part, count, name, "mpjpe"), against(part, count, name, "mpjpe")]
                cells += [mean(part, count, name, "p_mpjpe"), against(part, count, name, "p_mpjpe")]
                rows.append([LABELS.get(name, name), *cells, mean(part, count, name, "n_mpjpe")])
            out.append((f"S9 and S11, {CAMERAS[cameras]}, H = {count}{facts(part)}", rows))
    out += by_take(parts)
    told = next(iter(parts.values()), {}).get("sums", {}).get(str(COUNTS[-1]), ())
    shown = [name for name in ORDER if name in told and name not in ("R_Agg", "J_Agg", "J_Agg_fit")]
    rows = [["focal length", *(f"{CAMERAS[c]}: {LABELS.get(n, n)}" for c in CAMERAS for n in shown)]]
    for focal in (FOCAL[0], FOCAL[1], 1, *FOCAL[2:]):
        found = [parts.get(f"judged {cameras} {focal:g}") for cameras in CAMERAS]
        if all(found):
            cells = [mean(p, COUNTS[-1], name, "mpjpe") for p in found for name in shown]
            rows.append([f"{focal:g}", *cells])
    if len(rows) > 1:
        out.append(
            (f"S9 and S11, MPJPE with a share of the true focal length told, H = {COUNTS[-1]}; fewer windows but for 1",
             rows)
        )  # fmt: skip
    rows = [["", *(f"{CAMERAS[c]}: {m}" for c in CAMERAS for m in ("MPJPE", "P-MPJPE"))]]
    for kind, who in (("judged", "S9 and S11"), ("chosen", "S7 and S8")):
        own, averaged = ([parts.get(f"{what} {c} 1") for c in CAMERAS] for what in (kind, f"averaged {kind}"))
        for name in MEANS if all(own) and all(averaged) else ():
            for label, found, count in (
                (f"{AVERAGED} averaged", averaged, AVERAGED),
                (f"{COUNTS[-1]} of their own", own, COUNTS[-1]),
            ):
                cells = [mean(p, count, name, m) for p in found for m in ("mpjpe", "p_mpjpe")]
                rows.append([f"{who}, `{name}` of {label}", *cells])
    if len(rows) > 1:
        out.append(("As many network calls: hypotheses that average both bodies, or every other one mirrored", rows))
    chosen = [parts.get(f"chosen {cameras} 1") for cameras in CAMERAS]
    if all(chosen):
        rows = [["", *(f"{CAMERAS[c]}: {m}" for c in CAMERAS for m in ("MPJPE", "P-MPJPE"))]]
        base = [mean(p, 20, "P_Agg", m) for p in chosen for m in ("mpjpe", "p_mpjpe")]
        rows.append(["`P_Agg`", *base])
        labels = {"R_Agg": "`R_Agg`", "S_Agg": "`S_Agg`", "RPEA": "RPEA, true root"}
        labels |= {GUESSED: "`S_Agg`, height guessed"} if GUESSED in chosen[0]["sums"]["20"] else {}
        for name, label in (labels | {n: text for n, (text, _) in CANDIDATES.items()}).items():
            cells = [mean(p, 20, name, m) for p in chosen for m in ("mpjpe", "p_mpjpe")]
            rows.append([label, *(f"{a - b:+.2f}" for a, b in zip(cells, base, strict=True))])
        out.append((f"S7 and S8, training performers, against `P_Agg`, H = 20{facts(chosen[0])}", rows))
    return out


def by_take(parts: dict) -> list[tuple[str, list[list]]]:
    """Whom the ways help and whom they hurt: MPJPE of each held-out take."""
    judged = [part for cameras in CAMERAS if (part := parts.get(f"judged {cameras} 1"))]
    if len(judged) < len(CAMERAS):
        return []
    measured = judged[0]["sums"][str(COUNTS[0])]
    names = [name for name in ("P_Agg", "S_Agg", GUESSED, "as tall", "RPEA") if name in measured]
    rows: list[list] = [["", *(f"{c}: {LABELS.get(n, n)}" for c in CAMERAS.values() for n in names)]]
    takes = [dict.fromkeys(take_of(key) for key in part["frames"]) for part in judged]
    for take in (take for take in takes[0] if take in takes[1]):
        own = [only(part, take) for part in judged]
        rows.append([take, *(mean(part, COUNTS[0], name, "mpjpe") for part in own for name in names)])
    return [(f"S9 and S11, MPJPE by take, H = {COUNTS[0]}", rows)]


def take_of(key: str) -> str:
    """'S9/Walk' of a clip's key 'S9/Walk/54138969': a take that several cameras saw."""
    return "/".join(key.split("/")[:2])


def only(part: dict, take: str) -> dict:
    """What was measured, of one take alone."""

    def of_take(found: dict) -> dict:
        return {key: value for key, value in found.items() if take_of(key) == take}

    sums = {count: {row: {metric: of_take(cell) for metric, cell in metrics.items()} for row, metrics in rows.items()}
            for count, rows in part["sums"].items()}  # fmt: skip
    return part | {"frames": of_take(part["frames"]), "sums": sums}


def facts(part: dict) -> str:
    share = "" if part["every"] == 1 else f"one in {part['every']} of "
    return f"; {share}{part['windows']} windows, {int(sum(part['frames'].values())):,} frames"


def main(argv: list[str] | None = None) -> int:
    return guarded(_main, __doc__, argv)


def _main(description: str, argv: list[str] | None) -> int:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with data_3d_h36m.npz and its 2D")
    parser.add_argument("-c", "--checkpoint", type=Path, default=ROOT / FOLDER / DEFAULT, help="the lifter's file")
    parser.add_argument("--json", type=Path, help="results, part by part")
    parser.add_argument("--write", type=Path, help="page between whose markers the tables go")
    args = parser.parse_args(argv)
    place = Place(torch.device("cpu"))
    model = open_model(args.checkpoint, place)
    about = {"checkpoint": file_hash(args.checkpoint), "trained_on": trained_on(model.card)}
    about |= {"hypotheses": COUNTS[0], "sampling_timesteps": STEPS, "mirrored": "own"}
    done = Results(args.json, about)
    own_rows = dict(ROWS)
    if rule := height_rule(model, WildSettings(input=InputSettings(input="")), 0):
        own_rows[GUESSED] = partial(as_guessed, rule=rule)
    every_row = own_rows | {name: row for name, (_, row) in CANDIDATES.items()}
    means = {name: AGGREGATIONS[name] for name in MEANS}

    def part(name: str, cameras: str, subjects: tuple, every: int, rows: dict, counts=COUNTS, focal=1.0, flip="own"):
        clips = partial(clips_of, args.data, subjects, cameras, focal)
        done.part(name, lambda: measure(model, clips(), every, rows, counts, place, name, flip))

    for cameras, few in EVERY.items():
        for kind, subjects, rows in (("judged", HELD_OUT, own_rows), ("chosen", CHOOSING, every_row)):
            part(f"{kind} {cameras} 1", cameras, subjects, few[kind], rows)
            part(f"averaged {kind} {cameras} 1", cameras, subjects, few[kind], means, (AVERAGED,), flip=True)
    for focal in FOCAL:
        for cameras, few in EVERY.items():
            part(f"judged {cameras} {focal:g}", cameras, HELD_OUT, few["focal"], own_rows, COUNTS[-1:], focal)
    rows = tables(done.content)
    for title, table in rows:
        say(title)
        for line in fixed_width(table, decimals=2):
            say(line)
    cost = [p["seconds"] for name, p in done.content["parts"].items() if name.startswith("judged")]
    share = np.mean([c["S_Agg"] / c["sampling"] for c in cost])
    say(f"S_Agg took {100 * share:.2f} % of the processor time of sampling")
    if args.write:
        say(f"written: {put_into_page(args.write, done.content['facts'], rows, 'aggregate', 2)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
