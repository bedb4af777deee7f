"""How tall people are whom a checkpoint lifts so tall, for main_wild.py: written into its card.

    python -m benchmarks.heights DATA_FOLDER -c FILE [--pieces 600]

DATA_FOLDER has data_3d_h36m.npz in the Human3.6M layout. Pieces of the training performers' takes, half of them as
recorded and half varied as the training varies them, children among them, go through new random cameras and are lifted
as main_wild.py does; `common/wild/heights.py` fits the card's `heights` on lifted and true statures, a curve for its
default sampler and one for that of --stream. The weights stay as they are. `python -m benchmarks.radius` comes after
it: poses change their size.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.radius import lifted, pieces_of, sampler_of, subjects_of
from common.datasets.clips import Clip
from common.door import guarded
from common.engine import checkpoint
from common.engine.devices import Place
from common.engine.log import say
from common.engine.opening import Opened
from common.errors import UserError
from common.settings.lifting import EvaluationSettings
from common.settings.wild import PRESET, STREAM, BodySettings, InputSettings, WildSettings
from common.wild import heights
from common.wild.lifting import open_model
from common.wild.skeletons import stature

SEED = 32  # no training has it
SAMPLERS = (PRESET | {"hypotheses": 2}, STREAM)  # one of each body: the medians of bones do not move with more
NO_BODY = BodySettings(no_smoothing=True, no_skeleton=True, no_floor=True, no_feet=True)  # it changes no height


def fit(model: Opened, clips: Sequence[Clip], place: Place, sampler: dict) -> dict:
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


def main(argv: list[str] | None = None) -> int:
    return guarded(_main, __doc__, argv)


def _main(description: str, argv: list[str] | None) -> int:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with data_3d_h36m.npz")
    parser.add_argument("-c", "--checkpoint", type=Path, required=True, help="the lifter's file, which is written anew")
    parser.add_argument("--pieces", type=int, default=600, help="how many pieces to lift")
    args = parser.parse_args(argv)
    content, place = checkpoint.load(args.checkpoint), Place(torch.device("cpu"))
    clips = pieces_of(args.data, subjects_of(args.checkpoint, content["card"]), args.pieces, SEED)
    model = open_model(args.checkpoint, place)
    content["card"]["heights"] = [fit(model, clips, place, sampler) for sampler in SAMPLERS]
    checkpoint.save(args.checkpoint, content)
    say(f"{args.checkpoint}: {content['card']['heights']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
