"""How large people are taken to be: what 2D cannot tell is held, so that everything else may adapt.

A body twice as large and twice as far away leaves the same image, and the target's loss does not feel the difference:
the root is fitted. A placed source pose would therefore teach the source's size to everybody. Instead, every person
of the target gets one size over all clips before adaptation starts, from the frozen source lifter's own estimates, and
each placed pose takes the size of the person on whom it is placed. No 3D of the target is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from tqdm import tqdm

from common.datasets.windows import Batch, Windows
from common.diffusion.lifter import DiffusionLifter
from common.engine.devices import Place
from common.engine.evaluate import Sampling, sample
from common.errors import UserError
from common.geometry.skeleton import Skeleton

WINDOWS = 64  # of each person, evenly spaced; the median of so many is good to about one per cent
SAME_CAMERA = 0.01  # largest difference of the intrinsics, screen units


def body_size(poses: Tensor, skeleton: Skeleton) -> Tensor:
    """Sum of the bones' lengths of poses (..., J, 3), in their unit: (...)."""
    children, parents = (list(side) for side in zip(*skeleton.edges, strict=True))
    return (poses[..., children, :] - poses[..., parents, :]).norm(dim=-1).sum(-1)


def rows_of_people(windows: Windows) -> dict[str, Tensor]:
    """Up to WINDOWS windows with a real frame of each person, evenly spaced: {subject: rows}."""
    seen = windows.mask.any(1).cpu()
    people: dict[str, list[int]] = {}
    for row, clip in enumerate(windows.clip_of):
        if seen[row]:
            people.setdefault(windows.clips[clip].subject, []).append(row)
    if not people:
        raise UserError("no valid frame in the clips to adapt from or on")
    return {s: torch.tensor(rows[:: -(-len(rows) // WINDOWS)]) for s, rows in people.items()}


def median_size(poses: Tensor, mask: Tensor, skeleton: Skeleton) -> float:
    """Median over windows (B, F, J, 3) of the mean size in their frames with mask (B, F)."""
    sizes = torch.where(mask, body_size(poses, skeleton), 0).sum(1) / mask.sum(1)  # (B,)
    return float(sizes.median())


def true_sizes(windows: Windows) -> dict[str, float]:
    """{subject: size}, metres, from the labels: of the source."""
    batches = {s: windows.batch(rows) for s, rows in rows_of_people(windows).items()}
    return {s: median_size(b.positions_3d, b.mask, windows.skeleton) for s, b in batches.items()}


@torch.no_grad()
def estimated_sizes(lifter: DiffusionLifter, windows: Windows, sampling: Sampling, place: Place) -> dict[str, float]:
    """{subject: size}, metres, of the mean pose that a lifter makes of each person's 2D."""
    out = {}
    for subject, rows in tqdm(rows_of_people(windows).items(), desc="body sizes", leave=False, mininterval=1):
        parts = [windows.batch(r) for r in rows.split(sampling.batch)]
        poses = torch.cat([sample(lifter, windows, b, sampling, place)[:, -1].mean(1) for b in parts])  # (N, F, J, 3)
        out[subject] = median_size(poses, torch.cat([b.mask for b in parts]), windows.skeleton)
    return out


def same_cameras(source: Windows, target: Windows) -> bool:
    """Whether the target stands before cameras of the source: every one has the intrinsics of one of them."""
    if not (source.has_camera and target.has_camera):
        return False
    ours, theirs = target.intrinsics.unique(dim=0), source.intrinsics.unique(dim=0)
    return bool(((ours[:, None] - theirs).abs().amax(-1).amin(-1) < SAME_CAMERA).all())


def held_sizes(
    target: Mapping[str, float], source: Mapping[str, float], truth: Mapping[str, float], same: bool
) -> dict[str, float]:
    """The size of each person of the target, metres: the lifter's estimate, corrected for its bias.

    `target` and `source` are its estimates of both sides' people, `truth` the sizes of the source's. A lifter takes a
    larger image for a larger body. Before the source's own cameras (`same`) that holds as it does for the source, and
    so does the bias: truth / estimate there. Other cameras change the image's size for everybody, and tell only who
    is larger than whom: there people are as large on average as the source's.
    """
    reference = source if same else target
    bias = mean(truth) / mean(reference)
    return {subject: size * bias for subject, size in target.items()}


def mean(sizes: Mapping[str, float]) -> float:
    return sum(sizes.values()) / len(sizes)


def of_windows(sizes: Mapping[str, float], windows: Windows) -> Tensor:
    """The size of each window's person (W,); a person without a real frame has the mean size."""
    people = [windows.clips[clip].subject for clip in windows.clip_of]
    return torch.tensor([sizes.get(person, mean(sizes)) for person in people], device=windows.device)


def scaled(batch: Batch, scale: Tensor) -> Batch:
    """The same image of larger or smaller people, farther or nearer by as much: scale (B,)."""
    scale = scale[:, None, None, None]
    return replace(batch, positions_3d=scale * batch.positions_3d, root=scale * batch.root)
