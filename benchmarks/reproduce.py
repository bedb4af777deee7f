"""Write docs/reproduce.md and Experiments.sh from one table, benchmarks/reproduce.toml.

python -m benchmarks.reproduce           # write both
python -m benchmarks.reproduce --check   # say whether both are current; exit code 1 if not
"""

from __future__ import annotations

import argparse
import shlex
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = Path(__file__).with_suffix(".toml")
NOT_MEASURED = "*not measured here*"
KINDS = ("train", "evaluate")
METRICS = {"mpjpe": "MPJPE, mm", "p_mpjpe": "P-MPJPE, mm", "pck": "PCK", "auc": "AUC"}

_HEAD = """\
# The published figures, and the commands that stand for them

Written by `python -m benchmarks.reproduce` from `benchmarks/reproduce.toml`: change the table, not this page.

Every figure below was published by others. None was measured with this software, because the data sets are not free to
pass on: each line ends in *not measured here* until somebody has run its commands. Most headlines of this family are
`J_Best`: an oracle that picks, for every joint of every frame, the hypothesis nearest to the truth. No program without
the truth can do that. Compare a figure with the column named beside it and with no other.

`--as-published` and `--protocol published` bring back the published habits: the epoch is chosen on the test set, frames
of overlapping windows may count twice (`docs/protocol.md`). Leave them out for honest figures.
`bash Experiments.sh RUN train` and `bash Experiments.sh RUN evaluate` run the commands.

## If you have the data or the weights

```
python -m benchmarks.verify --look-only            # what of all this is on this machine, and what is missing
python -m benchmarks.verify                        # run what can be run; OUT is log/verify
python -m benchmarks.verify --look ~/D3DP --look /data/human -o OUT
```

It looks for data files, checkpoints and outputs under the names below: below every `--look DIR`, in this folder, and in
the folders beside it that hold a `data`, `checkpoint`, `checkpoints` or `exp`. Made-up and converted data in the same
layout are left out. Of several files of a name the first counts (`--look-only` says which), and `--use RUN=FILE` names
any other checkpoint. It then types every evaluation line below whose files are all there, in a folder of its own in OUT
where the files found are linked under the names that the line expects: nothing is written beside them.

It compares with the figures below, each in its own column, and writes `OUT/verify.md`, a table for the eye, and
`OUT/verify.json`, to be sent back: figures, hashes, versions, what was typed and why a line failed. A line that has
finished is not run again while its command and files stay as they are (`--again` runs it again), so an interrupted run
goes on where it stopped.

**equal** means: {tolerance}. The exit
code is 0 where all that was compared is equal, 1 where a figure differs or a line failed, 2 for a wrong command line,
3 where nothing could be compared.

These are evaluations at full size: 20 hypotheses and 10 steps on all of Human3.6M take hours on a large GPU and months
on a CPU; the program says how long before it begins. `--only RUN,RUN` picks lines, `--add="-gpu 1"` adds flags to each.

## Figures
"""
TOLERANCE = "within one unit of the last published digit, and at least 0.05 (mm or points), since noise is drawn anew"


def load_table(path: Path = TABLE) -> dict:
    """The table as {'files': {...}, 'run': [...]}."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _head() -> str:
    """The head of the page."""
    return _HEAD.replace("{tolerance}", TOLERANCE)


def weight_names(run: dict) -> list[str]:
    """Under which names a run's checkpoint, or folder of outputs, is looked for: the authors', then the line's own."""
    return [*run.get("weights", ()), *([str(slot(run))] if "train" in run else [])]


def slot(run: dict) -> Path:
    """Where the evaluation line expects its checkpoint or outputs, relative to the folder it is typed in."""
    words = shlex.split(run["evaluate"])
    typed = dict(zip(words, words[1:], strict=False))
    if "--evaluate" in typed:
        return Path(typed["-c"]) / typed["--evaluate"]
    return Path(typed.get("--model_diff_path") or typed["--rescore"])


def file_list(run: dict, table: dict) -> list[str]:
    """The files that a run needs, in the table's order."""
    return [name for group in run["files"] for name in table["files"][group]]


def figures(table: dict) -> str:
    """A Markdown table with a line for every published row."""
    titles = ["Run", "Data", "Frames", "Sampling", *METRICS.values(), "Which column it is", "Read in", "Here"]
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for run in table["run"]:
        for row in run["published"]:
            cells = [f"[{run['name']}](#{run['name']})", run["data"], str(run["frames"]), run["sampling"]]
            cells += [row.get(metric, "-") for metric in METRICS]
            cells += [row["column"], row["source"], row.get("measured", NOT_MEASURED)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def page(table: dict) -> str:
    """The text of docs/reproduce.md."""
    parts, system = [_head(), figures(table)], None
    for run in table["run"]:
        if run["system"] != system:
            system = run["system"]
            parts.append(f"## {system}\n")
        files = ", ".join(f"`{name}`" if "/" in name and " " not in name else name for name in file_list(run, table))
        note = f"\n{run['note']}\n" if "note" in run else ""
        weights = ", ".join(f"`{name}`" for name in weight_names(run))
        commands = "\n".join(run[kind] for kind in KINDS if kind in run)
        parts.append(
            f"### {run['name']}\n\n{run['data']}, {run['frames']} frames, {run['sampling']}. "
            f"{f'Files: {files}. ' if files else ''}{'Weights' if 'train' in run else 'Outputs'}: {weights}.\n{note}\n"
            f"```\n{commands}\n```\n"
        )
    return "\n".join(parts)


def script(table: dict) -> str:
    """The text of Experiments.sh."""
    names = "\n".join(f"  {run['name']}" for run in table["run"])
    lines = [(f"{run['name']} {kind}", run[kind]) for run in table["run"] for kind in KINDS if kind in run]
    cases = "\n".join(f'  "{name}")\n    {command} ;;' for name, command in lines)
    return f"""\
#!/usr/bin/env bash
# The training and evaluation command of every published row; the figures they stand beside are in docs/reproduce.md.
# Written by `python -m benchmarks.reproduce`: change benchmarks/reproduce.toml, not this file.
#
#   bash Experiments.sh RUN train|evaluate
#
# Some of these take days on several GPUs.
set -eu
case "${{1:-}} ${{2:-}}" in
{cases}
  *)
    echo "usage: bash Experiments.sh RUN train|evaluate, where RUN is one of
{names}" >&2
    exit 2 ;;
esac
"""


def outputs(table: dict) -> dict[Path, str]:
    """Each file to its text."""
    return {ROOT / "docs" / "reproduce.md": page(table), ROOT / "Experiments.sh": script(table)}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file is not current")
    check = parser.parse_args(argv).check
    stale = []
    for path, text in outputs(load_table()).items():
        if check:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                stale.append(path.name)
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
    if stale:
        print(f"not current: {', '.join(stale)}; run python -m benchmarks.reproduce")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
