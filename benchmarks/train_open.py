"""Train the small checkpoint that main_wild.py uses by default: real motion under random cameras.

    python -m benchmarks.train_open DATA_FOLDER [-o checkpoint/open] [--steps 17000]

DATA_FOLDER holds data_3d_h36m.npz in the Human3.6M layout (world, metres, z up, 50 fps). Every epoch sees each take of
the training subjects as another body at another speed, now and then with another take's arms, through a new random
camera, with new detector-like noise: three in four as a detector's 17 COCO keypoints mapped to the network's joints as
main_wild.py maps them, the others as the 17 joints themselves. The run is counted in steps, is saved every 20 seconds
and goes on where it stopped. S9 and S11 are held out; they are scored under random cameras of a fixed seed and, if the
folder has their 2D, under the four Human3.6M cameras. --hold S8 keeps a training subject out too and judges by it:
that is what choices are made on. `python -m benchmarks.wild_card` then adds to the card what main_wild.py reads there.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.open_motion import (
    FPS,
    HELD_OUT,
    TRAINING,
    Ahead,
    at_rate,
    load_takes,
    plain_views,
    training_views,
    views,
)
from common.datasets.clips import Clip
from common.datasets.h36m import load_h36m
from common.datasets.windows import Windows
from common.diffusion.velocity import OBJECTIVES
from common.door import guarded
from common.engine import checkpoint
from common.engine.cards import mean_pose
from common.engine.devices import Place
from common.engine.evaluate import Errors, Sampling, evaluate
from common.engine.evaluation import mean_pose_errors
from common.engine.recipe import LifterRecipe
from common.engine.trainer import LifterTrainer
from common.errors import UserError
from common.geometry.skeleton import H36M_17
from common.models.blocks import choose_attention

VIEWS = 4  # random cameras of each piece that scores the result
SAVED = 20.0  # seconds of training, at least, from one saved file to the next


def name_of(frames: int) -> str:
    """The trained file's name."""
    return f"open_mixste_{frames}f.bin"


def stretched(weights: dict[str, Tensor], frames: int) -> dict[str, Tensor]:
    """The weights of a MixSTE for windows of `frames` frames: what tells frames apart is interpolated in time."""
    name = "Temporal_pos_embed"  # (1, F, C)
    table = weights[name].float().transpose(1, 2)
    longer = F.interpolate(table, size=frames, mode="linear", align_corners=True).transpose(1, 2)
    return weights | {name: longer.contiguous()}


def score(lifter, frames: int, clips: list[Clip], place: Place, hypotheses: int, steps: int) -> Errors:
    windows = Windows(clips, H36M_17, frames, device=place.device)
    return evaluate(lifter, windows, Sampling(hypotheses, steps, batch=64, metrics=("mpjpe", "p_mpjpe")), place)


def figures(card: dict, errors: Errors, clips: list[Clip]) -> dict:
    """Frame-wise errors in mm of the columns that read no truth, both protocols, and of the training mean."""
    means = mean_pose_errors(card, clips, H36M_17.root)
    everything = np.ones(len(clips), bool)
    out = {}
    for protocol in ("protocol_1", "protocol_2"):
        last = errors.mean(protocol, everything)[-1]
        row = {name: round(float(last[errors.columns.index(name)]), 1) for name in ("P_Agg", "R_Agg", "S_Agg")}
        out[protocol] = row | {"mean_pose": round(means[protocol]["frame_wise"], 1)}
    return out | {"frames": int(errors.frames.sum())}


def new_card(args: argparse.Namespace, takes: list) -> dict:
    sizes = {"frames": args.frames, "joints": 17, "channels": args.channels, "depth": args.depth}
    sizes |= {"heads": args.heads, "drop_path": 0.0}
    sizes |= {"skeleton": H36M_17.name} if args.model == "mixste_ray" else {}
    return {
        "model": args.model,
        "sizes": sizes,
        "variant": "default",
        "frames": args.frames,
        "joints": 17,
        "skeleton": H36M_17.name,
        "keypoints": None,  # any: projections with noise like a detector's
        "labels": None,
        "units": "m",
        "seed": args.seed,
        "epoch": 0,
        "version": checkpoint.VERSION,
        "dataset": "h36m",
        "subjects": ",".join(s for s in TRAINING if s != args.hold),
        "fps": FPS,
        "synthetic": False,
        "diffusion": {"timesteps": 1000, "scale": 1.0, "objective": args.objective},
        "mean_pose": mean_pose(views(takes, 10**6, 4), H36M_17.root).tolist(),
        "trained_on": f"{args.data_name}, {len(takes)} takes under random cameras",
    }


def share_used(args, trainer: LifterTrainer) -> float:
    """The share of the run that is done, in steps or, with --minutes, in time."""
    return trainer.seconds / (60 * args.minutes) if args.minutes else trainer.steps_done / args.steps


def main(argv: list[str] | None = None) -> int:
    return guarded(_main, __doc__, argv)


def _main(description: str, argv: list[str] | None) -> int:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with data_3d_h36m.npz")
    parser.add_argument("-o", "--output", type=Path, default=Path("checkpoint/open"))
    parser.add_argument("--steps", type=int, default=17_000, help="training steps in all")
    parser.add_argument("--minutes", type=float, help="minutes of training steps, in place of --steps")
    parser.add_argument("--frames", type=int, default=27, help="frames of a window")
    parser.add_argument(
        "--start", type=Path, help="begin with the weights of this file of the same network, of any number of frames"
    )
    parser.add_argument("--batch", type=int, default=8, help="windows a step")
    parser.add_argument("--model", choices=("mixste", "mixste_ray"), default="mixste_ray")
    parser.add_argument("--objective", choices=OBJECTIVES, default="x0", help="what the network is trained to say")
    parser.add_argument("-lr", type=float, default=1e-3, help="greatest learning rate")
    parser.add_argument("--schedule", choices=("cosine", "stable"), default="cosine", help="of the learning rate")
    parser.add_argument("-cs", "--channels", type=int, default=96)
    parser.add_argument("-dep", "--depth", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--average", type=float, default=0.999, help="decay of the weights' moving average; 0: none")
    parser.add_argument("--uniform", action="store_true", help="draw the diffusion step evenly, not towards noise")
    parser.add_argument("--plain", action="store_true", help="the recorded bodies and motions as they are")
    parser.add_argument("--amp", action="store_true", help="train in bf16")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="processes that draw the data ahead; a GPU needs some")
    parser.add_argument("--hold", choices=TRAINING, help="keep this training subject out and judge by it")
    parser.add_argument("--data-name", default="CMU motion capture", help="named in the card and in every output")
    args = parser.parse_args(argv)
    place = Place(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    takes = load_takes(args.data, tuple(s for s in TRAINING if s != args.hold))
    judged = views(load_takes(args.data, (args.hold,) if args.hold else HELD_OUT), 0, 1)
    judged = judged if args.hold else judged[::3]  # without --hold for the progress line only: it chooses nothing
    card = new_card(args, takes)
    torch.manual_seed(args.seed)
    lifter = checkpoint.make_lifter(card).to(place.device)
    if args.start:
        first = checkpoint.load(args.start)
        sizes = first["card"]["sizes"] | {"frames": args.frames}
        if first["card"]["model"] != args.model or sizes != card["sizes"]:
            raise UserError(f"{args.start}: another network than --model, -cs, -dep and --heads say")
        checkpoint.same_objective(first["card"], card, str(args.start))
        lifter.denoiser.load_state_dict(stretched(first["weights"], args.frames))
        card["started_from"] = first["card"].get("recipe", {}) | {"sha256": checkpoint.file_hash(args.start)}
    choose_attention(lifter, place.device, args.frames, 17, amp=args.amp)
    recipe = LifterRecipe(
        epochs=10**6,
        batch=args.batch,
        learning_rate=args.lr,
        schedule=args.schedule,
        warm_up=300,
        weight_decay=0.05,
        seed=args.seed,
        amp=args.amp,
        max_steps=None if args.minutes else args.steps,
        max_seconds=60 * args.minutes if args.minutes else None,
        times="uniform" if args.uniform else "noise",
        average=args.average,
    )

    least = args.frames // 2 + 1
    draw = partial(plain_views, takes) if args.plain else partial(training_views, takes, args.seed, least)
    clips_of = Ahead(draw, args.workers)

    def source(epoch: int) -> Windows:
        return Windows(clips_of(epoch), H36M_17, args.frames, stride=args.frames - epoch % 5, device=place.device)

    judge = Windows(judged, H36M_17, args.frames, device=place.device)
    trainer = LifterTrainer(lifter, judge, recipe, place, source=source)
    state = args.output / "training.bin"
    if state.is_file():
        resume(trainer, checkpoint.load(state), card, state)
        print(f"going on after epoch {trainer.epoch}, {trainer.steps_done} of {args.steps} steps", flush=True)
    saved = time.monotonic()

    def validate() -> dict:
        """Now and then, and at the end: the error on the held-out performers. The epoch is then saved."""
        if time.monotonic() < saved + SAVED and share_used(args, trainer) < 1:
            return {"valid_mm": None}
        with trainer.averaged():
            errors = score(lifter, args.frames, judged, place, 1, 1)
        return {"valid_mm": float(errors.mean("protocol_1", np.ones(len(judged), bool))[0, 0])}

    while share_used(args, trainer) < 1:
        row = trainer.run_epoch(validate)
        card["epoch"], valid = row["epoch"], ""
        if row["valid_mm"] is not None:
            save(args.output / name_of(args.frames), card, trainer)
            checkpoint.save(state, {"card": card, **trainer.weights(), **trainer.state()})
            saved, valid = time.monotonic(), f", held out {row['valid_mm']:.1f} mm"
        used, minutes = share_used(args, trainer), trainer.seconds / 60
        print(f"epoch {row['epoch']}: {row['train_mm']:.1f} mm{valid}, {used:.0%}, {minutes:.1f} minutes", flush=True)
    clips_of.close()
    finish(args, card, place, trainer)
    return 0


def resume(trainer: LifterTrainer, content: dict, card: dict, path: Path) -> None:
    other = [key for key in ("model", "sizes", "seed", "subjects", "fps") if content["card"].get(key) != card[key]]
    checkpoint.same_objective(content["card"], card, str(path))
    if other:
        raise UserError(f"{path}: a run with another {', '.join(other)}; give another folder with -o")
    trainer.lifter.denoiser.load_state_dict(content.get("raw", content["weights"]))
    trainer.restore(content)


def save(path: Path, card: dict, trainer: LifterTrainer) -> None:
    weights = {key: value.half() for key, value in trainer.weights()["weights"].items()}
    checkpoint.save(path, {"card": card, "weights": weights})


def finish(args, card: dict, place: Place, trainer: LifterTrainer) -> None:
    """Score the held-out performers with the weights as stored, and write the figures into the card."""
    card["epoch"] = trainer.epoch
    stored = checkpoint.load(args.output / name_of(args.frames))
    lifter = checkpoint.make_lifter(stored["card"], stored["weights"]).to(place.device).eval()
    choose_attention(lifter, place.device, args.frames, 17)
    held = load_takes(args.data, (args.hold,) if args.hold else HELD_OUT)
    tests = {"random cameras": views(held, 0, VIEWS)}
    if not args.hold and (args.data / "data_2d_h36m_cpn_ft_h36m_dbb.npz").is_file():
        tests["Human3.6M's cameras"] = [at_rate(c) for c in load_h36m(args.data, "cpn_ft_h36m_dbb", list(HELD_OUT))]
    errors = {name: score(lifter, args.frames, clips, place, 5, 5) for name, clips in tests.items()}
    card["errors_mm"] = {name: figures(card, errors[name], clips) for name, clips in tests.items()}
    fields = ("batch", "learning_rate", "weight_decay", "amp", "times", "average")
    card["recipe"] = {k: v for k, v in asdict(trainer.recipe).items() if k in fields}
    card["recipe"] |= {"varied": not args.plain, "steps": trainer.steps_done, "minutes": round(trainer.seconds / 60, 1)}
    save(args.output / name_of(args.frames), card, trainer)
    print(json.dumps({k: card[k] for k in ("epoch", "recipe", "errors_mm")}, indent=1))


if __name__ == "__main__":
    raise SystemExit(main())
