"""`--demo`: a synthetic source adapted to a synthetic target, with nothing at hand. Every output says SYNTHETIC.

The people of source and target differ. Towards 3DHP the cameras differ too (its training and test cameras against
Human3.6M's) and so does the motion: the source's is limited to SOURCE_ACTIONS.
"""

from __future__ import annotations

from argparse import Namespace
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
from common.engine.log import say
from common.geometry.skeleton import SKELETONS
from common.viz.figure import grid_figure

SOURCE_ACTIONS = ("Walking", "Directions", "Greeting", "Phoning", "Waiting")  # one take of each


def demo(options: Namespace, place: Place) -> dict:
    """Write both data sets, train the source, adapt, score before and after at the last epoch, draw. The report."""
    settle(options)
    folder, data = Path(options.checkpoint), Path(options.data_root)
    say(
        f"SYNTHETIC demo, seed {options.seed}: data in {data}, results in {folder}. "
        "Its errors say nothing about real data."
    )
    write_h36m(data, seed=options.seed)
    if options.target == "3dhp":
        write_threedhp(data, Path(options.annotations), seed=options.seed, seconds=1.5)
    adapt(options, place, find_source(options, place))
    last = folder / "last.bin"
    report = results.evaluate_file(options, place, last)
    picture(options, place, last)
    before, after = (report[side]["columns"]["P_Agg"]["action_wise"]["mpjpe"] for side in ("before", "after"))
    say(
        f"SYNTHETIC, seed {options.seed}: P_Agg of the source lifter {before:.1f} mm, "
        f"adapted (last epoch) {after:.1f} mm."
    )
    return report


def settle(options: Namespace) -> None:
    """Folders, people and actions of the demo, where they are not typed."""
    place = f"demo_{options.program}/seed_{options.seed}"
    values = {"data_root": f"data/{place}", "checkpoint": f"checkpoint/{place}"}
    values |= {"annotations": f"data/{place}/3dhp_test"}
    if options.target == "3dhp":
        values["actions"] = ",".join(SOURCE_ACTIONS)
    else:
        values["subjects_test"] = "S6,S7"
    for name, value in values.items():
        if name not in options.typed:
            setattr(options, name, value)


def picture(options: Namespace, place: Place, path: Path) -> list[Path]:
    """The source lifter's pose and the adapted one's over the truth, for one frame of up to four clips."""
    content = read(path)
    card = content["card"]
    skeleton = SKELETONS[card["skeleton"]]
    clips = load_target(options, say, scored_only=True)[1]
    windows = Windows(clips, skeleton, card["frames"], None, place.device)
    names = list(dict.fromkeys(clip.action_name for clip in clips))[:4]
    rows = []
    for name in names:  # the middle of the first clip of each action
        clip = next(c for c, clip in enumerate(clips) if clip.action_name == name)
        rows.append(int(np.median(np.flatnonzero(windows.clip_of == clip)).round()))
    lifters = [load_source_only(content), for_evaluation(load_adapted(content))]
    sampling = results.sampling_of(options)
    poses = np.stack([poses_of(lifter.to(place.device).eval(), windows, sampling, place, rows) for lifter in lifters])
    truth = windows.batch(rows).positions_3d[:, windows.output // 2].cpu().numpy()  # (A, J, 3)
    caption = "SYNTHETIC. Mean of the hypotheses over the truth, before and after adaptation"
    cameras = [clips[windows.clip_of[row]].camera for row in rows]
    written = grid_figure(
        Path(options.checkpoint) / "before_after.png", skeleton, ["source only", "adapted"], names, poses, truth,
        cameras, caption=caption, formats=("png",),
    )  # fmt: skip
    say(f"written: {', '.join(str(p) for p in written)}")
    return written
