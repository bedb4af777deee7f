"""One person's 2D through a checkpoint of any kind: resampled to its rate, windows sampled and blended, aggregated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from common.datasets.clips import Clip
from common.datasets.windows import Batch, Windows
from common.diffusion.noise import window_noise
from common.engine import checkpoint, chunks
from common.engine.devices import Place
from common.engine.evaluate import Sampling, load_of, sample
from common.engine.opening import Opened, open_card
from common.errors import UserError
from common.files.poses import Person, spread_of
from common.geometry.camera import Camera, pixels_to_screen
from common.models import entry
from common.scoring.hypotheses import AGGREGATIONS, Evidence
from common.wild.placing import place_roots
from common.wild.sequence import at_times, blend, match_hypotheses, resample, stream, window_starts


def camera_of(size: tuple[int, int], focal: float) -> Camera:
    """The camera that saw a video, as far as it is known: image size and focal length, all in pixels, no lens."""
    width, height = size
    return Camera("video", width, height, (2 * focal / width, 2 * focal / width, *[0.0] * 7))


def open_model(path: Path, place: Place, unit: float | None = None) -> Opened:
    """A checkpoint's lifter on the device, in evaluation mode. Raises UserError for an unfit file.

    unit: metres of one network unit, for a published Diff3DHPE file, which does not say it.
    """
    content = checkpoint.load(path)
    card = content["card"] | {"file": str(path), "hash": checkpoint.file_hash(path)}
    if "unit" in entry(card["model"]).diffusion_options and card.setdefault("diffusion", {}).get("unit") is None:
        if unit is None:
            raise UserError(f"{path}: does not say its unit of length, so its poses have no size; --unit sets it")
        card["diffusion"]["unit"] = unit
    return open_card(path, card, content["weights"], place.device)


def lift_person(
    model: Opened,
    keypoints: np.ndarray,
    confidence: np.ndarray,
    fps: float,
    camera: Camera,
    sampling: Sampling,
    aggregate: str,
    place: Place,
    smoothing: float,
    *,
    name: str = "1",
) -> Person:
    """Lift keypoints (T, J, 2), pixels, with confidence (T, J), 0 where filled in; both in the model's layout.

    Returns positions, hypotheses and spread at the input's rate: metres, camera frame, placed by `place_roots` with
    `smoothing` seconds. `name` enters the seed of the noise: people do not share it.
    """
    screen = pixels_to_screen(torch.from_numpy(np.asarray(keypoints, np.float32)), camera.width, camera.height).numpy()
    times = np.arange(len(screen)) * (model.fps / fps)  # in frames of the network's rate
    screen, confidence = resample(screen, fps, model.fps), resample(confidence.astype(np.float32), fps, model.fps)
    hypotheses = sample_windows(model, screen, camera, sampling, place, name)  # (H, T', J, 3)
    intrinsics = torch.tensor(camera.intrinsics)
    evidence = Evidence(torch.from_numpy(screen), intrinsics, skeleton=model.skeleton)  # smoothed later
    pose = AGGREGATIONS[aggregate](torch.from_numpy(hypotheses), evidence).numpy()  # (T', J, 3)
    roots = place_roots(pose, screen, confidence, camera.intrinsics, model.fps, smoothing=smoothing)
    pose, hypotheses = pose + roots, hypotheses + roots
    hypotheses = at_times(hypotheses.swapaxes(0, 1), times).swapaxes(0, 1)  # (H, T, J, 3)
    return {"positions": at_times(pose, times), "hypotheses": hypotheses, "spread": spread_of(hypotheses)}


def sample_windows(
    model: Opened, screen: np.ndarray, camera: Camera, sampling: Sampling, place: Place, name: str
) -> np.ndarray:
    """Hypotheses (H, T, J, 3), root-relative metres, of keypoints (T, J, 2) in screen units at the model's rate.

    Overlapping windows, their hypotheses matched and blended, so that no seam shows at a window's border. Networks
    that answer for the centre frame have a window for every frame.
    """
    nothing = np.zeros((*screen.shape[:2], 3), np.float32)
    clip = Clip("wild", name, camera, model.fps, screen, nothing, np.ones(len(screen), bool))
    windows = Windows(
        [clip],
        model.skeleton,
        model.card["frames"],
        device=place.device,
        action_names=(),
        centre_only=model.centre_only,
        starts_of=lambda frames, length, stride: window_starts(frames, length),
    )
    # On a CPU few windows and one hypothesis at a time: as fast as many, least memory, and no time to find it out.
    cpu, parts = place.device.type == "cpu", []
    for rows in tqdm(
        torch.arange(len(windows)).split(min(sampling.batch, 4) if cpu else sampling.batch),
        desc=f"lifting {name}",
        leave=False,
        mininterval=1,
        delay=2,
    ):
        batch = windows.batch(rows)
        if cpu:
            chunks.remember(model.lifter, load_of(batch, sampling), 1)
        parts.append(sample(model.lifter, windows, batch, sampling, place)[:, -1].cpu().numpy())
    hypotheses = np.concatenate(parts)  # (W, H, F, J, 3)
    starts = (windows.start_of + windows.answered.start).tolist()
    if windows.output > 1:
        hypotheses = match_hypotheses(hypotheses, starts)
    return blend(hypotheses.swapaxes(1, 2), starts, len(screen)).swapaxes(0, 1)


def lift_stream(
    model: Opened,
    frames: Iterable[np.ndarray],
    camera: Camera,
    sampling: Sampling,
    place: Place,
    delay: int,
    *,
    step: int = 1,
) -> Iterator[tuple[int, np.ndarray, float]]:
    """Lift screen-unit keypoints (J, 2) as they come: yields (frame, pose (J, 3), seconds of computing).

    The mean of the hypotheses, root-relative metres. Every window starts from the same noise, so that the pose does
    not jitter with it. A window is lifted for every `step` new frames; a frame comes `delay` to `delay` + `step` - 1
    frames after it came in.
    """
    if model.centre_only:
        raise UserError(f"--stream: {model.card['model']} answers for the centre frame only; take another model")
    length, root = model.card["frames"], model.skeleton.root
    intrinsics = torch.tensor([camera.intrinsics], device=place.device)
    shape = (length, len(model.skeleton), 3)

    @cache  # drawn once
    def noise(hypotheses: range):
        return cache(window_noise(sampling.seed, ["stream"], hypotheses, shape, device=place.device))

    @torch.no_grad()
    def lift(window: np.ndarray) -> np.ndarray:
        keypoints = torch.from_numpy(window.astype(np.float32)).to(place.device)  # (1, F, J, 2)
        batch = Batch(
            keypoints,
            keypoints.new_zeros(1, *shape),
            torch.ones(1, length, dtype=torch.bool, device=place.device),
            keypoints.new_zeros(1, length, 1, 3),
            intrinsics,
            torch.full((1,), -1, device=place.device),
            (),
            torch.zeros(1, dtype=torch.long),
        )
        how: dict[str, Any] = {"flip": sampling.flip, "sampler": sampling.sampler}
        poses = model.lifter.sample(batch, sampling.hypotheses, sampling.steps, noise, **how)
        pose = poses[:, -1].mean(1).cpu().numpy()  # (1, F, J, 3)
        pose[..., root, :] = 0
        return pose

    if not 0 <= delay < length - step:
        raise UserError(f"--delay {delay}: must lie between 0 and {length - 1 - step} frames for windows of {length}")
    return stream(frames, lift, length, delay=delay, step=step)
