"""Which way of training learns most in the same time: the ladder of docs/recipe.md.

    python -m benchmarks.recipe DATA [-o checkpoint/recipe] [--write docs/recipe.md]
    python -m benchmarks.recipe DATA --rungs screen --only "today; lifter; lifter + turn"
    python -m benchmarks.recipe DATA --budget 20 --rungs screen --seeds 1      # a short one: a tenth of 20 seconds

DATA is a folder in the Human3.6M layout with data_2d_h36m_cpn_ft_h36m_dbb.npz (docs/cmu.md makes one). Every candidate
is screened at a tenth of the budget with two seeds; the best four, among them all that helped together, get a third
with three seeds; the winner and the recipe of before get all of it, and a tenth to tell how soon they learn. Choices
are made on -str S1,S5,S7 -ste S6,S8; S9 and S11 are scored by the last two rungs alone, which train on all five. The
network is `mixste`, 27 frames, 64 channels, depth 4; H=1, K=1.

Equal time is made of steps: what a step of each candidate costs is measured once, in turn with the recipe of before, on
a machine that does nothing else, and kept in costs.json; with so many steps a run repeats. A finished run is taken as
it is, a broken-off one goes on. --costs FILE takes costs that were measured before; what it lacks is measured.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

from benchmarks import ladder
from benchmarks.compare import ROOT, commit_of, write_between_markers
from benchmarks.ladder import CANDIDATES, FULL, LIFTER, RUNGS, SCREEN, TENTH, THIRD, TODAY, Candidate, Rung
from benchmarks.paired import LEVEL, bootstrap, spread
from benchmarks.timing import machine
from common.door import guarded
from common.engine import devices
from common.engine.log import say
from common.errors import UserError
from common.files.writing import save_json


def costs_of(candidates: list[Candidate], args: argparse.Namespace, place: devices.Place) -> dict[str, float]:
    """Cost of a step by candidate, today's being 1: read where it was measured before, else measured and kept."""
    known: dict[str, float] = {}
    for file in filter(None, (args.output / "costs.json", args.costs)):
        if file.is_file():
            known |= json.loads(file.read_text(encoding="utf-8"))["costs"]
        elif file == args.costs:
            raise UserError(f"{file}: no such file")
    missing = [c for c in candidates if c.name not in known]
    if missing:
        known |= ladder.measure(missing, args.data, place)
        args.output.mkdir(parents=True, exist_ok=True)
        save_json(args.output / "costs.json", {"costs": known, "machine": machine(place.device)})
    return known


def climb(rung: Rung, candidates: list[Candidate], args: argparse.Namespace, place: devices.Place) -> dict:
    """All runs of a rung, {candidate: runs}, and their file."""
    costs = costs_of(candidates, args, place)
    runs = {}
    for candidate in candidates:
        cost = costs[candidate.name]
        runs[candidate.name] = ladder.climb(candidate, rung, args.budget, cost, args.data, args.output, place)
        found = ladder.mean_error(runs[candidate.name])
        say(f"{rung.name}: {candidate.name}: {found:.2f} mm after {runs[candidate.name][0]['trained_steps']} steps")
    return runs


def chosen(names: str | None) -> list[Candidate]:
    wanted = [name.strip() for name in names.split(";")] if names else list(CANDIDATES)
    if unknown := [name for name in wanted if name not in CANDIDATES]:
        raise UserError(f"--only {unknown[0]}: unknown; there are {'; '.join(CANDIDATES)}")
    return [CANDIDATES[name] for name in wanted]


def table(rung: Rung, runs: dict[str, list[dict]], budget: float) -> str:
    """A rung as Markdown: errors, spread over seeds, and paired intervals against the recipe of before and `lifter`."""
    bases = [name for name in (TODAY, LIFTER) if name in runs]
    heads = ["Recipe", "Steps", "Seeds", "P_Agg MPJPE, mm", "P-MPJPE, mm"]
    heads += [text for name in bases for text in (f"against {name}, mm", f"{LEVEL:.0%} interval")]
    lines = [
        f"{rung.name}: {budget * rung.share:.0f} s of two quiet cores a run; trained on {rung.subjects[0]}, "
        f"scored on {rung.subjects[1]}; H=1, K=1.",
        "",
        "| " + " | ".join(heads) + " |",
        "|---|" + "---:|" * (len(heads) - 1),
    ]
    for name, group in sorted(runs.items(), key=lambda item: ladder.mean_error(item[1])):
        cells = [name, f"{group[0]['trained_steps']:,}", ", ".join(str(run["seed"]) for run in group)]
        cells += [_spread(group, protocol) for protocol in ("protocol_1", "protocol_2")]
        for base in bases:
            cells += ["", ""] if base == name else _against(group, runs[base])
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(group: list[dict], protocol: str) -> str:
    mean, deviation = spread(group, "P_Agg", protocol)
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"


def _against(group: list[dict], base: list[dict]) -> list[str]:
    difference, low, high = bootstrap(group, base, "P_Agg")
    return [f"{difference:+.2f}", f"{low:+.2f} to {high:+.2f}"]


def page(result: dict) -> str:
    """What stands between the markers of docs/recipe.md."""
    parts = [table(RUNGS[name], runs, result["budget"]) for name, runs in result["runs"].items()]
    note = (
        "MPJPE is the action-wise mean with the standard deviation over seeds; a difference is of frame-wise means, "
        "below zero is better, its interval a paired bootstrap over takes. "
        f"Budget {result['budget']:.0f} s; written at commit {result['commit']}, {result['date']}."
    )
    return "\n\n".join([*parts, note])


def run(args: argparse.Namespace, place: devices.Place) -> dict:
    """Climb the rungs that are asked for. Later ones need what the earlier ones left, in this call or before."""
    result: dict = {"budget": args.budget, "runs": {}}
    candidates = chosen(args.only)
    for name in args.rungs:
        rung, before = shortened(RUNGS[name], args.seeds), result["runs"]
        if name == THIRD.name:
            candidates = ladder.finalists(before[SCREEN.name])
        elif name in (FULL.name, TENTH.name) and (found := before.get(THIRD.name) or before.get(SCREEN.name)):
            best = min(found, key=lambda name: ladder.mean_error(found[name]))
            known = {**CANDIDATES, "combined": ladder.combined(before[SCREEN.name])}
            candidates = [known[name] for name in dict.fromkeys((best, TODAY))]
        before[name] = climb(rung, candidates, args, place)
        save_json(args.output / "recipe.json", stamped(result))
    return stamped(result)


def shortened(rung: Rung, seeds: int | None) -> Rung:
    """The rung with so many of its seeds, at most."""
    return replace(rung, seeds=rung.seeds[:seeds])


def stamped(result: dict) -> dict:
    return result | {"commit": commit_of(ROOT), "date": time.strftime("%Y-%m-%d")}


def make_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder in the Human3.6M layout")
    parser.add_argument("-o", "--output", type=Path, default=Path("checkpoint/recipe"))
    parser.add_argument(
        "--budget", type=float, default=ladder.BUDGET, help="seconds of the whole length (default: 1580)"
    )
    parser.add_argument("--rungs", default=",".join(RUNGS), help="comma list of screen, third, full, tenth")
    parser.add_argument("--only", help="candidates of the first rung, separated by semicolons (default: all)")
    parser.add_argument("--seeds", type=int, help="so many seeds a rung, at most (default: two, three and two)")
    parser.add_argument("-gpu", "--gpu", default="-1", help="as of the main program (default: -1, the CPU)")
    parser.add_argument("--costs", type=Path, help="file of costs measured before")
    parser.add_argument("--json", type=Path, help="write all runs here, to commit")
    parser.add_argument("--write", type=Path, help="page to put the tables into, between its markers")
    return parser


def _main(description: str, argv: list[str] | None) -> int:
    args = make_parser(description).parse_args(argv)
    args.rungs = [name for name in args.rungs.split(",") if name]
    if unknown := [name for name in args.rungs if name not in RUNGS]:
        raise UserError(f"--rungs {unknown[0]}: unknown; there are {', '.join(RUNGS)}")
    if args.rungs != sorted(args.rungs, key=list(RUNGS).index):
        raise UserError(f"--rungs: in the order {', '.join(RUNGS)}")
    if THIRD.name in args.rungs and SCREEN.name not in args.rungs:
        raise UserError("--rungs third: screen chooses who gets there; name both (finished runs are taken as they are)")
    if args.seeds is not None and args.seeds < 1:
        raise UserError(f"--seeds {args.seeds}: must be 1 or more")
    if not args.budget > 0:
        raise UserError(f"--budget {args.budget:g}: must be above 0")
    result = run(args, devices.join(args.gpu, lambda line: None))
    print(page(result))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        save_json(args.json, result)
    if args.write:
        write_between_markers(args.write, "compare recipe", page(result))
    return 0


def main(argv: list[str] | None = None) -> int:
    return guarded(_main, __doc__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
