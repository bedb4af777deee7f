"""Hours that the published trainings and evaluations on Human3.6M take on common cards: computed, not measured.

    python -m benchmarks.hours                           # the tables of docs/scaling.md
    python -m benchmarks.hours --write                   # into that page
    python -m benchmarks.hours --frames 1000000 --share 0.4 --share-fp32 0.6

FLOP of one network call on one window are counted on the network itself, without computing. A training step's are
three times its forward pass's (forward, and backward twice that); every window is seen as it is and mirrored:

    hours = epochs x windows x 2 x 3 x FLOP / (peak x share) / 3600
    hours = test windows x 2 (mirrored) x H x K x FLOP / (peak x share) / 3600

windows = frames / window length + half a window a clip. `peak` is the data sheet's dense rate; `share` is what of it
the program reaches: an assumption until a card has been measured (bash benchmarks/gpu.sh).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from benchmarks.work import SETTINGS
from common.diffusion.lifter import DiffusionLifter
from common.engine.evaluation import flop_per_window
from common.engine.opening import Opened
from common.geometry.skeleton import H36M_17
from common.models import REGISTRY, build
from common.settings.ranges import COUNT, real

PAGE = Path(__file__).parents[1] / "docs/scaling.md"
MARKS = ("<!-- hours -->", "<!-- end hours -->")
# Human3.6M at 50 Hz, four cameras: S1, S5, S6, S7, S8 in 600 clips; S9, S11 in 236 (Pavllo et al. 2019).
TRAINING, TEST = (1_559_752, 600), (543_344, 236)
CARDS = {  # dense TFLOP/s of the data sheets: fp32 without tensor cores, bf16 with fp32 sums
    "RTX 3090": (35.6, 71.0),
    "RTX 4090": (82.6, 165.2),
    "A100": (19.5, 312.0),
    "H100 SXM": (66.9, 989.4),
}
SHARES = {"fp32": 0.5, "bf16": 0.25}


@dataclass(frozen=True)
class Job:
    """A published training: its name in docs/reproduce.md, the network, the window, the epochs."""

    run: str
    model: str
    frames: int
    epochs: int


JOBS = (
    Job("d3dp-h36m-cpn", "mixste", 243, 400),
    Job("graphdiffu-h36m-cpn", "graphdiffu", 243, 100),
    Job("graphdiffu-h36m-gt", "graphdiffu", 243, 120),
    Job("grap2eq-h36m-cpn", "grap2eq", 243, 60),
)


def flop(job: Job) -> int:
    """FLOP of one network call on one window with one hypothesis at the published size, 512 channels and depth 8."""
    row = REGISTRY[job.model]
    sizes = {"frames": job.frames, "joints": len(H36M_17), "channels": 512, "depth": 8}
    network = build(job.model, **sizes, **{k: v for k, v in SETTINGS.items() if k in row.options})
    card = {"model": job.model, "frames": job.frames, "joints": len(H36M_17)}
    return flop_per_window(Opened(DiffusionLifter(network, H36M_17), card, Path()))


def windows(frames: int, clips: int, length: int) -> float:
    """Windows of a data set; the last one of a clip is half empty on average."""
    return frames / length + clips / 2


def training_hours(job: Job, flop: int, frames: int, clips: int, rate: float) -> float:
    """rate: FLOP/s that are reached."""
    return job.epochs * windows(frames, clips, job.frames) * 2 * 3 * flop / rate / 3600


def evaluation_hours(job: Job, flop: int, hypotheses: int, steps: int, rate: float) -> float:
    return windows(*TEST, job.frames) * 2 * hypotheses * steps * flop / rate / 3600


def tables(frames: int, clips: int, shares: dict[str, float]) -> str:
    """Both tables in Markdown."""
    counted = {job: flop(job) for job in JOBS}
    rates = {
        (c, p): 1e12 * peak * shares[p] for c, peaks in CARDS.items() for p, peak in zip(shares, peaks, strict=True)
    }
    names = [f"{card}, {precision}" for card, precision in rates]
    head = ["| Training | epochs | GFLOP a window | " + " | ".join(names) + " |", "|---|" + "---:|" * (2 + len(names))]
    lines = [
        f"Computed, not measured: {frames:,} training frames in {clips} clips; of the data sheet's peak are assumed "
        f"{shares['fp32']:.0%} in fp32, {shares['bf16']:.0%} in bf16. Hours on one card:",
        "",
        *head,
    ]
    for job, count in counted.items():
        cells = [f"{training_hours(job, count, frames, clips, rate):.1f}" for rate in rates.values()]
        lines.append(f"| `{job.run}` | {job.epochs} | {count / 1e9:.0f} | " + " | ".join(cells) + " |")
    lines += ["", "Evaluation of the whole test set, H=20, K=10, mirrored too; hours on one card:", ""]
    lines += ["| Network | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for model, job in {job.model: job for job in JOBS}.items():
        cells = [f"{evaluation_hours(job, counted[job], 20, 10, rate):.1f}" for rate in rates.values()]
        lines.append(f"| {model}, {job.frames} frames | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def placed(page: str, text: str) -> str:
    """The page with the tables between its two marks."""
    before, _, rest = page.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{after}"


PART = real(0.0, 1.0, above=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=COUNT, default=TRAINING[0], help="of the training set, all cameras")
    parser.add_argument("--clips", type=COUNT, default=TRAINING[1], help="of the training set, all cameras")
    parser.add_argument("--share", type=PART, default=SHARES["bf16"], help="of the bf16 peak (default: 0.25)")
    parser.add_argument("--share-fp32", type=PART, default=SHARES["fp32"], help="of the fp32 peak (default: 0.5)")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/scaling.md")
    options = parser.parse_args(argv)
    text = tables(options.frames, options.clips, {"fp32": options.share_fp32, "bf16": options.share})
    if options.write:
        PAGE.write_text(placed(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
