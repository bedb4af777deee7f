"""2D keypoints made fit for the network: the head found, gaps filled, the layout changed, guesses marked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.errors import UserError
from common.geometry.gaps import fill_between, nearest_joints, runs
from common.geometry.skeleton import H36M_17, Skeleton, joint_map
from common.settings.wild import THRESHOLD
from common.wild.tracking import Track

LONGEST_GAP = 1.0  # seconds that a joint, or a person, may be unseen before its place is a guess
FACE = ("Nose", "LEye", "REye", "LEar", "REar")
# Somebody who stands and faces the camera: metres to the person's left, and down from the hip. Only for joints that no
# frame shows, so that the network sees a whole body.
STANDING = {
    "Hip": (0, 0), "Pelvis": (0, 0), "Hips": (0.11, 0), "Knee": (0.12, 0.43), "Ankle": (0.12, 0.85),
    "Foot": (0.12, 0.85), "Heel": (0.13, 0.9), "BigToe": (0.15, 0.93), "SmallToe": (0.2, 0.92), "Spine": (0, -0.25),
    "Thorax": (0, -0.5), "Neck": (0, -0.5), "Shoulder": (0.17, -0.47), "Elbow": (0.22, -0.2), "Wrist": (0.24, 0.05),
    "Nose": (0, -0.62), "Eye": (0.03, -0.66), "Ear": (0.07, -0.64), "Head": (0, -0.75), "HeadTop": (0, -0.8),
}  # fmt: skip
TRUNK = ("Nose", "Neck", "Thorax", "Hip", "Pelvis", "LShoulder", "RShoulder", "LHip", "RHip")


@dataclass(frozen=True)
class Cleaned:
    """One person in the network's layout.

    keypoints (T, J, 2), pixels; confidence (T, J), that of the least sure part, 0 where not seen; mask (T, J), whether
    the detector saw it; known (T, J), False where it was unseen for longer than LONGEST_GAP, so that its place is a
    guess; present (T,), False in absences of the whole person that are as long.
    """

    keypoints: np.ndarray
    confidence: np.ndarray
    mask: np.ndarray
    known: np.ndarray
    present: np.ndarray


def clean(
    track: Track, layout: Skeleton, target: Skeleton = H36M_17, threshold: float = THRESHOLD, fps: float = 25.0
) -> Cleaned:
    """A track in the network's layout. Raises UserError where no joint reaches the threshold, or no map is known."""
    confidence = track.keypoints[..., 2].copy()
    seen = (confidence >= threshold) & (confidence > 0)
    points, seen, confidence = find_head(track.keypoints[..., :2], seen, confidence, layout)
    there = no_long_gap(seen.any(1, keepdims=True), fps)[:, 0]
    filled = fill_gaps(points, seen, layout)
    sure = no_long_gap(seen, fps)
    try:
        matrix = joint_map(layout, target)  # (J target, J source)
    except KeyError:
        raise UserError(f"no map from {layout.name} to {target.name}; give keypoints as {target.name}") from None
    parts = matrix != 0
    least = np.stack([np.where(seen, confidence, 0)[:, row].min(1) for row in parts], 1)  # (T, J target)
    mask, known = (np.stack([x[:, row].all(1) for row in parts], 1) for x in (seen, sure))
    return Cleaned(matrix @ filled, least.astype(np.float32), mask, known & there[:, None], there)


def no_long_gap(seen: np.ndarray, fps: float) -> np.ndarray:
    """(T, J) bool: seen, or unseen for no longer than LONGEST_GAP."""
    out = seen.copy()
    for joint in range(seen.shape[1]):
        for first, end in runs(~seen[:, joint]):
            whole = end - first == len(seen)
            out[first:end, joint] = not whole and end - first <= LONGEST_GAP * fps
    return out


def find_head(
    points: np.ndarray, seen: np.ndarray, confidence: np.ndarray, layout: Skeleton
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The face's joints from those of them that are seen: points (T, J, 2), seen (T, J), confidence (T, J) in, the same
    out.

    From the side one eye is hidden, from behind all of the face but the ears; in the picture they lie close together.
    An eye takes the place of the other one. Else it lies beside the nose, or the ears, as in the nearest frames that
    show both; so does the nose beside the eyes, or the ears.
    """
    if not {"LEye", "REye", "Nose"} <= set(layout.joints):
        return points, seen, confidence
    points, confidence, found = points.copy(), confidence.copy(), seen.copy()
    column = {name: layout.index(name) for name in FACE if name in layout.joints}

    def take(name: str, *sources: str, aside: bool = True) -> None:
        if not set(sources) <= column.keys():
            return
        own, rows = column[name], [column[s] for s in sources]
        base, there = points[:, rows].mean(1), seen[:, rows].all(1)
        both, use = np.flatnonzero(found[:, own] & there), there & ~found[:, own]
        if aside and len(both):
            away = points[both, own] - base[both]
            base = base + np.stack([np.interp(np.arange(len(base)), both, away[:, k]) for k in range(2)], -1)
        points[use, own], confidence[use, own] = base[use], confidence[use][:, rows].min(1)
        found[use, own] = True

    for eye, other in (("LEye", "REye"), ("REye", "LEye")):
        take(eye, other, aside=False)
    for name, *sources in (("LEye", "Nose"), ("REye", "Nose"), ("Nose", "LEye", "REye")):
        for base in (sources, ("LEar", "REar"), ("LEar",), ("REar",)):
            take(name, *base)
    return points, found, confidence


def fill_gaps(keypoints: np.ndarray, seen: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Keypoints (T, J, 2) with missing joints (seen (T, J) False) filled.

    Between sights as `fill_between` does; joints that no frame shows are put where somebody standing has them.
    """
    keypoints = np.array(keypoints, np.float32)
    ever = seen.any(0)
    if not ever.any():
        raise UserError("no joint of this person is above the confidence threshold")
    return _stand_in(fill_between(keypoints, seen, skeleton), ever, skeleton)


def standing(skeleton: Skeleton) -> np.ndarray:
    """`STANDING` as (J, 2) of a layout, NaN for joints that it does not know."""
    rows = []
    for joint in skeleton.joints:
        side = joint[0] if joint[1:] in STANDING or joint in ("LHip", "RHip") else ""
        name = joint[len(side) :] if joint not in ("LHip", "RHip") else "Hips"
        x, y = STANDING.get(name, (np.nan, np.nan))
        rows.append((-x if side == "R" else x, y))
    return np.array(rows, float)


def _stand_in(keypoints: np.ndarray, ever: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Joints that were never seen, ever (J,) False: a standing body laid over the trunk, turned and scaled with it."""
    if ever.all():
        return keypoints
    out, model = keypoints.copy(), standing(skeleton)
    near = nearest_joints(skeleton)
    trunk = [j for j, name in enumerate(skeleton.joints) if name in TRUNK and ever[j] and np.isfinite(model[j]).all()]
    if len(trunk) >= 2:
        fits = [similarity(model[trunk] * [side, 1], keypoints[:, trunk]) for side in (1, -1)]
        side = 1 if fits[0][3].sum() <= fits[1][3].sum() else -1  # who turns the back to the camera is mirrored
        scale, turn, shift, _ = fits[0 if side == 1 else 1]
    for joint in np.flatnonzero(~ever):
        if len(trunk) >= 2 and np.isfinite(model[joint]).all():
            out[:, joint] = scale[:, None] * (turn @ (model[joint] * [side, 1])) + shift
        else:
            out[:, joint] = out[:, next(j for j in near[joint] if ever[j])]
    return out


def similarity(model: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scale (T,), rotation (T, 2, 2) and shift (T, 2) that lay a model (N, 2) over points (T, N, 2), and the squared
    errors (T,) left."""
    m, p = model - model.mean(0), points - points.mean(1, keepdims=True)
    a = (p * m).sum((1, 2))
    b = (m[:, 0] * p[..., 1] - m[:, 1] * p[..., 0]).sum(1)
    size = np.maximum((m**2).sum(), 1e-9)
    length = np.maximum(np.hypot(a, b), 1e-9)
    c, s = a / length, b / length
    turn = np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)  # (T, 2, 2)
    scale = length / size
    shift = points.mean(1) - scale[:, None] * (turn @ model.mean(0))
    left = ((scale[:, None, None] * (m @ turn.swapaxes(1, 2)) - p) ** 2).sum((1, 2))
    return scale, turn, shift, left
