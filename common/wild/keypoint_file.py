"""What a keypoint file holds, and what its parsers share: joints as arrays, frames by number or name, identities."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.errors import UserError

ROBOFLOW = re.compile(r"_(jpe?g|png)\.rf\.[0-9a-f]+$")  # what it puts behind the names of pictures


@dataclass
class KeypointFile:
    """People of every frame as arrays (J, 3), pixels and confidence; what else the file says."""

    frames: list[list[np.ndarray]]
    ids: list[list[int]] = field(default_factory=list)
    names: list[str] | None = None  # of the joints
    hint: str | None = None  # text that may name the layout
    size: tuple[int, int] | None = None
    fps: float | None = None

    def __post_init__(self):
        self.ids = self.ids or [[-1] * len(frame) for frame in self.frames]


def triplets(values, scores=None, source: str = "keypoints") -> np.ndarray:
    """One person's joints (J, 3): from a flat list x, y, c, ..., or from pairs with scores beside them."""
    try:
        with np.errstate(over="ignore"):
            points = np.asarray(values, np.float32)
        points = points.reshape(-1, 3) if points.ndim == 1 else points
        if points.ndim != 2:
            raise ValueError
        if points.shape[1] == 2:
            confidence = np.ones(len(points), np.float32) if scores is None else np.asarray(scores, np.float32)
            points = np.concatenate([points, confidence.reshape(-1, 1)], 1)
        if points.shape[1] < 3:
            raise ValueError
    except (ValueError, TypeError, IndexError, OverflowError):
        raise UserError(f"{source}: keypoints are no list of x, y, confidence") from None
    return points[:, :3]


def frame_numbers(keys: list, path: Path) -> tuple[list[int], int]:
    """The frame of each key, and how many frames there are.

    A number, and a name that is only a number ('12.jpg', as AlphaPose counts a video), are the frame; names such as
    'frame_0001.png' count from the first one. Names without a number that tells them apart are frames in their sorted
    order.
    """
    texts = [ROBOFLOW.sub("", Path(str(key)).stem) for key in keys]
    numbers = _telling(texts)
    if numbers is None:
        order = {text: n for n, text in enumerate(sorted(set(texts)))}
        return [order[text] for text in texts], len(order)
    absolute = all(text == str(number) for text, number in zip(texts, numbers, strict=True))
    first = 0 if absolute and min(numbers) < 1000 else min(numbers)
    count = max(numbers) - first + 1
    if count > 100 * len(set(numbers)) + 1000:
        raise UserError(f"{path}: image numbers from {min(numbers)} to {max(numbers)} are no frames of one video")
    return [number - first for number in numbers], count


def _telling(texts: list[str]) -> list[int] | None:
    """Of the numbers in names such as 'walk2_frame_0001_cam3', those that tell the names apart; None where none do.

    Counted from the first or from the last on; of several that do, those that lie together most closely, the last ones
    of equals: a number of the frame, not a time or a hash.
    """
    groups = [[int(digits) for digits in re.findall(r"\d+", text)] for text in texts]
    least, names = min(map(len, groups), default=0), len(set(texts))
    columns = [[own[n] for own in groups] for n in (*range(-1, -least - 1, -1), *range(least))]
    telling = [column for column in columns if len(set(column)) == names]
    return min(telling, key=lambda column: max(column) - min(column), default=None)


def identity(row: dict, *names: str) -> int:
    """An identity where the file gives a single number, else -1 (AlphaPose nests lists in `idx`)."""
    for name in names:
        value = row.get(name)
        while isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**31:
            return int(value)
    return -1
