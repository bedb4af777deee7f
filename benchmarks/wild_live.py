"""`--stream` beside the whole clip: errors of both, and how long an answer takes.

Part of `benchmarks.wild`: the clips of `wild_known`, every second frame (25 a second), the true focal length given.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.wild_known import FPS, views_of
from benchmarks.wild_real import mean_of
from common.engine.devices import Place
from common.engine.opening import Opened
from common.geometry.skeleton import H36M_17
from common.scoring.metrics import mpjpe, p_mpjpe
from common.settings.wild import STREAM, WildSettings
from common.wild.live import FILE, stream_person
from common.wild.people import bodies_of_stream, camera_of, lift_people
from common.wild.sampler import sampling_of
from common.wild.tracking import Track

STEP = 2  # of the recordings' frames: a video of 25 frames a second


def measure_live(folder: Path, model: Opened, settings: WildSettings, place: Place, limit: int | None = None) -> dict:
    """{"whole" | "live": errors in mm of `positions_raw` and `positions`}, and milliseconds of computing a frame."""
    rows: dict[str, list] = {"whole": [], "live": [], "ms": []}
    clips = views_of(folder)[:limit]
    delay = min(settings.lifting.delay, model.card["frames"] // 2)
    quick = replace(settings, sampling=replace(settings.sampling, **STREAM))
    for _, camera, truth, pixels in tqdm(clips, desc="live", unit="clip"):
        focal = float(np.mean(camera.intrinsics[:2])) * camera.width / 2
        truth, pixels = truth[::STEP], pixels[::STEP]
        seen = np.concatenate([pixels, np.ones((*pixels.shape[:2], 1))], -1).astype(np.float32)
        asked, brief = (replace(s, lifting=replace(s.lifting, focal=focal)) for s in (settings, quick))
        told = camera_of(asked.lifting, (camera.width, camera.height))
        whole = lift_people(model, [Track(0, 0, seen)], H36M_17, FPS / STEP, told, asked, place)[0]
        with tempfile.TemporaryDirectory() as out:
            raw = stream_person(
                seen[:, None], H36M_17, model, FPS / STEP, told, sampling_of(brief), place, Path(out),
                threshold=asked.input.threshold, delay=delay, smoothing=asked.lifting.root_smoothing,
                say=lambda line: None,
            )  # fmt: skip
            lines = (Path(out) / FILE).read_text(encoding="utf-8").splitlines()[1:]
        rows["ms"].append(float(np.median([json.loads(line)["lift_ms"] for line in lines])))
        live = bodies_of_stream(raw, model, told, FPS / STEP, brief)[0]
        for name, person in (("whole", whole), ("live", live)):
            rows[name].append(
                [error for kind in ("positions_raw", "positions") for error in errors(person[kind], truth)]
            )
    means = {name: [mean_of(column) for column in np.array(rows[name]).T] for name in ("whole", "live")}
    wait = 1000 * delay / model.fps
    return {"clips": len(clips), **means, "ms": float(np.median(rows["ms"])), "wait_ms": wait}


def errors(poses: np.ndarray, truth: np.ndarray) -> list[float]:
    """MPJPE and P-MPJPE in mm of (T, J, 3), root-relative; the frames that both have."""
    length = min(len(poses), len(truth))
    own, true = (torch.from_numpy((x - x[:, :1])[:length].astype(np.float64)) for x in (poses, truth))
    return [1000 * float(metric(own, true).mean()) for metric in (mpjpe, p_mpjpe)]
