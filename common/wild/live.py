"""`--stream`: people lifted as the frames come, with a bounded delay; one JSON line a frame, and its latency."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from common.engine.cards import trained_on
from common.engine.devices import Place
from common.engine.evaluate import Sampling
from common.engine.opening import Opened
from common.errors import UserError
from common.files.poses import Person
from common.files.writing import append_line, save_text
from common.geometry.camera import Camera, pixels_to_screen
from common.geometry.skeleton import Skeleton, joint_map
from common.wild.cleaning import fill_gaps
from common.wild.lifting import lift_stream
from common.wild.placing import place_roots
from common.wild.sequence import at_times
from common.wild.skeletons import stature
from common.wild.tracking import box, iou, oks

FILE = "stream.jsonl"
FOLLOWED = 0  # the number of the person who is followed
MEMORY = 500  # poses of which the person's size is told, the latest


def follow(people: Iterable[np.ndarray]) -> Iterator[np.ndarray | None]:
    """From each frame's people (N, J, 3) the one to follow (J, 3): the largest at first, then the best match.

    None where the person is not seen, and before anybody is.
    """
    last = None
    for frame in people:
        seen = [person for person in frame if (person[:, 2] > 0).any()]
        if last is None:
            chosen = max(seen, key=lambda p: float(np.prod(box(p)[2:] - box(p)[:2])), default=None)
        else:
            chosen = max(seen, key=lambda p: max(iou(box(last), box(p)), oks(last, p)), default=None)
            if chosen is not None and max(iou(box(last), box(chosen)), oks(last, chosen)) < 0.1:
                chosen = None
        last = last if chosen is None else chosen
        yield chosen


def clean_stream(
    people: Iterable[np.ndarray | None], layout: Skeleton, target: Skeleton, threshold: float
) -> Iterator[np.ndarray]:
    """Each frame's person as (J, 3) of the target layout: pixels and confidence, 0 where a part was not seen.

    The future being unknown, a joint that is not seen stays where it was last. Frames before the first sight of
    anybody are left out.
    """
    matrix = joint_map(layout, target)
    held = np.zeros((len(layout), 2), np.float32)
    ever = np.zeros(len(layout), bool)
    for person in people:
        if person is None:
            seen, confidence = np.zeros(len(layout), bool), np.zeros(len(layout), np.float32)
        else:
            confidence = person[:, 2]
            seen = (confidence >= threshold) & (confidence > 0)
            held[seen] = person[seen, :2]
        ever |= seen
        if not ever.any():
            continue
        points = fill_gaps(held[None], ever[None], layout)[0]  # (J source, 2)
        least = np.array([np.where(seen, confidence, 0)[row != 0].min() for row in matrix], np.float32)
        yield np.concatenate([matrix @ points, least[:, None]], 1)


def at_rate(frames: Iterable[np.ndarray], source_fps: float, target_fps: float) -> Iterator[np.ndarray]:
    """Frames brought to another rate as they come, linear between neighbours; the first frame stays."""
    step, count, before = source_fps / target_fps, 0, None
    for number, frame in enumerate(frames):
        while count * step <= number + 1e-6:
            share = count * step - (number - 1)
            yield frame if before is None or share > 1 - 1e-6 else before * (1 - share) + frame * share
            count += 1
        before = frame


def stream_person(
    people: Iterable[np.ndarray],
    layout: Skeleton,
    model: Opened,
    fps: float,
    camera: Camera,
    sampling: Sampling,
    place: Place,
    folder: Path,
    *,
    threshold: float,
    delay: int,
    smoothing: float,
    say,
    height: Callable[[float], float] | None = None,
) -> list[Person]:
    """Lift one person as the frames come in, write `stream.jsonl` line by line, say the latency; returns the person.

    people: each frame's (N, J, 3), as a detector or a file gives them. The person begins at the first sight: a line's
    `frame` counts from there at the network's rate, its `seconds` from the video's first frame. height
    says how tall somebody is who was lifted at some height, metres; the lines' poses are as large as that, by the poses
    until then, the returned person is as it was lifted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pulled, before, seen = [0], [0], []  # frames read; those before anybody is there; keypoints at the video's rate
    started = time.perf_counter()

    def counted() -> Iterator[np.ndarray]:
        followed = clean_stream(follow(_counting(people, pulled)), layout, model.skeleton, threshold)
        for frame in followed:
            if not seen:
                before[0] = pulled[0] - 1
            seen.append(frame)
            yield frame

    cleaned = []  # the same at the model's rate

    def screens() -> Iterator[np.ndarray]:
        for frame in at_rate(counted(), fps, model.fps):
            cleaned.append(frame)
            yield pixels_to_screen(torch.from_numpy(frame[:, :2]).float(), camera.width, camera.height).numpy()

    poses, costs = [], []
    statures, known = deque([], MEMORY), np.ones((1, len(model.skeleton)), bool)
    head = {"model": trained_on(model.card), "fps": model.fps, "joints": model.skeleton.joints, "units": "m"}
    head |= {"frame": "camera, root-relative", "delay_frames": delay}
    step = max(1, round(model.fps / fps))  # once for each of the video's frames, also where the network's are more
    for number, pose, seconds in lift_stream(model, screens(), camera, sampling, place, delay, step=step):
        if not poses:  # what an earlier run left stays until there is something better
            save_text(folder / FILE, json.dumps(head) + "\n")
        poses.append(pose)
        costs.append(seconds)
        if height and (lifted := stature(pose[None, None], model.skeleton, known)):
            statures.append(lifted)
            middle = float(np.median(statures))
            pose = pose * (height(middle) / middle)
        line = {
            "frame": number,
            "seconds": round(before[0] / fps + number / model.fps, 4),
            "lift_ms": round(1000 * seconds, 1),
            "positions": np.round(pose.astype(float), 4).tolist(),
        }
        append_line(folder / FILE, json.dumps(line))
        if len(poses) % round(model.fps) == 0:
            say(f"frame {number}: lifted in {1000 * np.median(costs[-round(model.fps) :]):.0f} ms")
    if not poses:
        raise UserError("nobody found")
    busy = time.perf_counter() - started
    waited = (delay + step - 1) / model.fps
    middle, worst = 1000 * np.median(costs), 1000 * np.percentile(costs, 95)
    say(
        f"latency: {1000 * waited:.0f} ms of frames to come + {middle:.0f} ms of lifting (95 % within {worst:.0f} ms); "
        f"{len(seen) / busy:.1f} of the video's frames a second in all, {fps:g} come in"
    )
    pose, at = np.stack(poses).astype(np.float32), np.stack(cleaned[: len(poses)]).astype(np.float32)
    screen = pixels_to_screen(torch.from_numpy(at[..., :2]), camera.width, camera.height).numpy()
    roots = place_roots(pose, screen, at[..., 2], camera.intrinsics, model.fps, smoothing=smoothing)
    times, seen = np.arange(len(seen)) * (model.fps / fps), np.stack(seen)
    return [
        {
            "id": FOLLOWED,
            "first": before[0],
            "positions": at_times(pose + roots, times),
            "keypoints_2d": seen[..., :2].astype(np.float32),
            "mask": seen[..., 2] > 0,
        }
    ]


def _counting(frames: Iterable[np.ndarray], count: list[int]) -> Iterator[np.ndarray]:
    for frame in frames:
        count[0] += 1
        yield frame
