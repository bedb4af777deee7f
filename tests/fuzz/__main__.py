"""Damaged files of every format, by hand and for as long as one likes:

    python -m tests.fuzz --minutes 20                    every format
    python -m tests.fuzz --only torch mat --inputs 500   formats whose names begin so
    python -m tests.fuzz --only bvh --show 17            write input 17 and show how it ends

A survivor is any exception but a UserError, a crash, more than 5 s, or too much memory. Exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tests.fuzz import run
from tests.fuzz.formats_more import FORMATS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--inputs", type=int, default=10**9, help="of each format at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[""], help="beginnings of formats' names")
    parser.add_argument("--show", type=int, help="the number of one input")
    options = parser.parse_args()
    names = [name for name in FORMATS if name.startswith(tuple(options.only))]
    if options.show is not None:
        return show(names[0], options.seed, options.show)
    results = run.fuzz(names, options.seed, time.monotonic() + 60 * options.minutes, options.inputs)
    print(f"{'format':48}{'inputs':>8}{'read':>8}{'refused':>9}{'survivors':>11}")
    for name, result in results.items():
        survivors = sum(result.survivors.values())
        print(f"{name:48}{result.inputs:8}{result.read:8}{result.refused:9}{survivors:11}")
    everything, failed = (sum(f(r) for r in results.values()) for f in (lambda r: r.inputs, lambda r: len(r.survivors)))
    print(f"{everything} inputs, {failed} kinds of survivors")
    for name, result in results.items():
        for kind, count in result.survivors.items():
            print(f"  {name} input {result.first[kind]}: {kind} ({count} times)")
    return 1 if failed else 0


def show(name: str, seed: int, number: int) -> int:
    folder = Path("fuzz_input")
    folder.mkdir(exist_ok=True)
    valid = run.make(name, folder)
    path = folder / FORMATS[name].target
    path.write_bytes(run.damaged(name, valid, seed, number))
    print(f"{path} ({path.stat().st_size} bytes)")
    FORMATS[name].read(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
