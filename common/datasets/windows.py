"""Cut clips into windows of one length, on the device. Frames are stored once; a window is a row of frame indices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.datasets.clips import Clip
from common.geometry.camera import mirrored_intrinsics
from common.geometry.skeleton import Skeleton


def symmetric_starts(frames: int, length: int, stride: int) -> list[int]:
    """First frames of the windows over a clip: as few as cover it, the overhang shared by both ends.

    With stride = length this is published D3DP: every frame in one window.
    """
    count = max(0, -(-(frames - length) // stride)) + 1
    overhang = ((count - 1) * stride + length - frames) // 2
    return [k * stride - overhang for k in range(count)]


def published_test_starts(frames: int, length: int) -> list[int]:
    """The published evaluation: from frame 0, the last window shifted back to end with the clip (it overlaps)."""
    starts = list(range(0, frames - length + 1, length)) or [0]
    if frames > length and frames % length:
        starts.append(frames - length)
    return starts


def published_chunk_starts(frames: int, length: int, stride: int) -> list[int]:
    """Published Grap2Eq's training windows: all inside the clip, the last one dropped, none where frames <= length.

    The tail of every clip and all short clips are never trained on.
    """
    if frames <= length:
        return []
    count = -(-frames // stride)
    overhang = (count * stride - frames) // 2
    return sorted({min(max(k * stride - overhang, 0), frames - length) for k in range(count + 1)})[:-1]


# Rules of cutting training windows, by name: (frames, length, stride) to first frames.
CUTS: dict[str, Callable[[int, int, int], list[int]]] = {
    "symmetric": symmetric_starts,
    "inside": published_chunk_starts,
}


@dataclass(frozen=True)
class Batch:
    """B windows on the device. Poses root-relative, camera frame, metres; keypoints in screen units.

    Networks that answer for the centre frame only have F = 1 in all but keypoints_2d.
    """

    keypoints_2d: Tensor  # (B, F_in, J, 2), the network's input
    positions_3d: Tensor  # (B, F, J, 3)
    mask: Tensor  # (B, F), False on repeated edge frames and invalid ones
    root: Tensor  # (B, F, 1, 3), absolute
    intrinsics: Tensor | None  # (B, 9), screen units
    action: Tensor  # (B,), index into action_names, -1 for unknown
    action_names: tuple[str, ...]
    rows: Tensor  # (B,), on the CPU: index into the windows

    @property
    def target_2d(self) -> Tensor:
        """The keypoints (B, F, J, 2) of the frames that are answered for."""
        extra = (self.keypoints_2d.shape[1] - self.positions_3d.shape[1]) // 2
        return self.keypoints_2d[:, extra : extra + self.positions_3d.shape[1]]


class Windows:
    """All windows of a list of clips. `batch(rows)` gathers some of them; nothing is copied to or from the host.

    `published_test` cuts as the published evaluation does; `count_padding` counts repeated edge frames, as published;
    `starts_of(frames, length, stride)` is the rule of the cut.
    With `centre_only`, a window is `length` frames of 2D around one frame of 3D, by default one window a frame.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        skeleton: Skeleton,
        length: int,
        *,
        stride: int | None = None,
        device: torch.device | str = "cpu",
        published_test: bool = False,
        action_names: Sequence[str] | None = None,
        centre_only: bool = False,
        count_padding: bool = False,
        starts_of: Callable[[int, int, int], list[int]] = symmetric_starts,
    ):
        self.clips, self.skeleton, self.length, self.device = list(clips), skeleton, length, torch.device(device)
        self.output = 1 if centre_only else length  # frames answered for
        before = (length - self.output) // 2
        answered = slice(before, before + self.output)
        offsets = np.cumsum([0] + [len(clip) for clip in clips])
        clip_of, start_of, index, mask = [], [], [], []
        for c, clip in enumerate(clips):
            n = len(clip)
            if published_test:
                starts = published_test_starts(n, self.output)
            else:
                starts = starts_of(n, self.output, stride or self.output)
            for start in (s - before for s in starts):
                frames = np.arange(start, start + length)
                inside = (frames >= 0) & (frames < n)
                frames = frames.clip(0, n - 1)
                clip_of.append(c)
                start_of.append(start)
                index.append(frames + offsets[c])
                mask.append(((inside | published_test | count_padding) & clip.valid[frames])[answered])
        self.clip_of, self.start_of = np.array(clip_of, int), np.array(start_of, int)
        self.index = torch.from_numpy(np.array(index, np.int64)).to(self.device)  # (W, F_in)
        self.mask = torch.from_numpy(np.array(mask, bool)).to(self.device)  # (W, F_out)
        self.answered = answered
        self._store_frames(clips)
        known = {clip.action_name for clip in clips} if action_names is None else action_names
        self.action_names = tuple(sorted(known))
        lookup = {name: i for i, name in enumerate(self.action_names)}
        actions = [lookup.get(clips[c].action_name, -1) for c in clip_of]
        self.action = torch.tensor(actions, device=self.device)
        self.mirror = torch.tensor(skeleton.mirror, device=self.device)

    def _store_frames(self, clips: Sequence[Clip]) -> None:
        def join(parts):
            return torch.from_numpy(np.concatenate(parts)).to(self.device)

        root = self.skeleton.root
        repaired = [_repair(clip) for clip in clips]
        self.keypoints_2d = join([k for k, _ in repaired])  # (N, J, 2)
        self.root = join([p[:, root : root + 1] for _, p in repaired])  # (N, 1, 3)
        self.positions_3d = join([p - p[:, root : root + 1] for _, p in repaired])  # (N, J, 3)
        known = all(clip.camera.intrinsics is not None for clip in clips)
        table = [clip.camera.intrinsics for clip in clips] if known else None
        self.intrinsics = torch.tensor(table, device=self.device, dtype=torch.float32)[self.clip_of] if known else None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def has_camera(self) -> bool:
        return self.intrinsics is not None

    def key(self, row: int) -> str:
        """The window's name, by which its noise is drawn."""
        return f"{self.clips[self.clip_of[row]].key}@{self.start_of[row]}"

    def frames_of(self, row: int) -> np.ndarray:
        """The frames (F,) of its clip that a window answers for; some may lie outside the clip."""
        return self.start_of[row] + self.answered.start + np.arange(self.output)

    def batch(self, rows: Sequence[int] | Tensor, flipped: Tensor | None = None, untold: Tensor | None = None) -> Batch:
        """Gather windows; where `flipped` (B,) is True the body is mirrored, where `untold` the action is hidden."""
        rows = torch.as_tensor(rows, dtype=torch.long)
        on_device = rows.to(self.device)
        frames = self.index[on_device]  # (B, F)
        answered = frames[:, self.answered]
        keypoints, poses, root = self.keypoints_2d[frames], self.positions_3d[answered], self.root[answered]
        intrinsics = self.intrinsics[on_device] if self.has_camera else None
        if flipped is not None:
            flipped = flipped.to(self.device)[:, None, None, None]
            keypoints, poses = (self._mirrored(x, flipped) for x in (keypoints, poses))
            root = torch.where(flipped, root * root.new_tensor([-1.0, 1.0, 1.0]), root)
            if self.has_camera:
                intrinsics = torch.where(flipped[:, 0, 0], mirrored_intrinsics(intrinsics), intrinsics)
        action = self.action[on_device]
        if untold is not None:
            action = torch.where(untold.to(self.device), -1, action)
        return Batch(keypoints, poses, self.mask[on_device], root, intrinsics, action, self.action_names, rows)

    def _mirrored(self, x: Tensor, where: Tensor) -> Tensor:
        sign = x.new_tensor([-1.0] + [1.0] * (x.shape[-1] - 1))
        return torch.where(where, x.index_select(-2, self.mirror) * sign, x)


def _repair(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints and poses with every invalid frame copied from the nearest valid one; the mask drops it.

    Without a valid frame there is nothing to copy: what is not finite becomes 0, for masked NaN would reach the loss.
    """
    if not clip.valid.any():
        keypoints, poses = clip.keypoints_2d, clip.positions_3d
        return np.where(np.isfinite(keypoints), keypoints, 0), np.where(np.isfinite(poses), poses, 0)
    if clip.valid.all():
        return clip.keypoints_2d, clip.positions_3d
    good, frames = np.flatnonzero(clip.valid), np.arange(len(clip))
    after = np.searchsorted(good, frames).clip(0, len(good) - 1)
    before = (after - 1).clip(0)
    nearest = np.where(np.abs(good[before] - frames) <= np.abs(good[after] - frames), good[before], good[after])
    return clip.keypoints_2d[nearest], clip.positions_3d[nearest]
