"""The pages that say how to add something: a copy of the code gets what they say, and then does it.

A block that begins with `# FILE: new` is a change, likewise `in NAME`, `before NAME`, `in place of NAME` and
`at its imports`.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.files.poses import write_poses
from common.geometry.skeleton import H36M_17
from tests.docs.pages import ROOT, blocks
from tests.people import in_camera, pixels, walker

PAGES = ("new_denoiser", "new_metric", "new_aggregation", "new_sampler", "new_data_set", "new_program")
_CHANGE = re.compile(r"# (\S+): (new|at its imports|(?:in|before|in place of) \w+)\n")


def changes(page: str) -> list[tuple[str, str, str]]:
    """(file, what to do, code) of a page's blocks that are changes."""
    found = [(match, code) for code in blocks(f"docs/{page}.md") if (match := _CHANGE.match(code))]
    return [(match[1], match[2], code[match.end() :]) for match, code in found]


def apply(folder: Path, file: str, how: str, code: str) -> None:
    path = folder / file
    if how == "new":
        assert not path.exists()
        path.write_text(code, encoding="utf-8")
        return
    text = path.read_text(encoding="utf-8")
    kind, name = how.rpartition(" ")[::2]
    pattern, form = {
        "at its": (r"^(?=from common)", "{}"),
        "in": (rf"^{name}\b[^\n]*= {{\n", "{}"),
        "before": (rf"^(?={name}\b)", "{}\n\n"),
        "in place of": (rf"^{name} = .*\n", "{}"),
    }[kind]
    where = re.search(pattern, text, re.MULTILINE)
    assert where, f"{file}: no place {how}"
    before = text[: where.start()] if kind == "in place of" else text[: where.end()]
    path.write_text(before + form.format(code) + text[where.end() :], encoding="utf-8")


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A copy of the code with everything that the pages say, data of the new set, and poses."""
    folder = tmp_path_factory.mktemp("walked")
    shutil.copytree(ROOT / "common", folder / "common", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "main.py", folder)
    for page in PAGES:
        assert changes(page), page
        for file, how, code in changes(page):
            apply(folder, file, how, code)
    takes = {}
    for number, subject in enumerate(("S1", "S2")):
        poses = in_camera(walker(60, 50.0, phase=number))
        takes[f"{subject}/Walk/metres"] = poses.astype(np.float32)
        takes[f"{subject}/Walk/pixels"] = pixels(poses, 1000, 1000, 1145.0).astype(np.float32)
    (folder / "data").mkdir()
    np.savez(folder / "data" / "mine.npz", **takes)
    write_poses(folder / "poses.npz", [{"id": 3, "positions": takes["S1/Walk/metres"]}], 50.0, H36M_17)
    return folder


def run(folder, *line):
    return subprocess.run([sys.executable, *line], cwd=folder, capture_output=True, text=True, timeout=300)


def test_what_the_pages_add_trains_and_is_scored(walked):
    line = ("main.py -d mine -str S1 -ste S2 --select last --model blind -f 9 -cs 16 -dep 1 -b 90 -e 1 -gpu -1 --nolog "
            "-c out --metrics worst_joint -num_proposals 3 -sampling_timesteps 2 --sampler restart")  # fmt: skip
    done = run(walked, *line.split())
    assert done.returncode == 0, done.stderr
    report = json.loads((walked / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["card"]["model"] == "blind" and report["dataset"] == "mine" and report["sampler"] == "restart"
    last = report["results"][-1]
    worst, mean = (last[name]["frame_wise"] for name in ("worst_joint", "protocol_1"))
    assert report["columns"]["M_Agg"] == {"reads": []}
    assert worst["M_Agg"] > mean["M_Agg"] > 0 and mean["M_Agg"] != mean["P_Agg"]


def test_the_program_of_the_page_runs(walked):
    done = run(walked, "main_bones.py", "poses.npz", "--unit", "cm")
    assert done.returncode == 0, done.stderr
    assert "person 3: RKnee 45.0" in done.stdout and len(done.stdout.splitlines()) == 16
    wrong = run(walked, "main_bones.py", "nothing.npz")
    assert wrong.returncode == 2 and wrong.stderr == "error: nothing.npz: no such file\n"
