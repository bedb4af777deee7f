"""The MATLAB/Octave scorer: its rules, and its CSVs beside the Python scorer's."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from common.scoring.export import scoring_lines, write_predictions
from common.scoring.threedhp import score_folder

SCRIPT = Path(__file__).parents[2] / "3dhp_test" / "test_util" / "mpii_test_predictions_ori_py.m"
needs_octave = pytest.mark.skipif(shutil.which("octave") is None, reason="octave is not on PATH")
ROOT = 14


def octave(script, *calls):
    """Run calls of the scorer in one Octave; returns the finished process. Judged by exit code: Octave may warn."""
    lines = f"addpath('{script.parent}'); " + " ".join(f"{call};" for call in calls)
    command = ["octave", "--no-gui", "--quiet", "--norc", "--eval", lines]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=script.parent)


def call(mode, *folders, labels="annot3"):
    quoted = ", ".join(f"'{argument}'" for argument in (mode, *folders, labels))
    return f"mpii_test_predictions_ori_py({quoted})"


def read(path):
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


def assert_same(a, b):
    """Two CSVs: the same cells, numbers to 1e-9 and NaN where the other has NaN."""
    a, b = read(a), read(b)
    assert [len(row) for row in a] == [len(row) for row in b] == [19] * len(a)
    numbers = 0
    for row_a, row_b in zip(a, b, strict=True):
        for x, y in zip(row_a, row_b, strict=True):
            try:
                x_value, y_value = float(x), float(y)
            except ValueError:
                assert x == y
                continue
            numbers += 1
            assert np.isnan(x_value) == np.isnan(y_value)
            assert np.isnan(x_value) or abs(x_value - y_value) <= 1e-9
    return numbers


@needs_octave
def test_octave_and_python_agree_on_every_cell(annotations, tmp_path, export):
    folder, content = annotations
    predictions, ours, theirs = tmp_path / "predictions", tmp_path / "python", tmp_path / "octave"
    write_predictions(predictions, "P_Agg", export((90.0, 60.0, 30.0)))  # K = 3
    write_predictions(predictions, "J_Agg", export((40.0,)))  # K = 1
    exact = export((0.0, 0.0))
    for poses in exact.values():
        poses[0, :, :, 0] += 150.0
        poses[0, :, :, 1] += 5.0
        poses[:, ROOT] = 0
    write_predictions(predictions, "J_Best", exact)
    broken = export((25.0,))
    for name, a in content.items():
        broken[name][:, :, ~a["valid"]] = np.nan  # is never read
    broken = {name: poses[..., 0] for name, poses in broken.items()}  # as MATLAB leaves a single step
    scipy.io.savemat(predictions / "inference_data_P_Best.mat", broken)
    modes = {"P_Agg": 3, "J_Agg": 1, "J_Best": 2, "P_Best": 1}
    calls = [call(mode, predictions, folder, theirs) for mode in modes]
    calls.append(call("P_Agg", predictions, folder, theirs, labels="univ_annot3"))
    done = octave(SCRIPT, *calls)
    assert done.returncode == 0, done.stderr
    score_folder(predictions, folder, out=ours, progress=False)
    score_folder(predictions, folder, labels="univ_annot3", modes=["P_Agg"], out=ours, progress=False)
    names = sorted(path.name for path in theirs.iterdir())
    assert names == sorted(path.name for path in ours.glob("*.csv")) and len(names) == 2 * (3 + 1 + 2 + 1 + 3)
    for name in names:
        cells = assert_same(ours / name, theirs / name)
        rows = 6 if "sequencewise" in name else 8
        assert cells == rows * (18 + 9 + 9)
    exact_150 = read(theirs / "mpii_3dhp_evaluation_sequencewise_ori_J_Best_t1.csv")
    exact_5 = read(theirs / "mpii_3dhp_evaluation_sequencewise_ori_J_Best_t2.csv")
    assert {float(row[9]) for row in exact_150[9:15]} == {0.0}
    assert {round(float(row[9]), 3) for row in exact_5[16:22]} == {93.548}
    activity = read(theirs / "mpii_3dhp_evaluation_activitywise_ori_P_Agg_t1.csv")
    assert activity[3][0] == "Exercising" and set(activity[3][1:]) == {"NaN"}


@needs_octave
def test_published_defaults(annotations, tmp_path, export):
    """Without arguments, from any folder: the mode of line 29, ../../checkpoint, the annotations one folder up; the
    CSVs land beside the script. Where the checkpoint folder has no export, the newest one below it."""
    folder, _ = annotations
    script = folder / "test_util" / SCRIPT.name
    script.parent.mkdir()
    shutil.copy(SCRIPT, script)
    checkpoint = tmp_path / "checkpoint"
    for name, error, age in (("old", 60.0, 200), ("new/f243", 40.0, 100), (".hidden", 70.0, 0), ("other", 80.0, 0)):
        path = write_predictions(checkpoint / name, "P_Agg" if name == "other" else "J_Agg", export((error,)))
        stamp = path.stat().st_mtime - age
        os.utime(path, (stamp, stamp))
    write_predictions(checkpoint / "new" / "f243" / "source_only", "J_Agg", export((90.0,)))  # newer, but below
    done = octave(script, "cd('/')", "mpii_test_predictions_ori_py")
    assert done.returncode == 0, done.stderr
    took = Path(done.stdout.splitlines()[0].removeprefix("scoring "))
    assert took.resolve() == checkpoint / "new" / "f243" / "inference_data_J_Agg.mat"
    names = [f"mpii_3dhp_evaluation_{kind}_ori_J_Agg_t1.csv" for kind in ("sequencewise", "activitywise")]
    score_folder(took.parent, folder, progress=False)
    for name in names:
        assert assert_same(took.parent / name, script.parent / name)

    write_predictions(checkpoint, "J_Agg", export((20.0,)))
    done = octave(script, "mpii_test_predictions_ori_py")
    assert done.returncode == 0, done.stderr
    score_folder(checkpoint, folder, progress=False)
    for name in names:
        assert assert_same(checkpoint / name, script.parent / name)
    done = octave(script, "mpii_test_predictions_ori_py('P_Best')")
    assert done.returncode != 0 and "inference_data_P_Best.mat: not in" in done.stderr


@needs_octave
def test_the_lines_that_a_program_prints_score_the_export(annotations, tmp_path, export):
    """Both lines typed into a shell, with blanks and quotes in the names of the folders."""
    folder, _ = annotations
    place = tmp_path / "it's here"
    place.mkdir()
    (place / "annotations").symlink_to(folder)
    write_predictions(place / "out", "J_Agg", export((40.0,)))
    for labels, name in (("annot3", "ori"), ("univ_annot3", "univ")):
        lines = scoring_lines(place / "out", place / "annotations", labels)
        for program, line in lines.items():
            line = line.replace("python ", f"{sys.executable} ", 1)
            if program == "Octave":  # the CSVs go beside the script: a copy of it
                script = tmp_path / "scripts" / SCRIPT.name
                script.parent.mkdir(exist_ok=True)
                shutil.copy(SCRIPT, script)
                line = line.replace("3dhp_test/test_util", str(script.parent))
            done = subprocess.run(line, shell=True, cwd=SCRIPT.parents[2], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        csv_name = f"mpii_3dhp_evaluation_sequencewise_{name}_J_Agg_t1.csv"
        assert assert_same(place / "out" / csv_name, tmp_path / "scripts" / csv_name)


@needs_octave
def test_octave_refuses_what_python_refuses(annotations, tmp_path, export):
    folder, content = annotations
    frame = int(np.flatnonzero(content["TS2"]["valid"])[0])

    def broken(change):
        poses = export((20.0,))
        change(poses)
        return poses

    def nan(p):
        p["TS2"][0, 0, frame] = np.nan

    def root(p):
        p["TS2"][1, ROOT] = 2.0

    def short(p):
        p["TS2"] = p["TS2"][:, :, :-1]

    def valid_only(p):
        for name, a in content.items():
            p[name] = p[name][:, :, a["valid"], 0][:, :, None]

    cases = {
        "NaN": (nan, "NaN or infinite on a valid frame"),
        "root": (root, "pelvis is not zero"),
        "short": (short, "11 frames, the annotation has 12"),
        "valid": (valid_only, "valid frames only"),
    }
    calls = []
    for name, (change, _) in cases.items():
        scipy.io.savemat(tmp_path / f"inference_data_{name}.mat", broken(change))
        one = call(name, tmp_path, folder, tmp_path / "octave")
        calls.append(f"try; {one}; disp('accepted'); catch e; disp(['{name}: ' e.message]); end")
    done = octave(SCRIPT, *calls)
    assert "accepted" not in done.stdout
    for name, (_, message) in cases.items():
        line = next(line for line in done.stdout.splitlines() if line.startswith(f"{name}: "))
        assert message in line
    assert octave(SCRIPT, call("short", tmp_path, folder, tmp_path / "octave")).returncode != 0
    assert not list((tmp_path / "octave").glob("*.csv"))


def code_lines():
    """The script's lines without comments; the text in quotes is blanked, except where a rule looks into it."""
    return [re.sub(r"%(?!([^']*'[^']*')*[^']*'[^']*$).*", "", line) for line in SCRIPT.read_text().splitlines()]


FORBIDDEN = {
    "tables": r"\b(cell2table|writetable|writecell|readtable|array2table)\b|\btable\s*\(",
    "printf": r"(?<![fs])\bprintf\b",
    "Octave block ends": r"\bend(if|for|while|function|switch)\b",
    "exclamation mark": r"!",
    "hash": r"#",
    "compound assignment": r"[-+*/]=",
    "double quotes": r'"',
    "chained indexing": r"\)\s*\(|\}\s*\(|\)\s*\{",
    "omitnan": r"omitnan",
    "a variable called error": r"\berror\s*=",
    "eval": r"\beval\b",
    "backslash paths": r"\\(?!n)",
    "MAT files by default format": r"\bsave\b",
    "dropped axis": r"\bt_size\b|\bsize\s*\(\s*\w+\s*\)",
}


@pytest.mark.parametrize("rule", FORBIDDEN)
def test_script_keeps_out_what_one_of_the_two_cannot_do(rule):
    hits = [line for line in code_lines() if re.search(FORBIDDEN[rule], line)]
    assert not hits


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ("tables", "t = cell2table(x);"),
        ("printf", "printf('%d', 1);"),
        ("Octave block ends", "endif"),
        ("compound assignment", "x += 1;"),
        ("chained indexing", "y = f(x)(1);"),
        ("backslash paths", "load('..\\checkpoint')"),
        ("dropped axis", "n = size(x);"),
        ("a variable called error", "error = 3;"),
        ("hash", "# a comment"),
    ],
)
def test_the_rules_can_fail(rule, line):
    assert re.search(FORBIDDEN[rule], line)


def test_script_is_one_function_file_with_the_mode_in_line_29():
    lines = SCRIPT.read_text(encoding="ascii").splitlines()
    assert lines[0].startswith(f"function {SCRIPT.stem}(aggregation_mode, ")
    assert re.fullmatch(r"\s*aggregation_mode = 'J_Agg';", lines[28])
    assert "It has been run in Octave 7.3, not in MATLAB" in "\n".join(lines[:10])
    # MATLAB: every function of a file is closed with 'end', or none is.
    functions = sum(line.startswith("function ") for line in lines)
    assert sum(line == "end" and (i + 1 == len(lines) or not lines[i + 1]) for i, line in enumerate(lines)) >= functions


def test_readme_says_where_it_was_run():
    text = (SCRIPT.parents[1] / "README.md").read_text(encoding="utf-8")
    assert "Octave" in text and "not been run in MATLAB" in " ".join(text.split())
