"""`python -m benchmarks.verify`: made files under the published names, made figures, every verdict and exit code."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import places, verify
from benchmarks.reproduce import TABLE, load_table, slot
from common.datasets.synthetic.threedhp import write_threedhp
from common.models.two_view import GraphDenoiser
from tests import tiny
from tests.programs.test_published_lines import typed

ROOT = Path(__file__).parents[2]
FIGURE = "report.json results.-1.{protocol}.action_wise.P_Agg"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """What somebody keeps: a clone of D3DP with data and a checkpoint, its data without the note that they are made."""
    folder = tmp_path_factory.mktemp("home")
    tiny.command(folder / "trained", "--no-eval -e 1")
    (folder / "D3DP" / "checkpoint").mkdir(parents=True)
    shutil.copy(folder / "trained" / "last.bin", folder / "D3DP" / "checkpoint" / "h36m_best_epoch.bin")
    shutil.rmtree(folder / "trained")
    (folder / "D3DP" / "data").mkdir()
    for path in tiny.h36m_folder().glob("*.npz"):
        shutil.copy(path, folder / "D3DP" / "data")
    return folder


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """Nothing of this machine is found but what a test names; lines are typed in this process."""
    monkeypatch.setattr(places, "ROOT", tmp_path / "project")
    (tmp_path / "project").mkdir()
    ran = []

    def type_here(command, folder):
        ran.append(command)
        with monkeypatch.context() as patch, (folder / "log.txt").open("w") as log:
            patch.chdir(folder)
            patch.setattr(sys, "stdout", log)
            words = [str(Path(command[1]).relative_to(ROOT)), *command[2:]]
            code = typed(" ".join(["python", *(f"'{w}'" for w in words)]))
        return code, "error: said by the program" if code else ""

    monkeypatch.setattr(verify, "_type", type_here)
    return ran


def write_table(path: Path, mpjpe: str, p_mpjpe: str, name: str = "made") -> Path:
    evaluate = (
        "python main.py -k gt -c checkpoint -gpu -1 --nolog --evaluate h36m_best_epoch.bin --p2 -num_proposals 2 "
        "-ste S9 -a Walking --protocol published"
    )
    path.write_text(
        f"""
[files]
h36m_gt = ["data/data_3d_h36m.npz", "data/data_2d_h36m_gt.npz"]
[weights_where]
D3DP = "its README"
[[run]]
name = "{name}"
system = "D3DP"
files = ["h36m_gt"]
train = "python main.py"
evaluate = "{evaluate}"
published = [{{ mpjpe = "{mpjpe}", p_mpjpe = "{p_mpjpe}", column = "P_Agg", source = "made", read = "{FIGURE}" }}]
""",
        encoding="utf-8",
    )
    return path


def test_differs_then_equal_then_finished(home, tmp_path, alone, capsys):
    out = tmp_path / "out"
    table = write_table(tmp_path / "table.toml", "1.0", "2.00")
    command = ["--table", str(table), "--look", str(home), "-o", str(out)]
    assert verify.main(command) == 1
    said = capsys.readouterr().out
    content = json.loads((out / "verify.json").read_text())
    first, second = content["lines"]["made"]["figures"]
    report = json.loads((out / "work" / "made" / "checkpoint" / "report.json").read_text())
    last = report["results"][-1]
    assert first["here"] == last["protocol_1"]["action_wise"]["P_Agg"]
    assert second["here"] == last["protocol_2"]["action_wise"]["P_Agg"]
    assert [first["tolerance"], second["tolerance"]] == [0.1, 0.05] and first["state"] == "differs"
    assert f"differs by {first['here'] - 1:+.3g}" in said
    assert str(home) not in (out / "verify.json").read_text()
    assert not list((home / "D3DP" / "checkpoint").glob("*.json"))  # nothing was written beside the files found

    # The line is finished: it is not typed again, and exits alike.
    assert len(alone) == 1
    assert verify.main(command) == 1 and len(alone) == 1
    assert verify.main([*command, "--again"]) == 1 and len(alone) == 2

    # A figure that rounds to ours is equal; half a digit off too, more is not.
    write_table(table, f"{first['here']:.1f}", f"{second['here'] + 0.04:.2f}")
    assert verify.main([*command, "--again"]) == 0
    assert "| equal |" in (out / "verify.md").read_text()
    write_table(table, f"{first['here']:.1f}", f"{second['here'] + 0.07:.2f}")
    assert verify.main([*command, "--again"]) == 1
    capsys.readouterr()


def test_a_changed_checkpoint_runs_again(home, tmp_path, alone, capsys):
    mine = shutil.copytree(home, tmp_path / "mine")
    table = write_table(tmp_path / "table.toml", "1.0", "2.0")
    command = ["--table", str(table), "--look", str(mine), "-o", str(tmp_path / "out")]
    verify.main(command)
    checkpoint = mine / "D3DP" / "checkpoint" / "h36m_best_epoch.bin"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert verify.main(command) == 1 and len(alone) == 2
    line = json.loads((tmp_path / "out" / "verify.json").read_text())["lines"]["made"]
    assert line["state"] == "failed" and line["why"] == "said by the program"
    assert verify.main(command) == 1 and len(alone) == 3  # what failed is tried again
    assert "## Failed" in (tmp_path / "out" / "verify.md").read_text()
    capsys.readouterr()


def test_missing_files_are_named_with_their_source(home, tmp_path, alone, monkeypatch, capsys):
    table = write_table(tmp_path / "table.toml", "1.0", "2.0")
    (tmp_path / "empty").mkdir()
    assert verify.main(["--table", str(table), "--look", str(tmp_path / "empty"), "-o", str(tmp_path / "out")]) == 3
    said = capsys.readouterr().out
    assert "missing: data/data_3d_h36m.npz, data/data_2d_h36m_gt.npz: register at http://vision.imar.ro" in said
    assert "missing: checkpoint/h36m_best_epoch.bin: its README (or --use made=FILE)" in said
    assert not alone

    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    assert verify.main(["--table", str(table), "--look", str(home), "--look-only", "-o", str(tmp_path / "new")]) == 0
    said = capsys.readouterr().out
    assert "made: can be run" in said and "prompt features: not here" in said
    (tmp_path / "empty" / "ViT-B-32.pt").write_bytes(b"x")
    assert f"prompt features: {tmp_path / 'empty' / 'ViT-B-32.pt'}" in verify.clip_line(
        places.index([tmp_path / "empty"], tmp_path / "none")
    )
    assert not alone and not (tmp_path / "new").exists()


def test_made_up_data_are_no_human36m(home, tmp_path, alone, capsys):
    mine = shutil.copytree(home, tmp_path / "mine")
    (mine / "D3DP" / "data" / "SYNTHETIC.txt").write_text("made")
    table = write_table(tmp_path / "table.toml", "1.0", "2.0")
    assert verify.main(["--table", str(table), "--look", str(mine), "-o", str(tmp_path / "out")]) == 3
    assert "missing: data/data_3d_h36m.npz" in capsys.readouterr().out
    np.savez(mine / "data_3d_h36m.npz", positions_3d={}, about={"data": "CMU", "frames": {}})
    assert places.foreign(mine / "data_3d_h36m.npz")


def test_both_files_come_out_of_one_folder(tmp_path):
    """Where one folder has the 3D only and another has both, the pair is taken."""
    for name in ("a/data_3d_h36m.npz", "b/data_3d_h36m.npz", "b/data_2d_h36m_gt.npz", "c/data_2d_h36m_gt.npz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.savez(tmp_path / name, positions_3d={})
    paths = places.index([tmp_path], tmp_path / "none")
    names = ("data/data_3d_h36m.npz", "data/data_2d_h36m_gt.npz")
    found = places.together({name: places.matches(Path(name).name, paths) for name in names})
    assert [path.parent.name for path in found.values()] == ["b", "b"]
    shutil.rmtree(tmp_path / "b")
    paths = places.index([tmp_path], tmp_path / "none")
    found = places.together({name: places.matches(Path(name).name, paths) for name in names})
    assert [path.parent.name for path in found.values()] == ["a", "c"]  # a loader joins them, linked into one folder


def test_linked_folders_are_looked_in_once(tmp_path):
    (tmp_path / "disk" / "h36m").mkdir(parents=True)
    np.savez(tmp_path / "disk" / "h36m" / "data_3d_h36m.npz", positions_3d={})
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "data").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "round").symlink_to(tmp_path / "clone")
    found = places.index([tmp_path / "clone"], tmp_path / "out")
    assert [str(path.relative_to(tmp_path)) for path in found] == ["clone/data/h36m/data_3d_h36m.npz"]
    assert not places.index([tmp_path / "clone"], tmp_path / "disk")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--look", "nowhere"], "no such folder"),
        (["--use", "d3dp"], "expected RUN=FILE"),
        (["--use", "d3dp-h36m-gt=nowhere.bin"], "no such file"),
        (["--only", "d3dp"], "no such run; there are d3dp-h36m-cpn"),
        (["--add=-gpu '1"], "No closing quotation"),
    ],
)
def test_wrong_lines_exit_with_2(flags, words, tmp_path, alone, capsys):
    assert verify.main([*flags, "-o", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err.strip()
    assert words in told and "\n" not in told
    assert not (tmp_path / "out").exists()


def test_a_strange_verify_json_is_kept(tmp_path, alone, capsys):
    for text in ("{}", "[]", "x", '{"lines": {"a": 3}}'):
        (tmp_path / "verify.json").write_text(text)
        assert verify.main(["-o", str(tmp_path)]) == 2
        assert "not of this program" in capsys.readouterr().err and (tmp_path / "verify.json").read_text() == text


def test_used_file_and_added_flags(home, tmp_path, alone, capsys):
    table = write_table(tmp_path / "table.toml", "1.0", "2.0")
    checkpoint = shutil.copy(home / "D3DP" / "checkpoint" / "h36m_best_epoch.bin", tmp_path / "other name.bin")
    look = ["--table", str(table), "--look", str(home / "D3DP" / "data"), "-o", str(tmp_path / "out")]
    assert verify.main([*look, "--use", f"made={checkpoint}", "--add=-num_proposals 1"]) == 1
    assert alone[0][-2:] == ["-num_proposals", "1"]
    line = json.loads((tmp_path / "out" / "verify.json").read_text())["lines"]["made"]
    assert line["files"]["checkpoint/h36m_best_epoch.bin"]["name"] == "other name.bin"
    capsys.readouterr()


def test_the_real_table_on_made_files(home, stereo, tmp_path, alone, capsys):
    """Every way to a figure that the table has, but for the sizes: figures are read where the programs leave them."""
    mine = shutil.copytree(home, tmp_path / "mine")
    data = mine / "D3DP" / "data"
    write_threedhp(data, mine / "3dhp" / "3dhp_test", seconds=0.4, progress=False)
    for note in mine.rglob("SYNTHETIC*"):
        note.unlink()
    for kind, name in (("mhad", "mhad-stereo-m"), ("h36m", "human36m-stereo")):
        shutil.copy(stereo / f"{kind}_labels.npy", data / f"{name}-labels-GTbboxes.npy")
        shutil.copy(stereo / f"{kind}_test.pkl", data / f"{kind}_results_RSB152.pkl")
        shutil.copy(stereo / f"{kind}_gauss.npy", data / f"{kind}_2d_gauss_RSB152.npy")
    network = GraphDenoiser(hid_dim=16, num_layer=1, action_emd=True)
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    (mine / "checkpoints").mkdir()
    torch.save([state, {}, 7, 100, {}], mine / "checkpoints" / "ckpt_mhad_rsb152.pth")
    small = f"-gpu -1 --nolog -cs 16 -dep 1 -f 9 -e 1 --debug --no-eval --data-root {data}"
    assert typed(f"python main_3dhp.py --model mixste {small} -c {mine}/t") == 0
    shutil.copy(mine / "t" / "last.bin", mine / "D3DP" / "checkpoint" / "3dhp_best_epoch.bin")
    more = "-b 90 --source-epochs 1 --source-batch-size 900 --refiner-channels 16 --refiner-depth 1"
    assert typed(f"python h36m_transfer.py {small} {more} -c {mine}/checkpoint/h36m_transfer") == 0
    outputs = mine / "exp" / "t_h36m_rsb152@01.01.2024-00:00:00" / "-001"
    outputs.mkdir(parents=True)
    truth = np.random.default_rng(0).normal(size=(4, 17, 3)) * 300
    for name, shift in (("gt", 0.0), ("tri", 30.0), ("dualdiff", 28.674)):
        np.save(outputs / f"keypoints_3d_{name}.npy", truth + [shift, 0, 0])

    out = tmp_path / "out"
    command = ["--look", str(mine), "-o", str(out)]
    few = "--add=-num_proposals 2 -b 64"
    capsys.readouterr()
    assert verify.main(["--only", "d3dp-3dhp", few, *command]) == 1
    assert verify.main(["--only", "d3dp-h36m-cpn", f"{few} -sampling_timesteps 1 --debug", *command]) == 1
    assert verify.main(["--only", "posynda-h36m", f"{few} --debug", *command]) == 3
    assert verify.main(["--only", "dual-diffusion-mhad", *command]) == 1
    assert verify.main(["--only", "dual-diffusion-h36m-outputs", *command]) == 0
    assert verify.main(["--only", "d3dp-h36m-gt", *command]) == 3
    lines = json.loads((out / "verify.json").read_text())["lines"]
    assert {name: line["state"] for name, line in lines.items()} == {
        "d3dp-h36m-cpn": "differs",
        "d3dp-3dhp": "differs",
        "dual-diffusion-mhad": "differs",
        "dual-diffusion-h36m-outputs": "equal",
        "posynda-h36m": "measured",
        "d3dp-h36m-gt": "missing",
    }
    assert all(f["here"] > 0 for line in lines.values() for f in line.get("figures", ()))
    scores = json.loads(next((out / "work" / "d3dp-3dhp").glob("**/3dhp_scores_annot3.json")).read_text())
    best = scores["modes"]["J_Best"]["t10"]["mean_over_sequences"]
    assert [f["here"] for f in lines["d3dp-3dhp"]["figures"][-3:]] == [best["mpjpe"], best["pck"], best["auc"]]
    (metric,) = (out / "work" / "dual-diffusion-mhad").glob("exp/*/-001/metric.json")
    metric = json.loads(metric.read_text())
    assert [f["here"] for f in lines["dual-diffusion-mhad"]["figures"]] == [
        metric[key]["Average"]["Average"] for key in ("per_pose_error", "per_pose_error_relative")
    ]
    adapted = json.loads((out / "work" / "posynda-h36m" / "checkpoint" / "h36m_transfer" / "report.json").read_text())
    assert lines["posynda-h36m"]["figures"][0]["here"] == adapted["after"]["columns"]["P_Agg"]["action_wise"]["mpjpe"]
    assert "no published figure" in (out / "verify.md").read_text()
    capsys.readouterr()


def test_every_row_says_where_its_figure_is():
    table = load_table(TABLE)
    for run in table["run"]:
        assert run["system"] in table["weights_where"] and slot(run)
        for group in run["files"]:
            assert group in verify.WHERE or group in table["where"]
        for row in run["published"]:
            file, _, way = row["read"].partition(" ")
            assert way and (file == "printed" or file.endswith(".json"))
            aimed = row["column"].split()[0].strip(",")
            assert aimed not in ("P_Agg", "J_Agg", "P_Best", "J_Best") or f".{aimed}" in way


def test_a_line_is_typed_in_its_folder(tmp_path, capfd):
    """Progress passes through, the log keeps all, and the last line on stderr is the reason of a failure."""
    program = "import os, sys; print(os.getcwd()); print('a bar\\rerror: no such file', file=sys.stderr); sys.exit(2)"
    assert verify._type([sys.executable, "-c", program], tmp_path) == (2, "error: no such file")
    assert "no such file" in capfd.readouterr().err
    log = (tmp_path / "log.txt").read_text()
    assert log.startswith(str(tmp_path)) and "a bar" in log
    assert verify._type([sys.executable, "-c", "pass"], tmp_path) == (0, "")


def test_an_interrupted_verification_keeps_what_it_has(home, tmp_path, alone, monkeypatch, capsys):
    """Ctrl-C in the second line: the first is in verify.json, and is not typed again."""
    table = write_table(tmp_path / "table.toml", "1.0", "2.0")
    other = write_table(tmp_path / "other.toml", "1.0", "2.0", name="second").read_text()
    table.write_text(table.read_text() + other[other.index("[[run]]") :])
    first = verify._type

    def interrupted(command, folder):
        if folder.name == "second":
            raise KeyboardInterrupt
        return first(command, folder)

    monkeypatch.setattr(verify, "_type", interrupted)
    command = ["--table", str(table), "--look", str(home), "-o", str(tmp_path / "out")]
    assert verify.main(command) == 130
    assert list(json.loads((tmp_path / "out" / "verify.json").read_text())["lines"]) == ["made"]
    assert verify.main(command) == 130 and len(alone) == 1
    capsys.readouterr()
