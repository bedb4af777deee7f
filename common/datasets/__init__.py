"""Data in: every loader returns the same clips; `windows` cuts them. `DATASETS` names the loaders."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from common.datasets import custom, h36m, humaneva, threedhp
from common.datasets.about import tell_about
from common.datasets.checks import select_actions, tell_missed
from common.datasets.clips import Clip
from common.errors import UserError
from common.geometry.skeleton import Skeleton


@dataclass(frozen=True)
class DataSet:
    """A row of the table. load(options, role) returns the 'train' or 'test' clips that the subject flags name."""

    load: Callable[[Namespace, str], list[Clip]]
    skeleton: Skeleton
    name: str  # as it stands in names of result files
    labels: Callable[[Namespace], str | None] = lambda options: None  # the label set, where there are several
    has_actions: bool = True  # the clips' actions are words that a text model may be told

    def action_names(self, clips: list[Clip]) -> list[str]:
        return sorted({clip.action_name for clip in clips}) if self.has_actions else []


def _subjects(options: Namespace, role: str) -> str:
    return options.subjects_train if role == "train" else options.subjects_test


def _h36m(options: Namespace, role: str) -> list[Clip]:
    return h36m.load_h36m(Path(options.data_root), options.keypoints, _subjects(options, role))


def _threedhp(options: Namespace, role: str) -> list[Clip]:
    published = options.protocol == "published"
    root, labels = Path(options.data_root), _threedhp_labels(options)
    return threedhp.load_threedhp(root, role, labels, _subjects(options, role), published)[0]


def _threedhp_labels(options: Namespace) -> str:
    """The label set asked for, else the test file's; both splits must be of one set."""
    return threedhp.find_archive(Path(options.data_root), "test", options.labels)[1]


def _humaneva(options: Namespace, role: str) -> list[Clip]:
    if options.h36m_pretrain:
        subjects = {"train": "S1,S5,S6,S7,S8", "test": "S9,S11"}[role]
        subjects = options.typed.get(f"subjects_{role}", subjects)
        return humaneva.h36m_as_humaneva(h36m.load_h36m(Path(options.data_root), options.keypoints, subjects))
    return humaneva.load_humaneva(Path(options.data_root), options.keypoints, _subjects(options, role))


def _custom(options: Namespace, role: str) -> list[Clip]:
    if f"subjects_{role}" not in options.given:
        raise UserError("-d custom needs -str and -ste, the subjects to train on and to test on")
    return custom.load_custom(Path(options.data_root), options.keypoints, _subjects(options, role))[0]


@cache
def _custom_skeleton(root: str, name: str) -> Skeleton:
    return custom.load_custom(Path(root), name)[1]


DATASETS: dict[str, DataSet] = {
    "h36m": DataSet(_h36m, h36m.SKELETON, "h36m"),
    "3dhp": DataSet(_threedhp, threedhp.SKELETON, "3dhp", _threedhp_labels, has_actions=False),
    "humaneva15": DataSet(_humaneva, humaneva.SKELETON, "humaneva"),
    "custom": DataSet(_custom, h36m.SKELETON, "custom"),  # the file says its skeleton
}


def dataset(options: Namespace) -> DataSet:
    if options.dataset not in DATASETS:
        raise UserError(f"-d {options.dataset}: unknown data set; there are {', '.join(DATASETS)}")
    row = DATASETS[options.dataset]
    if options.dataset == "custom":
        return replace(row, skeleton=_custom_skeleton(options.data_root, options.keypoints))
    return row


def _file_3d(options: Namespace) -> Path | None:
    """The file that may say what data it holds."""
    root = Path(options.data_root)
    if options.dataset == "custom":
        return custom.find_3d(root, options.keypoints)
    return root / "data_3d_h36m.npz" if options.dataset == "h36m" else None


def load_clips(options: Namespace, role: str, notice: Callable[[str], None]) -> list[Clip]:
    """The training or test clips that the flags ask for: subjects, actions, every n-th frame, a share of the clips."""
    clips = dataset(options).load(options, role)
    if path := _file_3d(options):
        tell_about(path, list(dict.fromkeys(clip.subject for clip in clips)), notice)
    clips = select_actions(clips, options.actions, notice, options.protocol == "published")
    tell_missed(clips, notice)
    if options.downsample < 1:
        raise UserError(f"--downsample {options.downsample}: expected 1 or more")
    if options.downsample > 1:
        clips = [_every(clip, options.downsample) for clip in clips]
    if not 0 < options.subset <= 1:
        raise UserError(f"--subset {options.subset}: expected a share above 0 and up to 1")
    if role == "train" and options.subset < 1:
        count = max(1, round(options.subset * len(clips)))
        clips = [clips[i * len(clips) // count] for i in range(count)]
    return clips


def _every(clip: Clip, n: int) -> Clip:
    return replace(
        clip,
        fps=clip.fps / n,
        keypoints_2d=clip.keypoints_2d[::n],
        positions_3d=clip.positions_3d[::n],
        valid=clip.valid[::n],
    )


def _take(clip: Clip) -> tuple[str, str]:
    """The recording that a clip is of; HumanEva's are cut into chunks where frames are missing."""
    return clip.subject, clip.action.split(" chunk")[0]


def hold_out(clips: list[Clip], every: int = 10) -> tuple[list[Clip], list[Clip]]:
    """(training, held-out) clips: every tenth take is held out, with all the cameras that saw it."""
    takes = list(dict.fromkeys(map(_take, clips)))
    held = set(takes[every - 1 :: every]) or set(takes[-1:])
    if len(takes) < 2:
        return clips, []
    chosen = [_take(clip) in held for clip in clips]
    return [c for c, h in zip(clips, chosen, strict=True) if not h], [
        c for c, h in zip(clips, chosen, strict=True) if h
    ]
