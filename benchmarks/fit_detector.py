"""Fit the made detector on real detections: how far a 2D detector is from where calibrated cameras say the joint is.

    python -m benchmarks.fit_detector FOLDER --fps 60 [-o common/datasets/synthetic/detector.json] [--picture FILE]

FOLDER is what data/convert_multiview.py reads: 2D of three cameras or more, and their calibration. The truth comes
from the same detections, so each camera is compared with what the other cameras say (leave one out), smoothed in time;
docs/detector.md tells what that shows and what it hides.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import curve_fit

from common.datasets.synthetic import detector
from common.door import guarded
from common.errors import UserError
from common.files.writing import whole_file
from common.geometry.camera import Camera
from common.geometry.skeleton import COCO_17
from common.multiview.folders import find_takes
from common.multiview.matching import Person
from common.multiview.recording import bridge, gather, smooth
from common.multiview.triangulation import person_sizes, reproject, triangulate
from common.programs.multiview import Recording, parser, read_take

CUTOFF = 6.0  # Hz, of the truth
HARD = 0.6  # of a joint's usual confidence: below, the joint counts as hard to see
LAGS = 24  # frames of the autocovariance that is fitted
NETWORK = 368  # rows of OpenPose's input: it finds joints on a grid of the picture's height over this
HEAD = [j for j, joint in enumerate(COCO_17.joints) if detector.plain(joint) not in detector.LIMBS]
BODY = [j for j, joint in enumerate(COCO_17.joints) if detector.plain(joint) in detector.LIMBS]


@dataclass(frozen=True)
class Residuals:
    """One person of one take: what is compared.

    exact (V, T, 17, 2), pixels: the projected truth; error (V, T, 17, 2), detection minus truth as a share of the
    person's size, NaN where nothing was found; confidence (V, T, 17); `inside` and `left_out` the same error against
    a truth with and without the camera itself, before they are put together.
    """

    cameras: list[Camera]
    fps: float
    exact: np.ndarray
    error: np.ndarray
    confidence: np.ndarray
    inside: np.ndarray
    left_out: np.ndarray


def residuals(recording: Recording, person: Person) -> Residuals | None:
    """Compare a person's detections with the truth; None where fewer than three cameras know the person, or where the
    confidence never changes, so that no detector made the keypoints."""
    keypoints, confidence = gather(person, recording.views)
    order = [recording.layout.index(joint) for joint in COCO_17.joints]
    keypoints, confidence = keypoints[:, :, order], confidence[:, :, order]
    seen = confidence > 0
    if (seen.any(-1).mean(1) > 0.5).sum() < 3 or np.ptp(confidence[seen]) < 1e-6:
        return None
    cameras, fps = recording.cameras, recording.fps
    inside, left_out = np.full(keypoints.shape, np.nan), np.full(keypoints.shape, np.nan)
    trusted = np.where(_clear(confidence), confidence, 0)  # what is hard to see is judged, and judges nothing
    everyone = _truth(keypoints, trusted, cameras, fps)
    exact = np.stack([_whole(reproject(everyone, camera)) for camera in cameras])
    for v, camera in enumerate(cameras):
        others = np.delete(np.arange(len(cameras)), v)
        enough = (trusted[others] > 0).sum(0) >= 2  # (T, 17)
        alone = _truth(keypoints[others], trusted[others], [cameras[o] for o in others], fps)
        size = detector.person_size(exact[v], COCO_17)
        for store, truth in ((inside, everyone), (left_out, alone)):
            away = (keypoints[v] - reproject(truth, camera)) / size[:, None, None]
            store[v] = np.where((seen[v] & enough)[..., None], away, np.nan)
    # Left out, a camera is charged with the others' errors; counted in, it has pulled the truth to itself. For a linear
    # fit the product of the two errors has the expectation of the error's own square.
    own = np.nanmean((inside * left_out).sum(-1), axis=1) / np.nanmean((left_out**2).sum(-1), axis=1)  # (V, 17)
    error = left_out * np.sqrt(np.clip(np.nan_to_num(own), 0, 1))[:, None, :, None]
    # A whole person shifted by the same all the time is the calibration's error, not the detector's.
    parts = [e - np.nanmedian(e[:, :, BODY], axis=(1, 2))[:, None, None] for e in (error, inside, left_out)]
    return Residuals(cameras, fps, exact, parts[0], confidence, *parts[1:])


def _whole(pixels: np.ndarray) -> np.ndarray:
    """(T, 17, 2) with gaps interpolated; a joint that is never known lies where the middle of the known ones does."""
    frames, pixels = np.arange(len(pixels)), pixels.copy()
    middle = np.nanmean(pixels, axis=1)  # (T, 2)
    for joint in range(pixels.shape[1]):
        good = np.isfinite(pixels[:, joint, 0])
        for axis in range(2):
            line = np.interp(frames, frames[good], pixels[good, joint, axis]) if good.any() else middle[:, axis]
            pixels[:, joint, axis] = line
    return pixels


def _clear(confidence: np.ndarray) -> np.ndarray:
    """Where joints (..., 17) are seen with at least HARD of the confidence that is usual for them."""
    return confidence >= HARD * np.array([_usual(confidence, joint) for joint in COCO_17.joints])


def _usual(confidence: np.ndarray, joint: str) -> float:
    """The median of the surer half of what a joint and its mirror image are found with."""
    columns = [j for j, other in enumerate(COCO_17.joints) if detector.plain(other) == detector.plain(joint)]
    seen = confidence[..., columns]
    seen = seen[seen > 0]
    return float(np.median(seen[seen >= np.median(seen)]))


def _truth(keypoints: np.ndarray, confidence: np.ndarray, cameras: list[Camera], fps: float) -> np.ndarray:
    sizes = person_sizes(keypoints, confidence > 0)
    return smooth(bridge(triangulate(keypoints, confidence, cameras, sizes).points, fps), fps, CUTOFF)


def fit(found: list[Residuals], draws: int = 40) -> dict:
    """The constants of `common/datasets/synthetic/detector.json`; `draws` of the made detector try each tail."""
    fps = found[0].fps
    hard = [_hard(r) for r in found]
    normal = [np.where(h[..., None], np.nan, r.error) for r, h in zip(found, hard, strict=True)]
    slow_seconds, fast_seconds, share = _memories(normal, found)
    joints = {}
    for name in CLASSES:
        columns = [j for j, joint in enumerate(COCO_17.joints) if detector.plain(joint) == name]
        # Nose and eyes are clear in two cameras at once only, so that none can be left out: the head shares one scale.
        group = BODY if name in detector.LIMBS else HEAD
        judged = columns if group is BODY else HEAD
        away = np.concatenate([np.linalg.norm(n[:, :, judged], axis=-1).ravel() for n in normal])
        joints[name] = {
            "scale": round(float(np.nanmedian(away)) / RAYLEIGH, 4),
            "hard_rate": _rate([h[:, :, columns] for h in hard], fps),
            "hard_seconds": _stay([h[:, :, group] for h in hard], fps),
            "lost_share": _lost(found, hard, group),
            "confidence": round(
                _usual(np.concatenate([r.confidence.reshape(-1, 17) for r in found]), COCO_17.joints[columns[0]]), 3
            ),
        }
    low = np.concatenate([r.confidence[h & (r.confidence > 0)] for r, h in zip(found, hard, strict=True)])
    sure = [np.where(h | (r.confidence <= 0), np.nan, r.confidence) for r, h in zip(found, hard, strict=True)]
    table = {
        "joints": joints,
        "grid": NETWORK,
        "slow_share": round(share, 3),
        "slow_seconds": round(slow_seconds, 3),
        "fast_seconds": round(fast_seconds, 3),
        "moving": _moving(found, hard),
        "hard_factor": _factor(normal, found, hard),
        "hard_confidence": round(float(np.median(low)), 3),
        "confidence_spread": round(float(np.nanmedian([np.nanstd(s, axis=1) for s in sure])), 3),
        "confidence_clip": round(float(np.nanstd(np.concatenate([np.nanmean(s, axis=1) for s in sure])[:, BODY])), 3),
        "confidence_seconds": _confidence_memory(sure, fps),
        "swap_rate": SWAPS[0],
        "swap_seconds": SWAPS[1],
    }
    return table | _tails(table, found, draws)


# What 3 camera-seconds cannot tell: no limb changed sides in them. The old guess stays.
SWAPS = (0.06, 0.1)
CLASSES = ("Nose", "Eye", "Ear", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")


RAYLEIGH = np.sqrt(2 * np.log(2))  # median length of a plane vector whose coordinates have unit variance


def _hard(r: Residuals) -> np.ndarray:
    """(V, T, 17): found with little confidence, or lost in a picture that shows the person."""
    there = (r.confidence > 0).sum(-1, keepdims=True) >= 6
    return ~_clear(r.confidence) & there


def _step(r: Residuals) -> float:
    """The variance that the detector's grid adds to a coordinate that moves over it: a step's square over twelve."""
    sizes = [np.median(detector.person_size(e, COCO_17)) for e in r.exact]
    return float(np.mean((np.array([c.height / NETWORK for c in r.cameras]) / sizes) ** 2)) / 12


def _memories(normal: list[np.ndarray], found: list[Residuals]) -> tuple[float, float, float]:
    """Seconds that the slow and the faster part of the error last, and the slow part's share of their variance."""
    fps, covariance = found[0].fps, []
    everything = [np.clip(n, *np.nanquantile(n, (0.01, 0.99))) for n in normal]
    for lag in range(LAGS + 1):
        products = [(n[:, lag:] * n[:, : n.shape[1] - lag]).ravel() for n in everything]
        covariance.append(np.nanmean(np.concatenate(products)))
    covariance[0] -= np.mean([_step(r) for r in found])
    times = np.arange(LAGS + 1) / fps

    def model(t, total, share, slow, fast):
        return total * (share * np.exp(-t / slow) + (1 - share) * np.exp(-t / fast))

    start, low, high = (covariance[0], 0.8, 1.0, 0.05), (0, 0, 0.3, 0.005), (np.inf, 1, 5, 0.2)
    (_, share, slow, fast), _ = curve_fit(model, times, covariance, start, bounds=(low, high))
    return float(slow), float(fast), float(share)


def _moving(found: list[Residuals], hard: list[np.ndarray]) -> float:
    """How much a speed of one size a second adds to each coordinate: the slope of the squared change of the error from
    frame to frame over the squared speed; what does not depend on speed is the wandering and the grid. The left-out
    error as it is: the other cameras' errors are smoothed and add little to a change."""
    energy, speed = [], []
    for r, h in zip(found, hard, strict=True):
        n = np.where(h[..., None], np.nan, r.left_out)
        size = np.stack([detector.person_size(e, COCO_17) for e in r.exact])  # (V, T)
        velocity = np.linalg.norm(np.diff(r.exact, axis=1), axis=-1) / size[:, 1:, None] * r.fps
        energy.append((np.diff(n, axis=1) ** 2).sum(-1)[:, :, BODY].ravel() / 4)
        speed.append(velocity[:, :, BODY].ravel())
    energy, speed = np.concatenate(energy), np.concatenate(speed)
    good = np.isfinite(energy) & np.isfinite(speed)
    energy, speed = energy[good], speed[good]
    edges = np.quantile(speed, np.linspace(0, 1, 7))
    bins = np.clip(np.searchsorted(edges, speed, side="right") - 1, 0, 5)
    middle = np.array([np.mean(speed[bins == b] ** 2) for b in range(6)])
    change = np.array([np.mean(np.minimum(energy[bins == b], np.quantile(energy[bins == b], 0.98))) for b in range(6)])
    slope = np.polyfit(middle, change, 1)[0]
    return round(float(np.sqrt(max(slope, 0))), 5)


def _rate(hard: list[np.ndarray], fps: float) -> float:
    """How often a second a joint becomes hard to see. Half an event is added, so that none seen is not never."""
    begun = sum(int((h[:, 1:] & ~h[:, :-1]).sum()) for h in hard)
    frames = sum(int((~h[:, :-1]).sum()) for h in hard)
    return round((begun + 0.5) / max(frames / fps, 1e-9), 3)


def _stay(hard: list[np.ndarray], fps: float) -> float:
    """Mean seconds that it lasts, from how often it ends: the recording cuts many short."""
    ended = sum(int((h[:, :-1] & ~h[:, 1:]).sum()) for h in hard)
    frames = sum(int(h[:, :-1].sum()) for h in hard)
    return round(frames / fps / (ended + 0.5), 3)


def _factor(normal: list[np.ndarray], found: list[Residuals], hard: list[np.ndarray]) -> float:
    """How much wider errors are meanwhile: ratio of medians, joints of the body."""
    usual = np.concatenate([np.linalg.norm(n[:, :, BODY], axis=-1).ravel() for n in normal])
    meanwhile = [np.linalg.norm(r.error[:, :, BODY], axis=-1)[h[:, :, BODY]] for r, h in zip(found, hard, strict=True)]
    return round(float(np.nanmedian(np.concatenate(meanwhile)) / np.nanmedian(usual)), 2)


def _confidence_memory(sure: list[np.ndarray], fps: float) -> float:
    centred = [s - np.nanmean(s, axis=1, keepdims=True) for s in sure]
    one = np.nanmean(np.concatenate([(c[:, 1:] * c[:, :-1]).ravel() for c in centred]))
    none = np.nanmean(np.concatenate([(c**2).ravel() for c in centred]))
    return round(float(-1 / (fps * np.log(np.clip(one / none, 0.05, 0.99)))), 3)


def _lost(found: list[Residuals], hard: list[np.ndarray], columns: list[int]) -> float:
    """Of the frames in which such a joint is hard to see: the share in which it is not found at all."""
    lost = sum(int((h & (r.confidence <= 0))[:, :, columns].sum()) for r, h in zip(found, hard, strict=True))
    return round(lost / max(sum(int(h[:, :, columns].sum()) for h in hard), 1), 3)


def made(r: Residuals, rng: np.random.Generator, constants: dict | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The made detector before the same person: error (V, T, 17, 2), confidence (V, T, 17), as `Residuals` has them."""
    errors, sure = [], []
    for camera, exact in zip(r.cameras, r.exact, strict=True):
        points, confidence = detector.detect(
            exact, COCO_17, (camera.width, camera.height), r.fps, rng, constants=constants
        )
        size = detector.person_size(exact, COCO_17)
        errors.append(np.where(confidence[..., None] > 0, (points - exact) / size[:, None, None], np.nan))
        sure.append(confidence)
    return np.stack(errors), np.stack(sure)


QUANTILES = (0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


def _tails(table: dict, found: list[Residuals], draws: int) -> dict:
    """How unlike joints and clips are, and how heavy the shocks' tails: by trying what agrees with the quantiles.

    Without swaps, of which the recording has none.
    """
    real = np.concatenate([np.linalg.norm(r.error[:, :, BODY], axis=-1).ravel() for r in found])
    real = np.log(np.nanquantile(real, QUANTILES))
    best = (np.inf, 0.0, 0.0)
    for spread in (0.0, 0.2, 0.4, 0.6, 0.8):
        for tail in (3.0, 4.0, 6.0, 10.0, 30.0):
            tried, rng = table | {"track_spread": spread, "tail": tail, "swap_rate": 0.0}, np.random.default_rng(0)
            drawn = [np.linalg.norm(made(r, rng, tried)[0][:, :, BODY], axis=-1) for r in found for _ in range(draws)]
            miss = np.abs(np.log(np.nanquantile(np.concatenate(drawn), QUANTILES)) - real).sum()
            best = min(best, (miss, spread, tail))
    return {"track_spread": best[1], "tail": best[2]}


def main(argv: list[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--fps", required=True)
    arguments.add_argument("-o", "--output", type=Path, default=detector.TABLE)
    arguments.add_argument("--picture", type=Path, help="also draw real beside made errors")
    return guarded(_run, arguments.parse_args(argv))


def _run(options: argparse.Namespace) -> None:
    typed = parser(None).parse_args(["--root", str(options.folder), "--fps", options.fps])
    takes = find_takes(typed.root, None)
    recordings = [read_take(take, typed, print) for take in takes]
    found = [residuals(r, person) for r in recordings for person in r.people]
    found = [r for r in found if r is not None]
    if not found:
        raise UserError(f"{options.folder}: no person whom a detector found in three cameras")
    seconds = sum(len(r.error) * r.error.shape[1] / r.fps for r in found)
    source = f"{options.folder.resolve().name}: {len(found)} person in 3 or more cameras, {seconds:.1f} camera-seconds"
    table = {"source": source, **fit(found)}
    with whole_file(options.output) as temporary:
        temporary.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(table, indent=1))
    report(found, table)
    if options.picture:
        from benchmarks.detector_picture import draw

        draw(found, table, options.picture)


def report(found: list[Residuals], table: dict) -> None:
    """Print the error's quantiles, real against made, and what the choice of truth does to them."""
    rng = np.random.default_rng(1)
    rows = {
        "real": [r.error for r in found],
        "real, camera counted in": [r.inside for r in found],
        "real, camera left out": [r.left_out for r in found],
        "made": [made(r, rng, table)[0] for r in found for _ in range(20)],
    }
    print(f"{'% of the size':26}" + "".join(f"{q:>8.0%}" for q in QUANTILES))
    for name, errors in rows.items():
        away = np.concatenate([np.linalg.norm(e[:, :, BODY], axis=-1).ravel() for e in errors])
        print(f"{name:26}" + "".join(f"{100 * v:8.2f}" for v in np.nanquantile(away, QUANTILES)))


if __name__ == "__main__":
    sys.exit(main())
