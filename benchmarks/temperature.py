"""Choose R_Agg's temperature on held-out training clips: `python -m benchmarks.temperature -c DIR --evaluate FILE`.

Takes the main program's data flags. The clips are the takes that `--select held` kept out of training, so neither the
training nor the test set has a say. Prints the error in mm for each temperature, beside P_Agg and J_Agg_fit.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

from common.datasets import hold_out, load_clips
from common.datasets.windows import Windows
from common.door import guarded
from common.engine import checkpoint, devices
from common.engine.evaluate import evaluate, evidence_of
from common.engine.evaluation import sampling_of
from common.engine.log import say
from common.engine.opening import open_lifter
from common.programs.main import read_settings
from common.scoring.hypotheses import AGGREGATIONS
from common.scoring.metrics import mpjpe

TEMPERATURES = (0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1)


def main(argv: list[str] | None = None) -> int:
    settings, _ = read_settings("h36m", sys.argv[1:] if argv is None else argv, __doc__)
    place = devices.join(settings.run.gpu, say)
    path = checkpoint.find(Path(settings.run.checkpoint), settings.task.evaluate)
    opened = open_lifter(path, settings, place, say)
    sampling = sampling_of(settings, opened.card, place)
    held = hold_out(load_clips(settings.data, "train", say))[1]
    windows = Windows(held, opened.skeleton, opened.card["frames"], device=place.device)
    names = [*(f"R_Agg {t}" for t in TEMPERATURES), "P_Agg", "J_Agg_fit"]
    sums = torch.zeros(len(names), dtype=torch.float64)

    def observe(batch, poses):
        evidence, truth = evidence_of(batch, windows), batch.positions_3d
        hypotheses = poses["hypotheses"][:, -1:]
        found = [AGGREGATIONS["R_Agg"](hypotheses, replace(evidence, temperature=t))[:, 0] for t in TEMPERATURES]
        found += [poses["P_Agg"][:, -1], poses["J_Agg_fit"][:, -1]]
        errors = torch.stack([(mpjpe(p, truth) * batch.mask).sum() for p in found])
        sums.add_(errors.cpu().double())

    errors = evaluate(opened.lifter, windows, sampling, place, observe=observe)
    for name, total in zip(names, sums.tolist(), strict=True):
        print(f"{name:14} {1000 * total / errors.frames.sum():8.2f} mm")
    print(f"{len(held)} held-out clips, {int(errors.frames.sum())} frames, H={sampling.hypotheses}")
    return 0


if __name__ == "__main__":
    raise SystemExit(guarded(main))
