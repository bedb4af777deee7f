"""The motion that the shipped lifter learns: takes varied, through random cameras, with the made detector's 2D."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import torch

from common.datasets import variation
from common.datasets.clips import Clip
from common.datasets.random_cameras import random_view
from common.datasets.synthetic.detector import detect
from common.datasets.synthetic.face import coco_points
from common.files.reading import load_archive
from common.geometry.camera import Camera, pixels_to_screen
from common.geometry.skeleton import COCO_17, H36M_17, H36M_17_OF_32, joint_map
from common.wild.cleaning import fill_gaps

TRAINING, HELD_OUT = ("S1", "S5", "S6", "S7", "S8"), ("S9", "S11")
RECORDED, FPS = 50, 25.0  # frames a second of the data and of the network
PIECE = round(5 * FPS)  # frames, at most, that one camera sees
STEEP = 0.25  # share of the cameras from the ground to a ceiling
OTHER_ARMS, OTHER_SPEED, SPEEDS = 0.4, 0.5, (0.7, 1.5)  # shares of the pieces; the least and the greatest speed
OTHER_POSTURE = 0.35  # share of the pieces
AS_COCO = 0.75  # share of the pieces whose 2D are mapped COCO keypoints
UNSEEN = {("Knee", "Ankle"): 0.06, ("Hip", "Knee", "Ankle"): 0.02, ("Ankle",): 0.03, ("Elbow", "Wrist"): 0.02}
GUESSED, GUESS = 0.4, 0.15  # share of the pieces whose focal length is a guess; the guess's spread in log length


def load_takes(folder: Path, subjects: tuple[str, ...]) -> list[tuple[str, str, np.ndarray]]:
    """(subject, action, world positions (T, 17, 3), metres) of every take."""
    positions = load_archive(folder / "data_3d_h36m.npz")["positions_3d"]
    return [
        (subject, action, np.asarray(world)[:: RECORDED // round(FPS), H36M_17_OF_32].astype(np.float64))
        for subject in subjects
        for action, world in positions[subject].items()
    ]


def view(subject: str, action: str, world: np.ndarray, rng: np.random.Generator, name: str) -> Clip:
    """The take as it was recorded through a random camera, its 2D by the made detector."""
    camera, seen = random_view(world, rng)
    pixels = camera.project(torch.from_numpy(seen)).numpy()  # (T, 17, 2)
    keypoints = detect(pixels, H36M_17, (camera.width, camera.height), FPS, rng)[0]
    return clip_of(subject, action, camera, keypoints, seen, name)


def views(takes: list, seed: int, count: int) -> list[Clip]:
    """Every five seconds of every take through `count` random cameras: few stay in one picture for longer.

    Each is drawn from the seed and its own name, whatever other takes and cameras there are.
    """
    clips = []
    for subject, action, world in takes:
        for k, part in enumerate(np.array_split(world, -(-len(world) // PIECE))):
            for name in (f"part {k}, random {n}" for n in range(count)):
                clips.append(view(subject, action, part, named_rng(seed, subject, action, name), name))
    return clips


def named_rng(seed: int, *names: str) -> np.random.Generator:
    """Random numbers of a view, the same on every machine."""
    return np.random.default_rng([seed, crc32("/".join(names).encode())])


def varied(world: np.ndarray, others: list, rng: np.random.Generator) -> np.ndarray:
    """The piece (T, 17, 3) by another body, at another speed, with another take's arms or in another posture."""
    if rng.random() < OTHER_ARMS:
        lent = others[rng.integers(len(others))][2]
        start = rng.integers(max(1, len(lent) - len(world) + 1))
        lent = lent[start : start + len(world)]
        world = variation.with_other_arms(world[: len(lent)], lent, H36M_17)
    if rng.random() < OTHER_SPEED:
        world = variation.at_speed(world, np.exp(rng.uniform(*np.log(SPEEDS))))
    if rng.random() < OTHER_POSTURE:
        world = variation.with_posture(world, FPS, H36M_17, rng)
    return variation.with_proportions(world, H36M_17, rng)


def training_view(subject: str, action: str, world: np.ndarray, rng: np.random.Generator, name: str) -> Clip:
    """The piece through a random camera, its 2D by the made detector as main_wild.py would map it."""
    camera, seen = random_view(world, rng, STEEP)
    size = (camera.width, camera.height)
    if rng.random() < AS_COCO:
        pixels = camera.project(torch.from_numpy(coco_points(seen, FPS, rng))).numpy()  # (T, 17, 2)
        keypoints, confidence = detect(pixels, COCO_17, size, FPS, rng)
        shown = confidence > 0
        for joints, share in UNSEEN.items():
            for side in "LR" if "Wrist" in joints else ("LR",):
                if rng.random() < share:
                    shown[:, [COCO_17.index(s + joint) for joint in joints for s in side]] = False
        keypoints = joint_map(COCO_17, H36M_17) @ fill_gaps(keypoints, shown, COCO_17)
    else:
        pixels = camera.project(torch.from_numpy(seen)).numpy()
        keypoints = detect(pixels, H36M_17, size, FPS, rng)[0]
    clip = clip_of(subject, action, camera, keypoints, seen, name)
    if rng.random() < GUESSED:
        guess = np.exp(rng.normal(0, GUESS))
        told = tuple(f * guess for f in camera.intrinsics[:2]) + camera.intrinsics[2:]
        clip = replace(clip, camera=replace(clip.camera, intrinsics=told))
    return clip


def clip_of(subject: str, action: str, camera: Camera, pixels: np.ndarray, seen: np.ndarray, name: str) -> Clip:
    screen = pixels_to_screen(torch.from_numpy(np.asarray(pixels, np.float64)), camera.width, camera.height).numpy()
    camera, valid = replace(camera, name=name), np.ones(len(seen), bool)
    return Clip(subject, action, camera, FPS, screen.astype(np.float32), seen.astype(np.float32), valid)


def at_rate(clip: Clip) -> Clip:
    """A recorded clip at the network's rate."""
    return replace(clip.taken(slice(None, None, RECORDED // round(FPS))), fps=FPS)


def plain_views(takes: list, epoch: int) -> list[Clip]:
    """Every five seconds of every take as recorded, through a random camera."""
    return views(takes, epoch, 1)


def training_views(takes: list, seed: int, least: int, epoch: int) -> list[Clip]:
    """Every five seconds of every take, varied, through a random camera of its own; all drawn from (seed, epoch).

    Of a take's ends, what is shorter than `least` frames is left out.
    """
    rng = np.random.default_rng([seed, epoch])
    clips = []
    for subject, action, world in takes:
        cut = rng.integers(PIECE) if len(world) > PIECE else 0  # pieces begin elsewhere in every epoch
        for k, part in enumerate(np.split(world, range(cut, len(world), PIECE)) if cut else [world]):
            if len(part) >= least or len(part) == len(world):
                clips.append(training_view(subject, action, varied(part, takes, rng), rng, f"part {k}"))
    return clips


class Ahead:
    """The clips of an epoch. With `workers` processes they are drawn some epochs ahead, while the network trains."""

    def __init__(self, draw: Callable[[int], list[Clip]], workers: int):
        self.draw, self.ahead = draw, 2 * workers
        self.waiting: dict[int, Future] = {}
        self.pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) if workers else None

    def __call__(self, epoch: int) -> list[Clip]:
        if self.pool is None:
            return self.draw(epoch)
        for n in range(epoch, epoch + self.ahead):
            if n not in self.waiting:
                self.waiting[n] = self.pool.submit(self.draw, n)
        return self.waiting.pop(epoch).result()

    def close(self) -> None:
        if self.pool:
            self.pool.shutdown(cancel_futures=True)
