"""From a video or a keypoint file to 3D: the program behind main_wild.py."""

from __future__ import annotations

import atexit
import gc
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.door import guarded
from common.errors import UserError
from common.settings.wild import DEFAULT, FOLDER, WildSettings, read_settings

if TYPE_CHECKING:
    from common.engine.devices import Place
    from common.engine.opening import Opened
    from common.files.poses import Person
    from common.wild.inputs import Source
    from common.wild.tracking import Track

ROOT = Path(__file__).parents[2]


def main(description: str | None = None, argv: Sequence[str] | None = None) -> int:
    """Run on a command line; returns the exit code: 0, or 2 for what the user can mend."""
    atexit.register(gc.freeze)  # or Python searches all of PyTorch for circles before it ends: a second
    return guarded(_main, description, list(sys.argv[1:] if argv is None else argv))


def _main(description: str | None, argv: list[str]) -> int:
    settings, notices = read_settings(argv, description)
    from common.engine import devices
    from common.engine.cards import trained_on
    from common.engine.log import say
    from common.files.writing import writable
    from common.wild.inputs import read_source
    from common.wild.tracking import track

    asked = settings.input
    place = devices.join(asked.gpu, say if asked.gpu != "-1" else lambda line: None)
    for line in notices:
        say(f"note: {line}")
    if not Path(asked.input).exists():
        raise UserError(f"{asked.input}: no such file")
    folder = writable(Path(settings.output.output or f"{Path(asked.input).stem}_3d"))
    if settings.output.check:
        say(f"written: {check(settings, folder)}")
        return 0
    models = open_models(settings, place)
    for model in models:
        say(f"{model.name}: {trained_on(model.card)}")
        steps, schedule = settings.sampling.sampling_timesteps, len(model.lifter.diffusion.abar)
        if steps > schedule:
            raise UserError(f"-sampling_timesteps {steps} exceeds the {schedule} of {model.name}'s schedule")
    if settings.lifting.stream:
        source, lifted = _stream(settings, models, place, folder)
    else:
        source = read_source(asked)
        tracks = track(source.detections, source.fps, say=say)
        say(f"{len(source.detections.frames)} frames at {source.fps:g} a second, {len(tracks)} people: "
            + ", ".join(f"{t.id} ({int(t.seen.sum())} frames)" for t in tracks))  # fmt: skip
        lifted = [lift(model, tracks, source, settings, place) for model in models]
    write(settings, folder, models, lifted, source)
    return 0


def check(settings: WildSettings, folder: Path) -> Path:
    """--check: the picture of the person seen longest, in the file's own joints."""
    from common.wild.check import write_check
    from common.wild.inputs import first_images, read_source
    from common.wild.tracking import track

    source = read_source(settings.input)
    person = track(source.detections, source.fps)[0]
    images = first_images(source, person.first, 4)
    points, seen = person.keypoints[..., :2], person.keypoints[..., 2] >= settings.input.threshold
    title = f"{Path(settings.input.input).name}: {source.detections.layout.name}, left blue, right orange"
    write_check(folder / "check.png", points, source.detections.layout, images=images, mask=seen, title=title)
    return folder / "check.png"


def open_models(settings: WildSettings, place: Place) -> list[Opened]:
    """Every -c with its --evaluate, under names that tell them apart; by default the checkpoint that is shipped."""
    from common.engine.opening import named, pairs
    from common.wild.lifting import open_model

    folders, files = settings.lifting.checkpoint, settings.lifting.evaluate
    if folders and not files:
        raise UserError("-c names a folder; say also which file of it: --evaluate FILE")
    paths = pairs(folders or [str(ROOT / FOLDER)], files or [DEFAULT])
    return named([open_model(path, place, settings.lifting.unit) for path in paths])


def lift(model: Opened, tracks: list[Track], source: Source, settings: WildSettings, place: Place) -> list[Person]:
    """Every person through one model."""
    from common.engine.log import say
    from common.wild.people import camera_of, lift_people

    start, camera = time.time(), camera_of(settings.lifting, source.size)
    people = lift_people(model, tracks, source.detections.layout, source.fps, camera, settings, place, say)
    poses = sum(len(person["positions"]) for person in people)
    say(f"{model.name}: {poses} poses in {time.time() - start:.1f} s")
    return people


def _stream(
    settings: WildSettings, models: list[Opened], place: Place, folder: Path
) -> tuple[Source, list[list[Person]]]:
    from common.engine.log import say
    from common.wild.inputs import Source, open_stream
    from common.wild.keypoints import Detections
    from common.wild.live import stream_person
    from common.wild.people import bodies_of_stream, camera_of, sampling_of

    if len(models) > 1:
        raise UserError("--stream takes one checkpoint")
    coming = open_stream(settings.input)
    camera = camera_of(settings.lifting, coming.size)
    people = stream_person(
        coming.people,
        coming.layout,
        models[0],
        coming.fps,
        camera,
        sampling_of(settings),
        place,
        folder,
        threshold=settings.input.threshold,
        delay=settings.lifting.delay,
        smoothing=settings.lifting.root_smoothing,
        say=say,
    )
    people = bodies_of_stream(people, models[0].skeleton, camera, coming.fps, settings)
    return Source(Detections(coming.layout, [], []), coming.size, coming.fps, coming.video), [people]


def write(
    settings: WildSettings, folder: Path, models: list[Opened], lifted: list[list[Person]], source: Source
) -> None:
    """All files; with several models each has a folder of its own below."""
    import numpy as np

    from common.engine.log import say
    from common.wild.live import FILE
    from common.wild.outputs import write_about, write_model, write_videos
    from common.wild.people import camera_of

    camera, title = camera_of(settings.lifting, source.size), Path(settings.input.input).name
    lifting, sampling = settings.lifting, settings.sampling
    facts = {
        "focal_pixels": round(camera.intrinsics[0] * camera.width / 2, 1),
        "focal": "given" if lifting.focal else "assumed",
        "aggregate": "mean" if lifting.stream else lifting.aggregation,
        "hypotheses": sampling.hypotheses,
        "steps": sampling.sampling_timesteps,
        "image": f"{source.size[0]}x{source.size[1]}",
        "fps": source.fps,
    }
    written = [folder / FILE] if lifting.stream else []
    for model, people in zip(models, lifted, strict=True):
        own = folder / model.name if len(models) > 1 else folder
        written += write_model(own, model, people, source, settings.output, title, facts)
    if "video" in settings.output.outputs:
        written += write_videos(folder, models, lifted, source, camera)
    written.append(write_about(folder, models, written, title, facts))
    spread = [np.nanmean(p["spread"]) for people in lifted for p in people if p.get("spread") is not None]
    if spread and sampling.hypotheses > 1:
        say(f"mean spread of the hypotheses: {1000 * np.mean(spread):.0f} mm")
    say("written: " + ", ".join(str(path) for path in written))
