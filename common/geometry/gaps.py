"""2D joints that some frames do not show, put where the body says."""

from __future__ import annotations

import numpy as np

from common.errors import UserError
from common.geometry.skeleton import Skeleton


def runs(good: np.ndarray) -> list[tuple[int, int]]:
    """The stretches (first, end) in which good (T,) holds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def fill_between(keypoints: np.ndarray, seen: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Keypoints (T, J, 2) with joints that are missing in some frames (seen (T, J) False) filled there.

    A joint keeps its place relative to the nearest joint of the tree that is seen all through the gap, changing evenly
    from the frame before to the frame after; before its first and after its last sight that place is held. Where no
    joint is seen all through it, the same is done in the picture. Joints that no frame shows stay as they are.
    """
    near, out = nearest_joints(skeleton), keypoints.copy()
    for joint in np.flatnonzero(seen.any(0)):
        for first, end in runs(~seen[:, joint]):
            ends = [t for t in (first - 1, end) if 0 <= t < len(seen)]
            wide = slice(min(ends[0], first), max(ends[-1] + 1, end))
            base = next((keypoints[:, j] for j in near[joint] if seen[wide, j].all()), np.zeros_like(keypoints[:, 0]))
            offsets = keypoints[ends, joint] - base[ends]  # (1 or 2, 2)
            frames = np.arange(first, end)
            for axis in range(2):
                out[first:end, joint, axis] = base[first:end, axis] + np.interp(frames, ends, offsets[:, axis])
    return out


def nearest_joints(skeleton: Skeleton) -> list[list[int]]:
    """For each joint the other ones, by their distance in the tree. Raises UserError where it is in parts."""
    neighbours = {j: [] for j in range(len(skeleton))}
    for child, parent in skeleton.edges:
        neighbours[child].append(parent)
        neighbours[parent].append(child)
    out = []
    for joint in range(len(skeleton)):
        order = [joint]
        for j in order:
            order += [k for k in neighbours[j] if k not in order]
        if len(order) < len(skeleton):
            raise UserError(f"the layout {skeleton.name} is not connected")
        out.append(order[1:])
    return out
