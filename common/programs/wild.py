"""From a video or a keypoint file to 3D: the program behind main_wild.py."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.door import guarded
from common.errors import UserError
from common.settings.wild import WildSettings, read_settings

if TYPE_CHECKING:
    from common.lift import Lifter, People
    from common.wild.inputs import Source
    from common.wild.tracking import Track


def main(description: str | None = None, argv: Sequence[str] | None = None) -> int:
    """Run on a command line; returns the exit code: 0, or 2 for what the user can mend."""
    return guarded(_main, description, list(sys.argv[1:] if argv is None else argv))


def _main(description: str | None, argv: list[str]) -> int:
    settings, notices = read_settings(argv, description)
    from common.engine import devices
    from common.engine.log import say
    from common.files.writing import writable
    from common.lift import checkpoints, open_all, people_in, save
    from common.wild.inputs import read_source
    from common.wild.live import FILE

    asked = settings.input
    place = devices.join(asked.gpu, say if asked.gpu != "-1" else lambda line: None, keep=False)
    for line in notices:
        say(f"note: {line}")
    if not Path(asked.input).exists():
        raise UserError(f"{asked.input}: no such file")
    folder = writable(Path(settings.output.output or f"{Path(asked.input).stem}_3d"))
    if settings.output.check:
        say(f"written: {check(settings, folder)}")
        return 0
    paths = checkpoints(settings.lifting.checkpoint, settings.lifting.evaluate)
    lifters = open_all(paths, place, unit=settings.lifting.unit)
    for lifter in lifters:
        say(f"{lifter.model.name}: {lifter.trained_on}")
        lifter.check(settings)
    if settings.lifting.stream:
        lifted, already = [_stream(settings, lifters, folder)], [folder / FILE]
    else:
        source = read_source(asked)
        tracks = people_in(source, say)
        lifted, already = [_timed(lifter, source, settings, tracks) for lifter in lifters], []
    _tell(settings, save(folder, lifted, settings.output, already), lifted)
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
    layout, first = source.detections.layout, person.first
    write_check(folder / "check.png", points, layout, images=images, mask=seen, first=first, title=title)
    return folder / "check.png"


def _timed(lifter: Lifter, source: Source, settings: WildSettings, tracks: list[Track]) -> People:
    """Every person through one model."""
    start = time.time()
    people = lifter.lift(source, settings, tracks)
    poses = sum(len(person["positions"]) for person in people.arrays)
    lifter.say(f"{lifter.model.name}: {poses} poses in {time.time() - start:.1f} s")
    return people


def _stream(settings: WildSettings, lifters: list[Lifter], folder: Path) -> People:
    from common.lift import People
    from common.wild.heights import check_heights, height_rule
    from common.wild.inputs import Source, open_stream
    from common.wild.keypoints import Detections
    from common.wild.live import FOLLOWED, stream_person
    from common.wild.people import bodies_of_stream, camera_of
    from common.wild.sampler import sampling_of

    if len(lifters) > 1:
        raise UserError("--stream takes one checkpoint")
    model, coming = lifters[0].model, open_stream(settings.input)
    camera = camera_of(settings.lifting, coming.size)
    check_heights(settings.lifting, [FOLLOWED])
    people = stream_person(
        coming.people,
        coming.layout,
        model,
        coming.fps,
        camera,
        sampling_of(settings),
        lifters[0].place,
        folder,
        threshold=settings.input.threshold,
        delay=settings.lifting.delay,
        smoothing=settings.lifting.root_smoothing,
        height=height_rule(model, settings, FOLLOWED),
        say=lifters[0].say,
    )
    people = bodies_of_stream(people, model, camera, coming.fps, settings, lifters[0].say)
    source = Source(Detections(coming.layout, [], []), coming.size, coming.fps, coming.video)
    return People(people, model, source, settings)


def _tell(settings: WildSettings, written: list[Path], lifted: list[People]) -> None:
    from common.engine.log import say
    from common.wild.heights import heights_said
    from common.wild.odds import odds_said

    for people in lifted:
        if line := odds_said(people.model, people.arrays, settings):
            say(f"{people.model.name}: {line}")
        say(f"{people.model.name}: heights: {heights_said(people.model, people.arrays, settings)}")
    say("written: " + ", ".join(str(path) for path in written))
