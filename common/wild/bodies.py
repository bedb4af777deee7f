"""Lifted poses made bodies one can believe: calm, of one skeleton, upright, with feet that stand.

Each step is a function of its own file (`smoothing`, `skeletons`, `standing`) and can be left out; here they follow
each other. What comes in stays as `positions_raw`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from common.files.poses import Person
from common.geometry.camera import Camera, pixels_to_screen, undistort
from common.geometry.gaps import runs
from common.geometry.skeleton import Skeleton
from common.settings.wild import BodySettings
from common.wild import standing
from common.wild.placing import place_roots
from common.wild.skeletons import median_lengths, nearest_with_lengths
from common.wild.smoothing import smooth

# Hz, and Hz for each metre a second: the cut-off of the smoothing. Chosen on training performers: the jitter comes to
# that of motion capture, and a fast joint keeps 96 percent of the speed that the lifter gave it.
SLOWEST, PER_SPEED = 1.5, 4.0
PLACE_SLOWEST, PLACE_PER_SPEED = 2.0, 1.0  # likewise of the person's place, chosen likewise
SAME_FLOOR = 0.4  # metres: people whose feet stand farther apart in height do not stand on one floor


@dataclass
class _Part:
    """One stretch of a person's presence: its slice of the person's frames, poses, and the picture behind them."""

    person: int
    frames: slice
    positions: np.ndarray  # (T, J, 3)
    rays: np.ndarray  # (T, J, 2), the ideal image plane
    mask: np.ndarray  # (T, J)


def believable(
    people: Sequence[Person],
    confidences: Sequence[np.ndarray],
    skeleton: Skeleton,
    camera: Camera,
    fps: float,
    asked: BodySettings,
    root_smoothing: float,
) -> list[Person]:
    """People whose `positions` are refined; `positions_raw` holds what came in, `up` (3,) and `floor` the ground.

    people as `lift_people` makes them, NaN in long absences; confidences (T, J) of their 2D. A point p of the camera's
    frame is `p @ up - floor` metres above the ground. Hypotheses move with the root.
    """
    parts, intrinsics = [], torch.tensor(camera.intrinsics, dtype=torch.float32)
    for number, (person, confidence) in enumerate(zip(people, confidences, strict=True)):
        raw = np.asarray(person["positions"], np.float64)
        present = np.isfinite(raw).all((1, 2))
        lengths = median_lengths(person["hypotheses"][:, present], skeleton, person["known"][present])
        pixels = torch.from_numpy(np.asarray(person["keypoints_2d"], np.float32))
        screen = pixels_to_screen(pixels, camera.width, camera.height)
        rays = undistort(screen, intrinsics).numpy()
        for first, end in runs(present):
            frames = slice(first, end)
            pose = _pose(raw[frames] - raw[frames, skeleton.root, None], lengths, skeleton, fps, asked)
            place = raw[frames, skeleton.root, None]
            if not (asked.no_smoothing and asked.no_skeleton):
                seen = screen[frames].numpy(), confidence[frames]
                place = place_roots(pose.astype(np.float32), *seen, camera.intrinsics, fps, smoothing=root_smoothing)
            if not asked.no_smoothing:
                place = smooth(place, fps, PLACE_SLOWEST, PLACE_PER_SPEED)
            parts.append(_Part(number, frames, pose + place, rays[frames], person["mask"][frames]))
    legs = standing.legs_of(skeleton)
    up, floors = standing.up_of(0, 0), {}
    if legs is not None and not asked.no_floor:
        up, floors = _ground(parts, people, skeleton, legs, fps, asked.camera_pitch)
    if legs is not None and not asked.no_feet:
        for part in parts:
            _stand(part, floors.get(part.person), up, legs, fps)
    return [_finished(person, [p for p in parts if p.person == n], up, floors.get(n), skeleton)
            for n, person in enumerate(people)]  # fmt: skip


def _pose(pose: np.ndarray, lengths: np.ndarray, skeleton: Skeleton, fps: float, asked: BodySettings) -> np.ndarray:
    """Root-relative poses (T, J, 3), smoothed and of one skeleton."""
    if not asked.no_smoothing:
        pose = smooth(pose, fps, SLOWEST, PER_SPEED)
    return pose if asked.no_skeleton else nearest_with_lengths(pose, lengths, skeleton)


def _ground(
    parts: list[_Part], people: Sequence[Person], skeleton: Skeleton, legs: standing.Legs, fps: float,
    pitch: float | None,
) -> tuple[np.ndarray, dict[int, float]]:  # fmt: skip
    """Up, and the height of the floor under each person, metres along it."""
    axes, steps, seconds, share = [np.zeros((0, 3))], [], 0.0, 0.0
    for part in parts:
        stands = _contacts(part, None, standing.up_of(0, 0), legs, fps)
        axis, good = standing.upright(part.positions, stands, skeleton, legs)
        known = people[part.person]["known"][part.frames][:, [*legs.feet, legs.high]].all(1)
        good = standing.level_axes(axis[good & known])
        axes.append(good)
        steps.append(standing.steps_of(part.positions, stands, legs))
        seconds, share = seconds + len(good) / fps, max(share, len(good) / len(axis))
    up = standing.vertical(np.concatenate(axes), seconds, share, steps, pitch)
    own: dict[int, float] = {}
    for number in dict.fromkeys(part.person for part in parts):
        theirs = [n for n, part in enumerate(parts) if part.person == number]
        places = np.concatenate([steps[n] for n in theirs])
        low = np.concatenate([(parts[n].positions @ up).min(1) for n in theirs])
        own[number] = float(np.median(places @ up)) if len(places) else float(np.percentile(low, 5))
    lowest = min(own.values(), default=0.0)
    return up, {n: height if height - lowest < SAME_FLOOR else lowest for n, height in own.items()}


def _contacts(part: _Part, floor: float | None, up: np.ndarray, legs: standing.Legs, fps: float) -> np.ndarray:
    return standing.contacts(part.positions, part.rays, part.mask, fps, up, legs, floor)


def _stand(part: _Part, floor: float | None, up: np.ndarray, legs: standing.Legs, fps: float) -> None:
    stands = _contacts(part, floor, up, legs, fps)
    part.positions = part.positions + standing.anchored(part.positions, stands, legs)[:, None]
    if floor is not None:
        part.positions = part.positions + standing.lowered(part.positions, stands, fps, up, floor, legs)[:, None]
    part.positions = standing.planted(part.positions, stands, fps, legs)


def _finished(person: Person, parts: list[_Part], up: np.ndarray, floor: float | None, skeleton: Skeleton) -> Person:
    raw = np.asarray(person["positions"])
    positions = np.full(raw.shape, np.nan, np.float32)
    for part in parts:
        positions[part.frames] = part.positions
    moved = (positions - raw)[:, skeleton.root, None]  # (T, 1, 3)
    ground = {} if floor is None else {"up": up.astype(np.float32), "floor": floor}
    return person | {"positions": positions, "positions_raw": raw, "hypotheses": person["hypotheses"] + moved} | ground
