"""`--demo`: a synthetic source adapted to a synthetic target, with nothing at hand. Every output says SYNTHETIC.

The people of source and target differ. Towards 3DHP the cameras differ too (its training and test cameras against
Human3.6M's) and so does the motion: the source's is limited to `DEMO_ACTIONS`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from common.adaptation import results
from common.adaptation.data import load_target
from common.adaptation.lifter import for_evaluation, load_adapted, load_source_only, read
from common.adaptation.score import poses_of
from common.adaptation.source import find_source
from common.adaptation.work import adapt
from common.datasets.synthetic.h36m import write_h36m
from common.datasets.synthetic.threedhp import write_threedhp
from common.datasets.windows import Windows
from common.engine.devices import Place
from common.engine.evaluation import sampling_of
from common.engine.log import say
from common.geometry.skeleton import SKELETONS
from common.settings.adaptation import AdaptationSettings
from common.settings.lifting import Settings
from common.viz.figure import grid_figure


def demo(settings: Settings, own: AdaptationSettings, place: Place) -> dict:
    """Write both data sets, train the source, adapt, score before and after at the last epoch, draw. The report."""
    folder, data, seed = Path(settings.run.checkpoint), Path(settings.data.data_root), settings.run.seed
    say(f"SYNTHETIC demo, seed {seed}: data in {data}, results in {folder}. Its errors say nothing about real data.")
    write_h36m(data, seed=seed, detector="old")  # what its figures in docs/adaptation.md were taken with
    if own.target == "3dhp":
        write_threedhp(data, Path(settings.evaluation.annotations), seed=seed, seconds=1.5)
    adapt(settings, own, place, find_source(settings, own, place))
    last = folder / "last.bin"
    report = results.evaluate_file(settings, own, place, last)
    picture(settings, own, place, last)
    before, after = (report[side]["columns"]["P_Agg"]["action_wise"]["mpjpe"] for side in ("before", "after"))
    say(f"SYNTHETIC, seed {seed}: P_Agg of the source lifter {before:.1f} mm, adapted (last epoch) {after:.1f} mm.")
    return report


def picture(settings: Settings, own: AdaptationSettings, place: Place, path: Path) -> list[Path]:
    """The source lifter's pose and the adapted one's over the truth, for one frame of up to four clips."""
    content = read(path)
    card = content["card"]
    skeleton = SKELETONS[card["skeleton"]]
    clips = load_target(settings.data, own.target, own.target_split, say, scored_only=True)[1]
    windows = Windows(clips, skeleton, card["frames"], device=place.device)
    names = list(dict.fromkeys(clip.action_name for clip in clips))[:4]
    rows = []
    for name in names:  # the middle of the first clip of each action
        clip = next(c for c, clip in enumerate(clips) if clip.action_name == name)
        rows.append(int(np.median(np.flatnonzero(windows.clip_of == clip)).round()))
    lifters = [load_source_only(content), for_evaluation(load_adapted(content))]
    sampling = replace(sampling_of(settings, card, place), metrics=("mpjpe", "p_mpjpe"))
    poses = np.stack([poses_of(lifter.to(place.device).eval(), windows, sampling, place, rows) for lifter in lifters])
    truth = windows.batch(rows).positions_3d[:, windows.output // 2].cpu().numpy()  # (A, J, 3)
    caption = "SYNTHETIC. Mean of the hypotheses over the truth, before and after adaptation"
    cameras = [clips[windows.clip_of[row]].camera for row in rows]
    written = grid_figure(
        Path(settings.run.checkpoint) / "before_after.png", skeleton, ["source only", "adapted"], names, poses, truth,
        cameras=cameras, caption=caption, formats=("png",),
    )  # fmt: skip
    say(f"written: {', '.join(str(p) for p in written)}")
    return written
