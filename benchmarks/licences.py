"""Write docs/licences.md: every package that the requirement files bring, with the licence that it states.

    python -m benchmarks.licences            # in an environment with all three requirement files installed
    python -m benchmarks.licences --check    # write nothing; exit code 1 if the page lacks a requirement

What a package says of itself (its metadata) is taken over; what its wheels carry inside stands in NOTES.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"
LISTS = ("requirements.txt", "requirements-wild.txt", "requirements-dev.txt")
NOTES = """\
## What lies inside some wheels

- **av** (PyAV) carries FFmpeg, built under the LGPL 3, and beside it the shared libraries libx264 and libx265, which
  are under the GPL 2 or later. No program here asks for these two encoders: videos are written in VP9 (libvpx, BSD) and
  read by FFmpeg's own decoders. Who passes on an environment, not this software alone, passes on these libraries too;
  PyAV built against an FFmpeg without them (`pip install av --no-binary av`) works as well.
- **opencv-python**, which rtmlib brings, carries FFmpeg under the LGPL 2.1 and Qt under the LGPL 3.
- **mediapipe** is not installed. Its wheel (Apache-2.0) is opened once for the two networks of BlazePose, which are
  Google's and under the same licence; they go to `~/.cache/blazepose`, and nothing of it is part of this software.
- **nvidia-...** packages, which PyTorch brings on Linux, are NVIDIA's own and not open; PyTorch for the CPU needs none.
"""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(name: str) -> list[str]:
    """The packages that a requirement file names itself."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    lines = [line.partition("#")[0].strip() for line in lines]
    return [re.match(r"[\w.-]+", line)[0] for line in lines if line and not line.startswith("-")]


def licence(metadata: importlib.metadata.PackageMetadata) -> str:
    """The licence expression, else the classifiers, else the first line of the free text, else 'not stated'."""
    if expression := metadata.get("License-Expression"):
        return expression
    classifiers = [line for line in metadata.get_all("Classifier") or [] if line.startswith("License ::")]
    named = [line.rpartition(" :: ")[2] for line in classifiers if not line.endswith("OSI Approved")]
    text = (metadata.get("License") or "").strip().splitlines()
    return "; ".join(named) or (text[0].strip() if text and len(text[0]) < 80 else "") or "not stated"


def brought(names: list[str]) -> dict[str, str]:
    """Each installed package that these bring with them to the one that asks for it; their extras left out."""
    found, waiting = {}, [(name, "") for name in names]
    while waiting:
        name, asker = waiting.pop(0)
        if normal(name) in found:
            continue
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system or Python, or not installed: main() tells of those that the files name
        found[normal(name)] = asker
        waiting += [(re.match(r"[\w.-]+", line)[0], name) for line in needs if "extra ==" not in line]
    return found


def row(name: str, why: str) -> str:
    metadata = importlib.metadata.metadata(name)
    return f"| {metadata['Name']} | {metadata['Version']} | {licence(metadata)} | {why} |"


def page() -> str:
    direct = {normal(name): source for source in reversed(LISTS) for name in requirements(source)}
    others = {name: asker for name, asker in brought(sorted(direct)).items() if name not in direct}
    order = {source: number for number, source in enumerate(LISTS)}
    rows = [row(name, source) for name, source in sorted(direct.items(), key=lambda item: (order[item[1]], item[0]))]
    head = "| package | version | licence, as it states it | asked for by |\n|---|---|---|---|"
    return "\n".join([
        "# Licences of what this software needs", "",
        "Written by `python -m benchmarks.licences`: change that, not this page. This software itself: `LICENSE`.",
        "None of these packages is part of it; pip installs them.", "",
        "## Named in the requirement files", "", head, *rows, "",
        "## Brought along by those", "", head, *(row(name, asker) for name, asker in sorted(others.items())), "",
        NOTES.rstrip(), "",
    ])  # fmt: skip


def lacking(text: str) -> list[str]:
    """Requirements that the page does not name with a licence."""
    rows = {normal(line.split("|")[1].strip()): line.split("|")[3].strip() for line in text.splitlines() if "|" in line}
    wanted = {normal(name): name for source in LISTS for name in requirements(source)}
    return [name for key, name in wanted.items() if rows.get(key, "not stated") == "not stated"]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a requirement is not named")
    if parser.parse_args(argv).check:
        names = lacking(PAGE.read_text(encoding="utf-8"))
        if names:
            print(f"not in {PAGE.name}: {', '.join(names)}; run python -m benchmarks.licences")
        return 1 if names else 0
    installed = {normal(found.metadata["Name"]) for found in importlib.metadata.distributions()}
    absent = [name for source in LISTS for name in requirements(source) if normal(name) not in installed]
    if absent:
        print(f"error: not installed: {', '.join(absent)}: pip install -r {' -r '.join(LISTS)}", file=sys.stderr)
        return 2
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
