"""Lifted people against motion capture under random cameras: errors, bones, jitter, sliding feet, the vertical.

Part of `benchmarks.wild`. The held-out performers' takes are cut into pieces of five seconds, seen by four random
cameras each, with the 2D of the made detector and confidence 1, and lifted as main_wild.py does it. A foot is in true
contact where its ankle is within 5 cm of its lowest height (the third percentile) and slower than 0.3 m/s.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.open_motion import HELD_OUT, named_rng
from benchmarks.wild_real import jitter, mean_of
from common.datasets.random_cameras import random_view
from common.datasets.synthetic.detector import DETECTORS
from common.engine.devices import Place
from common.engine.opening import Opened
from common.files.reading import load_archive
from common.geometry.camera import Camera, pixels_to_screen
from common.geometry.skeleton import H36M_17, H36M_17_OF_32
from common.scoring.hypotheses import AGGREGATIONS, Evidence
from common.scoring.metrics import mpjpe, p_mpjpe
from common.settings.wild import WildSettings
from common.wild.lifting import camera_of
from common.wild.people import lift_people
from common.wild.skeletons import stature
from common.wild.tracking import Track

FPS, PIECE, SHORTEST = 50.0, 250, 100  # of the recordings; frames
CAMERAS, SEED = 4, 20  # of each piece
WRONG = (0.75, 0.9, 1.0, 1.1, 1.25)  # shares of the true focal length
LOW, STILL = 0.05, 0.3  # metres, metres a second: a foot in contact
FEET = [H36M_17.index("LFoot"), H36M_17.index("RFoot")]


def views_of(folder: Path) -> list[tuple[str, Camera, np.ndarray, np.ndarray]]:
    """(name, camera, truth (T, 17, 3) in its frame, keypoints (T, 17, 2) in pixels) of every piece, the same each
    time."""
    positions, out = load_archive(folder / "data_3d_h36m.npz")["positions_3d"], []
    for subject in HELD_OUT:
        for action, take in positions[subject].items():
            world = np.asarray(take)[:, H36M_17_OF_32].astype(np.float64)
            pieces = np.array_split(world, -(-len(world) // PIECE))
            for (number, piece), n in product(enumerate(pieces), range(CAMERAS)):
                if len(piece) < SHORTEST:
                    continue
                rng = named_rng(SEED, subject, action, f"{number}, {n}")
                camera, seen = random_view(piece, rng)
                pixels = camera.project(torch.from_numpy(seen)).numpy()
                pixels = DETECTORS["fitted"](pixels, H36M_17, (camera.width, camera.height), FPS, rng)[0]
                out.append((f"{subject} {action} {number}, {n}", camera, seen, pixels))
    return out


def measure_known(folder: Path, model: Opened, settings: WildSettings, place: Place, limit: int | None = None) -> dict:
    """Figures of `positions_raw`, `positions`, `positions` with `--height` ("told") and the truth, each clip counting
    once; errors by focal length."""
    rows: dict[str, list[dict]] = {"positions_raw": [], "positions": [], "told": [], "truth": []}
    focal_rows: dict[str, list] = {}
    clips = views_of(folder)[:limit]
    for name, camera, truth, pixels in tqdm(clips, desc="known truth", unit="clip"):
        focal = float(np.mean(camera.intrinsics[:2])) * camera.width / 2
        told = camera_of((camera.width, camera.height), focal)
        asked = replace(settings, lifting=replace(settings.lifting, focal=focal))
        track = Track(0, 0, np.concatenate([pixels, np.ones((*pixels.shape[:2], 1))], -1).astype(np.float32))
        tall = stature(truth[None], H36M_17, np.ones(truth.shape[:2], bool))
        measured = replace(asked, lifting=replace(asked.lifting, height={None: tall}))
        person, sized = (lift_people(model, [track], H36M_17, FPS, told, how, place)[0] for how in (asked, measured))
        up = up_of_world(camera)
        contact = true_contact(camera, truth)
        for kind in ("positions_raw", "positions"):
            rows[kind].append(figures(person[kind].astype(np.float64), truth, contact, up))
        rows["told"].append(figures(sized["positions"].astype(np.float64), truth, contact, up))
        rows["positions"][-1]["level"] = angle(np.array([0.0, -1.0, 0.0]), up)
        for kind, found in (("positions", person), ("told", sized)):
            rows[kind][-1]["vertical"] = angle(found["up"], up)
            if "radius" in found:
                rows[kind][-1]["covered"] = covered(found, truth)
        rows["truth"].append(figures(truth, truth, contact, up))
        for share, column, error in by_focal(person["hypotheses"], pixels, camera, truth):
            focal_rows.setdefault(f"{column} {share:g}", []).append(error)
        rows["positions"][-1]["name"] = name
    means = {kind: {k: mean_of(np.array([row[k] for row in of])) for k in of[0] if k != "name"}
             for kind, of in rows.items()}  # fmt: skip
    return {"clips": len(clips), "frames": sum(len(c[2]) for c in clips), **means,
            "focal": {key: [mean_of(x) for x in np.array(values).T] for key, values in focal_rows.items()}}  # fmt: skip


def figures(poses: np.ndarray, truth: np.ndarray, contact: np.ndarray, up: np.ndarray) -> dict:
    """Errors in mm of poses (T, J, 3), root-relative; root in mm; jitter in mm a frame^2; sliding of feet in true
    contact, mm a frame along the true floor; bones: percent, standard deviation over mean."""
    own, true = (torch.from_numpy(x - x[:, :1]) for x in (poses, truth))
    step = np.diff(poses[:, FEET], axis=0)
    step = step - (step @ up)[..., None] * up
    both = contact[1:] & contact[:-1]
    child, parent = np.array(H36M_17.edges).T
    lengths = np.linalg.norm(poses[:, child] - poses[:, parent], axis=-1)
    return {
        "mpjpe": 1000 * float(mpjpe(own, true).mean()),
        "p_mpjpe": 1000 * float(p_mpjpe(own, true).mean()),
        "root": 1000 * float(np.linalg.norm(poses[:, 0] - truth[:, 0], axis=-1).mean()),
        "jitter": 1000 * jitter(poses),
        "jitter_relative": 1000 * jitter(own.numpy()),
        "sliding": 1000 * mean_of(np.linalg.norm(step, axis=-1)[both]),
        "bones": 100 * float((lengths.std(0) / lengths.mean(0)).mean()),
    }


def covered(person: dict, truth: np.ndarray) -> float:
    """Percent of the joints with a radius, but the root, that lie within it of the truth (T, J, 3), from the root."""
    own, true = (x - x[:, :1] for x in (person["positions"], truth))
    within, told = np.linalg.norm(own - true, axis=-1) <= person["radius"], np.isfinite(person["radius"])
    return 100 * float(within[:, 1:][told[:, 1:]].mean())


def up_of_world(camera: Camera) -> np.ndarray:
    """The world's z in the camera's frame."""
    ends = camera.world_to_camera(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64))
    return (ends[0] - ends[1]).numpy()


def true_contact(camera: Camera, truth: np.ndarray) -> np.ndarray:
    """(T, 2) bool, by height and speed in the world."""
    feet = camera.camera_to_world(torch.from_numpy(truth[:, FEET])).numpy()
    height = feet[..., 2] - np.percentile(feet[..., 2], 3, axis=0)
    return (height < LOW) & (np.linalg.norm(np.gradient(feet, axis=0), axis=-1) * FPS < STILL)


def angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))))


def by_focal(hypotheses: np.ndarray, pixels: np.ndarray, camera: Camera, truth: np.ndarray):
    """Yield (share of the true focal length, column, (MPJPE, P-MPJPE) in mm): only R_Agg looks at the camera."""
    relative = torch.from_numpy(hypotheses - hypotheses[:, :, :1]).double()  # (H, T, J, 3)
    screen = pixels_to_screen(torch.from_numpy(pixels), camera.width, camera.height).double()
    true = torch.from_numpy(truth - truth[:, :1])
    for share in WRONG:
        focal = share * float(np.mean(camera.intrinsics[:2]))
        intrinsics = torch.tensor([focal, focal, *[0.0] * 7], dtype=torch.float64)
        evidence = Evidence(screen, intrinsics, skeleton=H36M_17)
        for column in ("P_Agg", "S_Agg", "R_Agg") if share == 1 else ("R_Agg",):
            pose = AGGREGATIONS[column](relative, evidence)
            yield share, column, [1000 * float(metric(pose, true).mean()) for metric in (mpjpe, p_mpjpe)]
