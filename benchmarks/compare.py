"""Compare denoisers fairly: same data, same budget, several seeds; or two finished runs.

    python -m benchmarks.compare --models mixste graphdiffu:text=learned graphdiffu:text=none --seeds 0 1 2 \\
        --budget steps 3000 -c checkpoint/compare -k gt -f 27 -cs 64 -dep 4 --json benchmarks/results/NAME.json
    python -m benchmarks.compare --reports checkpoint/a/report.json checkpoint/b/report.json
    python -m benchmarks.compare --from benchmarks/results/NAME.json --write docs/NAME.md

A model is a name of the registry, with flags of the main program after a colon where it needs some
(graphdiffu:variant=published,text=none). Every flag that is not listed below goes to the main program and is the same
for all. Each run lies in a folder of its own under -c; a finished one is taken as it is when the command is repeated.
Runs that differ in protocol, H, K, 2D source or frames are refused. `--write` puts the table between the two markers
<!-- compare NAME --> and <!-- end compare NAME --> of a page, NAME being the JSON file's.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
import time
from pathlib import Path

from benchmarks.paired import RESAMPLES, check_comparable, run_of, table
from benchmarks.timing import machine
from common.door import guarded
from common.engine import checkpoint, devices
from common.engine.log import say
from common.engine.training import train
from common.errors import UserError
from common.files.writing import save_json, save_text
from common.programs.main import read_settings
from common.settings.lifting import FLAGS, Settings
from common.settings.presets import PRESETS

ROOT = Path(__file__).parents[1]


def model_flags(label: str) -> list[str]:
    """'graphdiffu:variant=published,text=none' as flags of the main program."""
    name, _, settings = label.partition(":")
    flags = ["--model", name]
    switches = {f.destination: f.type is None for f in FLAGS}
    for part in filter(None, settings.split(",")):
        key, equals, value = part.partition("=")
        destination = key.replace("-", "_")
        if destination not in switches:
            raise UserError(f"--models {label}: the main program has no flag --{key}")
        if switches[destination] == bool(equals):
            raise UserError(f"--models {label}: --{key} takes {'no' if equals else 'a'} value")
        names = next(f.names for f in FLAGS if f.destination == destination)
        flags += [f"--{key}" if f"--{key}" in names else names[-1], *([value] if equals else [])]
    return flags


def budget_flags(budget: list[str] | None) -> dict[str, float]:
    """'steps 3000' or 'seconds 600' as {'steps': 3000.0}."""
    if not budget:
        raise UserError("--budget steps N or --budget seconds T is needed, so that all models train alike")
    kind, amount = budget
    try:
        value = float(amount)
    except ValueError:
        value = 0.0
    if kind not in ("steps", "seconds") or value <= 0 or (kind == "steps" and value != int(value)):
        raise UserError(f"--budget {kind} {amount}: expected steps N or seconds T")
    return {kind: value}


def settings_of(
    label: str, seed: int, budget: dict[str, float], preset: str, rest: list[str]
) -> tuple[Settings, list[str]]:
    """The main program's settings of one run, and the command line that they come from."""
    (kind, value), *_ = budget.items()
    folder = read_settings(preset, rest)[0].run.checkpoint
    place = str(Path(folder) / f"{re.sub(r'[^A-Za-z0-9.-]+', '_', label)}_seed{seed}")
    argv = [*rest, *model_flags(label), "--seed", str(seed), "-c", place]
    argv += [f"--max-{kind}", str(int(value) if kind == "steps" else value)]
    settings = read_settings(preset, argv)[0]
    for name in ("evaluate", "resume", "demo", "no_eval"):
        if settings.value(name):
            raise UserError(f"--{name.replace('_', '-')}: not in a comparison, which trains and evaluates by itself")
    if "epochs" not in settings.typed:
        settings = settings.changed(epochs=1_000_000)  # the budget ends the run
    return settings, argv


def run(label: str, settings: Settings, argv: list[str], place: devices.Place) -> dict:
    """Train and evaluate one model. A finished run of the same command is taken as it is, a broken-off one goes on."""
    folder = Path(settings.run.checkpoint)
    done, report_file = folder / "compare.json", folder / "report.json"
    if done.is_file():
        left, begun = json.loads(done.read_text(encoding="utf-8")), (folder / "last.bin").is_file()
        if left["arguments"] != argv and begun:
            raise UserError(f"{folder}: holds a run with other settings; give another -c or remove it")
        if "run" in left and report_file.is_file():
            say(f"{folder}: finished before; taken as it is")
            return run_of(_read(report_file), label, **left["run"])
        if begun:
            settings = settings.changed(resume="last.bin")
    say(f"{label}, seed {settings.run.seed}: {'going on' if settings.training.resume else 'training'} in {folder}")
    commit = commit_of(ROOT)
    folder.mkdir(parents=True, exist_ok=True)
    save_json(done, {"arguments": argv})
    report = train(settings, place)
    history = checkpoint.load(checkpoint.find(folder, "last.bin"))["history"]
    facts = {
        "commit": commit,
        "trained_steps": sum(row["steps"] for row in history),
        "trained_seconds": round(sum(row["seconds"] for row in history), 1),
        "epochs": len(history),
    }
    save_json(done, {"arguments": argv, "run": facts})
    return run_of(report, label, **facts)


def _read(path: Path) -> dict:
    path = path / "report.json" if path.is_dir() else path
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable JSON file ({error})") from None


def commit_of(root: Path) -> str:
    """The commit of a Git checkout, read from its files; 'unknown' elsewhere."""
    folder = root / ".git"
    try:
        if folder.is_file():  # a worktree: its HEAD and the refs lie elsewhere
            own = root / folder.read_text(encoding="utf-8").removeprefix("gitdir: ").strip()
            head = (own / "HEAD").read_text(encoding="utf-8").strip()
            folder = own / (own / "commondir").read_text(encoding="utf-8").strip()
        else:
            head = (folder / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head[:10]
        name = head.removeprefix("ref: ")
        if (folder / name).is_file():
            return (folder / name).read_text(encoding="utf-8").strip()[:10]
        packed = (folder / "packed-refs").read_text(encoding="utf-8").splitlines()
        return next((line[:10] for line in packed if line.endswith(f" {name}")), "unknown")
    except OSError:
        return "unknown"


def compare_models(args: argparse.Namespace, rest: list[str]) -> dict:
    """Train every model with every seed; the comparison as plain types."""
    budget = budget_flags(args.budget)
    if len(set(args.models)) < len(args.models) or len(set(args.seeds)) < len(args.seeds):
        raise UserError("--models and --seeds: each once")
    # Every command line is read before the first run starts.
    planned = [(m, *settings_of(m, seed, budget, args.preset, rest)) for m in args.models for seed in args.seeds]
    place = devices.join(planned[0][1].run.gpu, say)
    runs = []
    for label, settings, argv in planned:
        runs.append(run(label, settings, argv, place))
        check_comparable(runs)
    models, seeds = " ".join(args.models), " ".join(map(str, args.seeds))
    typed = f"--models {models} --seeds {seeds} --budget {' '.join(args.budget)} {shlex.join(rest)}".strip()
    return {"budget": budget, "arguments": typed, "machine": machine(place.device), "runs": runs}


def compare_reports(paths: list[Path]) -> dict:
    """Finished runs, each by its report.json or the folder that holds it; labels are the folders' names."""
    if len(paths) < 2:
        raise UserError("--reports: two or more are compared")
    folders = [(p if p.is_dir() else p.parent).resolve() for p in paths]
    labels = [f.name for f in folders]
    if len(set(labels)) < len(labels):
        labels = [f"{f.parent.name}/{f.name}" for f in folders]
    if len(set(labels)) < len(labels):
        raise UserError("--reports: the same folder twice")
    return {"runs": [run_of(_read(p), label) for p, label in zip(paths, labels, strict=True)]}


def write_between_markers(page: Path, name: str, text: str) -> None:
    """Replace what stands between a page's markers, `<!-- NAME -->` and `<!-- end NAME -->`; a missing page is made."""
    first, last = f"<!-- {name} -->", f"<!-- end {name} -->"
    if not page.is_file():
        page.parent.mkdir(parents=True, exist_ok=True)
        save_text(page, f"{first}\n{last}\n")
    content = page.read_text(encoding="utf-8")
    if content.count(first) != 1 or content.count(last) != 1 or content.index(first) > content.index(last):
        raise UserError(f"{page}: needs the lines {first} and {last} once each, where the table belongs")
    before, after = content[: content.index(first)], content[content.index(last) :]
    save_text(page, f"{before}{first}\n{text}\n{after}")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--models", nargs="+", help="models to train; the first is the baseline")
    what.add_argument("--reports", nargs="+", type=Path, help="report.json of finished runs; the first is the baseline")
    what.add_argument("--from", dest="source", type=Path, help="a comparison that --json wrote")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="(default: 0 1 2)")
    parser.add_argument("--budget", nargs=2, metavar=("KIND", "N"), help="steps N or seconds T, for every run")
    parser.add_argument(
        "--preset", choices=PRESETS, default="h36m", help="defaults of the main program (default: h36m)"
    )
    parser.add_argument("--column", help="aggregation to compare (default: P_Agg, or the comparison's own)")
    parser.add_argument("--json", type=Path, help="write the comparison here, to commit")
    parser.add_argument("--write", type=Path, help="page to put the table into, between its markers")
    return parser


def _main(argv: list[str]) -> int:
    args, rest = make_parser().parse_known_args(argv)
    if rest and not args.models:
        raise UserError(f"{rest[0]}: flags of the main program go with --models only")
    if args.write and not (args.json or args.source):
        raise UserError("--write: the page's table is made from a committed file; give --json or --from too")
    if args.source:
        comparison = _read(args.source)
        if "runs" not in comparison or "commit" not in comparison:
            raise UserError(f"{args.source}: not a comparison that --json wrote")
    else:
        comparison = compare_models(args, rest) if args.models else compare_reports(args.reports)
        comparison |= {"commit": commit_of(ROOT), "date": time.strftime("%Y-%m-%d"), "resamples": RESAMPLES}
    comparison["column"] = args.column or comparison.get("column", "P_Agg")
    text = table(comparison)
    print(text)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        save_json(args.json, comparison)
    if args.write:
        write_between_markers(args.write, f"compare {(args.json or args.source).stem}", text)
    return 0


def main(argv: list[str] | None = None) -> int:
    return guarded(_main, list(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    raise SystemExit(main())
