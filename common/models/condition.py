"""What travels beside x, x_t and t into a denoiser that needs more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Condition:
    """Made by `denoiser.condition(batch)`; subclasses add their tensors, one row a window.

    The sampler runs the original and the flipped windows as one batch and the hypotheses in chunks. `calls`,
    `first_hypothesis` and `hypotheses` (None: no more than are seen) tell a network that cares, one whose published
    variant mixes up the rows of a call, where its rows stood in the published calls.
    """

    calls: int = 1  # 2: the rows are [original; flipped]
    first_hypothesis: int = 0
    hypotheses: int | None = None

    def mirrored(self) -> Self:
        """The condition of the flipped windows; subclasses flip what a mirror changes."""
        return self

    def doubled(self) -> Self:
        """The condition of the batch [original; flipped]; subclasses repeat their rows."""
        return replace(self, calls=2 * self.calls)

    def from_hypothesis(self, first: int, of: int | None = None) -> Self:
        return replace(self, first_hypothesis=first, hypotheses=of)


PLAIN_CAMERA = (2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)  # a view of 53 degrees without a lens


def as_batch(
    action: Tensor, action_names: Sequence[str] = (), intrinsics: Tensor | None = None, *, camera: bool = True
) -> SimpleNamespace:
    """What `denoiser.condition` reads of a batch: actions (B,), -1 for unknown, their names, and intrinsics (B, 9).

    With `camera` and no intrinsics, a plain camera stands in, where only the computation counts and not the answer.
    """
    if intrinsics is None and camera:
        intrinsics = torch.tensor(PLAIN_CAMERA, device=action.device).expand(len(action), -1)
    return SimpleNamespace(action=action, action_names=tuple(action_names), intrinsics=intrinsics)
