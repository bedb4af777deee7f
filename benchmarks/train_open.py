"""Train the small checkpoint that main_wild.py uses by default: real motion under random cameras.

    python -m benchmarks.train_open DATA_FOLDER [-o checkpoint/open] [--minutes 30]

DATA_FOLDER holds data_3d_h36m.npz in the Human3.6M layout (world, metres, z up, 50 fps). Every epoch sees each take of
the training subjects through new random cameras (focal length, height, distance, heading, place in the image) and with
new detector-like noise, so that the network stands other views than those of one laboratory. S9 and S11 are held out;
they are scored under random cameras of a fixed seed and, if the folder has their 2D, under the four Human3.6M cameras.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from common.datasets.clips import Clip
from common.datasets.h36m import load_h36m
from common.datasets.random_cameras import random_view
from common.datasets.synthetic.detector import DETECTORS, detect_old
from common.datasets.windows import Windows
from common.engine import checkpoint
from common.engine.cards import mean_pose
from common.engine.devices import Place
from common.engine.evaluate import Errors, Sampling, evaluate
from common.engine.evaluation import mean_pose_errors
from common.engine.trainer import LifterRecipe, LifterTrainer
from common.files.reading import load_archive
from common.geometry.camera import pixels_to_screen
from common.geometry.skeleton import H36M_17, H36M_17_OF_32
from common.models.blocks import choose_attention

TRAINING, HELD_OUT = ("S1", "S5", "S6", "S7", "S8"), ("S9", "S11")
FPS, FRAMES = 50.0, 27
NAME = "open_mixste_27f.bin"
STEPS = 150  # an epoch, at most
PIECE = 250  # frames, at most, that one camera sees
TALL = 400.0  # pixels that `detect_old` takes a person to be tall: its noise is scaled to the person in the image


def load_takes(folder: Path, subjects: tuple[str, ...]) -> list[tuple[str, str, np.ndarray]]:
    """(subject, action, world positions (T, 17, 3), metres) of every take."""
    positions = load_archive(folder / "data_3d_h36m.npz")["positions_3d"]
    return [
        (subject, action, np.asarray(world)[:, H36M_17_OF_32].astype(np.float64))
        for subject in subjects
        for action, world in positions[subject].items()
    ]


def view(subject: str, action: str, world: np.ndarray, rng: np.random.Generator, name: str, detector: str) -> Clip:
    """The take through a random camera, its 2D by a made detector; the guess before the fit is of a random strength."""
    camera, seen = random_view(world, rng)
    pixels = camera.project(torch.from_numpy(seen)).numpy()  # (T, 17, 2)
    if detector == "old":
        tall = max(np.median(np.ptp(pixels[..., 1], axis=1)), np.median(np.ptp(pixels[..., 0], axis=1)), 1.0)
        noisy = detect_old(pixels * (TALL / tall), H36M_17, (1000, 1000), FPS, rng)[0] * (tall / TALL)
        pixels = pixels + rng.uniform(0.2, 1.3) * (noisy - pixels)
    else:
        pixels = DETECTORS[detector](pixels, H36M_17, (camera.width, camera.height), FPS, rng)[0]
    screen = pixels_to_screen(torch.from_numpy(pixels), camera.width, camera.height).numpy()
    valid = np.ones(len(world), bool)
    camera = replace(camera, name=name)
    return Clip(subject, action, camera, FPS, screen.astype(np.float32), seen.astype(np.float32), valid)


def views(takes: list, seed: int, count: int, detector: str) -> list[Clip]:
    """Every five seconds of every take through `count` random cameras: few stay in one picture for longer."""
    rng = np.random.default_rng([seed, count])
    clips = []
    for subject, action, world in takes:
        for k, part in enumerate(np.array_split(world, -(-len(world) // PIECE))):
            clips += [view(subject, action, part, rng, f"part {k}, random {n}", detector) for n in range(count)]
    return clips


def score(lifter, clips: list[Clip], place: Place, hypotheses: int, steps: int) -> Errors:
    windows = Windows(clips, H36M_17, FRAMES, device=place.device)
    return evaluate(lifter, windows, Sampling(hypotheses, steps, batch=64, metrics=("mpjpe", "p_mpjpe")), place)


def figures(card: dict, errors: Errors, clips: list[Clip]) -> dict:
    """Frame-wise errors in mm of the columns that read no truth, both protocols, and of the training mean."""
    means = mean_pose_errors(card, clips, H36M_17.root)
    everything = np.ones(len(clips), bool)
    out = {}
    for protocol in ("protocol_1", "protocol_2"):
        last = errors.mean(protocol, everything)[-1]
        row = {name: round(float(last[errors.columns.index(name)]), 1) for name in ("P_Agg", "R_Agg")}
        out[protocol] = row | {"mean_pose": round(means[protocol]["frame_wise"], 1)}
    return out | {"frames": int(errors.frames.sum())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with data_3d_h36m.npz")
    parser.add_argument("-o", "--output", type=Path, default=Path("checkpoint/open"))
    parser.add_argument("--minutes", type=float, default=30.0, help="time for training steps")
    parser.add_argument("--views", type=int, default=1, help="random cameras a take and epoch")
    parser.add_argument("--batch", type=int, default=8, help="windows a step")
    parser.add_argument("-lr", type=float, default=1e-3, help="learning rate at the start; falls with the time used")
    parser.add_argument("-cs", "--channels", type=int, default=64)
    parser.add_argument("-dep", "--depth", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--amp", action="store_true", help="train in bf16")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--detector", choices=DETECTORS, default="fitted", help="the made 2D")
    parser.add_argument("--data-name", default="CMU motion capture", help="named in the card and in every output")
    args = parser.parse_args()
    place = Place(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    takes, held = load_takes(args.data, TRAINING), load_takes(args.data, HELD_OUT)
    sizes = {"frames": FRAMES, "joints": 17, "channels": args.channels, "depth": args.depth}
    sizes |= {"heads": args.heads, "drop_path": 0.0}
    card = {
        "model": "mixste",
        "sizes": sizes,
        "variant": "default",
        "frames": FRAMES,
        "joints": 17,
        "skeleton": H36M_17.name,
        "keypoints": None,  # any: projections with noise like a detector's
        "labels": None,
        "units": "m",
        "seed": args.seed,
        "epoch": 0,
        "version": checkpoint.VERSION,
        "dataset": "h36m",
        "subjects": ",".join(TRAINING),
        "fps": FPS,
        "synthetic": False,
        "diffusion": {"timesteps": 1000, "scale": 1.0},
        "mean_pose": mean_pose(views(takes, 10**6, 4, args.detector), H36M_17.root).tolist(),
        "trained_on": f"{args.data_name}, {len(takes)} takes under random cameras",
    }
    torch.manual_seed(args.seed)
    lifter = checkpoint.make_lifter(card).to(place.device)
    choose_attention(lifter, place.device, FRAMES, 17, amp=args.amp)
    recipe = LifterRecipe(
        epochs=10**6,
        batch=args.batch,
        learning_rate=args.lr,
        lr_decay=1.0,
        weight_decay=0.05,
        seed=args.seed,
        amp=args.amp,
        limit=STEPS,
        max_seconds=60 * args.minutes,
    )
    first = Windows(views(takes, 1, args.views, args.detector), H36M_17, FRAMES, device=place.device)
    trainer = LifterTrainer(lifter, first, recipe, place)
    judged = views(held, 0, 1, args.detector)[::3]  # for the progress line only: no choice is made by it
    start = time.time()
    while (used := (time.time() - start) / (60 * args.minutes)) < 1:
        for group in trainer.optimizer.param_groups:  # a short warm-up, then half a cosine over the time
            group["lr"] = args.lr * min(1.0, (used + 0.005) / 0.03) * max(0.02, 0.5 * (1 + np.cos(np.pi * used)))
        clips = views(takes, trainer.epoch + 1, args.views, args.detector)
        trainer.windows = Windows(clips, H36M_17, FRAMES, stride=trainer_stride(trainer.epoch), device=place.device)

        def validate() -> dict:
            if trainer.epoch % 10:
                return {"valid_mm": None}
            errors = score(lifter, judged, place, 1, 1)
            return {"valid_mm": float(errors.mean("protocol_1", np.ones(len(judged), bool))[0, 0])}

        row = trainer.run_epoch(validate)
        card["epoch"] = row["epoch"]
        save(args.output / NAME, card, lifter)
        valid = "" if row["valid_mm"] is None else f", held out {row['valid_mm']:.1f} mm"
        print(f"epoch {row['epoch']}: {row['train_mm']:.1f} mm{valid}, {used:.0%} of the time", flush=True)
    finish(args, card, lifter, held, place, trainer)


def trainer_stride(epoch: int) -> int:
    """Windows start at other frames in every epoch, as their stride differs."""
    return FRAMES - epoch % 5


def save(path: Path, card: dict, lifter) -> None:
    weights = {key: value.detach().cpu().half() for key, value in lifter.denoiser.state_dict().items()}
    checkpoint.save(path, {"card": card, "weights": weights})


def finish(args, card: dict, lifter, held: list, place: Place, trainer: LifterTrainer) -> None:
    """Score the held-out performers with the weights as stored, and write the figures into the card."""
    stored = checkpoint.load(args.output / NAME)
    lifter = checkpoint.make_lifter(stored["card"], stored["weights"]).to(place.device).eval()
    choose_attention(lifter, place.device, FRAMES, 17)
    tests = {"random cameras": views(held, 0, 2, args.detector)}
    if (args.data / "data_2d_h36m_cpn_ft_h36m_dbb.npz").is_file():
        tests["Human3.6M's cameras"] = load_h36m(args.data, "cpn_ft_h36m_dbb", list(HELD_OUT))
    card["errors_mm"] = {n: figures(card, score(lifter, clips, place, 5, 5), clips) for n, clips in tests.items()}
    card["recipe"] = {
        k: v for k, v in asdict(trainer.recipe).items() if k in ("batch", "learning_rate", "weight_decay", "amp")
    }
    card["recipe"] |= {
        "detector": args.detector,
        "views": args.views,
        "steps": trainer.steps_done,
        "minutes": round(trainer.seconds / 60, 1),
    }
    save(args.output / NAME, card, lifter)
    print(json.dumps({k: card[k] for k in ("epoch", "recipe", "errors_mm")}, indent=1))


if __name__ == "__main__":
    main()
