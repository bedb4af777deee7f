"""The figure and animation programs (Diff3DHPE's visualization_fig.py and visualization_ani.py), for any model."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.datasets import dataset, load_clips
from common.datasets.clips import Clip
from common.diffusion.noise import seed_of
from common.engine import checkpoint, devices
from common.engine.clips import sampling_for
from common.engine.devices import Place
from common.engine.log import say
from common.engine.opening import open_lifter
from common.errors import UserError
from common.files.video import ENDINGS
from common.programs.main import guarded
from common.programs.pictures import KINDS, Model, Shot, Work
from common.settings.config_files import read_config
from common.settings.flags import Flag, in_group, parse, yes_no
from common.viz.layout import FORMATS

FLAGS: tuple[Flag, ...] = (
    *in_group(
        "pictures",
        Flag(("-c", "--checkpoint"), "folder of a checkpoint; once for each row of a grid", None, repeat=True),
        Flag(("--evaluate",), "file of that folder; once for each -c, or once for all", None, repeat=True),
        Flag(("-sviz", "--subjects-visualization"), "subjects, separated by commas (default: the first of -ste)", ""),
        Flag(("-cam", "--cameras"), "numbers of the cameras, separated by commas", "0"),
        Flag(("-b", "--batch-size"), "windows to draw (default: a figure one, an animation all)", None, int),
        Flag(("--viz-frame",), "frame to draw; with several actions, one grid of them", None, int),
        Flag(("--width-mm",), "width of a grid, mm", 180.0, float),
        Flag(("--viz-output",), "file to write; a bare name, or viz, goes into FOLDER/81f/SUBJECT/ACTION/CAMERA", ""),
        Flag(("--viz-fps",), "frames a second of the animation (default: as recorded)", None, float),
        Flag(("--viz-size",), "height of an animation's panel, inches", 5.0, float),
        Flag(("--viz-bitrate",), "accepted; the quality is fixed", None, int),
    ),
    *in_group(
        "data",
        Flag(("--extra_noise_std",), "Gaussian noise on the 2D input, screen units", 0.0, float),
        Flag(("--joint_drop",), "share of the 2D keypoints set to zero", 0.0, float),
        Flag(("--data-augmentation",), "accepted; nothing is trained here", None, yes_no),
    ),
)


def main(kind: str, description: str | None = None, argv: Sequence[str] | None = None) -> int:
    """Draw as the flags say; kind: 'figure' or 'animation'. Returns the exit code: 0, or 2 for what can be mended."""
    return guarded(_main, kind, description, list(sys.argv[1:] if argv is None else argv))


def _main(kind: str, description: str | None, argv: list[str]) -> int:
    options = parse(argv, description, {}, read_config, FLAGS)
    pairs = checkpoint_pairs(options)
    _check(options, kind)
    place = devices.join(str(options.gpu).split(",")[0], say)
    for line in options.notices:
        say(f"note: {line}")
    if options.viz_bitrate is not None:
        say("note: --viz-bitrate: the quality of a video is fixed")
    if kind == "figure" and options.viz_video:
        say("note: --viz-video: a figure shows no video; visualization_ani.py does")
    groups = chosen_shots(options)
    models = open_models(pairs, options, place)
    work = Work(options, place, models, synthetic=_synthetic(options, models))
    single, grid = KINDS[kind]
    if len(models) > 1 or (options.viz_frame is not None and len(groups[0]) > 1):
        written = [path for shots in groups for path in grid(work, shots, len(groups) > 1)]
    else:
        shots = [shot for group in groups for shot in group]
        written = [path for shot in shots for path in single(work, shot, len(shots) > 1)]
    for path in written:
        say(f"written: {path}")
    return 0


def checkpoint_pairs(options: Namespace) -> list[tuple[Path, str]]:
    """(folder, file) of every model. One folder serves several files and the other way round."""
    folders, files = options.checkpoint or [], options.evaluate or []
    if not folders or not files:
        raise UserError("say which model to draw: -c FOLDER --evaluate FILE")
    if len(folders) != len(files) and 1 not in (len(folders), len(files)):
        raise UserError(f"{len(folders)} times -c, but {len(files)} times --evaluate: give one file a folder")
    count = max(len(folders), len(files))
    folders, files = (values * count if len(values) == 1 else values for values in (folders, files))
    return [(Path(folder), file) for folder, file in zip(folders, files, strict=True)]


def _check(options: Namespace, kind: str) -> None:
    for name in ("hypotheses", "sampling_timesteps", "repeat_n"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(options, name)}: must be 1 or more")
    if options.typed.get("batch_size", 1) < 1:
        raise UserError(f"-b {options.batch_size}: must be 1 or more windows")
    for name in ("viz_size", "width_mm", "viz_fps"):
        if getattr(options, name) is not None and getattr(options, name) <= 0:
            raise UserError(f"--{name.replace('_', '-')} {getattr(options, name)}: must be above 0")
    if options.extra_noise_std < 0 or not 0 <= options.joint_drop <= 1:
        raise UserError("--extra_noise_std must be 0 or more, --joint_drop between 0 and 1")
    endings = ENDINGS if kind == "animation" else (*(f".{name}" for name in FORMATS), *ENDINGS)
    if options.viz_output and Path(options.viz_output).suffix.lower() not in endings:
        raise UserError(f"--viz-output {options.viz_output}: the name must end in {' or '.join(endings)}")


def chosen_shots(options: Namespace) -> list[list[Shot]]:
    """The clips to draw, a list of actions for each subject and camera. What is not named: the first there is."""
    if options.subjects_visualization:
        subjects = options.subjects_visualization
    else:
        subjects = options.subjects_test.split(",")[0]
    clips = load_clips(Namespace(**{**vars(options), "subjects_test": subjects}), "test", say)
    if "actions" not in options.typed:
        first = {clip.subject: clip.action for clip in reversed(clips)}
        clips = [clip for clip in clips if clip.action == first[clip.subject]]
        say(f"no -a given: drawing {', '.join(f'{subject} {action}' for subject, action in reversed(first.items()))}")
    try:
        cameras = [int(number) for number in options.cameras.split(",")]
    except ValueError:
        raise UserError(f"-cam {options.cameras}: expected numbers such as 0 or 0,2") from None
    groups = []
    for subject in dict.fromkeys(clip.subject for clip in clips):
        takes: dict[str, list[Clip]] = {}
        for clip in clips:
            if clip.subject == subject:
                takes.setdefault(clip.action, []).append(clip)
        takes = {action: takes[action] for action in _in_order(list(takes), options.actions.split(","))}
        for number in cameras:
            for action, views in takes.items():
                if not 0 <= number < len(views):
                    raise UserError(f"-cam {number}: {subject} {action} has cameras 0 to {len(views) - 1}")
            groups.append([_shot(views[number], number, options) for views in takes.values()])
    return groups


def _in_order(actions: list[str], asked: list[str]) -> list[str]:
    """Actions in the order in which they were asked for, by full name, first word or prefix."""
    order = {name.strip(): n for n, name in enumerate(asked)}

    def place(action: str) -> int:
        prefixes = [n for name, n in order.items() if action.startswith(name)]
        return order.get(action, order.get(action.split(" ")[0], min(prefixes, default=len(order))))

    return sorted(actions, key=place)


def _shot(clip: Clip, number: int, options: Namespace) -> Shot:
    """The clip, with noise on its keypoints and some of them at zero as asked, and its truth."""
    root = dataset(options).skeleton.root
    truth = clip.positions_3d - clip.positions_3d[:, root : root + 1]
    if options.extra_noise_std or options.joint_drop:
        rng = np.random.default_rng(seed_of(options.seed, "keypoints", clip.key))
        keypoints = clip.keypoints_2d + options.extra_noise_std * rng.standard_normal(clip.keypoints_2d.shape)
        keypoints[rng.random(keypoints.shape[:2]) < options.joint_drop] = 0  # the middle of the picture
        clip = replace(clip, keypoints_2d=keypoints.astype(np.float32))
    return Shot(clip, number, truth)


def open_models(pairs: list[tuple[Path, str]], options: Namespace, place: Place) -> list[Model]:
    """Every model on the device, under a name of its own: what the network is called, else its folder and file."""
    if len(pairs) > 1:  # one file of settings cannot describe several networks; what is typed still must agree
        sampler = ("ddim_sampling_eta", "ddim_coefficients", "clip_denoised")
        given = {key: value for key, value in options.given.items() if key in options.typed or key in sampler}
        options = Namespace(**{**vars(options), "given": given})
    opened = []
    for folder, file in pairs:
        path = checkpoint.find(folder, file)
        lifter, card = open_lifter(path, options, place, say)
        opened.append((folder, path, lifter, card))
    candidates = (
        [card["model"] for _, _, _, card in opened],
        [folder.name for folder, *_ in opened],
        [path.stem for _, path, *_ in opened],
        [f"{folder.name}/{path.stem}" for folder, path, *_ in opened],
        [str(path) for _, path, *_ in opened],
    )
    names = next((names for names in candidates if len(set(names)) == len(names)), candidates[-1])
    return [
        Model(name, folder, lifter, card, sampling_for(options, card))
        for name, (folder, _, lifter, card) in zip(names, opened, strict=True)
    ]


def _synthetic(options: Namespace, models: list[Model]) -> bool:
    return (Path(options.data_root) / "SYNTHETIC.txt").exists() or any(m.card.get("synthetic") for m in models)
