"""The people of a recording, from their tracks to their poses: what main_wild.py and its benchmark both do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from common.engine.devices import Place
from common.engine.opening import Opened
from common.errors import UserError
from common.files.poses import Person
from common.geometry.camera import Camera
from common.geometry.gaps import runs
from common.geometry.skeleton import Skeleton
from common.settings.wild import LENS, LiftingSettings, WildSettings
from common.wild import lifting
from common.wild.bodies import believable
from common.wild.cleaning import Cleaned, clean, no_long_gap
from common.wild.heights import check_heights, sized
from common.wild.lifting import lift_person
from common.wild.odds import with_radius
from common.wild.sampler import sampling_of
from common.wild.tracking import Track

LEAST_KNOWN = 0.5  # of a person's joints: who shows less is left out
# Words for what is unseen, the larger parts first; a part is told when none of its joints is known.
LIMBS = {
    "legs": ("LKnee", "LFoot", "LAnkle", "RKnee", "RFoot", "RAnkle"),
    "left leg": ("LKnee", "LFoot", "LAnkle"),
    "right leg": ("RKnee", "RFoot", "RAnkle"),
    "feet": ("LFoot", "LAnkle", "RFoot", "RAnkle"),
    "left foot": ("LFoot", "LAnkle"),
    "right foot": ("RFoot", "RAnkle"),
    "arms": ("LElbow", "LWrist", "RElbow", "RWrist"),
    "left arm": ("LElbow", "LWrist"),
    "right arm": ("RElbow", "RWrist"),
    "hands": ("LWrist", "RWrist"),
    "left hand": ("LWrist",),
    "right hand": ("RWrist",),
    "head": ("Nose", "Head", "HeadTop"),
    "hips": ("LHip", "RHip"),
}


def camera_of(asked: LiftingSettings, size: tuple[int, int]) -> Camera:
    """The camera, with the focal length that is given or assumed."""
    focal = asked.focal or LENS * max(size)
    if not 0.05 * max(size) <= focal <= 200 * max(size):
        raise UserError(f"--focal {focal:g}: no camera has that for pictures of {size[0]} x {size[1]} pixels")
    return lifting.camera_of(size, focal)


def lift_people(
    model: Opened,
    tracks: Sequence[Track],
    layout: Skeleton,
    fps: float,
    camera: Camera,
    settings: WildSettings,
    place: Place,
    say: Callable[[str], None] = lambda line: None,
) -> list[Person]:
    """Every track, in pixels of `layout`, through one model: people as in `common.files.poses`, camera frame.

    At most `--people` of them, the first who are not left out. Says who is left out, and which limbs are guesses.
    Raises UserError where nobody is left.
    """
    people, confidences = [], []
    check_heights(settings.lifting, [track.id for track in tracks])
    for track in tracks:
        if settings.input.people and len(people) == settings.input.people:
            break
        surest = track.keypoints[..., 2].max()
        if surest < settings.input.threshold:
            say(f"person {track.id}: no joint is surer than {surest:.2f}, left out; --threshold says what counts")
            continue
        seen = clean(track, layout, model.skeleton, settings.input.threshold, fps)
        share = seen.known[seen.present].mean()
        if share < LEAST_KNOWN and not settings.body.keep_all:
            say(f"person {track.id}: mostly unseen ({share:.0%} of the joints known), left out; --keep-all keeps it")
            continue
        for line in unseen_limbs(seen.known, seen.present, model.skeleton, fps):
            say(f"person {track.id}: {line}")
        person = _lift(model, track, seen, fps, camera, settings, place)
        people.append(sized(model, person, settings, say))
        confidences.append(seen.confidence)
    if not people:
        raise UserError(
            "nobody of whom half was seen; --keep-all lifts those who are there, --threshold says what counts"
        )
    smoothing = settings.lifting.root_smoothing
    people = believable(people, confidences, model.skeleton, camera, fps, settings.body, smoothing)
    return with_radius(model, people, settings)


def _lift(
    model: Opened, track: Track, seen: Cleaned, fps: float, camera: Camera, settings: WildSettings, place: Place
) -> Person:
    """One person as the network sees it: every stretch of presence by itself, NaN between them."""
    shape, arrays = seen.keypoints.shape[:2], {}
    for first, end in runs(seen.present):
        lifted = lift_person(
            model,
            seen.keypoints[first:end],
            seen.confidence[first:end],
            fps,
            camera,
            sampling_of(settings),
            settings.lifting.aggregate,
            place,
            settings.lifting.root_smoothing,
            name=str(track.id) if first == 0 else f"{track.id} from {first}",
        )
        for key, value in lifted.items():
            axis = 1 if key == "hypotheses" else 0
            whole = arrays.setdefault(key, np.full((*value.shape[:axis], *shape, *value.shape[axis + 2 :]), np.nan,
                                                   np.float32))  # fmt: skip
            whole[(slice(None),) * axis + (slice(first, end),)] = value
    about = {"keypoints_2d": seen.keypoints, "mask": seen.mask, "known": seen.known}
    return {"id": track.id, "first": track.first, **arrays, **about}


def bodies_of_stream(
    people: list[Person],
    model: Opened,
    camera: Camera,
    fps: float,
    settings: WildSettings,
    say: Callable[[str], None] = lambda line: None,
) -> list[Person]:
    """What --stream lifted, which has one pose a frame and no hypotheses, as bodies with all frames known."""
    single = [p | {"hypotheses": p["positions"][None], "known": no_long_gap(p["mask"], fps)} for p in people]
    single = [sized(model, person, settings, say) for person in single]
    seen = [person["mask"].astype(np.float32) for person in people]
    done = believable(single, seen, model.skeleton, camera, fps, settings.body, settings.lifting.root_smoothing)
    return [{key: value for key, value in person.items() if key != "hypotheses"} for person in done]


def unseen_limbs(known: np.ndarray, present: np.ndarray, skeleton: Skeleton, fps: float) -> list[str]:
    """What to say of limbs whose place is a guess: 'legs never seen', 'left arm unseen for 2.4 s'."""
    left = {frozenset(j for j in joints if j in skeleton.joints): name for name, joints in LIMBS.items()}
    said: dict[str, list[str]] = {}
    told: set[str] = set()
    for joints, name in left.items():
        if not joints or joints & told:
            continue
        gone = present & ~known[:, [skeleton.index(j) for j in joints]].any(1)
        longest = max((end - first for first, end in runs(gone)), default=0)
        if longest == 0:
            continue
        told |= joints
        when = "never seen" if gone.sum() == present.sum() else f"unseen for {longest / fps:.1f} s"
        said.setdefault(when, []).append(name)
    lines = [f"{', '.join(names)} {when}" for when, names in said.items()]
    absent = [(end - first) / fps for first, end in runs(~present)]
    return lines + ([f"away for {' s, '.join(f'{s:.1f}' for s in absent)} s: no poses there"] if absent else [])
