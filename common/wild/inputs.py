"""What main_wild.py is given: a video or pictures, or a keypoint file with or without its video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from common.datasets.checks import check_pixels
from common.engine.log import say
from common.errors import UserError
from common.files.video import (
    VideoInfo,
    frame_times,
    frames_on_screen,
    is_pictures,
    is_steady,
    pictures_in,
    read_frames,
    video_info,
)
from common.geometry.skeleton import Skeleton
from common.settings.wild import InputSettings
from common.wild.detect import Detector, detect_people, load_detector
from common.wild.keypoints import Detections, keypoints_of_array, read_keypoints

KEYPOINT_ENDINGS = (".json", ".npz", ".npy")


@dataclass(frozen=True)
class Source:
    """People in 2D, with the image size (width, height), the rate, and the video to show under them, if any."""

    detections: Detections
    size: tuple[int, int]
    fps: float
    video: Path | None


def read_source(asked: InputSettings) -> Source:
    """Read the keypoint file, or find people in the video or pictures. Raises UserError for what cannot be read."""
    path = Path(asked.input)
    if _holds_keypoints(path):
        return _keypoint_file(path, asked)
    about, fps, detector, layout, images = _open_video(path, asked)
    detections = detect_people(images, detector, layout, fps)
    return Source(detections, detections.size or (about.width, about.height), fps, path)


def _holds_keypoints(path: Path) -> bool:
    """By the name; a folder holds them unless there are pictures in it and no .json files."""
    if path.is_dir():
        return next(path.glob("*.json"), None) is not None or not pictures_in(path)
    return path.suffix.lower() in KEYPOINT_ENDINGS


@dataclass(frozen=True)
class Coming:
    """People frame by frame (N, J, 3) as they come, for --stream; the rest as in `Source`."""

    people: Iterator[np.ndarray]
    layout: Skeleton
    size: tuple[int, int]
    fps: float
    video: Path | None


def open_stream(asked: InputSettings) -> Coming:
    """A keypoint file's frames, or a video's as the detector gets to them."""
    path = Path(asked.input)
    if _holds_keypoints(path):
        source = read_source(asked)
        return Coming(iter(source.detections.frames), source.detections.layout, source.size, source.fps, source.video)
    about, fps, detector, layout, images = _open_video(path, asked)
    people = (np.asarray(detector(image), np.float32).reshape(-1, len(layout), 3) for image in images)
    return Coming(people, layout, (about.width, about.height), fps, path)


def _open_video(path: Path, asked: InputSettings) -> tuple[VideoInfo, float, Detector, Skeleton, Iterator[np.ndarray]]:
    """What the file says of itself, the rate to read it at, a detector with its layout, and the images."""
    if not path.exists():
        raise UserError(f"{path}: no such file")
    about = video_info(path)
    fps = asked.fps or about.fps
    if path.is_dir() and not asked.fps:
        say(f"note: pictures tell no rate: they count as {fps:g} a second; --fps says it")
    detector, layout = load_detector(
        asked.detector, asked.detector_weights or None, asked.detector_speed, asked.device, asked.offline
    )
    images = read_frames(path, limit=asked.limit, fps=fps)  # a steady rate, also where the video's varies
    return about, fps, detector, layout, images


def _keypoint_file(path: Path, asked: InputSettings) -> Source:
    return _source_of(read_keypoints(path, asked.layout or None, asked.clip or None), path, asked)


def source_of_array(array: np.ndarray, asked: InputSettings) -> Source:
    """People of an array as `read_keypoints` reads it from a file; `asked.input` is what messages call it."""
    return _source_of(keypoints_of_array(array, asked.input, asked.layout or None), Path(asked.input), asked)


def _source_of(found: Detections, path: Path, asked: InputSettings) -> Source:
    if asked.limit:
        found = replace(found, frames=found.frames[: asked.limit], ids=found.ids[: asked.limit])
    video = Path(asked.video) if asked.video else None
    about = video_info(video) if video else None
    if video and not asked.fps:
        found = at_steady_times(found, video, about.fps)
    size = _size(found, about, asked)
    if in_shares(found):
        say(f"note: {path.name} counts from 0 to 1: taken as shares of {size[0]} x {size[1]} pixels")
        frames = [frame * np.array([*size, 1], np.float32) for frame in found.frames]
        found = replace(found, frames=frames)
    points = np.concatenate([frame[frame[..., 2] > 0, :2] for frame in found.frames])
    if len(points):
        check_pixels(str(path), points, size)
    return Source(found, size, _fps(found, about, asked), video)


def at_steady_times(found: Detections, video: Path, fps: float) -> Detections:
    """Keypoints of each of a video's own frames, at its mean rate where that varies: the times stay right."""
    if is_pictures(video) or is_steady(video):
        return found
    numbers = frames_on_screen(video, fps)
    if len(found.frames) < max(numbers) + 1:
        own = len(frame_times(video))
        say(f"note: {video.name} varies in its rate and has {own} frames, but the keypoints {len(found.frames)}: "
            f"taken as {fps:g} a second, so that times may be off")  # fmt: skip
        return found
    say(f"note: {video.name} varies in its rate: the keypoints are brought to {fps:g} a second by the frames' times")
    return replace(found, frames=[found.frames[n] for n in numbers], ids=[found.ids[n] for n in numbers])


def in_shares(found: Detections) -> bool:
    """Whether the joints are told as shares of the image's sides, as MediaPipe does: nearly all of them lie in 0..1."""
    points = np.concatenate([frame[frame[..., 2] > 0, :2] for frame in found.frames] or [np.zeros((0, 2))])
    return len(points) > 0 and bool(np.quantile(np.abs(points), 0.9) <= 1.5)


def _size(found: Detections, about: VideoInfo | None, asked: InputSettings) -> tuple[int, int]:
    if asked.size:
        return asked.size
    if about:
        return about.width, about.height
    if not found.size:
        raise UserError(f"{asked.input}: the image size is not in the file; say --size WIDTHxHEIGHT or --video FILE")
    return found.size


def _fps(found: Detections, about: VideoInfo | None, asked: InputSettings) -> float:
    fps = asked.fps or (about.fps if about else found.fps)
    if not fps:
        raise UserError(f"{asked.input}: the frame rate is not in the file; say --fps NUMBER or --video FILE")
    return float(fps)


def first_images(source: Source, first: int, count: int) -> list[np.ndarray]:
    """Up to `count` frames of the source's video from frame `first` on; none without a video."""
    if source.video is None:
        return []
    return list(islice(read_frames(source.video, skip=first, limit=count, fps=source.fps), count))
