"""The people of a recording, from their tracks to their poses: what main_wild.py and its benchmark both do."""

from __future__ import annotations

from collections.abc import Sequence

from common.engine.devices import Place
from common.engine.evaluate import Sampling
from common.engine.opening import Opened
from common.files.poses import Person
from common.geometry.camera import Camera
from common.geometry.skeleton import Skeleton
from common.settings.wild import LENS, LiftingSettings, WildSettings
from common.wild import lifting
from common.wild.cleaning import clean
from common.wild.lifting import lift_person
from common.wild.tracking import Track

WINDOWS = 16  # at a time


def camera_of(asked: LiftingSettings, size: tuple[int, int]) -> Camera:
    """The camera, with the focal length that is given or assumed."""
    return lifting.camera_of(size, asked.focal or LENS * max(size))


def sampling_of(settings: WildSettings) -> Sampling:
    asked = settings.sampling
    return Sampling(asked.hypotheses, asked.sampling_timesteps, WINDOWS, settings.lifting.seed, neutral=True,
                    flip=asked.test_time_augmentation)  # fmt: skip


def lift_people(
    model: Opened,
    tracks: Sequence[Track],
    layout: Skeleton,
    fps: float,
    camera: Camera,
    settings: WildSettings,
    place: Place,
) -> list[Person]:
    """Every track, in pixels of `layout`, through one model: people as in `common.files.poses`, camera frame."""
    people = []
    for track in tracks:
        keypoints, confidence, mask = clean(track, layout, model.skeleton, settings.input.threshold)
        person = lift_person(
            model,
            keypoints,
            confidence,
            fps,
            camera,
            sampling_of(settings),
            settings.lifting.aggregation,
            place,
            settings.lifting.root_smoothing,
            name=str(track.id),
        )
        people.append({"id": track.id, "first": track.first, **person, "keypoints_2d": keypoints, "mask": mask})
    return people
