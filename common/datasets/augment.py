"""Training data made anew for every epoch from recorded clips: other bodies, headings, speeds, gaps, noise, cameras.

What a detector saw is kept as the difference of its keypoints from the projected truth: where body or heading change,
the keypoints are the new projection plus that difference. So it works with any detector, and with the truth itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from common.datasets import variation
from common.datasets.clips import Clip
from common.datasets.random_cameras import random_view
from common.datasets.synthetic.detector import detect
from common.geometry.camera import Camera, pixels_to_screen, project
from common.geometry.skeleton import Skeleton
from common.settings.recipe import VARIATIONS

SECONDS, WINDOWS = 5.0, 4  # length of a piece that has one body and heading: seconds, and windows at least
TURNED, FASTER, HIDDEN, NOISY, MOVED = 0.75, 0.5, 0.3, 0.3, 0.5  # shares of the pieces
SPEEDS = (0.7, 1.5)  # least and greatest
NEARER = 0.6  # a turned person may come so much nearer to the camera, as a share of the least depth
TRIES = 4
FRAMES_LOOKED_AT = 20  # of a clip, for where people's heads point
GAP = (0.2, 1.0)  # seconds that a limb is hidden
NOISE, MEMORY = 0.015, 0.1  # greatest spread of the added noise, of the person's size; seconds it lasts


def usable(kinds: Sequence[str], clips: Sequence[Clip], notice: Callable[[str], None]) -> tuple[str, ...]:
    """Those kinds that these clips allow. What needs cameras of known place, and people who stand along the world's z,
    is left out and told where these are not so."""
    seen = all(clip.camera.intrinsics is not None for clip in clips)
    placed = seen and all(clip.camera.rotation != Camera.rotation for clip in clips) and upright(clips)
    allowed = {name: placed if name in ("turn", "camera") else seen or name != "body" for name in VARIATIONS}
    if left_out := [name for name in kinds if not allowed[name]]:
        notice(f"--vary {','.join(left_out)}: left out; it needs calibrated cameras in a world whose z is upwards.")
    return tuple(name for name in kinds if allowed[name])


def upright(clips: Sequence[Clip]) -> bool:
    """Whether people reach further along the world's z than along x and y: the median of their frames' extents."""
    extents = []
    for clip in clips:
        poses = clip.positions_3d[clip.valid][:: max(1, len(clip) // FRAMES_LOOKED_AT)].astype(np.float64)
        world = clip.camera.camera_to_world(torch.from_numpy(poses)).numpy()
        extents.append(np.ptp(world, axis=1))  # (frames, 3)
    middle = np.median(np.concatenate(extents), axis=0)
    return bool(middle[2] > middle[:2].max())


def varied(
    clips: Sequence[Clip], kinds: Sequence[str], skeleton: Skeleton, length: int, rng: np.random.Generator
) -> list[Clip]:
    """The clips in pieces of five seconds, or four windows of `length` frames, that begin elsewhere each time, each
    varied in the given kinds (VARIATIONS)."""
    out = []
    for clip in clips:
        size = max(round(SECONDS * clip.fps), WINDOWS * length)
        first = int(rng.integers(size)) if len(clip) > size else 0
        for piece in np.split(np.arange(len(clip)), range(first or size, len(clip), size)):
            if len(piece) > length // 2 or len(piece) == len(clip):
                part = {name: getattr(clip, name)[piece] for name in ("keypoints_2d", "positions_3d", "valid")}
                out.append(_vary(replace(clip, **part), kinds, skeleton, rng))
    return out


def _vary(clip: Clip, kinds: Sequence[str], skeleton: Skeleton, rng: np.random.Generator) -> Clip:
    """One piece, varied. A piece with frames that are not valid keeps its body, heading, speed and camera."""
    poses, keypoints = clip.positions_3d.astype(np.float64), clip.keypoints_2d.astype(np.float64)
    if clip.valid.all():
        if "speed" in kinds and rng.random() < FASTER:
            factor = np.exp(rng.uniform(*np.log(SPEEDS)))
            poses, keypoints = variation.at_speed(poses, factor), variation.at_speed(keypoints, factor)
        before = poses
        if "body" in kinds:
            poses = variation.with_proportions(poses, skeleton, rng, upright=False)
        if "turn" in kinds and rng.random() < TURNED:
            poses = turned(poses, clip.camera, skeleton, rng)
        if "camera" in kinds and rng.random() < MOVED:
            return _seen_elsewhere(clip, poses, skeleton, rng)
        if poses is not before:
            keypoints = keypoints + _screen(poses, clip.camera) - _screen(before, clip.camera)
    size = np.ptp(keypoints, axis=1).max(-1)  # (T,)
    if "hidden" in kinds and rng.random() < HIDDEN:
        keypoints = with_gap(keypoints, clip.fps, skeleton, rng)
    if "noise" in kinds and rng.random() < NOISY:
        wander = variation.smooth_noise(keypoints.shape, MEMORY, clip.fps, rng)
        keypoints = keypoints + rng.uniform(0, NOISE) * size[:, None, None] * wander
    valid = clip.valid if len(poses) == len(clip) else np.ones(len(poses), bool)
    return replace(clip, keypoints_2d=keypoints.astype(np.float32), positions_3d=poses.astype(np.float32), valid=valid)


def turned(poses: np.ndarray, camera: Camera, skeleton: Skeleton, rng: np.random.Generator) -> np.ndarray:
    """The take (T, J, 3), camera frame, turned about the vertical through its middle, by an angle at which the person
    stays in the picture and does not come much nearer; as it was where a few tries find none."""
    origin = torch.tensor(camera.translation, dtype=torch.float64)
    up = camera.world_to_camera(origin + origin.new_tensor([0.0, 0.0, 1.0]))  # (3,), camera frame
    middle = poses[:, skeleton.root].mean(0)
    edge = np.array([1.0, camera.height / camera.width])
    for _ in range(TRIES):
        out = middle + (poses - middle) @ _about(up.numpy(), rng.uniform(0, 2 * np.pi)).T
        if out[..., 2].min() > NEARER * poses[..., 2].min() and (abs(_screen(out, camera)) < edge).all():
            return out
    return poses


def _about(axis: np.ndarray, angle: float) -> np.ndarray:
    """The rotation (3, 3) about a unit axis (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def with_gap(keypoints: np.ndarray, fps: float, skeleton: Skeleton, rng: np.random.Generator) -> np.ndarray:
    """Keypoints (T, J, 2) where one joint and all beyond it are lost for a while, and drawn straight in between."""
    joint = int(rng.choice([j for j in range(len(skeleton)) if j != skeleton.root]))
    lost = [j for j in range(len(skeleton)) if _hangs_on(j, joint, skeleton)]
    count = max(1, round(fps * rng.uniform(*GAP)))
    if count + 2 > len(keypoints):
        return keypoints
    first = int(rng.integers(1, len(keypoints) - count))
    out, share = keypoints.copy(), (np.arange(1, count + 1) / (count + 1))[:, None, None]
    before, after = keypoints[first - 1, lost], keypoints[first + count, lost]
    out[first : first + count, lost] = (1 - share) * before + share * after
    return out


def _hangs_on(joint: int, other: int, skeleton: Skeleton) -> bool:
    """Whether a joint is another or moves with it."""
    while joint >= 0 and joint != other:
        joint = skeleton.parents[joint]
    return joint == other


def _seen_elsewhere(clip: Clip, poses: np.ndarray, skeleton: Skeleton, rng: np.random.Generator) -> Clip:
    """The poses, camera frame, through a random camera, their 2D by the made detector."""
    world = clip.camera.camera_to_world(torch.from_numpy(poses)).numpy()
    camera, seen = random_view(world, rng)
    pixels = camera.project(torch.from_numpy(seen)).numpy()
    keypoints = detect(pixels, skeleton, (camera.width, camera.height), clip.fps, rng)[0]
    screen = pixels_to_screen(torch.from_numpy(keypoints), camera.width, camera.height).numpy()
    valid = np.ones(len(seen), bool)
    camera = replace(camera, name=clip.camera.name)
    return replace(
        clip, camera=camera, keypoints_2d=screen.astype(np.float32), positions_3d=seen.astype(np.float32), valid=valid
    )


def _screen(poses: np.ndarray, camera: Camera) -> np.ndarray:
    """Camera-frame poses (T, J, 3) to screen units."""
    points = torch.from_numpy(poses)
    return project(points, points.new_tensor(camera.intrinsics)).numpy()
