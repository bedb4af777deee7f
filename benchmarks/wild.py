"""What main_wild.py is worth on people seen by real, calibrated cameras.

    python -m benchmarks.wild --real FOLDER [-c FILE] [--json FILE]

FOLDER is described in benchmarks/wild_real.py. Each part is written into --json as soon as it is done, and taken from
there when the command is repeated with the same checkpoint.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from benchmarks.wild_real import measure_real, truth_accuracy
from common.engine.cards import trained_on
from common.engine.checkpoint import file_hash
from common.engine.devices import Place
from common.engine.log import say
from common.errors import UserError
from common.files.writing import save_json
from common.programs.door import guarded
from common.scoring.tables import fixed_width
from common.settings.wild import DEFAULT, FOLDER, PRESET, InputSettings, WildSettings
from common.wild.lifting import open_model

ROOT = Path(__file__).parents[1]


def main(argv: list[str] | None = None) -> int:
    return guarded(_main, __doc__, argv)


def _main(description: str, argv: list[str] | None) -> int:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, action="append", default=[], help="a recording by calibrated cameras")
    parser.add_argument("-c", "--checkpoint", type=Path, default=ROOT / FOLDER / DEFAULT, help="the lifter's file")
    parser.add_argument("--json", type=Path, help="results, part by part")
    args = parser.parse_args(argv)
    if not args.real:
        raise UserError("nothing to measure: give --real FOLDER")
    path = args.checkpoint / DEFAULT if args.checkpoint.is_dir() else args.checkpoint
    place = Place(torch.device("cpu"))
    model = open_model(path, place)
    done = Results(args.json, {"checkpoint": file_hash(path), "trained_on": trained_on(model.card), **PRESET})
    settings = WildSettings(input=InputSettings(input=""))
    for folder in args.real:
        done.part(f"truth {folder.name}", lambda folder=folder: truth_accuracy(folder))
        found = done.part(f"real {folder.name}", lambda folder=folder: measure_real(folder, model, settings, place))
        for line in real_lines(found):
            say(line)
    return 0


class Results:
    """Figures by part, kept in a JSON file, if there is one, from part to part."""

    def __init__(self, path: Path | None, facts: dict):
        self.path, self.content = path, {"facts": facts, "parts": {}}
        if path is not None and path.is_file():
            try:
                before = json.loads(path.read_text(encoding="utf-8"))
                if before["facts"] == facts:
                    self.content = before
            except (ValueError, KeyError, TypeError):
                raise UserError(f"{path}: not a file of results of this program") from None

    def part(self, name: str, work) -> dict:
        if name not in self.content["parts"]:
            start = time.time()
            self.content["parts"][name] = work()
            say(f"{name}: {time.time() - start:.0f} s")
            if self.path is not None:
                save_json(self.path, self.content)
        return self.content["parts"][name]


def real_lines(found: dict) -> list[str]:
    """Errors and jitter in mm, bones in percent, lean in degrees more than the truth towards the camera."""
    columns = ("mpjpe", "p_mpjpe", "jitter", "jitter_truth", "bones", "bones_truth", "lean", "lifted", "poses")
    lines = []
    for name, measured in found.items():
        rows = [[name, *columns]]
        parts = measured["cameras"] | measured["people"] | {"all": measured["all"]}
        rows += [[part, *(row[c] for c in columns)] for part, row in parts.items()]
        lines += fixed_width(rows, decimals=2)
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
