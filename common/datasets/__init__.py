"""Data in: every loader returns the same clips; `windows` cuts them. `DATA_SETS` names the loaders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from common.datasets import custom, h36m, humaneva, threedhp
from common.datasets.about import tell_about
from common.datasets.checks import select_actions, tell_missed
from common.datasets.clips import Clip
from common.errors import UserError
from common.geometry.skeleton import Skeleton
from common.settings.lifting import DataSettings


@dataclass(frozen=True)
class DataSet:
    """A row of the table. load(settings, subjects, role) returns the clips of a split, 'train' or 'test'."""

    load: Callable[[DataSettings, tuple[str, ...], str], list[Clip]]
    skeleton: Skeleton
    name: str  # as it stands in names of result files
    labels: Callable[[DataSettings], str | None] = lambda settings: None  # the label set, where there are several
    has_actions: bool = True  # the clips' actions are words that a text model may be told
    caution: Callable[[DataSettings], str | None] = lambda settings: None  # what to tell about the data
    facts: Callable[[DataSettings], dict[str, Any]] = lambda settings: {}  # entries of the report of its own

    def action_names(self, clips: list[Clip]) -> list[str]:
        return sorted({clip.action_name for clip in clips}) if self.has_actions else []


def _h36m(settings: DataSettings, subjects: tuple[str, ...], role: str) -> list[Clip]:
    return h36m.load_h36m(Path(settings.data_root), settings.keypoints, subjects)


def _threedhp(settings: DataSettings, subjects: tuple[str, ...], role: str) -> list[Clip]:
    root, labels = Path(settings.data_root), _threedhp_labels(settings)
    return threedhp.load_threedhp(root, role, labels=labels, sequences=subjects, published=settings.published)[0]


def _threedhp_labels(settings: DataSettings) -> str:
    """The label set asked for, else the test file's; both splits must be of one set."""
    return threedhp.find_archive(Path(settings.data_root), "test", settings.labels)[1]


def _threedhp_caution(settings: DataSettings) -> str | None:
    if _threedhp_labels(settings) != "univ_annot3":
        return None
    return "univ_annot3 is rescaled and does not reproject onto the 2D: J_Agg and fitted roots are biased on it"


def _humaneva(settings: DataSettings, subjects: tuple[str, ...], role: str) -> list[Clip]:
    if settings.h36m_pretrain:
        return humaneva.h36m_as_humaneva(_h36m(settings, subjects, role))
    return humaneva.load_humaneva(Path(settings.data_root), settings.keypoints, subjects)


def _humaneva_caution(settings: DataSettings) -> str | None:
    return None if settings.h36m_pretrain else humaneva.about_intrinsics(Path(settings.data_root))


def _humaneva_facts(settings: DataSettings) -> dict[str, Any]:
    fitted = None if settings.h36m_pretrain else humaneva.fitted_intrinsics(Path(settings.data_root))
    return {"intrinsics": fitted} if fitted else {}


def _custom(settings: DataSettings, subjects: tuple[str, ...], role: str) -> list[Clip]:
    if not subjects:
        raise UserError("-d custom needs -str and -ste, the subjects to train on and to test on")
    return custom.load_custom(Path(settings.data_root), settings.keypoints, subjects)[0]


@cache
def _custom_skeleton(root: str, name: str) -> Skeleton:
    return custom.load_skeleton(Path(root), name)


DATA_SETS: dict[str, DataSet] = {
    "h36m": DataSet(_h36m, h36m.SKELETON, "h36m"),
    "3dhp": DataSet(_threedhp, threedhp.SKELETON, "3dhp", _threedhp_labels, False, _threedhp_caution),
    "humaneva15": DataSet(_humaneva, humaneva.SKELETON, "humaneva", caution=_humaneva_caution, facts=_humaneva_facts),
    "custom": DataSet(_custom, h36m.SKELETON, "custom"),  # the file says its skeleton
}


def data_set_of(settings: DataSettings) -> DataSet:
    """The row of a data set. Raises UserError for an unknown name."""
    if settings.dataset not in DATA_SETS:
        raise UserError(f"-d {settings.dataset}: unknown data set; there are {', '.join(DATA_SETS)}")
    row = DATA_SETS[settings.dataset]
    if settings.dataset == "custom":
        return replace(row, skeleton=_custom_skeleton(settings.data_root, settings.keypoints))
    return row


def _file_3d(settings: DataSettings) -> Path | None:
    """The file that may say what data it holds."""
    root = Path(settings.data_root)
    if settings.dataset == "custom":
        return custom.find_3d(root, settings.keypoints)
    return root / "data_3d_h36m.npz" if settings.dataset == "h36m" else None


def load_clips(settings: DataSettings, role: str, notice: Callable[[str], None]) -> list[Clip]:
    """The clips of a split, 'train' or 'test': subjects, actions, every n-th frame, a share of the training clips."""
    subjects = settings.subjects_train if role == "train" else settings.subjects_test
    source = data_set_of(settings)
    clips = source.load(settings, subjects, role)
    if caution := source.caution(settings):
        notice(caution)
    if path := _file_3d(settings):
        tell_about(path, list(dict.fromkeys(clip.subject for clip in clips)), notice)
    clips = select_actions(clips, settings.actions, notice, published=settings.published)
    tell_missed(clips, notice)
    if (n := settings.downsample) > 1:
        clips = [replace(c.taken(slice(None, None, n)), fps=c.fps / n) for c in clips]
    if role == "train" and settings.subset < 1:
        count = max(1, round(settings.subset * len(clips)))
        clips = [clips[i * len(clips) // count] for i in range(count)]
    return clips


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
