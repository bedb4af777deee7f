"""Fit the temperatures of a sampler's noise on training performers.

    python -m benchmarks.temperature -c DIR --evaluate FILE [-str S6,S8] [--calibration-every N]

Takes the main program's flags: data, sampler (K, mirrored body). The clips are those of the training subjects (-str),
or with `--select held` the takes that were kept out of training: the test set has no say. The noise that sampling
starts from is fitted first, then that of the later steps (eta's), each by the least energy score, which is proper:
nothing but honest odds make it least. Prints the figures of every temperature, and the `--temperature A,B` to use.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from common.datasets import data_set_of, hold_out, load_clips
from common.datasets.windows import Windows
from common.door import guarded
from common.engine import calibration, checkpoint, devices
from common.engine.evaluation import sampling_of
from common.engine.log import say
from common.engine.opening import open_lifter
from common.errors import UserError
from common.programs.main import read_settings

FIRST = (0.7, 1.0, 1.4, 2.0, 2.8)  # factors of the noise at the start
LATER = (0.0, 0.5, 1.0, 1.5, 2.0)  # of that of the later steps
SAMPLES = 40  # of each window: enough to tell temperatures apart


def main(argv: list[str] | None = None) -> int:
    return guarded(_main, __doc__, sys.argv[1:] if argv is None else argv)


def _main(description: str, argv: list[str]) -> int:
    settings, _ = read_settings("h36m", argv, description)
    place = devices.join(settings.run.gpu, say)
    path = checkpoint.find(Path(settings.run.checkpoint), settings.task.evaluate)
    opened = open_lifter(path, settings, place, say)
    sampling = sampling_of(settings, opened.card, place)
    clips = load_clips(settings.data, "train", say)
    if "select" in settings.given and settings.training.select == "held":
        clips = hold_out(clips)[1]
    windows = Windows(
        clips,
        opened.skeleton,
        opened.card["frames"],
        device=place.device,
        action_names=data_set_of(settings.data).action_names(clips),
        centre_only=opened.centre_only,
    )
    if not len(windows):
        raise UserError("no clips to fit on: name training subjects with -str")
    every, actions = settings.evaluation.calibration_every, [clip.action_name for clip in clips]

    def score(first: float, later: float) -> float:
        asked = replace(sampling, temperature=(first, later))
        title = f"temperature {first:g},{later:g}"
        records = calibration.measure(opened.lifter, windows, asked, place, samples=SAMPLES, every=every, title=title)
        found = calibration.report(records, actions)
        print(
            f"{first:4g},{later:<4g} energy score {found['energy_score']:7.2f} mm, ECE {found['ece']:.3f}, "
            f"in 90 % {100 * found['covered']['0.9']:.0f} %, spread {found['spread']:.1f} mm, "
            f"error {found['error']:.1f} mm",
            flush=True,
        )
        return found["energy_score"]

    scores = {(first, 1.0): score(first, 1.0) for first in FIRST}
    first = min(scores, key=scores.get)[0]
    if sampling.steps > 1 and sampling.sampler == "ddim" and opened.lifter.diffusion.eta > 0:
        scores |= {(first, later): score(first, later) for later in LATER if (first, later) not in scores}
    best = min(scores, key=scores.get)
    count = len(range(0, len(windows), every))
    print(f"{count} windows of {', '.join(dict.fromkeys(c.subject for c in clips))}, K={sampling.steps}: "
          f"--temperature {best[0]:g},{best[1]:g}")  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
