"""Lift one whole clip: windows sampled, aggregated and put back together. For pictures and files."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass

import numpy as np
import torch

from common.datasets.clips import Clip
from common.datasets.windows import Windows
from common.engine.devices import Place
from common.engine.evaluate import Sampling, choose_chunk, evidence_of, sample
from common.errors import UserError
from common.hypotheses import AGGREGATIONS
from common.lifter import DiffusionLifter
from common.models import REGISTRY


@dataclass(frozen=True)
class Lifted:
    """A clip's poses at the last step, root-relative, camera frame, metres."""

    aggregate: np.ndarray  # (T, J, 3)
    hypotheses: np.ndarray  # (H, T, J, 3)
    name: str  # of the aggregation


def lift_clip(lifter: DiffusionLifter, clip: Clip, card: dict, sampling: Sampling, place: Place) -> Lifted:
    """Sample every window of a clip; aggregate by R_Agg where the camera is known, by P_Agg elsewhere."""
    centre = REGISTRY[card["model"]].centre_only
    windows = Windows([clip], lifter.skeleton, card["frames"], None, place.device, centre_only=centre)
    name = "R_Agg" if windows.has_camera else "P_Agg"
    chunk = choose_chunk(lifter, windows, sampling, place)
    joints = len(lifter.skeleton)
    aggregate = np.zeros((len(clip), joints, 3), np.float32)
    hypotheses = np.zeros((sampling.hypotheses, len(clip), joints, 3), np.float32)
    for rows in torch.arange(len(windows)).split(sampling.windows):
        batch = windows.batch(rows)
        poses = sample(lifter, windows, batch, sampling, place, chunk)  # (B, K, H, F, J, 3)
        one = AGGREGATIONS[name](poses, evidence_of(batch))[:, -1].cpu().numpy()  # (B, F, J, 3)
        many = poses[:, -1].cpu().numpy()  # (B, H, F, J, 3)
        for b, row in enumerate(rows.tolist()):
            frames = windows.start_of[row] + windows.answered.start + np.arange(windows.output)
            inside = (frames >= 0) & (frames < len(clip))
            aggregate[frames[inside]] = one[b, inside]
            hypotheses[:, frames[inside]] = many[b][:, inside]
    return Lifted(aggregate, hypotheses, name)


def choose_clip(clips: list[Clip], options: Namespace) -> Clip:
    """The clip that --viz-subject, --viz-action and --viz-camera name; by default the first."""
    subject = options.viz_subject or clips[0].subject
    chosen = [clip for clip in clips if clip.subject == subject]
    if not chosen:
        raise UserError(f"--viz-subject {subject}: not there; there are {', '.join(sorted({c.subject for c in clips}))}")
    action = options.viz_action or chosen[0].action
    named = [c for c in chosen if c.action == action] or [c for c in chosen if c.action_name == action]
    if not named:
        raise UserError(f"--viz-action {action}: not there; there are {', '.join(sorted({c.action for c in chosen}))}")
    views = [c for c in named if c.action == named[0].action]
    if not 0 <= options.viz_camera < len(views):
        raise UserError(f"--viz-camera {options.viz_camera}: the clip has cameras 0 to {len(views) - 1}")
    return views[options.viz_camera]
