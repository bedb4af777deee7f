"""Cameras drawn at random around a take, for lifters that are to stand other views than one laboratory's."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from common.geometry.camera import Camera

SIZES = ((1920, 1080), (1080, 1920), (1000, 1000), (1440, 1080))  # pixels


STEEP = (-35, 70)  # degrees downwards of the optical axis: from the ground to a ceiling


def random_view(world: np.ndarray, rng: np.random.Generator, steep: float = 0.0) -> tuple[Camera, np.ndarray]:
    """A camera that sees a whole take (T, J, 3), world, metres, z up; and the take (T, J, 3) in its frame.

    Any heading; the optical axis from 30 degrees upwards to 45 degrees downwards, mostly near level; up to 4 degrees
    of roll; fields of view of 30 to 85 degrees; upright and wide images; the person fills 25 to 90 percent of the
    image's shorter way and may stand anywhere that keeps every frame inside. A share `steep` of the cameras looks from
    anywhere between the ground and a ceiling: from 35 degrees upwards to 70 downwards, evenly.
    """
    width, height = SIZES[rng.choice(4, p=(0.4, 0.15, 0.3, 0.15))]
    focal = np.exp(rng.uniform(np.log(1.1), np.log(3.7)))  # screen units: the view is 2 atan(1 / focal) wide
    heading = rng.uniform(0, 2 * np.pi)
    down = np.radians(np.clip(rng.normal(8, 13), -30, 45))
    if steep and rng.random() < steep:
        down = np.radians(rng.uniform(*STEEP))
    roll = np.radians(np.clip(rng.normal(0, 1.5), -4, 4))
    forward = np.array([np.cos(heading) * np.cos(down), np.sin(heading) * np.cos(down), -np.sin(down)])
    right = np.array([np.sin(heading), -np.cos(heading), 0])
    below = np.cross(forward, right)
    right, below = np.cos(roll) * right + np.sin(roll) * below, np.cos(roll) * below - np.sin(roll) * right
    axes = np.stack([right, below, forward])  # rows: the camera's axes in the world
    middle = world[:, :1].mean((0, 1))
    seen = (world - middle) @ axes.T  # (T, J, 3), about the mean root
    half = np.array([1.0, height / width])  # of the image, screen units
    share = rng.uniform(0.25, 0.9)
    distance = 1.0 - seen[..., 2].min()
    while True:  # the nearest place from which the take fits into its share of the image
        xy = focal * seen[..., :2] / (seen[..., 2:] + distance)
        low, high = xy.min((0, 1)), xy.max((0, 1))
        if ((high - low) <= 2 * half * share).all() or distance > 40:
            break
        distance *= 1.05
    room = np.maximum(half - (high - low) / 2, 0)
    target = rng.uniform(-room, room) * 0.95 - (low + high) / 2  # where the take's centre goes
    shift = np.array([*(target / focal * distance), distance])
    intrinsics = (focal, focal, rng.normal(0, 0.02), rng.normal(0, 0.02), *rng.normal(0, (0.05, 0.03)), 0.0, 0.0, 0.0)
    x, y, z, w = Rotation.from_matrix(axes.T).as_quat()  # camera to world
    camera = Camera(
        name="random",
        width=width,
        height=height,
        intrinsics=tuple(float(v) for v in intrinsics),
        rotation=tuple(map(float, (w, x, y, z))),
        translation=tuple((middle - axes.T @ shift).tolist()),
    )
    return camera, seen + shift
