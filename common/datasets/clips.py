"""The one form in which every loader returns its data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from common.errors import visible
from common.geometry.camera import Camera


@dataclass(frozen=True)
class Clip:
    """One take seen by one camera, T frames.

    keypoints_2d (T, J, 2), float32, screen units; positions_3d (T, J, 3), float32, camera frame, metres, absolute;
    valid (T,), False where the annotation must not be scored; confidence (T, J) of the 2D, where its file has one.
    """

    subject: str
    action: str  # with its take: 'Walking 1'
    camera: Camera
    fps: float
    keypoints_2d: np.ndarray
    positions_3d: np.ndarray
    valid: np.ndarray
    confidence: np.ndarray | None = None

    def __post_init__(self):
        for name in ("subject", "action"):  # they reach terminals, tables and pictures
            object.__setattr__(self, name, visible(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.keypoints_2d)

    def taken(self, frames: slice) -> Clip:
        """The same with some of its frames; the rate is as it was."""
        confidence = None if self.confidence is None else self.confidence[frames]
        arrays = {name: getattr(self, name)[frames] for name in ("keypoints_2d", "positions_3d", "valid")}
        return replace(self, confidence=confidence, **arrays)

    @property
    def key(self) -> str:
        return f"{self.subject}/{self.action}/{self.camera.name}"

    @property
    def action_name(self) -> str:
        """The action without its take: 'Walking'."""
        return self.action.split(" ")[0]
