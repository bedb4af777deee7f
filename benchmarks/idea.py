"""Is my denoiser better than the one it is made from? A difference, its interval and the cost, in a quarter of an hour.

    python -m benchmarks.idea my_denoiser.py [--base mixste] [--data DATA] [--steps 600] [--seeds 1 2]
    python -m benchmarks.idea common/models/ktpformer.py

FILE holds a row of the registry: `ENTRY = Entry(build=MyDenoiser)` (docs/new_denoiser.md). Its network and the base's
train with the same seeds, windows and steps of the default recipe (27 frames, 64 channels, depth 4, 8 windows a step),
and are scored on other people, H=1, K=1. DATA is a folder in the Human3.6M layout; without one, made-up data are
written to OUTPUT/data: these tell whether a network learns, not whether it is good. A finished run is taken as it is:
give another -o after a change of FILE.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import shlex
from pathlib import Path

from benchmarks.compare import run
from benchmarks.ladder import make_trainer
from benchmarks.paired import LEVEL, bootstrap, check_comparable, spread
from benchmarks.timing import Variant, interleaved
from common.door import guarded
from common.engine import devices
from common.engine.log import say
from common.errors import UserError
from common.models import REGISTRY
from common.models.registry import Entry
from common.programs.main import read_settings
from common.settings.lifting import Settings

WHERE = "-k cpn_ft_h36m_dbb -f 27 -cs 64 -dep 4 -gpu -1 --select last --nolog -cf 1000000 --p2"
SUBJECTS = "-str S1,S5,S7 -ste S6,S8"  # S9 and S11 are for the end
MADE_UP_SECONDS = 2.0  # a take


def load_entry(file: Path) -> tuple[str, Entry]:
    """(name, row) of a file with a registry row. The name is the file's; it may not be another row's."""
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    spec = importlib.util.spec_from_file_location(f"idea_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UserError(f"{file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # somebody's file: whatever it raises is theirs to mend
        raise UserError(f"{file}: {type(error).__name__}: {error}") from error
    entry = getattr(module, "ENTRY", None)
    if not isinstance(entry, Entry):
        raise UserError(f"{file}: no row of the registry; it ends in ENTRY = Entry(build=...)")
    return file.stem, entry


def settings_of(name: str, seed: int, args: argparse.Namespace) -> tuple[Settings, list[str]]:
    """The main program's settings of one run, and the command line that they come from."""
    text = ["--text", args.text] if "text" in REGISTRY[name].options else []
    argv = [*shlex.split(WHERE), *shlex.split(SUBJECTS), "--model", name, *text, "--data-root", str(args.data)]
    argv += ["--seed", str(seed), "--max-steps", str(args.steps)]
    argv += ["-c", str(args.output / f"{name}_seed{seed}"), *args.more]
    return read_settings("h36m", argv)[0].changed(epochs=1_000_000), argv


def step_costs(names: tuple[str, str], args: argparse.Namespace, place: devices.Place) -> tuple[float, float]:
    """Seconds of a training step of the base, and the other's as a multiple of it: in turn, medians."""
    trainers = {name: make_trainer(settings_of(name, 1, args)[0], place) for name in names}
    rows = {name: trainer.batches(1)[0] for name, trainer in trainers.items()}
    variants = [Variant(name, lambda n=name: trainers[n].step(rows[n], 1, 0)) for name in names]
    timings = interleaved(variants, place.device, 7, "cost of a step")
    base, ours = (timings[name] for name in names)
    return base.median, 1 / ours.ratio(base)


def answer(base: str, ours: str, runs: dict[str, list[dict]], cost: tuple[float, float], made_up: bool) -> str:
    """What the command says."""
    lines = []
    for name in (base, ours):
        mean, deviation = spread(runs[name], "P_Agg")
        values = ", ".join(f"{r['averages']['protocol_1']['action_wise']['P_Agg']:.2f}" for r in runs[name])
        spread_text = "" if deviation is None else f" ± {deviation:.2f}"
        parameters = runs[name][0]["parameters"]
        lines.append(f"{name}: {mean:.2f}{spread_text} mm ({values}); {parameters:,} parameters")
    difference, low, high = bootstrap(runs[ours], runs[base], "P_Agg")
    verdict = "better" if high < 0 else "worse" if low > 0 else "no difference that these takes can tell"
    lines.append(f"{ours} - {base}: {difference:+.2f} mm, {LEVEL:.0%} interval {low:+.2f} to {high:+.2f}: {verdict}")
    seconds, ratio = cost
    lines.append(f"cost: a training step takes {ratio:.2f} times that of {base} ({seconds:.2f} s here)")
    steps, takes = runs[base][0]["trained_steps"], len({key.rsplit("/", 1)[0] for key in runs[base][0]["clips"]})
    lines.append(
        f"{steps} steps a run, H=1, K=1, P_Agg; the interval is over {takes} takes, not over seeds: a difference "
        "within the spread over seeds is none"
    )
    if made_up:
        lines.append("MADE-UP DATA: this tells whether the network learns, not whether it is good")
    return "\n".join(lines)


def made_up_data(folder: Path) -> Path:
    """Synthetic people in the Human3.6M layout, written once."""
    from common.datasets.synthetic.h36m import write_h36m

    if not (folder / "data_3d_h36m.npz").is_file():
        write_h36m(folder, seconds=MADE_UP_SECONDS)
    return folder


def make_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a Python file with a registry row, ENTRY")
    parser.add_argument("--base", default="mixste", help="the model to compare with (default: mixste)")
    parser.add_argument("--data", type=Path, help="folder in the Human3.6M layout (default: made-up data)")
    parser.add_argument("-o", "--output", type=Path, default=Path("checkpoint/idea"))
    parser.add_argument("--steps", type=int, default=600, help="training steps a run (default: 600)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2], help="(default: 1 2)")
    parser.add_argument("--text", choices=("none", "learned"), default="none", help="of text models (default: none)")
    return parser


def _main(description: str, argv: list[str] | None) -> int:
    args, args.more = make_parser(description).parse_known_args(argv)
    if args.base not in REGISTRY:
        raise UserError(f"--base {args.base}: unknown; there are {', '.join(REGISTRY)}")
    if args.steps < 1 or len(set(args.seeds)) < len(args.seeds):
        raise UserError("--steps: 1 or more; --seeds: each once")
    name, entry = load_entry(args.file)
    if name == args.base:
        raise UserError(f"{args.file}: has the name of --base {args.base}; give the file another name")
    made_up, args.data = args.data is None, args.data or made_up_data(args.output / "data")
    mark = hashlib.sha256(args.file.read_bytes()).hexdigest()[:16]
    kept = args.output / f"{name}.sha256"
    if kept.is_file() and kept.read_text(encoding="utf-8").strip() != mark:
        raise UserError(f"{args.output}: holds runs of another {args.file.name}; give another -o or remove it")
    args.output.mkdir(parents=True, exist_ok=True)
    kept.write_text(mark + "\n", encoding="utf-8")
    before = REGISTRY.get(name)
    REGISTRY[name] = entry
    try:
        place = devices.join("-1", lambda line: None)
        names = (args.base, name)
        cost = step_costs(names, args, place)
        say(f"{args.steps} steps, {len(args.seeds)} seeds, two networks: about "
            f"{cost[0] * (1 + cost[1]) * args.steps * len(args.seeds) / 60:.0f} minutes of training")  # fmt: skip
        runs = {n: [run(n, *settings_of(n, seed, args), place) for seed in args.seeds] for n in names}
        check_comparable([*runs[args.base], *runs[name]])
        print(answer(args.base, name, runs, cost, made_up))
    finally:
        if before is None:
            del REGISTRY[name]
        else:
            REGISTRY[name] = before
    return 0


def main(argv: list[str] | None = None) -> int:
    return guarded(_main, __doc__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
