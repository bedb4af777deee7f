"""What the converters share: from recorded motion to clips that cameras see, and the checks of what they write."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from common.datasets.synthetic.detector import DETECTORS
from common.datasets.synthetic.h36m import capture_centre, project_all
from common.errors import UserError
from common.geometry.camera import Camera
from common.geometry.skeleton import Skeleton, joint_map

_FORWARD = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
SHORTEST = 25  # frames: shorter pieces of a take are left out


def resample(positions: np.ndarray, rate: float, wanted: float) -> np.ndarray:
    """Positions (T, J, 3) at another rate, from the first frame on: cubic splines through the recorded frames."""
    if len(positions) < 2 or rate == wanted:
        return positions
    times = np.arange(int(np.floor((len(positions) - 1) * wanted / rate + 1e-6)) + 1) * (rate / wanted)
    return CubicSpline(np.arange(len(positions)), positions, axis=0)(np.minimum(times, len(positions) - 1))


def mapped(points: np.ndarray, source: Skeleton, target: Skeleton) -> np.ndarray:
    """Points (T, J, D) of one layout as another's; NaN where a joint that is needed is NaN."""
    parts = joint_map(source, target).astype(points.dtype)
    missing = np.isnan(points).astype(points.dtype)
    out = parts @ np.nan_to_num(points)
    out[np.abs(parts) @ missing > 0] = np.nan
    return out


def bone_lengths(positions: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(T, bones), in the order of `skeleton.edges`."""
    child, parent = np.array(skeleton.edges).T
    return np.linalg.norm(positions[:, child] - positions[:, parent], axis=-1)


def inside(world: np.ndarray, cameras: Sequence[Camera]) -> np.ndarray:
    """(T,): whether every camera has all joints of world positions (T, J, 3) in its picture."""
    good = np.ones(len(world), bool)
    for camera, pixels in zip(cameras, project_all(world, cameras), strict=True):
        forward = camera.camera_to_world(_FORWARD).numpy() - camera.translation
        near = (world - camera.translation) @ forward > 0.5  # metres before the lens
        good &= (near & ((pixels >= 0) & (pixels < (camera.width, camera.height))).all(-1)).all(1)
    return good


def pieces(world: np.ndarray, cameras: Sequence[Camera]) -> list[tuple[int, int, np.ndarray]]:
    """Cut a take (T, J, 3), world metres, into pieces that the cameras see whole: (start, end, shift (3,)).

    People walk farther than a laboratory's cameras see. Each piece is as long as it can be (from its start on) with
    the middle of its ground plan moved to where the cameras look; frames that no such move brings into all pictures,
    and pieces shorter than SHORTEST, are left out.
    """
    centre = capture_centre(list(cameras))

    def shift(part: np.ndarray) -> np.ndarray:
        low, high = part[..., :2].min((-3, -2)), part[..., :2].max((-3, -2))
        return np.array([*(centre - (low + high) / 2), 0.0])

    def whole(start: int, end: int) -> bool:
        part = world[start:end]
        return bool(inside(part + shift(part), cameras).all())

    low, high = world[..., :2].min(1), world[..., :2].max(1)  # (T, 2): each frame by itself
    alone = world + np.concatenate([centre - (low + high) / 2, np.zeros((len(world), 1))], 1)[:, None]
    seen = inside(alone, cameras)
    found, start = [], 0
    while start < len(world):
        if not seen[start]:
            start += 1
            continue
        end = int(start + np.argmin(np.append(seen[start:], False)))  # of the run of frames that can be seen
        good, step = start + 1, SHORTEST
        while good < end and whole(start, min(good + step, end)):
            good, step = min(good + step, end), 2 * step
        bad = min(good + step, end) + (good == end)
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if whole(start, middle) else (good, middle)
        if good - start >= SHORTEST:
            found.append((start, good, shift(world[start:good])))
        start = good
    return found


def made_keypoints(
    detector: str, exact: np.ndarray, skeleton: Skeleton, camera: Camera, fps: float, rng: np.random.Generator
) -> np.ndarray:
    """What a detector of DETECTORS makes of exact pixels (T, J, 2): keypoints (T, J, 2), pixels."""
    size = camera.width / 1000 if detector == "old" else 1.0  # the old one knows pictures 1000 pixels wide
    return DETECTORS[detector](exact / size, skeleton, (camera.width, camera.height), fps, rng)[0] * size


def reprojection(world: np.ndarray, pixels: np.ndarray, camera: Camera) -> np.ndarray:
    """Distances (T, J), pixels, between world positions (T, J, 3) through a camera and keypoints (T, J, 2)."""
    return np.linalg.norm(project_all(world, [camera])[0] - pixels, axis=-1)


def rng_of(seed: int, *names: str) -> np.random.Generator:
    """A generator that depends on the seed and the names alone, not on what was drawn before."""
    return np.random.default_rng([seed, zlib.crc32("/".join(names).encode())])


def check_bones(what: str, lengths: np.ndarray, skeleton: Skeleton, spread: float) -> None:
    """Refuse bones (T, bones), metres, that no person has, or that change by more than `spread` of their length.

    NaN stands for frames without annotation.
    """
    if not np.isfinite(lengths).any(0).all():
        raise UserError(f"{what}: a joint that no frame has")
    mean, deviation = np.nanmean(lengths, 0), np.nanstd(lengths, 0)
    for (child, parent), length, change in zip(skeleton.edges, mean, deviation, strict=True):
        name = f"{what}: {skeleton.joints[parent]} to {skeleton.joints[child]}"
        if not 0.02 < length < 0.8:
            raise UserError(f"{name} is {length:.3g} m long; these are no joints of a person in metres")
        if change > spread * length:
            raise UserError(f"{name} is {length:.3f} m long, but changes by {change:.3f} m; not one person's joints")


def split_table(positions: dict, cameras: dict, fps: float) -> str:
    """People, takes, cameras and frames of each split of custom data: subjects are called SPLIT/PERSON."""
    lines = ["split  people  takes  views   frames  minutes"]
    for split in dict.fromkeys(subject.split("/")[0] for subject in positions):
        chosen = [subject for subject in positions if subject.split("/")[0] == split]
        takes = [world for subject in chosen for world in positions[subject].values()]
        views = sum(len(rows) for subject in chosen for rows in cameras[subject].values())
        frames = sum(map(len, takes))
        minutes = frames / fps / 60
        lines.append(f"{split:5}  {len(chosen):6}  {len(takes):5}  {views:5}  {frames:7}  {minutes:7.1f}")
    return "\n".join(lines)
