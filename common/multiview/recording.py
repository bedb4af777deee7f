"""A recording of several cameras: matched people turned into clean 3D with what is known of its errors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.signal import butter, sosfiltfilt
from scipy.spatial.transform import Rotation

from common.errors import UserError
from common.geometry.camera import Camera
from common.geometry.gaps import runs
from common.geometry.skeleton import H36M_17, Skeleton, joint_map
from common.multiview.matching import Frames, Person
from common.multiview.triangulation import Triangulated, person_sizes, triangulate

GAP = 0.2  # seconds: shorter gaps of a joint are bridged, longer ones stay gaps
LIMBS = [(f"{s}{a}", f"{s}{b}") for s in "LR" for a, b in (("Shoulder", "Elbow"), ("Elbow", "Wrist"))]
LIMBS += [(f"{s}{a}", f"{s}{b}") for s in "LR" for a, b in (("Hip", "Knee"), ("Knee", "Ankle"))]
LIMB_METRES = (0.15, 0.45)  # mean length of a person's arm and leg bones; an adult's is 0.34
SWAPPABLE = (("Hip", "Knee", "Ankle"), ("Shoulder", "Elbow", "Wrist"), ("Eye", "Ear"))


@dataclass(frozen=True)
class Reconstructed:
    """One person. keypoints (V, T, J, 2), pixels, and confidence (V, T, J), 0 where missing, in the detector's layout;
    `raw` its triangulation, in the calibration's units; points (T, 17, 3) of Human3.6M's joints, metres, z up, NaN in
    gaps; spread (T, 17), metres: the expected error's root mean square; measured (T, 17), False where a short gap was
    bridged or nothing is known."""

    keypoints: np.ndarray
    confidence: np.ndarray
    raw: Triangulated
    points: np.ndarray
    spread: np.ndarray
    measured: np.ndarray

    @property
    def whole(self) -> np.ndarray:
        """(T,), True where every joint is known."""
        return np.isfinite(self.points).all((1, 2))


def gather(person: Person, views: list[Frames]) -> tuple[np.ndarray, np.ndarray]:
    """A person's keypoints (V, T, J, 2) and confidence (V, T, J) out of all detections."""
    joints = next(p.shape[1] for view in views for p in view if len(p))
    out = np.zeros((*person.chosen.shape, joints, 3))
    for v, view in enumerate(views):
        for t, n in enumerate(person.chosen[v]):
            if n >= 0:
                out[v, t] = view[t][n]
    return out[..., :2], out[..., 2]


def locate_person(
    keypoints: np.ndarray, confidence: np.ndarray, cameras: list[Camera], layout: Skeleton
) -> tuple[Triangulated, int]:
    """Triangulate a person, limbs put back to their sides where a detector mistook left for right.

    Returns the triangulation and how many (view, frame) pairs had sides changed. The keypoints are left as they are.
    """
    sizes = smooth_sizes(person_sizes(keypoints, confidence > 0), (confidence > 0).any(-1))
    found = triangulate(keypoints, confidence, cameras, sizes)
    points, sure, changed = keypoints.copy(), confidence.copy(), 0
    for names in SWAPPABLE:
        pairs = [(a, b) for a, b in zip(layout.left, layout.right, strict=True) if layout.joints[a][1:] in names]
        if not pairs:
            continue
        left, right = (list(side) for side in zip(*pairs, strict=True))
        errors = np.linalg.norm(found.errors, axis=-1)  # (V, T, J)
        moved = (keypoints[:, :, left] - keypoints[:, :, right]) / sizes[..., None, None]  # left to right in sizes
        both = np.isfinite(errors[:, :, left]) & np.isfinite(errors[:, :, right])
        # Each keypoint against the other side's place: its own error, moved by the distance between the two.
        swapped = np.linalg.norm(found.errors[:, :, left] - moved, axis=-1) + np.linalg.norm(
            found.errors[:, :, right] + moved, axis=-1
        )
        kept = errors[:, :, left] + errors[:, :, right]
        total = [np.where(both, e, 0).sum(-1) for e in (kept, swapped)]
        wrong = (total[0] > 0.2 * both.sum(-1)) & (total[1] < 0.5 * total[0]) & both.any(-1)  # (V, T)
        changed += int(wrong.sum())
        for array in (points, sure):
            array[wrong] = _exchange(array[wrong], left, right)
    return (triangulate(points, sure, cameras, sizes) if changed else found), changed


def _exchange(array: np.ndarray, left: list[int], right: list[int]) -> np.ndarray:
    order = np.arange(array.shape[1])
    order[left], order[right] = right, left
    return array[:, order]


def smooth_sizes(sizes: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """A person's size in each picture (V, T): the median of the frames about it, so that a lost foot changes little."""
    out = sizes.copy()
    for v in range(len(sizes)):
        good = np.flatnonzero(seen[v])
        if len(good):
            for t in range(sizes.shape[1]):
                near = good[np.abs(good - t) <= 7]
                out[v, t] = np.median(sizes[v, near]) if len(near) else sizes[v, good[np.abs(good - t).argmin()]]
    return out


def to_h36m(found: Triangulated, noise: float, layout: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Points (T, 17, 3) and spread (T, 17) of Human3.6M's joints; NaN where a part is; parts err apart."""
    matrix = joint_map(layout, H36M_17).astype(np.float64)
    used = matrix != 0
    points = np.stack(
        [(row[keep, None] * found.points[:, keep]).sum(1) for row, keep in zip(matrix, used, strict=True)], 1
    )
    spread = found.spread(noise)
    spread = np.stack(
        [np.sqrt(((row[keep] * spread[:, keep]) ** 2).sum(1)) for row, keep in zip(matrix, used, strict=True)], 1
    )
    return points, spread


def bridge(points: np.ndarray, fps: float) -> np.ndarray:
    """(T, J, 3) with gaps up to GAP interpolated in time; longer ones, and the ends, stay NaN."""
    points, frames = points.copy(), np.arange(len(points))
    for joint in range(points.shape[1]):
        good = np.flatnonzero(np.isfinite(points[:, joint, 0]))
        for before, after in zip(good[:-1], good[1:], strict=True):
            if 1 < after - before <= GAP * fps + 1:
                gap = frames[before + 1 : after]
                share = ((gap - before) / (after - before))[:, None]
                points[gap, joint] = (1 - share) * points[before, joint] + share * points[after, joint]
    return points


def smooth(points: np.ndarray, fps: float, cutoff: float) -> np.ndarray:
    """(T, J, 3) low-passed at `cutoff` Hz without delay (Butterworth, order 2, both ways), each run between gaps apart.

    0 leaves them as they are, and so does a cutoff above the rate that the frames can carry.
    """
    if not 0 < cutoff < 0.45 * fps:
        return points
    filtered = points.copy()
    sections = butter(2, cutoff, fs=fps, output="sos")
    for joint in range(points.shape[1]):
        for start, end in runs(np.isfinite(points[:, joint, 0])):
            if end - start >= 5:
                pad = min(end - start - 1, round(fps / cutoff))
                filtered[start:end, joint] = sosfiltfilt(sections, points[start:end, joint], axis=0, padlen=pad)
    return filtered


def metres_of(found: list[Triangulated], layout: Skeleton, source: str) -> float:
    """Metres of one unit of the calibration, told by the people's arms and legs: 1, 0.01 or 0.001.

    Raises UserError where none of them makes the people as large as people are.
    """
    lengths = [
        np.linalg.norm(one.points[:, layout.index(a)] - one.points[:, layout.index(b)], axis=-1)
        for one in found
        for a, b in LIMBS
    ]
    mean = float(np.nanmedian(np.concatenate(lengths)))
    for metres in (1.0, 0.01, 0.001):
        if LIMB_METRES[0] <= mean * metres <= LIMB_METRES[1]:
            return metres
    raise UserError(
        f"{source}: the people's arm and leg bones are {mean:.3g} units long; that is neither metres, centimetres nor "
        "millimetres: is each folder of 2D paired with its own camera?"
    )


def upright(found: list[Triangulated], layout: Skeleton) -> np.ndarray:
    """(3, 3): the world turned by quarter turns so that people stand along +z; the identity where they do."""
    ups = []
    for one in found:
        middle = [np.nanmean(one.points[:, [layout.index(s + j) for s in "LR"]], axis=1) for j in ("Shoulder", "Ankle")]
        ups.append(middle[0] - middle[1])
    up = np.nanmedian(np.concatenate(ups), axis=0)
    axis = int(np.abs(up).argmax())
    if axis == 2 and up[2] > 0:
        return np.eye(3)
    third = np.eye(3)[axis] * np.sign(up[axis])
    first = np.eye(3)[(axis + 1) % 3]
    return np.stack([first, np.cross(third, first), third])


def turned(camera: Camera, turn: np.ndarray) -> Camera:
    """The camera in the turned world: x' = turn x."""
    w, *rest = camera.rotation
    x, y, z, w = (Rotation.from_matrix(turn) * Rotation.from_quat([*rest, w])).as_quat()
    return replace(camera, rotation=(w, x, y, z), translation=tuple((turn @ np.array(camera.translation)).tolist()))


def finish(
    keypoints: np.ndarray,
    confidence: np.ndarray,
    found: Triangulated,
    layout: Skeleton,
    fps: float,
    metres: float,
    turn: np.ndarray,
    cutoff: float,
) -> Reconstructed:
    """From a triangulation to Human3.6M's joints in metres, z up, short gaps bridged, smoothed."""
    points, spread = to_h36m(found, found.noise(), layout)
    measured = np.isfinite(points[..., 0])
    points = smooth(bridge(points, fps), fps, cutoff) * metres @ turn.T
    return Reconstructed(keypoints, confidence, found, points, spread * metres, measured)
