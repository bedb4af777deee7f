"""Rectification and the label files that data/prepare_stereo.py writes, read back by the loader."""

import importlib.util
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from common.binocular.demo import make_rig
from common.binocular.noise import main as noise_main
from common.datasets.h36m_cameras import h36m_cameras
from common.datasets.stereo import load_labels, load_split
from common.errors import UserError
from common.geometry.rectification import Rig, rectify
from common.geometry.skeleton import H36M_17_OF_32, STEREO_17_OF_32, STEREO_17_OF_MHAD_35
from common.geometry.stereo import triangulate
from common.programs.two_view import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("prepare_stereo", ROOT / "data" / "prepare_stereo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def points(seed: int, count: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 17, 3)) * [250, 250, 400] + [0, 0, 950]


@hypothesis_settings(max_examples=25, deadline=None)
@given(
    angle=st.floats(0, 360),
    height=st.floats(400, 2500),
    baseline=st.floats(50, 4000),
    seed=st.integers(0, 99),
    swap=st.booleans(),
)
def test_rectified_views_share_rows(angle, height, baseline, seed, swap):
    rig, pose = make_rig(angle, height, baseline), points(seed)
    if swap:
        rig = Rig(*(getattr(rig, name)[::-1] for name in ("intrinsics", "rotation", "translation", "sizes")))
    new, homographies = rectify(rig)
    before, after = rig.project(pose), new.project(pose)
    assert np.allclose(after[:, 0, :, 1], after[:, 1, :, 1], atol=1e-6)  # the same row
    assert np.allclose(new.centres, rig.centres, atol=1e-6)  # cameras only turn
    assert np.allclose(new.rotation @ new.rotation.transpose(0, 2, 1), np.eye(3), atol=1e-9)
    assert (np.linalg.det(new.rotation) > 0).all() and (new.intrinsics[:, 0, 1] == 0).all()
    h = np.einsum("vij,nvkj->nvki", homographies, np.concatenate([before, np.ones((*before.shape[:-1], 1))], -1))
    assert np.allclose(h[..., :2] / h[..., 2:], after, atol=1e-5)  # the homographies warp images to it
    # What stands right of the middle in the image stays right: pictures are not mirrored.
    assert np.corrcoef(before[0, 0, :, 0], after[0, 0, :, 0])[0, 1] > 0.5


def test_cameras_behind_one_another_cannot_be_rectified():
    rig = make_rig(0, 1000, 500)
    forward = rig.rotation[0, 2]
    shift = rig.translation.copy()
    rotation = np.stack([rig.rotation[0]] * 2)
    centre = rig.centres[0] + 800 * forward
    shift[1] = -rig.rotation[0] @ centre
    with pytest.raises(UserError, match="cannot be rectified"):
        rectify(Rig(rig.intrinsics, rotation, shift, rig.sizes))


def test_trial_names(program):
    assert program.trials(["Photo 1", "Photo", "Walking"]) == {
        "Photo 1": "TakingPhoto-1",
        "Photo": "TakingPhoto-2",
        "Walking": "Walking-1",
    }
    assert program.trials(["Eating 2", "Eating"]) == {"Eating": "Eating-1", "Eating 2": "Eating-2"}
    assert program.trials(["WalkDog 1", "WalkDog 2"]) == {"WalkDog 1": "WalkingDog-1", "WalkDog 2": "WalkingDog-2"}


@pytest.fixture
def recorded(tmp_path):
    """A file in VideoPose3D's format: a standing person of 32 joints, two trials of Greeting for S1 and S9."""
    rng, poses = np.random.default_rng(0), {}
    for subject in ("S1", "S9"):
        poses[subject] = {}
        for name in ("Greeting 1", "Greeting"):
            joints = np.zeros((130, 32, 3))
            joints[:, list(STEREO_17_OF_32)] = points(3, 1) / 1000 + rng.normal(size=(130, 17, 3)) * 0.03
            poses[subject][name] = joints.astype(np.float32)
    np.savez(tmp_path / "poses.npz", positions_3d=np.array(poses, dtype=object))
    return tmp_path / "poses.npz", poses


def test_h36m(program, recorded, tmp_path, capsys):
    path, poses = recorded
    out = tmp_path / "labels.npy"
    assert program.main(["h36m", "--poses", str(path), "--out", str(out)]) == 0
    assert "58 frames, 0 without all views" in capsys.readouterr().out
    labels = load_labels(out)
    assert labels["cameras"].shape == (7, 2) and labels["camera_names"] == ["60457274", "55011271"]
    data = load_split(out, subjects=("S9",))
    assert [data.actions[a] for a in data.action.unique().tolist()] == ["Greeting-1", "Greeting-2"]
    assert len(data) == 6 and int(data.damaged.sum()) == 3  # every 64th of 130 frames, two trials; Greeting-2 is bad
    truth = torch.from_numpy(poses["S9"]["Greeting"][::64][:, list(STEREO_17_OF_32)]).double()
    assert (data.keypoints_3d[3:] - truth).abs().max() < 1e-6
    assert (triangulate(data.keypoints_2d, data.projections) - data.keypoints_3d).abs().max() < 1e-6
    assert data.keypoints_2d.abs().max() <= 1 and len(load_split(out, subjects=("S1",))) == 52
    # The rig is Human3.6M's: published baseline of S9 3908 mm; projections agree with the project's own camera.
    assert abs(float(data.views("camera").baseline[0]) - 3908) < 1
    camera = next(c for c in h36m_cameras("S9") if c.name == "60457274")
    seen = camera.world_to_camera(data.keypoints_3d)
    rig = program.h36m_rig("S9", ["60457274"])
    assert np.allclose(rig.camera_points(1000 * data.keypoints_3d.numpy())[:, 0] / 1000, seen, atol=1e-4)
    f, c = np.array(camera.intrinsics[:2]), np.array(camera.intrinsics[2:4])
    screen = f * (seen[..., :2] / seen[..., 2:]).numpy() + c
    pixels = (screen + [1, camera.height / camera.width]) * camera.width / 2
    assert np.allclose(rig.project(1000 * data.keypoints_3d.numpy())[:, 0], pixels, atol=1e-2)


@pytest.mark.parametrize("count", [3, 4])
def test_more_views(program, recorded, tmp_path, count):
    names = ["54138969", "55011271", "58860488", "60457274"][:count]
    out = tmp_path / "labels.npy"
    words = ["h36m", "--poses", str(recorded[0]), "--out", str(out), "--no-rectify", "--cameras", *names]
    assert program.main(words) == 0
    data = load_split(out, subjects=("S9",), views=count)
    assert data.projections.shape == (6, count, 3, 4)
    assert (triangulate(data.keypoints_2d, data.projections) - data.keypoints_3d).abs().max() < 1e-6
    pair = load_split(out, subjects=("S9",), views=2, cameras=[count - 1, 0])
    assert torch.equal(pair.projections, data.projections[:, [count - 1, 0]])
    assert program.main([w for w in words if w != "--no-rectify"]) == 2  # only two cameras can be rectified


def test_four_views_train_and_evaluate(program, recorded, tmp_path, capsys):
    names, out = ["54138969", "55011271", "58860488", "60457274"], tmp_path / "labels.npy"
    words = ["h36m", "--poses", str(recorded[0]), "--out", str(out), "--no-rectify", "--cameras", *names]
    assert program.main(words) == 0
    rng = np.random.default_rng(5)
    for people, name in ((("S1",), "train"), (("S9",), "test")):
        data = load_split(out, subjects=people, views=4)
        pixels = (data.keypoints_2d.numpy() + 1) * 192 + rng.normal(size=data.keypoints_2d.shape)
        found = {"keypoints_2d_pred": pixels.astype(np.float32), "indexes": np.arange(len(pixels))}
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(found))
    files = ["--detections", str(tmp_path / "train.pkl"), "--labels", str(out), "--num_views", "4"]
    assert noise_main([*files, "--out", str(tmp_path / "gauss.npy")]) == 0
    line = ["--config", "h36m_4view_diffpose_uvxyz_resnet152.yml", "--exp", str(tmp_path / "exp"), "--ni"]
    line += ["--device", "cpu", "--dim_model", "16", "--n_layer", "1"]
    for side, result in (("train", "train.pkl"), ("val", "test.pkl")):
        line += ["--set", f"dataset.{side}.labels_path={out}"]
        line += ["--set", f"dataset.{side}.pred_2d_results_path={tmp_path / result}"]
        line += ["--set", f"dataset.{side}.pred_2d_error_dis_path={tmp_path / 'gauss.npy'}"]
    assert main([*line, "--doc", "a", "--train", "--epochs", "1"]) == 0
    weights = next((tmp_path / "exp").glob("a@*/ckpt_last.pth"))
    assert main([*line, "--doc", "b", "--model_diff_path", str(weights)]) == 0
    there = next((tmp_path / "exp").glob("b@*")) / "-001"
    assert np.load(there / "keypoints_2d_ori.npy").shape == (6, 4, 17, 2)
    report = json.loads((there / "report.json").read_text())
    assert report["results"]["overall"]["all"]["errors"]["raw"]["absolute"] < 20
    assert report["results"]["overall"]["without damaged"]["frames"] == 3


def test_mhad(program, tmp_path, capsys):
    rng, cameras = np.random.default_rng(1), {}
    for group, names in enumerate((("1", "3"), ("2", "4"))):
        rig = make_rig(10 * group, 1300, 220)
        for name, k, r, t in zip(names, rig.intrinsics, rig.rotation, rig.translation, strict=True):
            cameras[name] = {"K": k.tolist(), "R": r.tolist(), "t": t.tolist(), "width": 640, "height": 480}
    (tmp_path / "cameras.json").write_text(json.dumps(cameras))
    joints = np.zeros((8, 35, 3))
    joints[:, list(STEREO_17_OF_MHAD_35)] = points(2, 8) * [0.6, 0.6, 0.9]
    joints[7] += [0, 9000, 0]  # walks out of the picture
    about = {"subject": ["S08"] * 8, "action": ["A02"] * 8, "repetition": ["R03"] * 8, "frame": np.arange(8)}
    np.savez(tmp_path / "poses.npz", keypoints=joints + rng.normal(size=joints.shape), **about)
    out = tmp_path / "labels.npy"
    words = ["mhad", "--poses", str(tmp_path / "poses.npz"), "--out", str(out)]
    assert program.main([*words, "--calibration", str(tmp_path / "cameras.json")]) == 0
    assert "16 frames, 2 without all views" in capsys.readouterr().out
    data = load_split(out, subjects=("S08",))
    assert len(data) == 14 and data.dropped == 2 and data.group.tolist() == [0] * 7 + [1] * 7
    assert torch.equal(data.keypoints_3d[:7], data.keypoints_3d[7:])  # the same frames, two rigs
    assert torch.allclose(data.views("camera").baseline, torch.tensor(220.0).double(), atol=0.01)
    table = load_labels(out)["table"]
    assert set(table["reptition_idx"].tolist()) == {2} and table["keypoints_2d"].shape == (16, 2, 17, 3)
    box = table["bbox_by_camera_tlbr"][0]
    assert (box[:, 2] - box[:, 0] == box[:, 3] - box[:, 1]).all() and (box[0, [0, 2]] == box[1, [0, 2]]).all()
    assert program.main(words) == 2
    assert program.main([*words, "--calibration", str(tmp_path / "gone.json")]) == 2
    np.savez(tmp_path / "poses.npz", keypoints=joints, **(about | {"action": ["A99"] * 8}))
    assert program.main([*words, "--calibration", str(tmp_path / "cameras.json")]) == 2
    assert "A99" in capsys.readouterr().err
    for keypoints in (1.0, np.zeros((0, 17, 3)), np.array(None)):
        np.savez(tmp_path / "poses.npz", keypoints=keypoints, **about)
        assert program.main([*words, "--calibration", str(tmp_path / "cameras.json")]) == 2
        assert capsys.readouterr().err.count("error:") == 1


def test_layout_agrees_with_the_monocular_one():
    assert sorted(STEREO_17_OF_32) == sorted(H36M_17_OF_32)


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        (["1:2"], "stand in one place"),
        (["1:1"], "stand in one place"),
        (["1"], "LEFT:RIGHT belongs there"),
        (["1:2:3"], "LEFT:RIGHT belongs there"),
        (["1:3", "1:3"], "stands there twice"),
        (["1:4"], "R is no rotation"),
    ],
)
def test_pairs_that_are_none_are_refused_in_one_line(program, tmp_path, capsys, pairs, told):
    from tests.fuzz.formats import _mhad

    _mhad(tmp_path)
    cameras = json.loads((tmp_path / "cameras.json").read_text())
    cameras["2"] = cameras["1"]
    cameras["4"] = cameras["3"] | {"R": [[1, 0.5, 0], [0, 1, 0], [0, 0, 1]]}  # its determinant is one
    (tmp_path / "cameras.json").write_text(json.dumps(cameras))
    line = ["mhad", "--poses", tmp_path / "poses.npz", "--calibration", tmp_path / "cameras.json"]
    for more in ([], ["--no-rectify"]):
        words = [*line, "--out", tmp_path / "o.npy", "--pairs", *pairs, *more]
        assert program.main([str(word) for word in words]) == 2
        err = capsys.readouterr().err
        assert told in err and len(err.splitlines()) == 1
    assert not (tmp_path / "o.npy").exists()


def test_a_place_that_cannot_be_written_is_told(program, tmp_path, capsys):
    from tests.fuzz.formats import _mhad

    _mhad(tmp_path)
    line = ["mhad", "--poses", tmp_path / "poses.npz", "--calibration", tmp_path / "cameras.json", "--pairs", "1:3"]
    for out in (tmp_path, tmp_path / "poses.npz" / "o.npy"):
        assert program.main([str(word) for word in [*line, "--out", out]]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
