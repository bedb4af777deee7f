"""From a video or a keypoint file to 3D: the program behind main_wild.py."""

from __future__ import annotations

import argparse
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.engine import devices
from common.engine.devices import Place
from common.engine.evaluate import Sampling
from common.engine.log import say
from common.errors import UserError
from common.files.poses import Person
from common.programs.main import guarded
from common.scoring.hypotheses import AGGREGATIONS
from common.settings.config_files import read_config
from common.settings.flags import FLAGS, Flag, in_group, parse
from common.wild.check import write_check
from common.wild.cleaning import THRESHOLD, clean
from common.wild.detect import SPEEDS
from common.wild.inputs import LENS, Source, first_images, open_stream, read_source
from common.wild.keypoints import Detections
from common.wild.lifting import Model, View, lift_person, open_model, trained_on
from common.wild.live import FILE, stream_person
from common.wild.outputs import KINDS, write_about, write_model, write_videos
from common.wild.tracking import track

FOLDER, DEFAULT = "checkpoint/open", "open_mixste_27f.bin"
WINDOWS = 16  # at a time


def image_size(text: str) -> tuple[int, int]:
    """'1920x1080' as (width, height)."""
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 1920x1080, not {text}") from None
    return width, height


def output_kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(part.strip() for part in text.split(",") if part.strip())
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]}: there are {', '.join(KINDS)}")
    return kinds


TAKEN = ("sampling_timesteps", "test_time_augmentation", "unit", "seed", "config")  # of the common table
OWN: tuple[Flag, ...] = (
    *in_group(
        "input",
        Flag(("input",), "a video, or 2D keypoints: AlphaPose, OpenPose, COCO, MMPose (JSON), Detectron2 (npz), npy"),
        Flag(("--video",), "video to show under a keypoint file", ""),
        Flag(("--layout",), "joints of a keypoint file that does not tell: coco, h36m, halpe, body_25", ""),
        Flag(("--clip",), "which video of an archive that holds several", ""),
        Flag(("--size",), "image size of the keypoints, where the file does not tell: 1920x1080", None, image_size),
        Flag(("--fps",), "frames a second, where the file does not tell", None, float),
        Flag(("--limit",), "read at most so many frames", None, int),
        Flag(("--people",), "lift at most so many people, those seen longest first", None, int),
        Flag(("--threshold",), "confidence below which a joint counts as missing", THRESHOLD, float),
        Flag(("--detector-weights",), "folder with rtmlib's .onnx files (default: its cache, or its download)", ""),
        Flag(("--detector-speed",), "rtmlib's networks", "balanced", str, SPEEDS),
    ),
    *in_group(
        "lifting",
        Flag(("-c", "--checkpoint"), f"checkpoint folder; several: compared (default: {FOLDER})", None, repeat=True),
        Flag(("--evaluate",), f"file of that folder; once for each -c (default: {DEFAULT})", None, repeat=True),
        Flag(("-num_proposals", "--hypotheses"), "hypotheses a pose", 5, int),
        Flag(("--aggregate",), "how hypotheses become one pose (default: R_Agg with --focal, else P_Agg)", None, str,
             tuple(name for name, row in AGGREGATIONS.items() if not row.reads)),
        Flag(("--focal",), f"focal length in pixels (default: {LENS} times the image's longer side)", None, float),
        Flag(("--root-smoothing",), "seconds over which the distance is smoothed; 0 is none", 0.5, float),
        Flag(("--stream",), "lift as the frames come, one person, with bounded delay; says the latency", False, None),
        Flag(("--delay",), "frames that --stream waits for before it answers", 8, int),
        Flag(("-gpu", "--gpu"), "number of the GPU; -1 is the CPU; mps", "-1", dest="gpu"),
    ),
    *in_group(
        "output",
        Flag(("-o", "--output"), "folder to write (default: the input's name with _3d)", ""),
        Flag(("--outputs",), "what to write, separated by commas", KINDS, output_kinds),
        Flag(("--check",), "write check.png, the first frames with named joints, and stop", False, None),
        Flag(("--embed-video",), "put the video into viewer.html, so that the page can be moved alone", False, None),
        Flag(("--bvh-unit",), "unit of the BVH files", "m", str, ("m", "cm")),
    ),
)  # fmt: skip


def main(description: str | None = None, argv: Sequence[str] | None = None) -> int:
    """Run on a command line; returns the exit code: 0, or 2 for what the user can mend."""
    return guarded(_main, description, list(sys.argv[1:] if argv is None else argv))


def _main(description: str | None, argv: list[str]) -> int:
    base = tuple(flag for flag in FLAGS if flag.destination in TAKEN)
    options = parse(argv, description, {"sampling_timesteps": 2}, read_config, OWN, base)
    _check_flags(options)
    place = devices.join(options.gpu, say if str(options.gpu) != "-1" else lambda line: None)
    folder = Path(options.output or f"{Path(options.input).stem}_3d")
    if options.check:
        say(f"written: {check(options, folder)}")
        return 0
    models = open_models(options, place)
    for model in models:
        say(f"{model.name}: {trained_on(model.card)}")
    if options.stream:
        source, lifted = _stream(options, models, place, folder)
    else:
        source = read_source(options)
        tracks = track(source.detections)[: options.people]
        say(f"{len(source.detections.frames)} frames at {source.fps:g} a second, {len(tracks)} people: "
            + ", ".join(f"{t.id} ({int(t.seen.sum())} frames)" for t in tracks))  # fmt: skip
        lifted = [lift_tracks(model, tracks, source, options, place) for model in models]
    write(options, folder, models, lifted, source)
    return 0


def _check_flags(options: Namespace) -> None:
    for name in ("hypotheses", "sampling_timesteps", "limit", "people", "fps", "focal"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            raise UserError(f"--{name.replace('_', '-')} {value}: must be above 0")
    if options.root_smoothing < 0:
        raise UserError(f"--root-smoothing {options.root_smoothing}: must be 0 or more")
    if options.size and min(options.size) < 1:
        raise UserError(f"--size {options.size[0]}x{options.size[1]}: must be above 0")


def check(options: Namespace, folder: Path) -> Path:
    """--check: the picture of the person seen longest, in the file's own joints."""
    source = read_source(options)
    person = track(source.detections)[0]
    images = first_images(source, person.first, 4)
    points, seen = person.keypoints[..., :2], person.keypoints[..., 2] >= options.threshold
    title = f"{Path(options.input).name}: {source.detections.layout.name}, left blue, right orange"
    write_check(folder / "check.png", points, source.detections.layout, images, seen, title=title)
    return folder / "check.png"


def open_models(options: Namespace, place: Place) -> list[Model]:
    """Every -c with its --evaluate; names that tell them apart."""
    folders, files = options.checkpoint or [FOLDER], options.evaluate or []
    if not files and options.checkpoint:
        raise UserError("-c names a folder; say also which file of it: --evaluate FILE")
    files = files or [DEFAULT]
    count = max(len(folders), len(files))
    if {len(folders), len(files)} - {1, count}:
        raise UserError(f"{len(folders)} times -c, but {len(files)} times --evaluate: give one file a folder")
    folders, files = (values * count if len(values) == 1 else values for values in (folders, files))
    opened = [open_model(Path(c), file, "", place, options.unit) for c, file in zip(folders, files, strict=True)]
    candidates = (
        [m.card["model"] for m in opened],
        [Path(folder).name for folder in folders],
        [Path(file).stem for file in files],
        [f"{Path(folder).name}_{Path(file).stem}" for folder, file in zip(folders, files, strict=True)],
        [f"{n + 1}_{m.card['model']}" for n, m in enumerate(opened)],
    )
    names = next(names for names in candidates if len(set(names)) == count)
    return [Model(name, m.lifter, m.card) for name, m in zip(names, opened, strict=True)]


def view_of(options: Namespace, size: tuple[int, int]) -> View:
    return View(*size, options.focal or LENS * max(size))


def aggregate_of(options: Namespace) -> str:
    """R_Agg compares with the 2D through the camera, so it is the default only where the camera is told."""
    return options.aggregate or ("R_Agg" if options.focal else "P_Agg")


def sampling_of(options: Namespace) -> Sampling:
    return Sampling(options.hypotheses, options.sampling_timesteps, WINDOWS, options.seed, neutral=True,
                    flip=options.test_time_augmentation)  # fmt: skip


def lift_tracks(model: Model, tracks: list, source: Source, options: Namespace, place: Place) -> list[Person]:
    """Every person through one model."""
    view, people, start = view_of(options, source.size), [], time.time()
    for one in tracks:
        keypoints, confidence, mask = clean(one, source.detections.layout, model.skeleton, options.threshold)
        person = lift_person(
            model,
            keypoints,
            confidence,
            source.fps,
            view,
            sampling_of(options),
            aggregate_of(options),
            place,
            options.root_smoothing,
            str(one.id),
        )
        people.append({"id": one.id, "first": one.first, **person, "keypoints_2d": keypoints, "mask": mask})
    frames = sum(len(one) for one in tracks)
    say(f"{model.name}: {frames} poses in {time.time() - start:.1f} s")
    return people


def _stream(options: Namespace, models: list[Model], place: Place, folder: Path) -> tuple[Source, list[list[Person]]]:
    if len(models) > 1:
        raise UserError("--stream takes one checkpoint")
    coming = open_stream(options)
    view = view_of(options, coming.size)
    people = stream_person(coming.people, coming.layout, models[0], coming.fps, view, sampling_of(options), place,
                           options, folder, say)  # fmt: skip
    return Source(Detections(coming.layout, [], []), coming.size, coming.fps, coming.video), [people]


def write(options: Namespace, folder: Path, models: list[Model], lifted: list[list[Person]], source: Source) -> None:
    """All files; with several models each has a folder of its own below."""
    view = view_of(options, source.size)
    facts = {
        "focal_pixels": round(view.focal, 1),
        "focal": "given" if options.focal else "assumed",
        "aggregate": "mean" if options.stream else aggregate_of(options),
        "hypotheses": options.hypotheses,
        "steps": options.sampling_timesteps,
        "image": f"{source.size[0]}x{source.size[1]}",
        "fps": source.fps,
    }
    written = [folder / FILE] if options.stream else []
    for model, people in zip(models, lifted, strict=True):
        own = folder / model.name if len(models) > 1 else folder
        written += write_model(own, model, people, source, options, facts)
    if "video" in options.outputs:
        written += write_videos(folder, models, lifted, source, view)
    written.append(write_about(folder, models, written, options, facts))
    spread = [np.mean(p["spread"]) for people in lifted for p in people if p.get("spread") is not None]
    if spread and options.hypotheses > 1:
        say(f"mean spread of the hypotheses: {1000 * np.mean(spread):.0f} mm")
    say("written: " + ", ".join(str(path) for path in written))
