"""Source poses placed where the target stands (GPR of PoSynDA; GPA of PoseDA, Chai et al. 2023).

A source pose keeps its shape and orientation. Its depth is the one at which its extent fills the target's extent in
the image, its root lies on the ray of the target's pelvis, and the target's camera sees it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from common.geometry.camera import project, undistort


@dataclass(frozen=True)
class Placed:
    """Windows of the source as the target's camera would see them."""

    root: Tensor  # (B, F, 1, 3), camera frame, metres
    keypoints_2d: Tensor  # (B, F, J, 2), screen units
    intrinsics: Tensor  # (B, 9)


def extent(points: Tensor) -> Tensor:
    """Width and height (..., 2) of the box around points (..., J, 2 or 3)."""
    points = points[..., :2]
    return points.amax(-2) - points.amin(-2)


def depths(poses: Tensor, target_2d: Tensor, focal: Tensor) -> Tensor:
    """Depth (...,) at which poses (..., J, 3) are as large in the image as the target: (fx dx + fy dy) / (2 s).

    target_2d (..., J, 2) in the units of focal (..., 2); s is the mean of the target's width and height there.
    """
    return (focal * extent(poses)).sum(-1) / (2 * extent(target_2d).mean(-1).clamp_min(1e-6))


def smoothed(track: Tensor, frames: int) -> Tensor:
    """Moving average of (B, F, D) over an odd number of frames; the edges are repeated."""
    half = min(frames // 2, track.shape[1] - 1)
    if half < 1:
        return track
    padded = functional.pad(track.transpose(1, 2), (half, half), mode="replicate")  # (B, D, F + 2 half)
    return functional.avg_pool1d(padded, 2 * half + 1, 1).transpose(1, 2)


def place_poses(poses: Tensor, target_2d: Tensor, intrinsics: Tensor, *, root: int = 0, smoothing: int = 0) -> Placed:
    """Place windows (B, F, J, 3), root-relative metres, on target windows (B, F, J, 2), screen units.

    intrinsics (B, 9) of the target's camera, screen units; root: the pelvis's index. The track of the root is the
    mean over `smoothing` frames, for a pose that does not move with the target's would jump.
    """
    camera = intrinsics[:, None]  # (B, 1, 9)
    ray = undistort(target_2d[..., root : root + 1, :], camera).squeeze(-2)  # (B, F, 2)
    depth = depths(poses, target_2d, camera[..., :2]).unsqueeze(-1)  # (B, F, 1)
    track = smoothed(torch.cat([ray, depth.log()], -1), smoothing)
    depth = track[..., 2:].exp()
    placed_root = torch.cat([track[..., :2] * depth, depth], -1).unsqueeze(-2)  # (B, F, 1, 3)
    return Placed(placed_root, project(poses + placed_root, camera), intrinsics)


def place_published(
    poses: Tensor, target_2d: Tensor, intrinsics_px: Tensor, order: Tensor, *, root: int = 0
) -> tuple[Tensor, Tensor]:
    """The published placement of one clip: (poses (n, J, 3) in camera coordinates, their 2D (n, J, 2)).

    poses (N, J, 3) with target_2d (M, J, 2), frame by frame in a random order: `order` (n,), n = min(N, M), picks
    frames of the longer one. The intrinsics (9,) are in pixels although the 2D is in screen units: depths come out
    half the image's width too large, and the 2D is a weak-perspective image in screen units.
    """
    if len(poses) <= len(target_2d):
        target_2d = target_2d[order]
    else:
        poses = poses[order]
    focal, centre = intrinsics_px[:2], intrinsics_px[2:4]
    depth = depths(poses, target_2d, focal).unsqueeze(-1)  # (n, 1)
    ray = (target_2d[:, root] - centre) / focal
    placed = poses - poses[:, root : root + 1] + torch.cat([ray * depth, depth], -1).unsqueeze(1)
    return placed, project(placed, intrinsics_px)


def residual_of_detector(keypoints_2d: Tensor, exact_2d: Tensor, placed_2d: Tensor) -> Tensor:
    """The source detector's errors (B, F, J, 2), scaled to the placed person's size in the image.

    Placed poses are projected exactly; with this added, they keep the errors of the 2D that the source came with.
    """
    scale = extent(placed_2d).mean((1, 2)) / extent(exact_2d).mean((1, 2)).clamp_min(1e-6)  # (B,)
    return (keypoints_2d - exact_2d) * scale[:, None, None, None]
