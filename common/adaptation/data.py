"""Source and target clips in one internal layout, Human3.6M's 17 joints; the target without its labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from common.datasets import data_set_of, load_clips
from common.datasets.clips import Clip
from common.errors import UserError
from common.geometry.skeleton import H36M_17, Skeleton, joint_map
from common.settings.lifting import EVERYTHING, DataSettings

Notice = Callable[[str], None]


def joint_order(source: Skeleton, target: Skeleton) -> list[int]:
    """Which joint of `source` is each joint of `target`: a one-to-one renaming. UserError where there is none."""
    try:
        matrix = joint_map(source, target)
    except KeyError:
        matrix = np.zeros((len(target), len(source)))
    order = matrix.argmax(1)
    if (
        not ((matrix == 0) | (matrix == 1)).all()
        or sorted(order) != list(range(len(source)))
        or matrix.sum() != len(order)
    ):
        raise UserError(f"{source.name} and {target.name} do not have the same joints; adaptation needs a renaming")
    return order.tolist()


def in_layout(clips: Sequence[Clip], source: Skeleton, target: Skeleton) -> list[Clip]:
    """The clips with their joints in another layout's order."""
    if source == target:
        return list(clips)
    order = joint_order(source, target)
    moved = [(c, c.keypoints_2d[:, order], c.positions_3d[:, order]) for c in clips]
    return [replace(c, keypoints_2d=keypoints, positions_3d=poses, confidence=None) for c, keypoints, poses in moved]


def unlabelled(clips: Sequence[Clip], skeleton: Skeleton, keep_root: bool = False) -> list[Clip]:
    """The clips with their 3D taken out: all joints at zero, or at the true root where that is asked for."""
    out = []
    for clip in clips:
        poses = np.zeros_like(clip.positions_3d)
        if keep_root:
            poses += clip.positions_3d[:, skeleton.root : skeleton.root + 1]
        out.append(replace(clip, positions_3d=poses))
    return out


def split_takes(clips: Sequence[Clip]) -> tuple[list[Clip], list[Clip]]:
    """(clips to adapt on, clips to score): of each subject's takes, by name, every other one, with all its cameras.

    Two takes of one action stand next to each other, so that one of them goes either way.
    """
    takes: dict[str, list[str]] = {}
    for clip in clips:
        takes.setdefault(clip.subject, []).append(clip.action)
    adapt = {(s, a) for s, actions in takes.items() for a in sorted(set(actions))[::2]}
    chosen = [(clip.subject, clip.action) in adapt for clip in clips]
    return [c for c, a in zip(clips, chosen, strict=True) if a], [
        c for c, a in zip(clips, chosen, strict=True) if not a
    ]


def load_source(data: DataSettings, notice: Notice) -> list[Clip]:
    """The labelled source clips, in the internal layout."""
    return in_layout(load_clips(data, "train", notice), data_set_of(data).skeleton, H36M_17)


def target_data(data: DataSettings, target: str) -> DataSettings:
    """The same settings, as the loader of the target reads them."""
    out = replace(data, dataset=target, subjects_train=data.subjects_test)
    if target == "3dhp":  # its training subjects and sequences have other names than -ste and -a mean
        out = replace(out, subjects_train=EVERYTHING, actions=EVERYTHING)
    return out


def load_target(
    data: DataSettings, target: str, split: str, notice: Notice, *, scored_only: bool = False
) -> tuple[list[Clip], list[Clip]]:
    """(clips to adapt on, clips to score) of the target, labels still in, in the internal layout.

    split 'test': both are the clips that are scored. 'train': 3DHP's training set; of a data set without a
    split of its own, every other take. `scored_only` leaves the first list empty and unread.
    """
    own = target_data(data, target)
    skeleton = data_set_of(own).skeleton
    joint_order(skeleton, H36M_17)
    scored = load_clips(own, "test", notice)
    adapt: list[Clip] = scored
    if split == "train" and target != "3dhp":
        adapt, scored = split_takes(scored)
        if not scored:
            raise UserError("the target has one take a subject: nothing is left to score; use --target-split test")
    elif split == "train" and not scored_only:
        adapt = load_clips(own, "train", notice)
    if scored_only:
        adapt = []
    if any(clip.camera.intrinsics is None for clip in adapt):
        raise UserError(
            f"the training file of {target} holds no camera intrinsics, which adaptation needs; "
            "data/convert_3dhp.py writes them, or use --target-split test"
        )
    return in_layout(adapt, skeleton, H36M_17), in_layout(scored, skeleton, H36M_17)
