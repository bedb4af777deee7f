"""Lift one whole clip: windows sampled, aggregated and put back together. For pictures and files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from common.datasets import DATA_SETS
from common.datasets.clips import Clip
from common.datasets.windows import Windows
from common.engine.devices import Place
from common.engine.evaluate import Sampling, batch_of, evidence_of, sample
from common.engine.opening import Opened
from common.errors import UserError
from common.scoring.hypotheses import AGGREGATIONS, ONE_POSE


@dataclass(frozen=True)
class Lifted:
    """A clip's poses at the last step, root-relative, camera frame, metres."""

    aggregate: np.ndarray  # (T, J, 3)
    hypotheses: np.ndarray  # (H, T, J, 3)
    name: str  # of the aggregation


def windows_of(opened: Opened, clip: Clip, place: Place) -> Windows:
    """The windows of one clip, as in its evaluation."""
    source = DATA_SETS.get(opened.card.get("dataset"))
    names = source.action_names([clip]) if source else None
    return Windows(
        [clip],
        opened.skeleton,
        opened.card["frames"],
        device=place.device,
        action_names=names,
        centre_only=opened.centre_only,
    )


def answered_frames(windows: Windows, row: int) -> np.ndarray:
    """The frames (F,) of the clip that a window answers for; some may lie beyond the clip's ends."""
    return windows.start_of[row] + windows.answered.start + np.arange(windows.output)


def rows_for(windows: Windows, frames: Iterable[int]) -> list[int]:
    """The windows of one clip that answer for any of these frames."""
    wanted = np.array(list(frames))
    return [row for row in range(len(windows)) if np.isin(answered_frames(windows, row), wanted).any()]


def lift_clip(
    opened: Opened, clip: Clip, sampling: Sampling, place: Place, *, frames: Iterable[int] | None = None
) -> Lifted:
    """Sample every window of a clip and make one pose of its hypotheses, by `ONE_POSE`.

    With `frames`, only the windows that answer for them are sampled; what was not lifted is NaN.
    """
    lifter = opened.lifter
    windows = windows_of(opened, clip, place)
    joints = len(lifter.skeleton)
    aggregate = np.full((len(clip), joints, 3), np.nan, np.float32)
    hypotheses = np.full((sampling.hypotheses, len(clip), joints, 3), np.nan, np.float32)
    wanted = range(len(windows)) if frames is None else rows_for(windows, frames)
    for rows in torch.tensor(list(wanted)).split(sampling.batch):
        batch = batch_of(windows, rows, sampling)
        poses = sample(lifter, windows, batch, sampling, place)  # (B, K, H, F, J, 3)
        one = AGGREGATIONS[ONE_POSE](poses, evidence_of(batch, windows))[:, -1].cpu().numpy()  # (B, F, J, 3)
        many = poses[:, -1].cpu().numpy()  # (B, H, F, J, 3)
        for b, row in enumerate(rows.tolist()):
            places = answered_frames(windows, row)
            inside = (places >= 0) & (places < len(clip))
            aggregate[places[inside]] = one[b, inside]
            hypotheses[:, places[inside]] = many[b][:, inside]
    return Lifted(aggregate, hypotheses, ONE_POSE)


def picture_of(opened: Opened, clip: Clip, sampling: Sampling, place: Place, *, count: int = 3) -> np.ndarray:
    """A picture of what the lifter makes of a clip, uint8 RGB (height, width, 3), for TensorBoard.

    `count` frames from the middle of the clip: 2D input, prediction, truth. Only the windows that answer for them are
    sampled. The lifter is left in the mode it was in, and the global generators are not touched.
    """
    from common.viz.figure import pose_image  # Matplotlib: lifting needs none

    lifter, card = opened.lifter, opened.card
    span = min(len(clip), card["frames"])
    first = (len(clip) - span) // 2
    frames = sorted(set(np.linspace(first, first + span - 1, count + 2).astype(int)[1:-1].tolist()))
    training = lifter.training
    lifter.eval()
    try:
        lifted = lift_clip(opened, clip, sampling, place, frames=frames)
    finally:
        lifter.train(training)
    root = lifter.skeleton.root
    truth = clip.positions_3d - clip.positions_3d[:, root : root + 1]
    caption = f"{'SYNTHETIC ' if card.get('synthetic') else ''}{clip.subject} {clip.action}, {lifted.name}"
    return pose_image(
        lifter.skeleton,
        clip.keypoints_2d,
        truth,
        lifted.aggregate,
        lifted.hypotheses,
        frames,
        camera=clip.camera,
        caption=caption,
    )


def choose_clip(clips: list[Clip], subject: str = "", action: str = "", camera: int = 0) -> Clip:
    """The clip of a subject, an action (with its take) and a camera's number; what is not named: the first there is."""
    chosen = [clip for clip in clips if clip.subject == (subject or clips[0].subject)]
    if not chosen:
        there = ", ".join(sorted({c.subject for c in clips}))
        raise UserError(f"--viz-subject {subject}: not there; there are {there}")
    action = action or chosen[0].action
    named = [c for c in chosen if c.action == action] or [c for c in chosen if c.action_name == action]
    if not named:
        raise UserError(f"--viz-action {action}: not there; there are {', '.join(sorted({c.action for c in chosen}))}")
    views = [c for c in named if c.action == named[0].action]
    if not 0 <= camera < len(views):
        raise UserError(f"--viz-camera {camera}: the clip has cameras 0 to {len(views) - 1}")
    return views[camera]
