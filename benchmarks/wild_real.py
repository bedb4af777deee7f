"""Lifted poses against what calibrated cameras triangulated: `benchmarks.wild --real FOLDER`.

FOLDER holds a calibration (`Calib.toml`), `pose/` with a keypoint source for each camera, and `truth.npz`: `truth`
(cameras, people, frames, joints, 3), camera frame, metres, NaN where unknown; `joints`, COCO's names; `fps`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from common.engine.devices import Place
from common.engine.opening import Opened
from common.errors import UserError
from common.files.calibration import to_camera
from common.files.reading import load_archive
from common.geometry.camera import Camera
from common.geometry.skeleton import COCO_17, H36M_17, joint_map
from common.multiview.folders import find_takes
from common.multiview.triangulation import extrinsics, person_sizes, triangulate
from common.scoring.metrics import mpjpe, p_mpjpe
from common.settings.wild import WildSettings
from common.wild.keypoints import read_keypoints
from common.wild.lifting import camera_of
from common.wild.people import lift_people
from common.wild.skeletons import stature
from common.wild.tracking import track

NEAR = 0.2  # of a person's size in the picture: lifted people farther from a true one's projection are somebody else
BONES = (("LHip", "LKnee"), ("RHip", "RKnee"), ("LKnee", "LAnkle"), ("RKnee", "RAnkle"), ("LShoulder", "LElbow"),
         ("RShoulder", "RElbow"), ("LElbow", "LWrist"), ("RElbow", "RWrist"))  # fmt: skip


@dataclass(frozen=True)
class Recording:
    """People seen by calibrated cameras. truth (V, P, T, J, 3), camera frame, metres, of the named joints."""

    cameras: list[Camera]
    sources: list[Path]
    truth: np.ndarray
    joints: tuple[str, ...]
    fps: float


def read_recording(folder: Path) -> Recording:
    data = load_archive(folder / "truth.npz")
    (take,) = find_takes(folder, None, lambda line: None)[:1]
    truth, joints = np.asarray(data["truth"], np.float64), tuple(data["joints"].tolist())
    cameras = []
    for camera in take.cameras:
        if camera.size is None:
            raise UserError(f"{folder}: camera {camera.name} has no image size")
        cameras.append(to_camera(camera, camera.size))
    if truth.ndim != 5 or len(truth) != len(cameras) or truth.shape[3:] != (len(joints), 3):
        raise UserError(f"{folder / 'truth.npz'}: truth {truth.shape} for {len(cameras)} cameras, {len(joints)} joints")
    return Recording(cameras, take.sources, truth, joints, float(data["fps"]))


def from_mid_hips(poses: np.ndarray, joints: tuple[str, ...]) -> np.ndarray:
    """Poses (..., J, 3) relative to the middle of their hips."""
    return poses - poses[..., [joints.index("LHip"), joints.index("RHip")], :].mean(-2, keepdims=True)


def matched(people: list[dict], truth: np.ndarray, camera: Camera, columns: list[int], name: str) -> np.ndarray:
    """Lifted poses (P, T, J, 3) in the truth's order, NaN where a true person was not lifted.

    People are matched frame by frame: each lifted person's 2D against the projected truth (P, T, J, 3), the least
    total distance. So neither an exchange of identities nor a wrong place in depth gives a pose to somebody else.
    """
    pixels = camera.project(torch.from_numpy(np.nan_to_num(truth, nan=1.0))).numpy()  # (P, T, J, 2)
    known = np.isfinite(truth).all(-1)
    sizes = person_sizes(pixels, known)  # (P, T)
    out = np.full(truth.shape, np.nan)
    for frame in range(truth.shape[1]):
        here = [(p, frame - p["first"]) for p in people if 0 <= frame - p["first"] < len(p[name])]
        cost = np.full((len(truth), len(here)), np.inf)
        for row in np.flatnonzero(known[:, frame].any(-1)):
            for column, (person, at) in enumerate(here):
                away = np.linalg.norm(person["keypoints_2d"][at][columns] - pixels[row, frame], axis=-1)
                cost[row, column] = np.median(away[known[row, frame]]) / sizes[row, frame]
        usable = np.where(np.isfinite(cost) & (cost < NEAR), cost, 1e3)
        for row, column in zip(*linear_sum_assignment(usable), strict=True):
            if usable[row, column] < NEAR:
                person, at = here[column]
                out[row, frame] = person[name][at][columns]
    return out


def measure_camera(
    found: np.ndarray, truth: np.ndarray, joints: tuple[str, ...], radius: np.ndarray | None = None
) -> dict:
    """Figures of lifted poses (P, T, J, 3) against the truth, both in the camera frame, metres; mm and degrees out.

    radius (P, T, J): of how many joints, in percent, the truth lies within it.
    """
    both = np.isfinite(found).all((-1, -2)) & np.isfinite(truth).all((-1, -2))  # (P, T)
    known = np.isfinite(truth).all((-1, -2))
    own, true = from_mid_hips(found, joints), from_mid_hips(truth, joints)
    pairs = [torch.from_numpy(x[both]) for x in (own, true)]
    lean = trunk_tilt(true, truth, joints) - trunk_tilt(own, found, joints)
    told = None if radius is None else both[..., None] & np.isfinite(radius)
    within = None if told is None else (np.linalg.norm(own - true, axis=-1) <= radius)[told]
    return {
        **({} if within is None else {"covered": 100 * float(within.mean()) if len(within) else float("nan")}),
        "mpjpe": 1000 * float(mpjpe(*pairs).mean()) if both.any() else float("nan"),
        "p_mpjpe": 1000 * float(p_mpjpe(*pairs).mean()) if both.any() else float("nan"),
        "jitter": 1000 * jitter(own),
        "jitter_truth": 1000 * jitter(true),
        "bones": bone_spread(found, joints),
        "bones_truth": bone_spread(truth, joints),
        "lean": float(lean[both].mean()) if both.any() else float("nan"),
        "poses": int(both.sum()),
        "known": int(known.sum()),
    }


def jitter(poses: np.ndarray) -> float:
    """Mean norm of the second difference in time of poses (..., T, J, 3), NaN left out."""
    return mean_of(np.linalg.norm(np.diff(poses, n=2, axis=-3), axis=-1))


def mean_of(values: np.ndarray) -> float:
    """The mean of what is finite, NaN where nothing is."""
    good = np.isfinite(values)
    return float(values[good].mean()) if good.any() else float("nan")


def bone_spread(poses: np.ndarray, joints: tuple[str, ...]) -> float:
    """Percent: standard deviation over mean in time of the limbs' lengths, mean over limbs and people."""
    a, b = (np.array([joints.index(bone[k]) for bone in BONES]) for k in (0, 1))
    lengths = np.linalg.norm(poses[..., a, :] - poses[..., b, :], axis=-1)  # (P, T, bones)
    lengths = np.ma.masked_invalid(lengths)
    return 100 * mean_of((lengths.std(-2) / lengths.mean(-2)).filled(np.nan))


def trunk_tilt(relative: np.ndarray, placed: np.ndarray, joints: tuple[str, ...]) -> np.ndarray:
    """Degrees (...,) that the trunk points away from the camera along the line of sight; `placed` tells that line."""
    shoulders = relative[..., [joints.index("LShoulder"), joints.index("RShoulder")], :].mean(-2)
    sight = placed.mean(-2)
    lengths = np.linalg.norm(shoulders, axis=-1) * np.linalg.norm(sight, axis=-1)
    return np.degrees(np.arcsin(np.clip((shoulders * sight).sum(-1) / np.maximum(lengths, 1e-9), -1, 1)))


def measure_real(
    folder: Path,
    model: Opened,
    settings: WildSettings,
    place: Place,
    wrong_focal: float = 1.0,
    heights: bool = False,
) -> dict[str, dict]:
    """Every camera's people lifted as main_wild.py does with `--focal`, and their figures, final and raw.

    heights: and with `--height`, told how tall the true people are.
    """
    recording = read_recording(folder)
    names = {"LAnkle": "LFoot", "RAnkle": "RFoot"}
    columns = [model.skeleton.index(j if j in model.skeleton.joints else names[j]) for j in recording.joints]
    out: dict[str, dict] = {}
    for camera, source, truth in zip(recording.cameras, recording.sources, recording.truth, strict=True):
        found = read_keypoints(source)
        focal = wrong_focal * float(np.mean(camera.intrinsics[:2])) * camera.width / 2
        asked = replace(settings, lifting=replace(settings.lifting, focal=focal))
        tracks = track(found, recording.fps)
        told = camera_of((camera.width, camera.height), focal)
        people = lift_people(model, tracks, found.layout, recording.fps, told, asked, place)
        if heights:
            tall = heights_of(people, truth, camera, columns, recording.joints)
            asked = replace(asked, lifting=replace(asked.lifting, height=tall))
            people = lift_people(model, tracks, found.layout, recording.fps, told, asked, place)
        for name in ("positions", "positions_raw"):
            if people and all(name in person for person in people):
                poses = matched(people, truth, camera, columns, name)
                radius = None
                if name == "positions" and all("radius" in person for person in people):
                    wide = [person | {"radius": np.repeat(person["radius"][..., None], 3, -1)} for person in people]
                    radius = matched(wide, truth, camera, columns, "radius")[..., 0]  # (P, T, J)
                rows = out.setdefault(name, {})
                for n in range(len(truth)):
                    own = None if radius is None else radius[n : n + 1]
                    rows[camera.name, n] = measure_camera(poses[n : n + 1], truth[n : n + 1], recording.joints, own)
    return {name: summary(rows) for name, rows in out.items()}


def heights_of(
    people: list[dict], truth: np.ndarray, camera: Camera, columns: list[int], joints: tuple[str, ...]
) -> dict[int, float]:
    """By the lifted people's numbers, how tall the true ones (P, T, J, 3) are that they mostly are, metres."""
    numbered = [person | {"number": np.full(person["positions"].shape, person["id"])} for person in people]
    numbers = matched(numbered, truth, camera, columns, "number")
    out = {}
    for own, poses in zip(numbers, truth, strict=True):
        known = np.isfinite(poses).all((-1, -2))
        tall = stature(in_h36m(poses[known], joints)[None], H36M_17, np.ones((known.sum(), len(H36M_17)), bool))
        if np.isfinite(own).any() and tall:
            out[int(np.nanmedian(own))] = tall
    return out


def in_h36m(poses: np.ndarray, joints: tuple[str, ...]) -> np.ndarray:
    """Poses (..., J, 3) of some of COCO's joints as the joint rule maps them to the lifter's (..., 17, 3)."""
    whole = np.zeros((*poses.shape[:-2], len(COCO_17), 3))
    whole[..., [COCO_17.index(j) for j in joints], :] = np.nan_to_num(poses)
    return joint_map(COCO_17, H36M_17) @ whole


def summary(rows: dict[tuple[str, int], dict]) -> dict:
    """Means by camera, by person, and of all."""
    cameras, people = (list(dict.fromkeys(key[k] for key in rows)) for k in (0, 1))
    return {
        "cameras": {c: average([row for key, row in rows.items() if key[0] == c]) for c in cameras},
        "people": {f"person {n}": average([row for key, row in rows.items() if key[1] == n]) for n in people},
        "all": average(list(rows.values())),
    }


def average(rows: list[dict]) -> dict:
    """The mean of some figures, each pose counting once; `lifted` is of all the true poses."""
    weights = np.array([row["poses"] for row in rows], float)
    keys = [key for key in rows[0] if key not in ("poses", "known")]
    out = {}
    for key in keys:
        values = np.array([row[key] for row in rows])
        good = np.isfinite(values) & (weights > 0)
        out[key] = float((values * weights)[good].sum() / weights[good].sum()) if good.any() else float("nan")
    known = sum(row["known"] for row in rows)
    return out | {"lifted": float(weights.sum() / max(known, 1)), "poses": int(weights.sum()), "known": known}


def truth_accuracy(folder: Path) -> dict:
    """How far the truth itself can be trusted.

    `halves`: the people are triangulated anew by the first and the last half of the cameras; half of the mean distance
    between the two, root-relative, is the standard error of the mean of both, mm. `rule`: what the joint rule from
    COCO to the lifter's joints costs by itself: the truth through the rule against the truth, mm.
    """
    recording = read_recording(folder)
    frames = [read_keypoints(source) for source in recording.sources]
    layout = frames[0].layout
    order = [layout.index(j) for j in recording.joints]
    pixels, sure = assigned(recording, frames, order)  # (V, P, T, J, 2), (V, P, T, J)
    half = len(recording.cameras) // 2
    parts = []
    for chosen in (slice(0, half), slice(half, None)):
        cameras, people = recording.cameras[chosen], []
        for person in range(pixels.shape[1]):
            points, weights = pixels[chosen, person], sure[chosen, person]
            people.append(triangulate(points, weights, cameras, person_sizes(points, weights > 0)).points)
        parts.append(from_mid_hips(np.array(people), recording.joints))  # (P, T, J, 3)
    away = np.linalg.norm(parts[0] - parts[1], axis=-1)
    world = to_world(recording)
    reprojected = []
    for camera, points, weights in zip(recording.cameras, pixels, sure, strict=True):
        seen = camera.project(camera.world_to_camera(torch.from_numpy(np.nan_to_num(world)))).numpy()
        reprojected.append(np.linalg.norm(seen - points, axis=-1)[(weights > 0) & np.isfinite(world).all(-1)])
    return {
        "halves": 1000 * float(np.nanmean(away)) / 2,
        "halves_seen": float(np.isfinite(away).mean()),
        "reprojection": float(np.median(np.concatenate(reprojected))),
        "rule": rule_error(world, recording.joints),
        "bones": bone_spread(world, recording.joints),
        "jitter": 1000 * jitter(from_mid_hips(world, recording.joints)),
    }


def rule_error(world: np.ndarray, joints: tuple[str, ...]) -> float:
    """What the joint rule from COCO's joints to the lifter's costs by itself, mm: the truth (P, T, J, 3) through the
    rule against the truth, from the middle of the hips. Its joints are taken over as they are, so nothing is lost; what
    the lifter's training called a hip is another matter, which no rule tells."""
    mapped = in_h36m(world, joints)
    columns = [H36M_17.index(j.replace("Ankle", "Foot")) for j in joints]
    away = (mapped - mapped[..., [H36M_17.root], :])[..., columns, :] - from_mid_hips(np.nan_to_num(world), joints)
    return 1000 * float(np.linalg.norm(away, axis=-1).mean())


def to_world(recording: Recording) -> np.ndarray:
    """The truth (P, T, J, 3) in the world, from the first camera's."""
    outer = extrinsics(recording.cameras[:1])[0]
    return (recording.truth[0] - outer[:, 3]) @ outer[:, :3]


def assigned(recording: Recording, frames: list, order: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Each camera's detections of the true people: pixels (V, P, T, J, 2) and confidence (V, P, T, J), 0 for none."""
    views, people, count, joints, _ = recording.truth.shape
    pixels, sure = np.zeros((views, people, count, joints, 2)), np.zeros((views, people, count, joints))
    for view, (camera, found) in enumerate(zip(recording.cameras, frames, strict=True)):
        shown = [
            {"first": n, "keypoints_2d": person[None, order, :2], "here": np.concatenate(
                [person[None, order], np.zeros((1, joints, 0))], -1)}
            for n, frame in enumerate(found.frames) for person in frame
        ]  # fmt: skip
        best = matched(shown, recording.truth[view], camera, list(range(joints)), "here")
        seen = np.isfinite(best).all(-1)
        pixels[view], sure[view] = np.where(seen[..., None], best[..., :2], 0), np.where(seen, best[..., 2], 0)
    return pixels, sure
