"""Videos in and out, without ffmpeg on the PATH: frames are plain uint8 RGB arrays (height, width, 3).

PyAV reads, and writes MP4 and WebM; Pillow writes GIF. A picture is a video of one frame, a folder of pictures one of
many. The codec is VP9 (libvpx, BSD licence), which browsers and VLC
play: H.264 would need x264, whose licence is the GPL. A file appears under its name only when it is complete.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from common.errors import UserError
from common.files.limits import Budget, is_folder, reading, require
from common.files.writing import whole_file

LARGEST_SIDE = 16384  # pixels of a video that is read
LONGEST_STILL = 600.0  # seconds that one picture may stand
ENDINGS = (".mp4", ".webm", ".gif")
Shown = TypeVar("Shown")
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")  # names of pictures in a folder
PICTURES_FPS = 25.0  # what pictures count as, where nobody says it
CODEC = "libvpx-vp9"
# Constant quality at the speed of a live encoder; "screen" is the encoder's name for drawn pictures.
QUALITY = {"crf": "20", "b": "0", "deadline": "realtime", "cpu-used": "8", "row-mt": "1", "tune-content": "screen"}


@dataclass(frozen=True)
class VideoInfo:
    """What a video says of itself: upright size in pixels, frames per second."""

    width: int
    height: int
    fps: float


def video_info(path: Path | str) -> VideoInfo:
    """Size and rate of a video. Raises UserError where the file is missing or is no video."""
    frames = _decode(path)
    _, first, fps = next(frames)
    frames.close()
    return VideoInfo(first.shape[1], first.shape[0], fps)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of the numbers in their names: 2.jpg before 10.jpg."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES and not path.name.startswith(".")]
    return sorted(found, key=lambda path: [int(n) if n.isdigit() else n for n in re.split(r"(\d+)", path.name)])


def is_pictures(path: Path | str) -> bool:
    """Whether this is a picture, or a folder of them: something without a rate of its own."""
    path = Path(path)
    return path.is_dir() or path.suffix.lower() in PICTURES


def read_frames(
    path: Path | str, *, skip: int = 0, limit: int | None = None, downsample: int = 1, fps: float | None = None
) -> Iterator[np.ndarray]:
    """Yield the frames of a video, of a picture or of a folder of pictures, upright, uint8 RGB (height, width, 3).

    fps: first bring the video to this rate, by repeating or dropping frames; None keeps its own frames, and pictures
    are always kept.
    Then leave out the first `skip` frames, take every `downsample`-th of the rest, and at most `limit` of those.
    Raises UserError where the file is missing or cannot be read as a video.
    """
    if skip < 0 or downsample < 1 or (limit is not None and limit < 0):
        raise UserError(f"cannot read video frames with skip {skip}, limit {limit}, downsample {downsample}")
    if limit == 0:
        return
    taken = 0
    with contextlib.closing(_decode(path)) as decoded:
        own = fps is None or is_pictures(path)
        frames = (frame for _, frame, _ in decoded) if own else _at_rate(decoded, fps, steady=is_steady(path))
        for number, frame in enumerate(frames):
            if number < skip or (number - skip) % downsample:
                continue
            yield frame
            taken += 1
            if taken == limit:
                return


def frame_times(path: Path | str) -> np.ndarray:
    """Seconds (N,) at which a video's frames are shown, read without decoding them; empty where they are not told."""
    import av

    with _watched(Path(path)), av.open(str(path), metadata_errors="replace") as container:
        if not container.streams.video:
            return np.zeros(0)
        stream = container.streams.video[0]
        ticks = [packet.pts for packet in container.demux(stream) if packet.size]
        return np.zeros(0) if None in ticks else np.sort(np.array(ticks, float)) * float(stream.time_base)


def is_steady(path: Path | str) -> bool:
    """Whether the frames of a video are evenly apart, to within three quarters of a frame over its whole length."""
    times = frame_times(path)
    if len(times) < 3:
        return True
    even = np.linspace(times[0], times[-1], len(times))
    return bool(np.abs(times - even).max() < 0.75 * (times[-1] - times[0]) / (len(times) - 1))


def frames_on_screen(path: Path | str, fps: float) -> list[int]:
    """For each moment k / fps the number of the frame on screen then: those that `read_frames` gives at that rate."""
    times = frame_times(path)
    rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else fps
    return list(_at_rate(((time, number, rate) for number, time in enumerate(times.tolist())), fps, is_steady(path)))


def _at_rate(decoded: Iterator[tuple[float, Shown, float]], fps: float, steady: bool = True) -> Iterator[Shown]:
    """Show at each moment k / fps the frame on screen then; of a steady rate within 1 % of it every frame is shown."""
    start, frame, source = next(decoded)
    if steady and abs(source - fps) < 0.01 * fps:
        yield frame
        yield from (frame for _, frame, _ in decoded)
        return
    slack, count, end = 0.25 / source, 0, 1 / source  # time stamps are rounded, in some containers to 1 ms
    for time, following, _ in decoded:
        if not time - start - end <= LONGEST_STILL:
            raise UserError(f"a video's time stamps jump from {end:.3g} to {time - start:.3g} s; encode it again")
        while count / fps < time - start - slack:
            yield frame
            count += 1
        frame, end = following, time - start + 1 / source
    while count / fps < end - slack:
        yield frame
        count += 1


def _decode(path: Path | str) -> Iterator[tuple[float, np.ndarray, float]]:
    """Yield (seconds, frame, the video's rate) for each frame. UserError where there is none."""
    path = Path(path)
    if not is_folder(path):
        require(path)
    if not importlib.util.find_spec("av"):
        raise UserError("reading a video needs PyAV: pip install av")
    frames = _decode_pyav(path) if path.is_file() else _decode_folder(path)
    first = next(frames, None)
    if first is None:
        raise UserError(f"{path} holds no picture")
    yield from chain([first], frames)


def _decode_folder(folder: Path) -> Iterator[tuple[float, np.ndarray, float]]:
    """The pictures of a folder, all of one size, one frame each."""
    size = None
    for number, path in enumerate(pictures_in(folder)):
        _, image, _ = next(_decode_pyav(path), (0, None, 0))
        if image is None:
            raise UserError(f"{path} holds no picture")
        size = size or image.shape
        if image.shape != size:
            raise UserError(f"{path}: {image.shape[1]} x {image.shape[0]} pixels, but the pictures before it have "
                            f"{size[1]} x {size[0]}")  # fmt: skip
        yield number / PICTURES_FPS, image, PICTURES_FPS


def _decode_pyav(path: Path) -> Iterator[tuple[float, np.ndarray, float]]:
    """The frames of the first video stream. Each picture must fit the budget of the file."""
    import av

    with _watched(path):
        container = av.open(str(path), metadata_errors="replace")
    with container:
        with _watched(path):
            if not container.streams.video or container.format.name == "tty":  # FFmpeg draws texts as pictures
                raise UserError(f"{path} holds no video")
            stream = container.streams.video[0]
            _check_size(path, stream.codec_context.width, stream.codec_context.height)
            stream.thread_type = "SLICE"  # threads by frame hold many pictures: 200 MB more on 230 of 1768 x 994
            fps = float(stream.average_rate or stream.guessed_rate or 25)
            if not 0 < fps < 1e5:
                raise UserError(f"{path}: {fps:g} frames a second")
            frames = enumerate(container.decode(stream))
        while True:
            with _watched(path):
                number, frame = next(frames, (0, None))
                if frame is None:
                    return
                _check_size(path, frame.width, frame.height)
                time = number / fps if frame.time is None else float(frame.time)
                image = frame.to_ndarray(format="rgb24")
                turns = round(getattr(frame, "rotation", 0) / 90) % 4  # a phone held upright stores a turned picture
            yield time, np.ascontiguousarray(np.rot90(image, turns)) if turns else image, fps


def _watched(path: Path) -> contextlib.AbstractContextManager:
    return reading(path, "video", "jpeg", "png", "")


def _check_size(path: Path, width: int, height: int) -> None:
    if width > LARGEST_SIDE or height > LARGEST_SIDE:
        raise UserError(f"{path}: pictures of {width} x {height} pixels; {LARGEST_SIDE} a side are read")
    Budget(path, path.stat().st_size).take(3 * width * height, "a picture")


def check_ending(path: Path | str) -> Path:
    """The path, if a video of its ending can be written; UserError otherwise. Call it before long work."""
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"cannot write {path}: a video's name ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    if path.suffix.lower() != ".gif":
        if not importlib.util.find_spec("av"):
            raise UserError(f"cannot write {path} without PyAV (pip install av); a name in .gif needs no more")
        import av

        if CODEC not in av.codecs_available:
            raise UserError(f"cannot write {path}: this PyAV is built without {CODEC} (VP9); .gif needs no codec")
    return path


def write_video(path: Path | str, frames: Iterable[np.ndarray], fps: float, total: int | None = None) -> Path:
    """Write uint8 RGB frames (height, width, 3) of one size as MP4, WebM or GIF, by the file's ending.

    Returns the path. Shows a progress bar with the time left; total: number of frames, where known. Players want even
    sizes: in a video an odd picture gets its last row or column twice. GIF counts time in 10 ms, so delays are rounded
    without drift, and at most 50 frames a second are played as meant. Raises UserError for an unknown ending or no
    frames.
    """
    path = check_ending(path)
    if fps <= 0:
        raise UserError(f"cannot write {path} at {fps} frames a second")
    ending = path.suffix.lower().removeprefix(".")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise UserError(f"no frames to write to {path}")
    with whole_file(path) as temporary:
        bar = tqdm(chain([first], frames), total=total, desc=path.name, unit="frame", dynamic_ncols=True)
        if ending == "gif":
            _write_gif(temporary, bar, fps)
        else:
            _write_vp9(temporary, bar, fps, ending)
    return path


def _write_vp9(path: Path, frames: Iterable[np.ndarray], fps: float, container_format: str) -> None:
    import av

    stream = None
    options = {"movflags": "faststart"} if container_format == "mp4" else {}
    with av.open(str(path), "w", format=container_format, options=options) as container:
        for frame in frames:
            odd = (frame.shape[0] % 2, frame.shape[1] % 2)
            if any(odd):
                frame = np.pad(frame, ((0, odd[0]), (0, odd[1]), (0, 0)), mode="edge")
            if stream is None:
                stream = container.add_stream(CODEC, rate=Fraction(fps).limit_denominator(1001), options=QUALITY)
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"  # what every browser and player shows
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def _write_gif(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    from PIL import Image

    def images() -> Iterator[Image.Image]:
        for number, frame in enumerate(frames):
            image = Image.fromarray(frame).quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
            colours = np.array(image.getpalette())
            colours[colours > 249] = 255  # the paper is to stay white
            image.putpalette(colours.tolist())
            image.info["duration"] = 10 * (round((number + 1) * 100 / fps) - round(number * 100 / fps))
            yield image

    sequence = images()
    next(sequence).save(path, format="GIF", save_all=True, append_images=sequence, loop=0, disposal=1)
