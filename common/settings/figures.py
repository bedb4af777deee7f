"""The settings of the figure and animation programs, beside those of lifting."""

from __future__ import annotations

from dataclasses import dataclass

from common.errors import UserError
from common.settings.flags import flag, flags_of, names, numbers, replaced, switch, yes_no
from common.settings.lifting import FLAGS as LIFTING
from common.settings.ranges import FINITE, FPS, INCHES, NATURAL, WHOLE, real


@dataclass(frozen=True, kw_only=True)
class FigureSettings:
    """Pictures."""

    checkpoint: list[str] | None = flag(
        "-c", "--checkpoint", help="folder of a checkpoint; once for each row of a grid", repeat=True
    )
    evaluate: list[str] | None = flag(
        "--evaluate", help="file of that folder; once for each -c, or once for all", repeat=True
    )
    subjects_visualization: tuple[str, ...] = flag(
        "-sviz",
        "--subjects-visualization",
        help="subjects, separated by commas (default: the first of -ste)",
        default=(),
        type=names,
    )
    cameras: tuple[int, ...] = flag(
        "-cam", "--cameras", help="numbers of the cameras, separated by commas", default=(0,), type=numbers
    )
    batch_size: int | None = flag(
        "-b", "--batch-size", help="windows to draw (default: a figure one, an animation all)", type=NATURAL
    )
    viz_frame: int | None = flag(
        "--viz-frame", help="frame to draw; with several actions, one grid of them", type=WHOLE
    )
    width_mm: float = flag("--width-mm", help="width of a grid, mm", default=180.0, type=real(1.0, 5000.0))
    viz_output: str = flag(
        "--viz-output",
        help="file to write; a bare name, or viz, goes into FOLDER/81f/SUBJECT/ACTION/CAMERA",
        default="",
    )
    viz_fps: float | None = flag("--viz-fps", help="frames a second of the animation (default: as recorded)", type=FPS)
    viz_size: float = flag("--viz-size", help="height of an animation's panel, inches", default=5.0, type=INCHES)
    viz_bitrate: int | None = flag("--viz-bitrate", help="accepted; the quality is fixed", type=NATURAL)
    viz_video: str = flag("--viz-video", help="input video to show beside it", default="")
    viz_skip: int = flag("--viz-skip", help="frames to leave out at the start", default=0, type=WHOLE)
    viz_limit: int = flag("--viz-limit", help="frames to draw at most; -1 is all", default=-1, type=WHOLE)
    viz_downsample: int = flag("--viz-downsample", help="draw every n-th frame", default=1, type=WHOLE)
    viz_no_ground_truth: bool = switch("--viz-no-ground-truth", help="leave the true pose out")
    extra_noise_std: float = flag(
        "--extra_noise_std", help="Gaussian noise on the 2D input, screen units", default=0.0, type=FINITE
    )
    joint_drop: float = flag("--joint_drop", help="share of the 2D keypoints set to zero", default=0.0, type=FINITE)
    data_augmentation: bool | None = flag("--data-augmentation", help="accepted; nothing is trained here", type=yes_no)


OWN = flags_of(FigureSettings)
FLAGS = replaced(LIFTING, OWN)


def check(figures: FigureSettings, endings: tuple[str, ...]) -> None:
    """Refuse values out of range; endings: of the files that the program writes."""
    if not figures.checkpoint or not figures.evaluate:
        raise UserError("say which model to draw: -c FOLDER --evaluate FILE")
    if figures.batch_size is not None and figures.batch_size < 1:
        raise UserError(f"-b {figures.batch_size}: must be 1 or more windows")
    for name in ("viz_size", "width_mm", "viz_fps"):
        value = getattr(figures, name)
        if value is not None and value <= 0:
            raise UserError(f"--{name.replace('_', '-')} {value}: must be above 0")
    if figures.extra_noise_std < 0 or not 0 <= figures.joint_drop <= 1:
        raise UserError("--extra_noise_std must be 0 or more, --joint_drop between 0 and 1")
    if figures.viz_output and not figures.viz_output.lower().endswith(endings):
        raise UserError(f"--viz-output {figures.viz_output}: the name must end in {' or '.join(endings)}")
