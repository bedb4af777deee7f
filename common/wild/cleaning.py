"""Gaps in 2D keypoints filled and masked, and the layout changed to the network's."""

from __future__ import annotations

import numpy as np

from common.errors import UserError
from common.geometry.skeleton import H36M_17, Skeleton, joint_map
from common.settings.wild import THRESHOLD
from common.wild.tracking import Track


def fill_gaps(keypoints: np.ndarray, seen: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Keypoints (T, J, 2) with missing joints (seen (T, J) False) filled.

    A joint is interpolated linearly in time between the frames that show it and held before the first and after the
    last. A joint that no frame shows takes the place of the nearest joint of the tree that some frame shows.
    """
    keypoints = np.array(keypoints, np.float32)
    frames = np.arange(len(keypoints))
    ever = seen.any(0)
    if not ever.any():
        raise UserError("no joint of this person is above the confidence threshold")
    for joint in np.flatnonzero(ever):
        good = np.flatnonzero(seen[:, joint])
        for axis in range(2):
            keypoints[:, joint, axis] = np.interp(frames, good, keypoints[good, joint, axis])
    neighbours = {j: [] for j in range(len(skeleton))}
    for child, parent in skeleton.edges:
        neighbours[child].append(parent)
        neighbours[parent].append(child)
    known = set(np.flatnonzero(ever).tolist())
    while len(known) < len(skeleton):
        ring = {j: k for k in sorted(known) for j in neighbours[k] if j not in known}
        if not ring:
            raise UserError(f"the layout {skeleton.name} is not connected")
        for joint, source in ring.items():
            keypoints[:, joint] = keypoints[:, source]
        known |= set(ring)
    return keypoints


def clean(
    track: Track, layout: Skeleton, target: Skeleton = H36M_17, threshold: float = THRESHOLD
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A track in the network's layout: keypoints (T, J, 2) in pixels, confidence (T, J), mask (T, J).

    The mask is True where every joint that a target joint is made of was seen with confidence at or above the
    threshold; the rest is interpolated (`fill_gaps`). Confidence is that of the least sure part, 0 where masked.
    """
    points, confidence = track.keypoints[..., :2], track.keypoints[..., 2]
    seen = (confidence >= threshold) & (confidence > 0)
    filled = fill_gaps(points, seen, layout)
    try:
        matrix = joint_map(layout, target)  # (J target, J source)
    except KeyError:
        raise UserError(f"no map from {layout.name} to {target.name}; give keypoints as {target.name}") from None
    parts = matrix != 0
    least = np.stack([np.where(seen, confidence, 0)[:, row].min(1) for row in parts], 1)  # (T, J target)
    mask = np.stack([seen[:, row].all(1) for row in parts], 1)
    return matrix @ filled, least.astype(np.float32), mask
