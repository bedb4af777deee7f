"""Read a BVH file back to joint positions: any hierarchy, any channel order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from common.files.bvh import FRAMES, UNITS
from common.files.limits import Budget, understanding
from common.files.texts import read_text

DEEPEST = 200  # joints in one limb
_CHANNELS = {f"{axis}{kind}" for axis in "XYZ" for kind in ("position", "rotation")}


@dataclass(frozen=True)
class Motion:
    """positions (T, N, 3) of the named joints, helper joints and end sites included; parents[0] is -1."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    positions: np.ndarray
    fps: float

    def of(self, joints) -> np.ndarray:
        """Positions (T, J, 3) of some joints by name."""
        return self.positions[:, [self.names.index(joint) for joint in joints]]


@dataclass(frozen=True)
class Bvh:
    """What a file says: offsets (N, 3) of the joints and ends from their parents, and the table (T, channels)."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    channels: tuple[tuple[str, ...], ...]
    table: np.ndarray
    fps: float

    def positions(self) -> np.ndarray:
        """(T, N, 3), the file's frame and unit."""
        return _kinematics(self.parents, self.offsets, self.channels, self.table)


def parse_bvh(text: str, source: str) -> Bvh:
    """Any hierarchy, any order of channels; an end site is called after its joint, 'Head_end'. Raises UserError."""
    words = text.split()
    with understanding(source, "BVH file"):
        names, parents, offsets, channels, position = _hierarchy(words)
        table, fps = _motion(words, position, sum(len(c) for c in channels))
        bvh = Bvh(tuple(names), tuple(parents), np.array(offsets, float), tuple(map(tuple, channels)), table, fps)
        _check(bvh)
    Budget(source, len(text)).take(96 * len(table) * len(names), "its motion")
    return bvh


def _check(bvh: Bvh) -> None:
    """Raise ValueError for what no reader could make poses of."""
    if not bvh.names or bvh.offsets.shape != (len(bvh.names), 3):
        raise ValueError("no joints, or an OFFSET without three numbers")
    if bvh.parents[0] != -1 or bvh.parents.count(-1) != 1:
        raise ValueError("not one ROOT")
    if unknown := [c for row in bvh.channels for c in row if c not in _CHANNELS]:
        raise ValueError(f"a channel {unknown[0][:40]!r}")
    if not np.isfinite(bvh.offsets).all() or not np.isfinite(bvh.table).all():
        raise ValueError("a number that is NaN or infinite")
    if not len(bvh.table) or not 0 < bvh.fps < 1e5:
        raise ValueError(f"{len(bvh.table)} frames at {bvh.fps:g} a second")


def read_bvh(path: Path | str, frame: str | None = None, unit: str = "m") -> Motion:
    """Joint positions of a BVH file, in metres.

    frame: None keeps the file's own y-up frame; 'camera' and 'world' undo what `write_bvh` did with that frame.
    Raises UserError for a missing or damaged file.
    """
    bvh = parse_bvh(read_text(path, kind="BVH file", errors="replace"), str(path))
    positions = bvh.positions() / UNITS[unit]
    if frame is not None:
        positions = positions @ FRAMES[frame]
    return Motion(bvh.names, bvh.parents, positions, bvh.fps)


def _hierarchy(words: list[str]):
    names, parents, offsets, channels, stack = [], [], [], [], []
    i = 0
    while words[i] != "MOTION":
        word = words[i]
        if word in ("ROOT", "JOINT", "End"):
            names.append(words[i + 1] if word != "End" else f"{names[stack[-1]]}_end")
            parents.append(stack[-1] if stack else -1)
            offsets.append([0.0, 0.0, 0.0])
            channels.append([])
            i += 2
        elif word == "{":
            stack.append(len(names) - 1)
            if len(stack) > DEEPEST:
                raise ValueError("joints nested too deeply")
            i += 1
        elif word == "}":
            stack.pop()
            i += 1
        elif word == "OFFSET":
            offsets[stack[-1]] = [float(value) for value in words[i + 1 : i + 4]]
            i += 4
        elif word == "CHANNELS":
            count = int(words[i + 1])
            if not 0 <= count <= 6:
                raise ValueError(f"{count} channels of a joint")
            channels[stack[-1]] = words[i + 2 : i + 2 + count]
            i += 2 + count
        elif word == "HIERARCHY":
            i += 1
        else:
            raise ValueError(f"unexpected word {word!r}")
    return names, parents, offsets, channels, i


def _motion(words: list[str], i: int, width: int) -> tuple[np.ndarray, float]:
    if words[i + 1] != "Frames:" or words[i + 3 : i + 5] != ["Frame", "Time:"]:
        raise ValueError("no 'Frames:' and 'Frame Time:' after MOTION")
    table = np.array(words[i + 6 :], float).reshape(int(words[i + 2]), width)
    return table, 1 / float(words[i + 5])


def _kinematics(parents, offsets: np.ndarray, channels, table: np.ndarray) -> np.ndarray:
    frames = len(table)
    positions, turns = np.zeros((frames, len(parents), 3)), np.zeros((frames, len(parents), 3, 3))
    column = 0
    for joint, parent in enumerate(parents):
        local, turn = np.tile(offsets[joint], (frames, 1)), np.broadcast_to(np.eye(3), (frames, 3, 3))
        moved = False
        for channel in channels[joint]:
            values, axis = table[:, column], "XYZ".index(channel[0])
            column += 1
            if channel.endswith("position"):
                local = local if moved else np.zeros((frames, 3))  # positions stand in the offset's place
                moved = True
                local[:, axis] = values
            else:
                turn = turn @ Rotation.from_euler("XYZ"[axis], values[:, None], degrees=True).as_matrix()
        if parent < 0:
            positions[:, joint], turns[:, joint] = local, turn
        else:
            positions[:, joint] = positions[:, parent] + (turns[:, parent] @ local[..., None])[..., 0]
            turns[:, joint] = turns[:, parent] @ turn
    return positions
