"""What sampling costs and what it gives, over hypotheses, steps, samplers, with and without the mirrored body.

    python -m benchmarks.sweep -c checkpoint/open --evaluate open_mixste_27f.bin --data-root DIR --downsample 2 \\
        --json sweep.json --label shipped --picture sweep.png --write docs/sampling.md

Takes the main program's data flags; scores every fourth window of the test set. The noise of H = 1, 2 and 5 is the
beginning of that of H = 20. P_Agg at the last step, under both protocols, with the seconds of one thread for a window;
expected calibration error of 200 samples at six points. The file is written after every point, and a second run with it
goes on; a run with another checkpoint and another --label joins the same file. docs/sampling.md reads the result.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.compare import write_between_markers
from benchmarks.paired import bootstrap
from common.datasets import load_clips
from common.datasets.windows import Windows
from common.diffusion.lifter import Flip
from common.diffusion.samplers import SAMPLERS, network_calls
from common.door import guarded
from common.engine import checkpoint, devices
from common.engine.evaluate import Sampling, batch_of, noise_of
from common.engine.evaluation import sampling_of
from common.engine.log import say
from common.engine.opening import Opened, open_lifter
from common.errors import UserError
from common.files.reading import read_json
from common.files.writing import save_json
from common.programs.main import read_settings
from common.scoring.calibration import calibration_error, ranks
from common.scoring.metrics import mpjpe, p_mpjpe
from common.settings.lifting import flag_name
from common.settings.ranges import COUNT

HYPOTHESES = (1, 2, 5, 20)
STEPS = (1, 2, 3, 5, 10)
SAMPLES = 200  # of a calibration point
CHEAP = 6  # calls a hypothesis: measured before the odds
TOGETHER, AT_ONCE = 8, 25  # windows, and hypotheses of each, that go through the network at a time


FLIPS: dict[Flip, tuple[str, str]] = {True: (" flip", "yes"), False: ("", "no"), "own": (" own", "every other H")}


class How(NamedTuple):
    """A way to sample."""

    sampler: str
    steps: int
    flip: Flip

    @property
    def name(self) -> str:
        return f"{self.sampler} K={self.steps}{FLIPS[self.flip][0]}"

    def calls(self, hypotheses: int) -> int:
        return hypotheses * network_calls(self.sampler, self.steps) * (2 if self.flip is True else 1)

    @property
    def same(self) -> How:
        """The first way that computes the same: one step is one for all, 2M differs from Euler from three steps on."""
        if self.steps == 1:
            return self._replace(sampler="ddim")
        return self._replace(sampler="euler") if self.sampler == "dpm++" and self.steps == 2 else self


WAYS = [
    *(How(sampler, steps, flip) for flip in (True, False) for steps in STEPS for sampler in SAMPLERS),
    *(How("ddim", steps, "own") for steps in STEPS[:3]),
]
SWEPT = frozenset({"hypotheses", "sampling_timesteps", "sampler", "test_time_augmentation", "repeat_n"})
REFERENCE = How("ddim", 10, True)  # at H = 20, as published
CALIBRATED = (
    REFERENCE,
    How("ddim", 2, "own"),
    How("ddim", 5, False),
    How("ddim", 10, False),
    How("dpm++", 5, False),
    How("heun", 3, False),
)


class Bench:
    """A lifter, some windows of the test set, and how they are told."""

    def __init__(self, opened: Opened, windows: Windows, sampling: Sampling, place: devices.Place):
        self.opened, self.windows, self.sampling, self.place = opened, windows, sampling, place

    @torch.no_grad()
    def draw(self, rows: Tensor, how: How, hypotheses: range) -> Tensor:
        """These hypotheses of some windows at the last step, (B, H, F, J, 3), metres."""
        windows, sampling = self.windows, self.sampling
        batch = batch_of(windows, rows, sampling)
        noise = noise_of(windows, batch, sampling, self.place)
        more = {"flip": how.flip, "sampler": how.sampler, "of": max(HYPOTHESES[-1], hypotheses.stop)}
        poses = self.opened.lifter.sample(batch, hypotheses, how.steps, noise, chunk=AT_ONCE, **more)[:, -1]
        poses[..., windows.skeleton.root, :] = 0
        return poses

    def errors(self, how: How, rows: Tensor) -> dict[int, dict]:
        """By H: seconds of a window, mm and p_mm over the frames, and by take {frames, mm, p_mm}."""
        windows, parts = self.windows, [range(a, b) for a, b in zip((0, *HYPOTHESES), HYPOTHESES, strict=False)]
        sums = {count: np.zeros((len(windows.clips), 2)) for count in HYPOTHESES}
        frames, seconds = np.zeros(len(windows.clips)), dict.fromkeys(HYPOTHESES, 0.0)
        for some in tqdm(rows.split(TOGETHER), desc=how.name, leave=False, mininterval=1):
            batch = windows.batch(some)
            mask, clips = batch.mask.cpu().double(), windows.clip_of[some.numpy()]
            np.add.at(frames, clips, mask.sum(1).numpy())
            drawn = []
            for part in parts:
                start = time.process_time()
                drawn.append(self.draw(some, how, part))
                seconds[part.stop] += time.process_time() - start
                mean = torch.cat(drawn, 1).mean(1)  # (B, F, J, 3)
                both = [f(mean, batch.positions_3d).cpu().double() * mask for f in (mpjpe, p_mpjpe)]
                np.add.at(sums[part.stop], clips, 1000 * torch.stack([e.sum(1) for e in both], 1).numpy())
        total, takes = 0.0, {}
        for count in HYPOTHESES:
            total += seconds[count]
            takes[count] = {"seconds": total / len(rows), **self._means(sums[count], frames)}
        return takes

    def _means(self, sums: np.ndarray, frames: np.ndarray) -> dict:
        names = [f"{clip.subject}/{clip.action}" for clip in self.windows.clips]
        by_take = {}
        for name in dict.fromkeys(names):
            mine = np.array([other == name for other in names])
            if count := frames[mine].sum():
                mm, p_mm = (sums[mine].sum(0) / count).tolist()
                by_take[f"{name}/all"] = {"frames": int(count), "mm": mm, "p_mm": p_mm}
        mm, p_mm = (sums.sum(0) / frames.sum()).tolist()
        return {"mm": mm, "p_mm": p_mm, "clips": by_take}

    def calibration(self, how: How, rows: Tensor) -> float:
        """Expected calibration error of SAMPLES draws; the root joint, which is zero by definition, is left out."""
        found = []
        kept = [j for j in range(len(self.windows.skeleton)) if j != self.windows.skeleton.root]
        for some in tqdm(rows.split(1), desc=f"odds of {how.name}", leave=False, mininterval=1):
            truth, mask = self.windows.batch(some).positions_3d, self.windows.mask[some.to(self.place.device)]
            found.append(ranks(self.draw(some, how, range(SAMPLES)), truth)[mask][:, kept].cpu().numpy())
        return calibration_error(np.concatenate(found))


def sweep(bench: Bench, run: dict, rows: Tensor, odds_rows: Tensor, save) -> None:
    """Measure what `run` does not hold yet, what is cheap first; save() after every point."""
    points, odds = run["points"], run["ece"]

    def measure(ways: Sequence[How]) -> None:
        for how in ways:
            if how.same.name not in points:
                points[how.same.name] = {str(h): row for h, row in bench.errors(how.same, rows).items()}
            if how.name not in points:
                points[how.name] = points[how.same.name]
                save()

    ways = sorted(WAYS, key=lambda how: how.calls(1))
    measure([REFERENCE, *(how for how in ways if how.calls(1) <= CHEAP)])
    for how in sorted(CALIBRATED, key=lambda how: how.calls(1)):
        if how.name not in odds:
            odds[how.name] = bench.calibration(how, odds_rows)
            save()
    measure(ways)


def rows_of(run: dict) -> list[dict]:
    """Every point that is measured, each once, cheapest first.

    how, H, calls, seconds, mm, p_mm, the difference to the reference with its interval, and whether the row is the
    reference and whether it lies on the frontier.
    """
    reference = _as_run(run["points"][REFERENCE.name]["20"])
    out = []
    for how in (how for how in WAYS if how.name in run["points"] and how == how.same):
        for hypotheses in HYPOTHESES:
            point = run["points"][how.name][str(hypotheses)]
            difference, low, high = bootstrap([_as_run(point)], [reference], "mm", 2000)
            row = {"how": how, "H": hypotheses, "calls": how.calls(hypotheses)}
            row |= {key: point[key] for key in ("mm", "p_mm", "seconds")}
            row["reference"] = how == REFERENCE and hypotheses == 20
            out.append(row | {"difference": difference, "low": low, "high": high})
    return _with_frontier(sorted(out, key=lambda row: (row["calls"], row["mm"])))


def _as_run(point: dict) -> dict:
    return {"clips": point["clips"]}


def _with_frontier(rows: list[dict]) -> list[dict]:
    """The rows, cheapest first, told of each whether all that cost no more are worse."""
    best = float("inf")
    for row in rows:
        row["frontier"] = row["mm"] < best - 1e-9
        best = min(best, row["mm"])
    return rows


def table(label: str, run: dict) -> str:
    """Markdown: the reference and the frontier with their intervals, then all that was measured."""
    rows = rows_of(run)
    lines = [
        f"**{label}** (`{run['checkpoint']}`, {run['model']}): {run['windows']} windows, {run['frames']:,} frames of "
        f"{run['takes']} takes; ECE of {run['odds_windows']} windows. What is on the frontier, and the reference:",
        "",
        "| sampler | H | K | mirrored | calls | P_Agg, mm | against H=20, K=10 | P-MPJPE, mm | ms a window |",
        "|---|" + "---:|" * 8,
    ]
    for row in (r for r in rows if r["frontier"] or r["reference"]):
        how = row["how"]
        cells = [f"`{how.sampler}`", row["H"], how.steps, FLIPS[how.flip][1], row["calls"], f"{row['mm']:.2f}"]
        cells += [f"{row['difference']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})", f"{row['p_mm']:.2f}"]
        lines.append("| " + " | ".join(map(str, [*cells, f"{1000 * row['seconds']:.0f}"])) + " |")
    return "\n".join([*lines, "", *_everything(run)])


def _everything(run: dict) -> list[str]:
    """A Markdown table, a line for each way to sample, cheapest first."""
    lines = ["| sampler | K | mirrored | calls a hypothesis | H=1 | H=2 | H=5 | H=20 | ECE |", "|---|" + "---:|" * 8]
    measured: dict[How, list[How]] = {}
    for how in WAYS:
        if how.name in run["points"] or how.name in run["ece"]:
            measured.setdefault(how.same, []).append(how)
    for how, ways in sorted(measured.items(), key=lambda item: item[0].calls(1)):
        point, ece = run["points"].get(how.name), [run["ece"][w.name] for w in ways if w.name in run["ece"]]
        samplers = "all" if how.steps == 1 else ", ".join(f"`{way.sampler}`" for way in ways)
        cells = [samplers, how.steps, FLIPS[how.flip][1], how.calls(1)]
        cells += [f"{point[str(h)]['mm']:.1f}" if point else "" for h in HYPOTHESES]
        lines.append("| " + " | ".join(map(str, [*cells, f"{ece[0]:.3f}" if ece else ""])) + " |")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file of the results, continued where it exists")
    parser.add_argument("--label", help="name of this checkpoint in the file (default: its objective)")
    parser.add_argument("--every", type=COUNT, default=4, help="score every n-th window (default: 4)")
    parser.add_argument("--odds-every", type=COUNT, default=64, help="calibrate on every n-th (default: 64)")
    parser.add_argument(
        "--show", action="store_true", help="measure nothing: tables and picture of what is in the file"
    )
    parser.add_argument("--picture", type=Path, help="draw the frontier of all checkpoints in the file")
    parser.add_argument("--write", type=Path, help="page between whose markers the tables go")
    own, rest = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    return guarded(_run, own, rest)


def _run(own: argparse.Namespace, rest: list[str]) -> None:
    content = read_json(own.json) if own.json.exists() or own.show else {}
    if own.show and rest:
        raise UserError(f"--show measures nothing: {' '.join(rest)} has no place beside it")
    if not own.show:
        measure_checkpoint(own, rest, content)
    tables = [table(name, one) for name, one in content.items()]
    print("\n\n".join(tables))
    if own.write:
        write_between_markers(own.write, "sweep", "\n\n".join(tables))
    if own.picture:
        from benchmarks.sweep_picture import draw  # Matplotlib: slow to import

        draw(own.picture, {name: rows_of(one) for name, one in content.items()})


def measure_checkpoint(own: argparse.Namespace, rest: list[str], content: dict) -> None:
    """Measure the checkpoint that the flags name into `content`, which is written to --json after every point."""
    settings, _ = read_settings("h36m", rest)
    if typed := sorted(settings.typed & SWEPT):
        raise UserError(f"{flag_name(typed[0])}: the sweep itself says this; leave it out")
    place = devices.join(settings.run.gpu, say)
    path = checkpoint.find(Path(settings.run.checkpoint), settings.task.evaluate)
    opened = open_lifter(path, settings, place, say)
    clips = load_clips(settings.data, "test", say)
    windows = Windows(
        clips, opened.skeleton, opened.card["frames"], device=place.device, centre_only=opened.centre_only
    )
    rows, odds_rows = (torch.arange(0, len(windows), n) for n in (own.every, own.odds_every))
    facts = {
        "checkpoint": checkpoint.file_hash(path),
        "model": opened.card["model"],
        "objective": checkpoint.objective_of(opened.card),
        "windows": len(rows),
        "odds_windows": len(odds_rows),
        "frames": int(windows.mask[rows.to(place.device)].sum()),
        "takes": len({(clips[c].subject, clips[c].action) for c in windows.clip_of[rows.numpy()]}),
        "threads": torch.get_num_threads(),
        "keypoints": settings.data.keypoints,
        "seed": settings.run.seed,
        "temperature": list(settings.evaluation.temperature),
        "eval_text": settings.evaluation.eval_text,
    }
    label = own.label or facts["objective"]
    run = content.setdefault(label, {**facts, "points": {}, "ece": {}})
    if other := [key for key, value in facts.items() if run.get(key, value) != value]:  # older files say less
        raise UserError(f"{own.json}: {label} has another {', '.join(other)}; give another --label or --json")
    bench = Bench(opened, windows, sampling_of(settings, opened.card, place), place)
    sweep(bench, run, rows, odds_rows, lambda: save_json(own.json, content))


if __name__ == "__main__":
    raise SystemExit(main())
