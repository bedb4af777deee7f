"""Every model of the registry, trained and scored alike on data that anyone can have: docs/open_benchmark.md.

    python -m benchmarks.open DATA [-o checkpoint/open_benchmark] [--json FILE] [--write docs/open_benchmark.md]
    python -m benchmarks.open DATA --models mixste,graphdiffu --seeds 1 --steps 100
    python -m benchmarks.open DATA --size paper -gpu 0                    # what a GPU would run
    python -m benchmarks.open --from FILE --write docs/open_benchmark.md  # the page again from committed runs

DATA is a folder in the Human3.6M layout (docs/cmu.md makes one). Each model takes 900 steps of 16 windows of the
default recipe, with two seeds, on S1, S5, S6, S7, S8, and is scored on S9, S11. Text models learn their text and are
told nothing of the test's action. A finished run is taken as it is, a broken-off one goes on. Every run keeps
its report.json.
"""

from __future__ import annotations

import argparse
import json
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.compare import ROOT, commit_of, run, write_between_markers
from benchmarks.paired import LEVEL, bootstrap, check_comparable, spread
from benchmarks.timing import machine
from common.door import guarded
from common.engine import devices
from common.engine.log import say
from common.errors import UserError
from common.files.writing import save_json
from common.models import REGISTRY
from common.programs.main import read_settings

BASE = "mixste"
COMMON = "-k cpn_ft_h36m_dbb --select last --nolog -cf 1000000 --p2 --metrics mpjve -str S1,S5,S6,S7,S8 -ste S9,S11"
SAMPLED, SINGLE = "-num_proposals 5 -sampling_timesteps 5", "-num_proposals 1 -sampling_timesteps 1"
PICTURE = "images/open_benchmark.png"
LEFT_OUT = {"dual_diffusion": "two views of a stereo pair: these data have no such pairs"}
WINDOWS = 16  # a step


@dataclass(frozen=True)
class Size:
    """How large the networks are, and how long they learn."""

    flags: str
    frames: int
    steps: int


SIZES = {
    "small": Size("-f 27 -cs 64 -dep 4", 27, 900),
    "paper": Size("-f 243 -cs 512 -dep 8", 243, 100_000),
}


def flags_of(model: str) -> str:
    """What a model is called with beside the common flags."""
    row = REGISTRY[model]
    text = " --text learned" if "text" in row.options else ""
    return f"--model {model}{text} {SINGLE if row.centre_only else SAMPLED}"


def train_and_score(model: str, seed: int, args: argparse.Namespace, place: devices.Place) -> dict:
    """One run as plain types: what `benchmarks.paired` compares, and the figures of the table."""
    size = SIZES[args.size]
    folder = args.output / args.size / f"{model}_seed{seed}"
    argv = [*shlex.split(COMMON), *shlex.split(size.flags), *shlex.split(flags_of(model))]
    argv += ["-b", str(WINDOWS * size.frames), "-gpu", args.gpu, "--data-root", str(args.data)]
    argv += ["--seed", str(seed), "--max-steps", str(args.steps or size.steps), "-c", str(folder), *args.more]
    settings = read_settings("h36m", argv)[0].changed(epochs=1_000_000)
    done = run(model, settings, argv, place)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    cost, last = report["cost"], report["results"][-1]
    minutes = report["frames"] / report["card"]["fps"] / 60
    return done | {
        "mpjve": last["mpjve"]["action_wise"]["P_Agg"],
        "flop": cost["flop_per_forward"],
        "seconds_a_minute": cost["seconds"] / minutes,
        "seconds": done["trained_seconds"],
    }


def measure(args: argparse.Namespace, place: devices.Place) -> dict:
    """All runs that are asked for; the file is written after each."""
    result: dict = {"size": args.size, "steps": args.steps or SIZES[args.size].steps, "runs": []}
    result["machine"] = machine(place.device)
    for seed in args.seeds:
        for model in args.models:
            result["runs"].append(train_and_score(model, seed, args, place))
            result |= {"commit": commit_of(ROOT), "date": time.strftime("%Y-%m-%d")}
            args.output.mkdir(parents=True, exist_ok=True)
            save_json(args.output / f"{args.size}.json", result)
    return result


def groups(result: dict) -> dict[str, list[dict]]:
    """Runs by model, the best first."""
    runs = {model: [r for r in result["runs"] if r["label"] == model] for model in {r["label"] for r in result["runs"]}}
    return dict(sorted(runs.items(), key=lambda item: spread(item[1], "P_Agg")[0]))


def table(result: dict) -> str:
    """The runs as Markdown, and how they were taken."""
    heads = ["Model", "Seeds", "P_Agg", "R_Agg", "P_Agg P-MPJPE", "MPJVE", f"against {BASE}", f"{LEVEL:.0%} interval"]
    heads += ["Parameters", "MFLOP a window", "training, s", "s a minute of video"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    found = groups(result)
    alike = {}
    for model, group in found.items():
        base = found.get(BASE)
        cells = [_name(group[0]), ", ".join(str(run["seed"]) for run in group)]
        cells += [_mean([r["averages"]["protocol_1"]["action_wise"][c] for r in group]) for c in ("P_Agg", "R_Agg")]
        cells += [_mean([r["averages"]["protocol_2"]["action_wise"]["P_Agg"] for r in group])]
        cells += [_mean([run["mpjve"] for run in group])]
        cells += _against(group, base) if base and model != BASE else ["", ""]
        cells += [f"{group[0]['parameters']:,}", f"{group[0]['flop'] / 1e6:,.0f}"]
        cells += [f"{sum(r['seconds'] for r in group) / len(group):.0f}"]
        cells += [f"{sum(r['seconds_a_minute'] for r in group) / len(group):.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
        alike[model] = (group[0]["hypotheses"], group[0]["steps"])
    sampled = "; ".join(f"{m} H={h}, K={k}" for m, (h, k) in alike.items() if (h, k) != (5, 5))
    run, where = result["runs"][0], result["machine"]
    facts = (
        f"Human3.6M layout, 2D {run['keypoints']}; trained on S1, S5, S6, S7, S8, scored on {run['subjects']}, "
        f"{run['frames']:,} frames in {len(run['clips'])} clips; {run['trained_steps']:,} steps of {WINDOWS} windows "
        f"of {run['window']} frames a run; H=5, K=5{f' ({sampled})' if sampled else ''}. Errors in mm, MPJVE in mm a "
        "frame, action-wise means ± standard deviation over seeds; the difference is of frame-wise P_Agg (below zero "
        "is better), its interval a paired bootstrap over takes. FLOP are of one network call on one window with one "
        f"hypothesis. Seconds on {where['device']}, {where['threads']} thread(s), load "
        f"{where.get('load_average', 'unknown')} at the start; commit {result['commit']}, {result['date']}."
    )
    missing = [name for name in REGISTRY if name not in found]
    left = [f"`{name}` ({why})" for name, why in LEFT_OUT.items()] + [f"`{name}` (not run)" for name in missing]
    return "\n".join([*lines, "", facts, "", f"Left out: {', '.join(left)}."])


def _name(run: dict) -> str:
    variant = run["variant"]
    return run["model"] if variant in (None, "default") and not _has_variants(run) else f"{run['model']} ({variant})"


def _has_variants(run: dict) -> bool:
    return len(REGISTRY[run["model"]].variants) > 1


def _mean(values: list[float]) -> str:
    mean = sum(values) / len(values)
    if len(values) < 2:
        return f"{mean:.1f}"
    deviation = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
    return f"{mean:.1f} ± {deviation:.1f}"


def _against(group: list[dict], base: list[dict]) -> list[str]:
    """Difference and interval; empty where it was not sampled or scored alike."""
    seeds = {run["seed"] for run in group} & {run["seed"] for run in base}
    pair = [[run for run in runs if run["seed"] in seeds] for runs in (group, base)]
    try:
        check_comparable([*pair[0], *pair[1]])
    except UserError:
        return ["", ""]
    difference, low, high = bootstrap(*pair, "P_Agg")
    return [f"{difference:+.1f}", f"{low:+.1f} to {high:+.1f}"]


def draw(result: dict, path: Path) -> None:
    """Error against cost: MPJPE over the FLOP of a window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for model, group in groups(result).items():
        errors = [run["averages"]["protocol_1"]["action_wise"]["P_Agg"] for run in group]
        mflop, mean = group[0]["flop"] / 1e6, sum(errors) / len(errors)
        (line,) = axes.plot([mflop] * len(errors), errors, "o", markersize=4, alpha=0.6)
        axes.annotate(model, (mflop, mean), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8)
        axes.plot([mflop], [mean], "_", markersize=12, color=line.get_color())
    axes.margins(x=0.25)
    axes.set_xlabel("MFLOP of one network call on one window")
    axes.set_ylabel("MPJPE of P_Agg, mm (a dot a seed)")
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def make_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="folder in the Human3.6M layout")
    parser.add_argument("-o", "--output", type=Path, default=Path("checkpoint/open_benchmark"))
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(REGISTRY), help="(default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--steps", type=int, help="steps a run (default: 900; of --size paper 100,000)")
    parser.add_argument("-gpu", "--gpu", default="-1", help="as of the main program (default: -1, the CPU)")
    parser.add_argument("--from", dest="source", type=Path, help="runs that --json wrote")
    parser.add_argument("--json", type=Path, help="write all runs here, to commit")
    parser.add_argument("--write", type=Path, help="page to put the table into, with its picture beside it")
    return parser


def _main(description: str, argv: list[str] | None) -> int:
    args, args.more = make_parser(description).parse_known_args(argv)
    if unknown := [name for name in args.models if name not in REGISTRY]:
        raise UserError(f"--models {unknown[0]}: unknown; there are {', '.join(REGISTRY)}")
    if args.source:
        try:
            result = json.loads(args.source.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{args.source}: not a readable JSON file ({error})") from None
    elif not args.data:
        raise UserError("the folder of the data is missing")
    else:
        result = measure(args, devices.join(args.gpu, say))
    print(table(result))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        save_json(args.json, result)
    if args.write:
        draw(result, args.write.parent / PICTURE)
        write_between_markers(args.write, "compare open", table(result))
    return 0


def main(argv: list[str] | None = None) -> int:
    return guarded(_main, __doc__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
