"""What main_wild.py is worth: held-out performers under random cameras, people seen by real, calibrated cameras.

    python -m benchmarks.wild --real FOLDER [-c FILE] [--json FILE]
    python -m benchmarks.wild DATA_FOLDER --real FOLDER --json FILE [--write docs/wild.md]

DATA_FOLDER has data_3d_h36m.npz in the Human3.6M layout (world, metres, z up, 50 a second), of which S9 and S11 are
scored; FOLDER is described in benchmarks/wild_real.py. Each part is written into --json as soon as it is done, and
taken from there when the command is repeated with the same checkpoint (remove the file after a change of the program).
`--write` puts the tables between the markers <!-- wild --> and <!-- end wild --> of a page.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from benchmarks.compare import write_between_markers
from benchmarks.wild_known import measure_known
from benchmarks.wild_live import measure_live
from benchmarks.wild_real import measure_real, truth_accuracy
from common.door import guarded
from common.engine.cards import trained_on
from common.engine.checkpoint import file_hash
from common.engine.devices import Place
from common.engine.log import say
from common.errors import UserError
from common.files.writing import save_json
from common.scoring.tables import fixed_width
from common.settings.wild import DEFAULT, FOLDER, PRESET, InputSettings, WildSettings
from common.wild.lifting import open_model

ROOT = Path(__file__).parents[1]
MEDIAPIPE = {"mpjpe": 109.0, "p_mpjpe": 82.0}  # its pose landmarker (heavy), 3D of people in such recordings
REAL = {"mpjpe": "MPJPE, mm", "p_mpjpe": "P-MPJPE, mm", "jitter": "jitter", "bones": "bones, %", "lean": "lean, °",
        "covered": "within the radius, %", "lifted": "lifted"}  # fmt: skip
KNOWN = {"mpjpe": "MPJPE, mm", "p_mpjpe": "P-MPJPE, mm", "root": "root, mm", "jitter": "jitter",
         "jitter_relative": "jitter, root-relative", "sliding": "sliding, mm a frame", "bones": "bones, %",
         "vertical": "vertical, °", "covered": "within the radius, %"}  # fmt: skip
KINDS = {"positions_raw": "as lifted", "positions": "final", "told": "final, `--height` told", "truth": "truth"}


def main(argv: list[str] | None = None) -> int:
    return guarded(_main, __doc__, argv)


def _main(description: str, argv: list[str] | None) -> int:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="folder with data_3d_h36m.npz")
    parser.add_argument("--real", type=Path, action="append", default=[], help="a recording by calibrated cameras")
    parser.add_argument("-c", "--checkpoint", type=Path, default=ROOT / FOLDER / DEFAULT, help="the lifter's file")
    parser.add_argument("--json", type=Path, help="results, part by part")
    parser.add_argument("--limit", type=int, help="at most so many clips of DATA_FOLDER")
    parser.add_argument("--write", type=Path, help="page between whose markers the tables go")
    args = parser.parse_args(argv)
    if not args.data and not args.real:
        raise UserError("nothing to measure: give a data folder, --real FOLDER, or both")
    path = args.checkpoint / DEFAULT if args.checkpoint.is_dir() else args.checkpoint
    place = Place(torch.device("cpu"))
    model = open_model(path, place)
    done = Results(args.json, {"checkpoint": file_hash(path), "trained_on": trained_on(model.card), **PRESET})
    settings = WildSettings(input=InputSettings(input=""))
    for folder in args.real:
        name = folder.resolve().name
        done.part(f"truth {name}", lambda folder=folder: truth_accuracy(folder))
        done.part(f"real {name}", lambda folder=folder: measure_real(folder, model, settings, place))
        done.part(f"told {name}", lambda folder=folder: measure_real(folder, model, settings, place, heights=True))
    if args.data:
        for name, measure in (("known", measure_known), ("live", measure_live)):
            done.part(f"{name} {args.limit or ''}".strip(),
                      lambda measure=measure: measure(args.data, model, settings, place, args.limit))  # fmt: skip
    rows = tables(done.content)
    for title, table in rows:
        say(title)
        for line in fixed_width(table, decimals=1):
            say(line)
    if args.write:
        say(f"written: {put_into_page(args.write, done.content['facts'], rows)}")
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


def tables(content: dict) -> list[tuple[str, list[list]]]:
    """(title, rows) of every part, the first row the heads."""
    out = []
    for name, part in content["parts"].items():
        kind, _, which = name.partition(" ")
        if kind == "truth":
            out.append((
                f"{which}, the truth itself: {part['halves']:.0f} mm standard error between halves of the cameras, "
                f"{part['reprojection']:.0f} px reprojection, bones spread by {part['bones']:.1f} %, jitter "
                f"{part['jitter']:.1f}; the joint rule from COCO costs {part['rule']:.1f} mm", [],
            ))  # fmt: skip
        elif kind == "real":
            out.append((f"{which}: lifted from each camera alone, true focal length", real_rows(part)))
        elif kind == "told":
            people = part["positions"]["people"] | {"all": part["positions"]["all"]}
            rows = [[f"final, {who}", *(row.get(c) for c in REAL), row["poses"]] for who, row in people.items()]
            out.append((f"{which}: the same with `--height`, each person's by the truth",
                        [["", *REAL.values(), "poses"], *rows]))  # fmt: skip
        elif kind == "live":
            heads = ["", "MPJPE, mm", "P-MPJPE, mm", "final MPJPE, mm", "final P-MPJPE, mm"]
            out.append((
                f"the same clips at 25 frames a second: all frames known, and --stream (one hypothesis, one step) that "
                f"waits {part['wait_ms']:.0f} ms for frames and computes {part['ms']:.0f} ms a frame on one thread",
                [heads, ["all frames known", *part["whole"]], ["--stream", *part["live"]]],
            ))  # fmt: skip
        else:
            out.append((f"{part['clips']} clips, {part['frames']} frames of held-out performers under random cameras",
                        [["", *KNOWN.values()], *([KINDS[k], *(part[k].get(c) for c in KNOWN)] for k in KINDS),
                         ["a level camera", *[None] * 7, part["positions"]["level"], None]]))  # fmt: skip
            heads = ["", *part["focal"]]
            errors = [[label, *(values[n] for values in part["focal"].values())]
                      for n, label in enumerate(("MPJPE, mm", "P-MPJPE, mm"))]  # fmt: skip
            out.append(("hypotheses aggregated with a share of the true focal length", [heads, *errors]))
    return out


def real_rows(found: dict) -> list[list]:
    """Errors and jitter in mm, bones in percent, lean in degrees more than the truth towards the camera."""
    rows: list[list] = [["", *REAL.values(), "poses"]]
    for name, measured in found.items():
        parts = measured["cameras"] | measured["people"] | {"all": measured["all"]}
        rows += [[f"{KINDS[name]}, {part}", *(row.get(c) for c in REAL), row["poses"]] for part, row in parts.items()]
    last = next(iter(found.values()))
    for part, row in (last["people"] | {"all": last["all"]}).items():
        rows.append(
            [f"truth, {part}", None, None, row["jitter_truth"], row["bones_truth"], None, None, None, row["poses"]]
        )
    return [*rows, ["MediaPipe (heavy)", MEDIAPIPE["mpjpe"], MEDIAPIPE["p_mpjpe"], *[None] * 6]]


def put_into_page(
    page: Path, facts: dict, rows: list[tuple[str, list[list]]], program: str = "wild", decimals: int = 1
) -> Path:
    """Replace what stands between the page's markers, which are named after the program."""
    model = f"`{facts['checkpoint']}` ({facts['trained_on']})"
    lines = [f"Measured by `python -m benchmarks.{program}` with the model {model}, "
             f"H = {facts['hypotheses']}, K = {facts['sampling_timesteps']}.", ""]  # fmt: skip
    for title, table in rows:
        lines += [f"**{title[0].upper()}{title[1:]}**", ""]
        for n, row in enumerate(table):
            lines.append("| " + " | ".join(cell(c, decimals) for c in row) + " |")
            if n == 0:
                lines.append("|" + "---|" * len(row))
        lines += [""] if table else []
    write_between_markers(page, program, "\n".join(lines).strip())
    return page


def cell(value: object, decimals: int = 1) -> str:
    return "" if value is None else f"{value:.{decimals}f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    raise SystemExit(main())
