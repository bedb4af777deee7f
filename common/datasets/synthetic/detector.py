"""A made 2D detector: exact projections to keypoints and confidences that err as a real detector's do.

The model is fitted on OpenPose's detections from calibrated cameras (`benchmarks/fit_detector.py`; docs/detector.md
says what was measured, how, and what it cannot tell). Errors are drawn for COCO's 17 joints and reach other layouts
through the project's joint maps: the error of Human3.6M's Hip is the mean of the two hips' errors, as it is when a
detector's keypoints are mapped. All lengths are shares of the person's size in the picture (`person_size`).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

from common.files.reading import read_json
from common.geometry.gaps import fill_between
from common.geometry.skeleton import COCO_17, H36M_17, Skeleton, joint_map

TABLE = Path(__file__).with_name("detector.json")
LIMBS = ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")
SWAPPED = (("Hip", "Knee", "Ankle"), ("Elbow", "Wrist"))  # which joints change sides together


@cache
def table() -> dict:
    """The fitted constants."""
    return read_json(TABLE)


def plain(joint: str) -> str:
    """A joint's name without its side, Human3.6M's feet as the ankles that they are: 'LFoot' is 'Ankle'."""
    name = joint[1:] if joint[0] in "LR" and joint[1:2].isupper() else joint
    return "Ankle" if name == "Foot" else name


def person_size(pixels: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(T,) pixels: the diagonal of the box around shoulders, elbows, wrists, hips, knees and ankles of (T, J, 2)."""
    limbs = [j for j, joint in enumerate(skeleton.joints) if joint[0] in "LR" and plain(joint) in LIMBS]
    return np.maximum(np.linalg.norm(np.ptp(pixels[:, limbs], axis=1), axis=-1), 1.0)


def detect(
    pixels: np.ndarray,
    skeleton: Skeleton,
    image_size: tuple[int, int],
    fps: float,
    rng: np.random.Generator,
    *,
    constants: dict | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (T, J, 2), pixels, and confidence (T, J) that a detector would give for exact pixels (T, J, 2).

    image_size: width, height. Confidence 0 is a lost joint: one out of the picture or hidden; its keypoint is
    where the frames and joints that are seen put it, as in main_wild.py, and inside the picture. `constants` stand in
    for the fitted table.
    Raises KeyError for a skeleton that no joint map reaches from COCO.
    """
    known = constants or table()
    pixels = np.asarray(pixels, np.float64)
    parts = _from_coco(skeleton)  # (J, 17)
    size = person_size(pixels, skeleton)
    speed = _speed(pixels, parts, size, fps)  # (T, 17)
    often, long = _per_joint(known, "hard_rate"), _per_joint(known, "hard_seconds")
    hard = _episodes(often, long, len(pixels), fps, rng)  # (T, 17)
    error = _errors(known, speed, hard, fps, rng)  # (T, 17, 2)
    sure = _confidence(known, hard, fps, rng)  # (T, 17)

    keypoints = pixels + parts @ error * size[:, None, None]
    grid = image_size[1] / known["grid"] / (parts != 0).sum(1)[:, None]  # a mean of n joints lies on steps of 1/n
    keypoints = (np.round(keypoints / grid) + 0.5) * grid
    confidence = np.stack([sure[:, row].min(1) for row in parts != 0], 1)  # the least sure part's, as in wild.cleaning
    _swap(known, keypoints, confidence, skeleton, fps, rng)
    outside = (pixels < 0).any(-1) | (pixels >= np.array(image_size)).any(-1)
    confidence[outside] = 0
    return _fill(keypoints, confidence > 0, skeleton, image_size), confidence


def detect_old(
    pixels: np.ndarray, skeleton: Skeleton, image_size: tuple[int, int], fps: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """What `detect` was before it was fitted: a guess in pixels, for pictures 1000 pixels wide, at any frame rate.

    Jitter correlated over about five frames, wider on elbows and knees and widest on wrists and feet, more so on
    some of them in each clip; now and then a joint is lost for some frames, or the legs or arms change sides. Only
    H36M_17; confidence is 1 everywhere.
    """
    assert skeleton == H36M_17, skeleton.name
    frames, count, _ = pixels.shape
    spread = np.full(count, 2.0)
    for joint, name in enumerate(H36M_17.joints):
        spread[joint] = {"Elbow": 3.0, "Knee": 2.6, "Wrist": 4.5, "Foot": 3.8}.get(name[1:], 2.0)
    spread = spread * rng.uniform(0.7, 1.3, count)
    memory = 0.8
    shocks = rng.standard_normal(pixels.shape) * np.sqrt(1 - memory**2)
    shocks[0] /= np.sqrt(1 - memory**2)  # the first frame has the spread of all the others
    noisy = pixels + lfilter([1.0], [1.0, -memory], shocks, axis=0) * spread[:, None]

    for joint in range(count):  # lost for a few frames: an offset that stays
        for start in np.flatnonzero(rng.random(frames) < 0.0004 * spread[joint]):
            noisy[start : start + rng.integers(2, 8), joint] += rng.standard_normal(2) * 22
    for names in (("Hip", "Knee", "Foot"), ("Elbow", "Wrist")):
        left, right = ([H36M_17.index(side + name) for name in names] for side in "LR")
        for start in np.flatnonzero(rng.random(frames) < 0.0012):
            span = slice(start, start + rng.integers(2, 8))
            noisy[span, left + right] = noisy[span, right + left]
    return noisy, np.ones((frames, count))


DETECTORS = {"fitted": detect, "old": detect_old}


@cache
def _from_coco(skeleton: Skeleton) -> np.ndarray:
    """(J, 17): how a layout's joints are made of COCO's, where need be through Human3.6M's."""
    try:
        return joint_map(COCO_17, skeleton).astype(np.float64)
    except KeyError:
        return joint_map(H36M_17, skeleton).astype(np.float64) @ joint_map(COCO_17, H36M_17)


def _per_joint(known: dict, name: str) -> np.ndarray:
    """(17,): one of the table's columns, in COCO's order."""
    return np.array([known["joints"][plain(joint)][name] for joint in COCO_17.joints])


def _speed(pixels: np.ndarray, parts: np.ndarray, size: np.ndarray, fps: float) -> np.ndarray:
    """(T, 17) sizes a second: how fast each COCO joint moves, as the layout's joints that it is part of do."""
    moved = np.linalg.norm(np.gradient(pixels, axis=0), axis=-1) if len(pixels) > 1 else np.zeros(pixels.shape[:2])
    share = parts / np.maximum(parts.sum(0), 1e-9)  # (J, 17), each column sums to one
    share[:, parts.sum(0) == 0] = 1 / len(parts)  # a joint that the layout has no use for
    return moved / size[:, None] * fps @ share


def _memory(seconds: float, fps: float) -> float:
    return float(np.exp(-1 / (seconds * fps)))


def _wander(shape: tuple[int, ...], seconds: float, fps: float, rng: np.random.Generator, tail: float) -> np.ndarray:
    """Noise of unit variance along the first axis that forgets itself within `seconds`; Student's t in its shocks."""
    memory = _memory(seconds, fps)
    shocks = rng.standard_t(tail, shape) * np.sqrt((tail - 2) / tail * (1 - memory**2))
    shocks[0] /= np.sqrt(1 - memory**2)  # the first frame has the spread of all the others
    return lfilter([1.0], [1.0, -memory], shocks, axis=0)


def _episodes(rate: np.ndarray, seconds: np.ndarray, frames: int, fps: float, rng: np.random.Generator) -> np.ndarray:
    """(T, N) bool: on for `seconds` (N,) on average, begun `rate` (N,) times a second; may be on at the start."""
    leave = np.minimum(1.0, 1 / (seconds * fps))
    begin = np.minimum(rate / fps, 1.0)
    draws = rng.random((frames, len(rate)))
    on = np.zeros((frames, len(rate)), bool)
    state = draws[0] < begin / (begin + leave)
    for t in range(frames):
        if t:
            state = np.where(state, draws[t] >= leave, draws[t] < begin)
        on[t] = state
    return on


def _errors(known: dict, speed: np.ndarray, hard: np.ndarray, fps: float, rng: np.random.Generator) -> np.ndarray:
    """(T, 17, 2), sizes: a slow and a faster wandering about the joint, wider on some joints in each clip, and what
    motion adds; all wider while the joint is hard to see."""
    shape, tail, share = (*speed.shape, 2), known["tail"], known["slow_share"]
    clip = np.exp(rng.normal(0, known["track_spread"], speed.shape[1]))  # its median is 1
    slow = _wander(shape, known["slow_seconds"], fps, rng, tail) * np.sqrt(share)
    fast = _wander(shape, known["fast_seconds"], fps, rng, tail) * np.sqrt(1 - share)
    error = (slow + fast) * (_per_joint(known, "scale") * clip)[:, None]
    error += rng.standard_normal(shape) * (known["moving"] * speed)[..., None]
    return error * np.where(hard, known["hard_factor"], 1.0)[..., None]


def _confidence(known: dict, hard: np.ndarray, fps: float, rng: np.random.Generator) -> np.ndarray:
    """(T, 17): about the joint's usual one, another in each clip; low while it is hard to see, 0 where it is lost."""
    clip = rng.normal(0, known["confidence_clip"], hard.shape[1])
    middle = np.where(hard, known["hard_confidence"], _per_joint(known, "confidence") + clip)
    wander = _wander(hard.shape, known["confidence_seconds"], fps, rng, 30.0)
    confidence = np.clip(middle + known["confidence_spread"] * wander, 0.05, 1.0)
    starts = hard & ~np.concatenate([np.zeros_like(hard[:1]), hard[:-1]])
    chosen = starts & (
        rng.random(hard.shape) < _per_joint(known, "lost_share")
    )  # of the hard episodes, by their first frame
    begun = np.where(starts, np.arange(len(hard))[:, None], 0)
    first = np.maximum.accumulate(begun, axis=0)  # (T, 17), the frame at which the last episode began
    confidence[hard & np.take_along_axis(chosen, first, axis=0)] = 0
    return confidence


def _swap(
    known: dict,
    keypoints: np.ndarray,
    confidence: np.ndarray,
    skeleton: Skeleton,
    fps: float,
    rng: np.random.Generator,
) -> None:
    """Now and then the legs' or the arms' left and right are taken for each other for some frames. In place."""
    often, long = (np.full(len(SWAPPED), known[name]) for name in ("swap_rate", "swap_seconds"))
    on = _episodes(often, long, len(keypoints), fps, rng)
    for limb, names in enumerate(SWAPPED):
        order = np.arange(len(skeleton))
        for a, b in zip(skeleton.left, skeleton.right, strict=True):
            if plain(skeleton.joints[a]) in names:
                order[a], order[b] = b, a
        for array in (keypoints, confidence):
            array[on[:, limb]] = array[on[:, limb]][:, order]


def _fill(keypoints: np.ndarray, seen: np.ndarray, skeleton: Skeleton, image_size: tuple[int, int]) -> np.ndarray:
    """Lost joints filled, inside the picture; one that is never seen stays."""
    filled = fill_between(keypoints, seen, skeleton)
    return np.where(seen[..., None], filled, filled.clip(0, np.array(image_size) - 1))
