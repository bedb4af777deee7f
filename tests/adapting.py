"""A tiny source lifter and tiny clips of source and target, made in memory."""

import numpy as np
import pytest
import torch

from common.datasets.clips import Clip
from common.diffusion.lifter import DiffusionLifter, d3dp_diffusion
from common.geometry.camera import Camera, project
from common.geometry.skeleton import H36M_17
from common.models import build

FRAMES = 9
SETTINGS = {
    "rank": 2,
    "scale": 1.0,
    "targets": ["attn.qkv", "attn.proj"],
    "refiner": {"kind": "joint", "joints": 17, "channels": 16, "depth": 1, "heads": 8},
}
SIZES = {"frames": FRAMES, "joints": 17, "channels": 16, "depth": 1}
SOURCE_CAMERA = Camera("a", 1000, 1000, (2.3, 2.3, 0.02, 0.03, -0.2, 0.2, 0.0, -0.001, 0.001))
TARGET_CAMERA = Camera("b", 2048, 2048, (1.46, 1.46, -0.01, 0.02, 0.0, 0.0, 0.0, 0.0, 0.0))


def make_clips(camera: Camera, seed: int, count: int = 3, frames: int = 21, subject: str = "S1") -> list[Clip]:
    """People who wave their limbs at random, four metres away."""
    rng = np.random.default_rng(seed)
    clips = []
    for number in range(count):
        pose = rng.normal(0, 0.3, (17, 3)) * [1, 1.6, 0.6]
        pose[0] = 0
        t = np.arange(frames)[:, None, None] / 10
        poses = pose * (1 + 0.2 * np.sin(t + rng.uniform(0, 6, (17, 1))))
        points = (poses + [0.2 * number, 0.1, 4.0]).astype(np.float32)
        seen = torch.from_numpy(points)
        screen = project(seen, torch.tensor(camera.intrinsics)).numpy()
        clips.append(Clip(subject, f"Act {number}", camera, 50.0, screen, points, np.ones(frames, bool)))
    return clips


@pytest.fixture
def source_content() -> dict:
    """What a source checkpoint holds: its card and weights."""
    torch.manual_seed(0)
    denoiser = build("mixste", **SIZES)
    card = {"model": "mixste", "sizes": SIZES, "frames": FRAMES, "joints": 17, "skeleton": H36M_17.name,
            "keypoints": "gt", "labels": None, "units": "m", "version": 1, "dataset": "h36m", "subjects": "S1",
            "diffusion": {"timesteps": 1000, "scale": 1.0}, "variant": "default"}  # fmt: skip
    return {"card": card, "weights": denoiser.state_dict()}


@pytest.fixture
def source_lifter(source_content) -> DiffusionLifter:
    denoiser = build("mixste", **SIZES)
    denoiser.load_state_dict(source_content["weights"])
    return DiffusionLifter(denoiser, H36M_17, d3dp_diffusion()).eval()


@pytest.fixture
def clips() -> dict:
    return {"source": make_clips(SOURCE_CAMERA, 1), "target": make_clips(TARGET_CAMERA, 2, subject="S5")}


@pytest.fixture
def settings() -> dict:
    return SETTINGS


@pytest.fixture
def target_clips():
    """target_clips(seed, count, subject): clips seen by the target's camera."""
    return lambda seed, count, subject="S1": make_clips(TARGET_CAMERA, seed, count, subject=subject)
