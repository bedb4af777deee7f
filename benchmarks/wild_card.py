"""What main_wild.py reads in a checkpoint's card: how tall people are whom it lifts so tall, how far joints may be off.

    python -m benchmarks.wild_card DATA_FOLDER -c FILE [--heights 600] [--pieces 60]

DATA_FOLDER has data_3d_h36m.npz in the Human3.6M layout. Pieces of the training performers' takes, half of them as they
were recorded and half varied as the training varies them, children among them (`benchmarks.open_motion`), go through
new random cameras and are lifted as main_wild.py does. `heights` is fitted first (`common/wild/heights.py`, a curve for
the default sampler and one for that of --stream), then, on other pieces through all of main_wild.py, `radius`
(`common/scoring/radius.py`). The weights stay as they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks import open_motion
from common.datasets.clips import Clip
from common.door import guarded
from common.engine import checkpoint
from common.engine.devices import Place
from common.engine.log import say
from common.engine.opening import Opened
from common.errors import UserError
from common.files.poses import Person
from common.geometry.camera import screen_to_pixels
from common.geometry.skeleton import H36M_17
from common.scoring import radius
from common.settings.lifting import EvaluationSettings
from common.settings.wild import PRESET, STREAM, BodySettings, InputSettings, WildSettings
from common.wild import heights
from common.wild.lifting import open_model
from common.wild.people import camera_of, lift_people
from common.wild.sampler import sampler_of
from common.wild.skeletons import stature
from common.wild.tracking import Track

SEEDS = {"radius": 31, "heights": 32}  # no training has them
LEAST_FRAMES = 60  # of a piece
NO_BODY = BodySettings(no_smoothing=True, no_skeleton=True, no_floor=True, no_feet=True)  # it changes no height
SAMPLERS = (PRESET | {"hypotheses": 2}, STREAM)  # one of each body: the medians of bones do not move with more


def pieces_of(folder: Path, subjects: tuple[str, ...], count: int, seed: int) -> list[Clip]:
    """Pieces of up to five seconds, half of them varied, drawn evenly from all takes, which are seen anew until there
    are enough."""
    takes = open_motion.load_takes(folder, subjects)
    kinds = (
        lambda n: open_motion.views(takes, seed + 1000 * n, 1),
        lambda n: open_motion.training_views(takes, seed, LEAST_FRAMES, n),
    )
    rng, chosen = np.random.default_rng(seed), []
    for draw in kinds:
        left, n = count // 2, 0
        while left:
            long = [clip for clip in draw(n) if len(clip) >= LEAST_FRAMES]
            if not long:
                raise UserError(f"{folder}: no take of {', '.join(subjects)} lasts {LEAST_FRAMES} frames")
            chosen += [long[k] for k in rng.permutation(len(long))[:left]]
            left, n = left - min(left, len(long)), n + 1
    return chosen


def subjects_of(path: Path, card: dict) -> tuple[str, ...]:
    """The training performers that a card names. Raises UserError where it names none."""
    subjects = tuple(filter(None, (card.get("subjects") or "").split(",")))
    if not subjects:
        raise UserError(f"{path}: its card does not name the subjects of its training")
    return subjects


def lifted(model: Opened, clip: Clip, settings: WildSettings, place: Place) -> Person:
    """The clip's person as main_wild.py lifts it, told the camera's focal length."""
    camera = clip.camera
    pixels = screen_to_pixels(torch.from_numpy(clip.keypoints_2d), camera.width, camera.height).numpy()
    track = Track(0, 0, np.concatenate([pixels, np.ones((*pixels.shape[:2], 1), np.float32)], -1))
    focal = float(np.mean(camera.intrinsics[:2])) * camera.width / 2
    asked = replace(settings, lifting=replace(settings.lifting, focal=focal))
    told = camera_of(asked.lifting, (camera.width, camera.height))
    return lift_people(model, [track], H36M_17, clip.fps, told, asked, place)[0]


def error_of(person: Person, truth: np.ndarray, root: int) -> np.ndarray:
    """Distance (T, J), metres, between the person's joints and the truth (T, J, 3), both seen from the root."""
    own, true = (x - x[:, root, None] for x in (person["positions"], truth))
    return np.linalg.norm(own - true, axis=-1)


def fit_heights(model: Opened, clips: Sequence[Clip], place: Place, sampler: dict) -> dict:
    """A curve of the card's `heights`. Raises UserError where nobody has a height."""
    settings = WildSettings(
        input=InputSettings(input=""), body=NO_BODY, sampling=replace(EvaluationSettings(), **sampler)
    )
    bare = replace(model, card={key: value for key, value in model.card.items() if key != "heights"})
    pairs = []
    for clip in tqdm(clips, desc="heights", unit="piece"):
        everything = np.ones(clip.positions_3d.shape[:2], bool)
        true = stature(clip.positions_3d[None], model.skeleton, everything)
        found = lifted(bare, clip, settings, place)["height"]
        if found and true:
            pairs.append((found, true))
    if not pairs:
        raise UserError("nobody's legs and trunk are known, so no height is")
    return heights.fit(*np.array(pairs).T) | sampler_of(settings) | {"pieces": len(pairs)}


def fit_radius(model: Opened, clips: list[Clip], place: Place, settings: WildSettings | None = None) -> dict:
    """The card's `radius`, of the sampler of main_wild.py's defaults."""
    settings = settings or WildSettings(input=InputSettings(input=""))
    hypotheses, spreads, errors = settings.sampling.hypotheses, [], []
    for clip in tqdm(clips, desc="radius", unit="piece"):
        person = lifted(model, clip, settings, place)
        spreads.append(radius.unbiased(person["spread"], hypotheses))
        errors.append(error_of(person, clip.positions_3d, model.skeleton.root))
    found = radius.fit(np.concatenate(spreads), np.concatenate(errors))
    return found | sampler_of(settings) | {"frames": sum(map(len, clips)), "pieces": len(clips)}


def main(argv: list[str] | None = None) -> int:
    return guarded(_main, __doc__, argv)


def _main(description: str, argv: list[str] | None) -> int:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with data_3d_h36m.npz")
    parser.add_argument("-c", "--checkpoint", type=Path, required=True, help="the lifter's file, which is written anew")
    parser.add_argument("--heights", type=int, default=600, help="how many pieces to lift for the heights")
    parser.add_argument("--pieces", type=int, default=60, help="how many pieces to lift for the radius")
    args = parser.parse_args(argv)
    content, place = checkpoint.load(args.checkpoint), Place(torch.device("cpu"))
    card, subjects = content["card"], subjects_of(args.checkpoint, content["card"])

    def fitted(name: str, value: object) -> Opened:
        card[name] = value
        checkpoint.save(args.checkpoint, content)
        say(f"{args.checkpoint}: {name} {value}")
        return open_model(args.checkpoint, place)

    model, pieces = open_model(args.checkpoint, place), pieces_of(args.data, subjects, args.heights, SEEDS["heights"])
    model = fitted("heights", [fit_heights(model, pieces, place, sampler) for sampler in SAMPLERS])
    fitted("radius", fit_radius(model, pieces_of(args.data, subjects, args.pieces, SEEDS["radius"]), place))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
