"""MixSTE that sees a person along the ray to the root and in one size: camera and place are taken out of its input.

A turn of the camera about its centre changes every keypoint and no pose but by that turn. So the keypoints are turned
such that the window's mean root lies on the optical axis, and divided by the person's size in that picture; the pose is
lifted there and turned back. How large the person was seen, and how high the ray stood, tell of distance and of the
camera's pitch: they enter beside the diffusion step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.geometry.camera import mirrored_intrinsics, undistort
from common.geometry.skeleton import skeleton_of
from common.models.condition import Condition
from common.models.mixste import MixSTE
from common.models.registry import Entry

NEAREST = 0.1  # of a ray's share along the new axis: joints at more than 84 degrees from the root count as there
SMALLEST = 1e-3  # size of a person, as a share of the distance
USUAL_SIZE, USUAL_SPREAD = -2.3, 2.0  # of log size and of the ray's elevation: what enters the network is about one


@dataclass(frozen=True)
class Seen(Condition):
    """The windows' cameras: intrinsics (B, 9), screen units."""

    intrinsics: Tensor | None = None
    view: tuple[Tensor, Tensor, Tensor] | None = None  # of `along_root`, where it is computed for all steps at once

    def mirrored(self) -> Seen:
        """Mirrored windows are seen by mirrored cameras."""
        return replace(self, intrinsics=mirrored_intrinsics(self.intrinsics))

    def doubled(self) -> Self:
        both = torch.cat([self.intrinsics, self.mirrored().intrinsics])
        return replace(super().doubled(), intrinsics=both)


def onto_axis(ray: Tensor) -> Tensor:
    """Rotations (B, 3, 3) that bring rays (B, 3) onto the optical axis; the picture's x stays level."""
    z = nn.functional.normalize(ray, dim=-1)
    x = nn.functional.normalize(torch.stack([z[:, 2], torch.zeros_like(z[:, 0]), -z[:, 0]], -1), dim=-1)
    return torch.stack([x, torch.linalg.cross(z, x), z], 1)


def turned(x: Tensor, rotation: Tensor) -> Tensor:
    """x @ rotation.mT: the vectors x (..., J, 3) turned by rotations (..., 3, 3).

    Not as a matrix product: under autocast that would round the coordinates to bf16, which is 2 mm.
    """
    return (x.unsqueeze(-2) * rotation.unsqueeze(-3)).sum(-1)


def along_root(x_2d: Tensor, intrinsics: Tensor, root: int) -> tuple[Tensor, Tensor, Tensor]:
    """Keypoints (B, F, J, 2), screen units, as seen along the root's mean ray, in units of the person's size.

    Returns them, the rotations (B, 3, 3) from the camera's frame, and (B, 2): log size and the ray's elevation.
    """
    rays = undistort(x_2d, intrinsics[:, None])  # (B, F, J, 2)
    rays = torch.cat([rays, torch.ones_like(rays[..., :1])], -1)  # (B, F, J, 3)
    axis = nn.functional.normalize(rays[:, :, root], dim=-1).mean(1)  # (B, 3)
    rotation = onto_axis(axis)
    ahead = turned(rays, rotation[:, None])
    seen = ahead[..., :2] / ahead[..., 2:].clamp_min(NEAREST)
    spread = (seen - seen.mean(-2, keepdim=True)).square().sum(-1).mean((1, 2)).sqrt().clamp_min(SMALLEST)  # (B,)
    about = torch.stack([spread.log() - USUAL_SIZE, USUAL_SPREAD * torch.atan2(axis[:, 1], axis[:, 2])], -1)
    return seen / spread[:, None, None, None], rotation, about


class MixSTERay(MixSTE):
    """x_0 = MixSTERay(x_2d, x_t, t, condition(batch)), shapes as MixSTE; needs each window's intrinsics."""

    def __init__(self, *, channels=512, skeleton="h36m_17", **named):
        """`named`: MixSTE's other arguments."""
        super().__init__(channels=channels, **named)
        self.root = skeleton_of(skeleton).root
        self.view_mlp = nn.Linear(2, channels)

    def condition(self, batch) -> Seen:
        if getattr(batch, "intrinsics", None) is None:
            raise UserError("mixste_ray turns its input by the camera's intrinsics, and these are not known")
        return Seen(intrinsics=batch.intrinsics)

    def prepared(self, x_2d: Tensor, condition: Seen) -> Seen:
        """The condition with what hypotheses and steps have in common."""
        return replace(condition, view=self.view(x_2d, condition))

    def view(self, x_2d: Tensor, condition: Seen) -> tuple[Tensor, Tensor, Tensor]:
        return along_root(x_2d.float(), condition.intrinsics.to(x_2d.device).float(), self.root)

    def forward(self, x_2d: Tensor, x_t: Tensor, t: Tensor, condition: Seen) -> Tensor:
        seen, rotation, about = condition.view or self.view(x_2d, condition)
        code = self.view_mlp(about.to(x_t.dtype))  # (B, C)
        turn = rotation[:, None, None].to(x_t.dtype)  # (B, 1, 1, 3, 3)
        x_0 = self.denoise(seen.to(x_t.dtype), turned(x_t, turn), self.time_code(t, condition) + code, condition)
        return turned(x_0.to(x_t.dtype), turn.mT)


ENTRY = Entry(build=MixSTERay, options=("skeleton",))
