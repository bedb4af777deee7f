"""The figure and animation programs (Diff3DHPE's visualization_fig.py and visualization_ani.py), for any model."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from common.door import guarded
from common.errors import UserError
from common.settings.config_files import read_config
from common.settings.figures import FLAGS, OWN, FigureSettings, check
from common.settings.flags import build, parse
from common.settings.lifting import Settings, settle

if TYPE_CHECKING:
    from common.datasets.clips import Clip
    from common.engine.devices import Place
    from common.engine.opening import Opened
    from common.programs.pictures import Shot


def main(kind: str, description: str | None = None, argv: Sequence[str] | None = None) -> int:
    """Draw as the flags say; kind: 'figure' or 'animation'. Returns the exit code: 0, or 2 for what can be mended."""
    return guarded(_main, kind, description, list(sys.argv[1:] if argv is None else argv))


def read_settings(argv: Sequence[str], description: str | None = None):
    """(the lifting program's settings, the pictures' own, lines to say) of a command line. Raises UserError."""
    parsed = parse(argv, description, FLAGS, {}, config=read_config)
    from common.models import REGISTRY  # PyTorch: not needed for --help

    own = {row.destination for row in OWN}
    settings = settle(parsed, {name: row.variants for name, row in REGISTRY.items()}, own)
    return settings, build(FigureSettings, parsed.values), parsed.notices


def _main(kind: str, description: str | None, argv: list[str]) -> int:
    settings, figures, notices = read_settings(argv, description)
    from common.engine import devices, opening
    from common.engine.evaluation import sampling_of
    from common.engine.log import say
    from common.files.video import ENDINGS, video_info
    from common.files.writing import try_writing
    from common.programs.pictures import KINDS, Work
    from common.viz.layout import FORMATS

    check(figures, ENDINGS if kind == "animation" else (*(f".{name}" for name in FORMATS), *ENDINGS))
    paths = opening.pairs(figures.checkpoint, figures.evaluate)
    named = Path(figures.viz_output)
    if named.name != figures.viz_output:  # a folder was typed
        try_writing(named.parent, named.name)
    if kind == "animation" and figures.viz_video:
        video_info(figures.viz_video)
    place = devices.join(settings.run.gpu.split(",")[0], say)
    for line in notices:
        say(f"note: {line}")
    if kind != "animation" and named.suffix.lower() in ENDINGS:
        say(f"note: pictures are drawn, {named.stem}.svg and .png; visualization_ani.py makes films")
    if figures.viz_bitrate is not None:
        say("note: --viz-bitrate: the quality of a video is fixed")
    if kind == "figure" and figures.viz_video:
        say("note: --viz-video: a figure shows no video; visualization_ani.py does")
    groups = chosen_shots(settings, figures)
    models = open_models(paths, settings, place)
    synthetic = (Path(settings.data.data_root) / "SYNTHETIC.txt").exists()
    synthetic = synthetic or any(model.card.get("synthetic") for model in models)
    work = Work(figures, place, models, [sampling_of(settings, model.card, place) for model in models], synthetic)
    single, grid = KINDS[kind]
    if len(models) > 1 or (figures.viz_frame is not None and len(groups[0]) > 1):
        written = [path for shots in groups for path in grid(work, shots, len(groups) > 1)]
    else:
        shots = [shot for group in groups for shot in group]
        written = [path for shot in shots for path in single(work, shot, len(shots) > 1)]
    for path in written:
        say(f"written: {path}")
    return 0


def chosen_shots(settings: Settings, figures: FigureSettings) -> list[list[Shot]]:
    """The clips to draw, a list of actions for each subject and camera. What is not named: the first there is."""
    from common.datasets import load_clips
    from common.engine.log import say

    subjects = figures.subjects_visualization or settings.data.subjects_test[:1]
    clips = load_clips(replace(settings.data, subjects_test=subjects), "test", say)
    if "actions" not in settings.given:
        first = {clip.subject: clip.action for clip in reversed(clips)}
        clips = [clip for clip in clips if clip.action == first[clip.subject]]
        say(f"no -a given: drawing {', '.join(f'{subject} {action}' for subject, action in reversed(first.items()))}")
    groups = []
    for subject in dict.fromkeys(clip.subject for clip in clips):
        takes: dict[str, list[Clip]] = {}
        for clip in clips:
            if clip.subject == subject:
                takes.setdefault(clip.action, []).append(clip)
        takes = {action: takes[action] for action in _in_order(list(takes), settings.data.actions)}
        for number in figures.cameras:
            for action, views in takes.items():
                if not 0 <= number < len(views):
                    raise UserError(f"-cam {number}: {subject} {action} has cameras 0 to {len(views) - 1}")
            groups.append([_shot(views[number], number, settings, figures) for views in takes.values()])
    return groups


def _in_order(actions: list[str], asked: Sequence[str]) -> list[str]:
    """Actions in the order in which they were asked for, by full name, first word or prefix."""
    order = {name: n for n, name in enumerate(asked)}

    def place(action: str) -> int:
        prefixes = [n for name, n in order.items() if action.startswith(name)]
        return order.get(action, order.get(action.split(" ")[0], min(prefixes, default=len(order))))

    return sorted(actions, key=place)


def _shot(clip: Clip, number: int, settings: Settings, figures: FigureSettings) -> Shot:
    """The clip, with noise on its keypoints and some of them at zero as asked, and its truth."""
    import numpy as np

    from common.datasets import data_set_of
    from common.diffusion.noise import seed_of
    from common.programs.pictures import Shot

    root = data_set_of(settings.data).skeleton.root
    truth = clip.positions_3d - clip.positions_3d[:, root : root + 1]
    if figures.extra_noise_std or figures.joint_drop:
        rng = np.random.default_rng(seed_of(settings.run.seed, "keypoints", clip.key))
        keypoints = clip.keypoints_2d + figures.extra_noise_std * rng.standard_normal(clip.keypoints_2d.shape)
        keypoints[rng.random(keypoints.shape[:2]) < figures.joint_drop] = 0  # the middle of the picture
        clip = replace(clip, keypoints_2d=keypoints.astype(np.float32))
    return Shot(clip, number, truth)


def open_models(paths: Sequence[Path], settings: Settings, place: Place) -> list[Opened]:
    """Every model on the device, under a name of its own. One settings file cannot describe several networks: then
    what it says of them is left out, but for the sampler's settings."""
    from common.engine.log import say
    from common.engine.opening import named, open_lifter

    if len(paths) > 1:
        sampler = {"ddim_sampling_eta", "ddim_coefficients", "clip_denoised"}
        settings = replace(settings, given=frozenset(settings.given & (settings.typed | sampler)))
    return named([open_lifter(path, settings, place, say) for path in paths])
