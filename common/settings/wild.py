"""The settings of main_wild.py: what comes in, how it is lifted, what goes out."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.errors import UserError
from common.settings.flags import build, flag, flags_of, names, parse, switch, words
from common.settings.lifting import FLAGS as LIFTING
from common.settings.lifting import EvaluationSettings
from common.settings.ranges import FPS, PIXELS, SEED, UNIT, WHOLE, real

FOLDER, DEFAULT = "checkpoint/open", "open_mixste_27f.bin"
LENS = 0.85  # focal length over the image's longer side where none is given: a phone's main camera when it films
LARGEST_SIDE = 1 << 16  # pixels
THRESHOLD = 0.3  # confidence below which a joint counts as missing
HEIGHT = real(0.4, 3.0)  # metres
KINDS = ("poses", "bvh", "glb", "trc", "viewer", "video")  # of output
DETECTORS = ("blazepose", "rtmlib")
SPEEDS = ("lightweight", "balanced", "performance")  # of rtmlib's networks
AGGREGATES = (
    "S_Agg",
    "P_Agg",
    "R_Agg",
    "J_Agg_fit",
)  # those of common.scoring.hypotheses that read nothing of the truth


def image_size(text: str) -> tuple[int, int]:
    """'1920x1080', or '1920,1080', as (width, height)."""
    try:
        width, height = (int(part) for part in text.lower().replace(",", "x").split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 1920x1080, not {text}") from None
    if min(width, height) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be above 0")
    if max(width, height) > LARGEST_SIDE:
        raise argparse.ArgumentTypeError(f"{text}: pictures of up to {LARGEST_SIDE} pixels a side are known")
    return width, height


def heights(text: str) -> dict[int | None, float]:
    """'1.8', everybody's height in metres (None: 1.8), or '0=1.82,3=1.2', by the people's numbers."""
    out: dict[int | None, float] = {}
    for part in str(text).split(","):
        number, given, height = part.rpartition("=")
        who = int(number) if given and number.strip().isdecimal() else None
        if (who is None) == bool(given) or who in out or None in out or (who is None and out):
            raise argparse.ArgumentTypeError(f"expected metres, 1.8, or people's, 0=1.82,3=1.2, not {text}")
        try:
            out[who] = HEIGHT(height)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(f"metres: {error}") from None
    return out


def output_kinds(text: str) -> tuple[str, ...]:
    kinds = names(text)
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]}: there are {', '.join(KINDS)}")
    return kinds


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """Input."""

    input: str = flag(
        "input",
        help="a video, a picture, a folder of pictures; or 2D keypoints: AlphaPose, OpenPose, COCO, MMPose and others",
    )
    video: str = flag("--video", help="video to show under a keypoint file", default="")
    layout: str = flag(
        "--layout", help="joints of a keypoint file that does not tell: coco, h36m, halpe, body_25", default=""
    )
    clip: str = flag("--clip", help="which video of an archive that holds several", default="")
    size: tuple[int, int] | None = flag(
        "--size", help="image size of the keypoints, where the file does not tell: 1920x1080", type=image_size
    )
    fps: float | None = flag("--fps", help="frames a second, where the file does not tell", type=FPS)
    limit: int | None = flag("--limit", help="read at most so many frames", type=WHOLE)
    people: int | None = flag("--people", help="lift at most so many people, those seen longest first", type=WHOLE)
    threshold: float = flag(
        "--threshold", help="confidence below which a joint counts as missing", default=THRESHOLD, type=real(-1e3, 1e3)
    )
    detector: str = flag(
        "--detector", help="what finds people in a video or pictures", default=DETECTORS[0], choices=DETECTORS
    )
    detector_weights: str = flag(
        "--detector-weights",
        help="folder with the detector's two networks, .tflite or rtmlib's .onnx (default: the cache, or a download)",
        default="",
    )
    detector_speed: str = flag("--detector-speed", help="rtmlib's networks", default="balanced", choices=SPEEDS)
    offline: bool = switch("--offline", help="fetch nothing from the network (the detector's networks)")
    gpu: str = flag("-gpu", "--gpu", help="number of the GPU; -1 is the CPU; mps", default="-1")

    @property
    def device(self) -> str:
        """Where the detector computes: cpu or cuda."""
        return "cpu" if self.gpu.startswith("-") else "cuda"


@dataclass(frozen=True, kw_only=True)
class LiftingSettings:
    """Lifting."""

    checkpoint: list[str] | None = flag(
        "-c", "--checkpoint", help=f"checkpoint folder; several: compared (default: {FOLDER})", repeat=True
    )
    evaluate: list[str] | None = flag(
        "--evaluate", help=f"file of that folder; once for each -c (default: {DEFAULT})", repeat=True
    )
    aggregate: str = flag(
        "--aggregate",
        help="how hypotheses become one pose",
        default=AGGREGATES[0],
        choices=AGGREGATES,
    )
    focal: float | None = flag(
        "--focal", help=f"focal length in pixels (default: {LENS} times the image's longer side)", type=PIXELS
    )
    height: dict[int | None, float] | None = flag(
        "--height",
        help="how tall people are, metres: 1.8, or by their numbers 0=1.82,3=1.2 (default: a guess)",
        type=heights,
    )
    root_smoothing: float = flag(
        "--root-smoothing",
        help="seconds over which the distance is smoothed; 0 is none",
        default=0.5,
        type=PIXELS,
    )
    stream: bool = switch("--stream", help="lift as the frames come, one person, with bounded delay; says the latency")
    delay: int = flag("--delay", help="frames that --stream waits for before it answers", default=8, type=WHOLE)
    unit: float | None = flag(
        "--unit",
        help="metres of one network unit, for a Diff3DHPE file that does not say it",
        type=UNIT,
    )
    seed: int = flag("--seed", help="seed of the noise", default=1, type=SEED)


@dataclass(frozen=True, kw_only=True)
class BodySettings:
    """Bodies: what is made of the lifted poses, each step with a flag that leaves it out."""

    no_smoothing: bool = switch("--no-smoothing", help="leave the lifter's jitter in the poses")
    no_skeleton: bool = switch("--no-skeleton", help="let bones change their length from frame to frame")
    no_floor: bool = switch("--no-floor", help="look for no vertical and no floor: the camera counts as level")
    no_feet: bool = switch("--no-feet", help="let standing feet slide")
    camera_pitch: float | None = flag(
        "--camera-pitch",
        help="degrees that the camera looks down (up: below 0), where it is known; 0 is level",
        type=real(-80, 80),
    )
    keep_all: bool = switch("--keep-all", help="lift people, too, of whom most was never seen")


@dataclass(frozen=True, kw_only=True)
class OutputSettings:
    """Output."""

    output: str = flag("-o", "--output", help="folder to write (default: the input's name with _3d)", default="")
    outputs: tuple[str, ...] = flag(
        "--outputs", help="what to write, separated by commas", default=KINDS, type=output_kinds
    )
    check: bool = switch("--check", help="write check.png, the first frames with named joints, and stop")
    embed_video: bool = switch(
        "--embed-video", help="put the video into viewer.html, so that the page can be moved alone"
    )
    bvh_unit: str = flag("--bvh-unit", help="unit of the BVH files", default="m", choices=("m", "cm"))


PRESET: dict[str, Any] = {"hypotheses": 10, "sampling_timesteps": 2, "test_time_augmentation": "own"}


@dataclass(frozen=True, kw_only=True)
class WildSettings:
    """All of it. `sampling` is the lifting programs' evaluation part."""

    input: InputSettings
    lifting: LiftingSettings = LiftingSettings()
    body: BodySettings = BodySettings()
    output: OutputSettings = OutputSettings()
    sampling: EvaluationSettings = EvaluationSettings(**PRESET)


STREAM = {"hypotheses": 1, "sampling_timesteps": 1, "test_time_augmentation": False}  # with --stream, unless typed
_TAKEN = ("hypotheses", "sampling_timesteps", "sampler", "test_time_augmentation")  # of the common table
FLAGS = (
    *flags_of(InputSettings, LiftingSettings),
    *(row for row in LIFTING if row.destination in _TAKEN),
    *flags_of(BodySettings, OutputSettings),
)


def read_settings(argv: Sequence[str], description: str | None = None) -> tuple[WildSettings, tuple[str, ...]]:
    """The settings of a command line, and what to say about flags that do nothing. Raises UserError."""
    parsed = parse(argv, description, FLAGS, PRESET)
    values = parsed.values
    if values["stream"]:
        values = values | {name: value for name, value in STREAM.items() if name not in parsed.given}
    parts = {
        "input": InputSettings,
        "lifting": LiftingSettings,
        "body": BodySettings,
        "output": OutputSettings,
        "sampling": EvaluationSettings,
    }
    settings = WildSettings(**{part: build(cls, values) for part, cls in parts.items()})
    for name in ("hypotheses", "sampling_timesteps", "limit", "people", "fps", "focal"):
        value = values[name]
        if value is not None and value <= 0:
            raise UserError(f"--{name.replace('_', '-')} {value}: must be above 0")
    if settings.body.no_floor and settings.body.camera_pitch is not None:
        raise UserError("--camera-pitch says the vertical, which --no-floor leaves out; give one of them")
    if settings.lifting.root_smoothing < 0:
        raise UserError(f"--root-smoothing {settings.lifting.root_smoothing}: must be 0 or more")
    return settings, parsed.notices


# What a call from Python may say (common/lift.py); the rest belongs to opening the lifter and to the program.
CALL = frozenset(row.destination for row in flags_of(InputSettings, LiftingSettings, BodySettings)) | set(_TAKEN)
CALL -= {"input", "checkpoint", "evaluate", "unit", "stream", "delay"}
SAVE = frozenset({"outputs", "embed_video", "bvh_unit"})


def settings_of(source: str, allowed: Collection[str], options: Mapping[str, object]) -> WildSettings:
    """The settings that a call from Python asks for, by field: read as if typed, so with one set of ranges and lines.

    None leaves an option out. Raises UserError.
    """
    if unknown := [name for name in options if name not in allowed]:
        raise UserError(f"{unknown[0]}: no such option; there are {', '.join(sorted(allowed - {'gpu'}))}")
    return read_settings([source, *words(FLAGS, options)])[0]
