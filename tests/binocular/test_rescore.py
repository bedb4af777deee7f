"""Published outputs scored again: known errors, both units, labels, and what is refused."""

import json

import numpy as np
import pytest
import torch

from common.binocular import results
from common.binocular.evaluate import published_metrics, score
from common.binocular.rescore import read_outputs, rescore, with_labels
from common.datasets import stereo_formats as formats
from common.datasets.stereo import load_split
from common.errors import UserError
from common.programs import two_view as program
from tests.stereo_files import STANDING, settings

COUNT = 40


def write(folder, unit: float = 1000.0, count: int = COUNT):
    """Bodies in millimetres: triangulated 30 mm beside the truth, lifted with every joint but the root 10 mm off."""
    rng = np.random.default_rng(1)
    truth = STANDING + rng.normal(size=(count, 17, 3)) * 60 + rng.normal(size=(count, 1, 3)) * 500
    lifted = truth + [0.0, 6.0, 8.0]
    lifted[:, 6] = truth[:, 6]
    folder.mkdir(parents=True)
    arrays = {"keypoints_3d_gt": truth, "keypoints_3d_tri": truth + [30.0, 0, 0], "keypoints_3d_dualdiff": lifted}
    for name, a in arrays.items():
        np.save(folder / f"{name}.npy", (a * unit / 1000).astype(np.float32))
    np.save(folder / "keypoints_2d_ori.npy", rng.normal(size=(count, 2, 17, 2)).astype(np.float32))
    np.save(folder / "index.npy", np.arange(count))
    return folder


@pytest.mark.parametrize(("unit", "name"), [(1000.0, "millimetres"), (1.0, "metres")])
def test_known_errors_in_both_units(tmp_path, capsys, unit, name):
    folder = write(tmp_path / "exp" / "-001", unit)
    entries = rescore(read_outputs(folder))
    for row, absolute, relative in (("keypoints_3d_tri", 30, 0), ("keypoints_3d_dualdiff", 160 / 17, 160 / 17)):
        assert entries[row]["per_pose_error"]["Average"]["Average"] == pytest.approx(absolute, abs=1e-3)
        assert entries[row]["per_pose_error_relative"]["Average"]["Average"] == pytest.approx(relative, abs=1e-3)
    joints = entries["keypoints_3d_dualdiff"]["per_joint_error"]["Average"]
    assert joints[6] == pytest.approx(0, abs=1e-3) and joints[0] == pytest.approx(10, abs=1e-3)

    metric = {"per_pose_error": {"Average": {"Average": 160 / 17}, "S1": {"Average": float("nan")}}}
    (folder / "metric.json").write_text(json.dumps(metric))
    before = sorted(p.name for p in folder.iterdir())
    assert program.main(["--rescore", str(tmp_path / "exp")]) == 0  # -001 inside it
    printed = capsys.readouterr().out
    assert f"{COUNT} frames; the files are in {name}" in printed and "9.412 for the model: the same" in printed
    assert "per_pose_error Average Average" in printed and "30.000" in printed
    assert sorted(p.name for p in folder.iterdir()) == before
    metric["per_pose_error"]["Average"]["Average"] = 9.0
    (folder / "metric.json").write_text(json.dumps(metric))
    assert program.main(["--rescore", str(folder)]) == 0
    assert "NOT the same" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["mhad", "h36m"])
def test_with_labels_it_is_metric_json(tmp_path, stereo, kind, capsys):
    """What an evaluation writes and what is computed from its arrays are the same, by person and action too."""
    data = load_split(stereo / f"{kind}_labels.npy", subjects=formats.DATA_SETS[kind].test)
    data = data.take(torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:50])
    noise = torch.randn(data.keypoints_3d.shape, generator=torch.Generator().manual_seed(1)) * 0.02
    poses = {"raw": data.keypoints_3d + noise, "model": data.keypoints_3d + noise / 2}
    state = data.keypoints_2d.unsqueeze(1)
    results.save_arrays(tmp_path, data, poses, [state], state[:, 0])
    scores = score(poses, data)
    outputs = read_outputs(tmp_path)
    labels = load_split(stereo / f"{kind}_labels.npy", subjects=formats.DATA_SETS[kind].test)
    entries = rescore(outputs, with_labels(outputs, labels, "labels"))
    for name, row in (("keypoints_3d_tri", "raw"), ("keypoints_3d_dualdiff", "model")):
        assert flat(entries[name]) == pytest.approx(flat(published_metrics(scores, row)), abs=1e-3, nan_ok=True)
    config = f"{kind}_2view_diffpose_uvxyz_rsb152.yml"
    assert program.main(["--rescore", str(tmp_path), "--config", config, *settings(stereo, kind)]) == 0
    person = "S08" if kind == "mhad" else "S9"
    assert f"per_pose_error {person} Average" in capsys.readouterr().out
    other = "h36m" if kind == "mhad" else "mhad"
    line = ["--rescore", str(tmp_path), "--config", f"{other}_2view_diffpose_uvxyz_rsb152.yml"]
    assert program.main([*line, *settings(stereo, other)]) == 2
    assert "not the labels of these 50 frames" in capsys.readouterr().err


def flat(entry, path=""):
    if isinstance(entry, dict):
        return {k: v for key, value in entry.items() for k, v in flat(value, f"{path}/{key}").items()}
    values = entry if isinstance(entry, list) else [entry]
    return {f"{path}/{i}": np.nan if v is None else v for i, v in enumerate(values)}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("keypoints_3d_dualdiff", lambda a: a[:-1], "39 frames, but keypoints_3d_gt.npy has 40"),
        ("keypoints_3d_dualdiff", lambda a: a[:, :16], r"shape \(40, 16, 3\), expected \(frames, 17, 3\)"),
        ("keypoints_3d_tri", lambda a: np.where(np.arange(40)[:, None, None] == 7, np.nan, a), "first is 7"),
        ("keypoints_3d_tri", lambda a: a / 1000, "not in millimetres, as the truth"),
        ("keypoints_3d_gt", lambda a: a / 30, "neither millimetres nor metres"),
        ("keypoints_3d_gt", lambda a: a[:0], "expected"),
        ("keypoints_3d_gt", lambda a: a.astype(str), "array of numbers"),
        ("keypoints_2d_ori", lambda a: a[:, 0], r"\(frames, views, 17, 2\)"),
        ("index", lambda a: a[:3], "3 frames"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, name, change, message):
    folder = write(tmp_path / "a")
    np.save(folder / f"{name}.npy", change(np.load(folder / f"{name}.npy")))
    with pytest.raises(UserError, match=message):
        read_outputs(folder)


def test_what_is_missing_is_one_line(tmp_path, capsys):
    (write(tmp_path / "a") / "keypoints_3d_tri.npy").unlink()
    for folder, message in ((tmp_path / "a", "keypoints_3d_tri.npy: no such file"), (tmp_path / "b", "no such folder")):
        assert program.main(["--rescore", str(folder)]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    for name in ("keypoints_2d_ori", "index"):
        (write(tmp_path / name) / f"{name}.npy").unlink()
        assert program.main(["--rescore", str(tmp_path / name)]) == 0
