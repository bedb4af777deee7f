"""The 3DHP loader: units, label sets, cameras, and what it refuses."""

import numpy as np
import pytest

from common.datasets import load_clips
from common.datasets.threedhp import find_archive, load_threedhp
from common.datasets.threedhp_layout import TRAIN_CAMERAS
from common.datasets.windows import Windows
from common.errors import UserError
from common.geometry.skeleton import MPI_INF_3DHP_17
from common.settings.lifting import DataSettings

ROOT = MPI_INF_3DHP_17.root


def arrays(rng, frames, size=(2048, 2048)):
    return {
        "data_2d": rng.uniform(0, 1, (frames, 17, 2)) * size,
        "data_3d": rng.uniform(-500, 500, (frames, 17, 3)) + [0, 0, 4000],
    }


def make_train(rng):
    return {
        name: [{camera: arrays(rng, frames) for camera in TRAIN_CAMERAS}, fps]
        for name, frames, fps in (("S1 Seq1", 5, 25), ("S1 Seq2", 6, 50), ("S7 Seq1", 4, 25))
    }


def make_test(rng):
    sizes = {"TS1": (2048, 2048), "TS6": (1920, 1080)}
    return {n: arrays(rng, 7, s) | {"valid": np.array([0, 1, 1, 0, 1, 1, 0])} for n, s in sizes.items()}


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data_train_3dhp_ori.npz", data=make_train(rng))
    np.savez(tmp_path / "data_test_3dhp_ori.npz", data=make_test(rng))
    return tmp_path


def test_training_clips(root):
    rng = np.random.default_rng(0)
    data = make_train(rng)
    clips, labels = load_threedhp(root, "train")
    assert labels == "annot3" and len(clips) == 3 * 8
    assert [c.camera.name for c in clips[:8]] == list(TRAIN_CAMERAS)
    clip = clips[8 + 3]
    assert (clip.subject, clip.action, clip.camera.name, clip.fps) == ("S1", "Seq2", "4", 50.0)
    source = data["S1 Seq2"][0]["4"]
    np.testing.assert_allclose(clip.positions_3d, source["data_3d"] / 1000, rtol=1e-6)
    np.testing.assert_allclose(clip.keypoints_2d, source["data_2d"] / 1024 - 1, atol=1e-6)
    assert clip.positions_3d.dtype == clip.keypoints_2d.dtype == np.float32
    assert clip.valid.all() and clip.camera.intrinsics is None
    assert len({c.key for c in clips}) == len(clips)
    assert {c.subject for c in load_threedhp(root, "train", sequences=["S7"])[0]} == {"S7"}


def test_test_clips(root):
    rng = np.random.default_rng(0)
    make_train(rng)
    data = make_test(rng)
    clips, _ = load_threedhp(root, "test")
    assert [c.subject for c in clips] == ["TS1", "TS6"]
    clip = clips[1]
    expected = data["TS6"]["data_2d"] * 2 / 1920 - [1, 1080 / 1920]
    np.testing.assert_allclose(clip.keypoints_2d, expected, atol=1e-6)
    np.testing.assert_array_equal(clip.valid, data["TS6"]["valid"] == 1)
    fx, fy = clip.camera.intrinsics[:2]
    assert fy / fx == pytest.approx(0.993236423)
    published = load_threedhp(root, "test", published=True)[0][1].camera.intrinsics
    assert published[0] == published[1] == fx


def test_both_label_sets(root, tmp_path):
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "data_test_3dhp.npz", data=make_test(rng), labels="univ_annot3")
    np.savez(tmp_path / "data_train_3dhp.npz", data=make_train(rng))
    assert find_archive(tmp_path, "test")[1] == "annot3"  # goes first where both are
    lines = []
    settings = DataSettings(dataset="3dhp", data_root=str(tmp_path), labels="univ_annot3", subjects_test=("*",))
    test = load_clips(settings, "test", lines.append)
    assert sum("does not reproject" in line for line in lines) == 1
    assert not np.array_equal(test[0].positions_3d, load_threedhp(tmp_path, "test", labels="annot3")[0][0].positions_3d)
    (tmp_path / "data_test_3dhp_ori.npz").unlink()
    assert find_archive(tmp_path, "test")[1] == "univ_annot3"
    np.savez(tmp_path / "data_test_3dhp_ori.npz", data=make_test(rng), labels="univ_annot3")
    with pytest.raises(UserError, match="holds univ_annot3, its name says annot3"):
        load_threedhp(tmp_path, "test")


def test_stored_intrinsics(root, tmp_path):
    rng = np.random.default_rng(0)
    cameras = {"S1 Seq1": {"4": np.array([1500.0, 1490.0, 1030.0, 1010.0])}}
    np.savez(tmp_path / "data_train_3dhp_ori.npz", data=make_train(rng), cameras=cameras)
    clips, _ = load_threedhp(tmp_path, "train", sequences=["S1"])
    known = {c.key: c.camera.intrinsics for c in clips if c.camera.intrinsics}
    assert list(known) == ["S1/Seq1/4"]
    expected = (1500 / 1024, 1490 / 1024, 1030 / 1024 - 1, 1010 / 1024 - 1, 0, 0, 0, 0, 0)
    assert known["S1/Seq1/4"] == pytest.approx(expected)


def test_nan_counts_on_valid_frames_only(root, tmp_path):
    data = make_test(np.random.default_rng(1))
    data["TS1"]["data_3d"][0] = np.nan  # invalid
    np.savez(tmp_path / "data_test_3dhp_ori.npz", data=data)
    clips, _ = load_threedhp(tmp_path, "test")
    windows = Windows(clips, MPI_INF_3DHP_17, 9)
    assert windows.batch([0]).positions_3d.isfinite().all() and windows.mask[0].sum() == 4
    data["TS1"]["data_3d"][1] = np.nan
    np.savez(tmp_path / "data_test_3dhp_ori.npz", data=data)
    with pytest.raises(UserError, match="TS1: NaN"):
        load_threedhp(tmp_path, "test")


def metres(data):
    for a in data.values():
        a["data_3d"] /= 1000


def normalised(data):
    for a in data.values():
        a["data_2d"] = a["data_2d"] / 1024 - 1


def no_valid(data):
    del data["TS6"]["valid"]


def short_valid(data):
    data["TS6"]["valid"] = np.ones(3)


def other_joints(data):
    data["TS6"]["data_3d"] = data["TS6"]["data_3d"][:, :16]


def other_sequence(data):
    data["TS7"] = data.pop("TS6")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (metres, "millimetres belong"),
        (normalised, "pixels belong"),
        (no_valid, "no member `valid`"),
        (short_valid, "3 valid flags for 7 frames"),
        (other_joints, r"expected \(T, 17, 2\)"),
        (other_sequence, "TS7"),
    ],
)
def test_wrong_test_files_are_refused(tmp_path, change, message):
    data = make_test(np.random.default_rng(0))
    change(data)
    np.savez(tmp_path / "data_test_3dhp_ori.npz", data=data)
    with pytest.raises(UserError, match=message):
        load_threedhp(tmp_path, "test")


def test_wrong_training_files_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "data_train_3dhp_ori.npz"
    with pytest.raises(UserError, match="convert_3dhp"):
        load_threedhp(tmp_path, "train")
    np.savez(path, data=make_train(rng) | {"S3 Seq1": [{"0": arrays(rng, 3)}, 25]})
    with pytest.raises(UserError, match="S3 Seq1: 25 frames a second, the recording has 50"):
        load_threedhp(tmp_path, "train")
    np.savez(path, data={"S1 Seq1": [{"3": arrays(rng, 3)}, 25]})
    with pytest.raises(UserError, match="cameras 3"):
        load_threedhp(tmp_path, "train")
    np.savez(path, positions=np.zeros(3))
    with pytest.raises(UserError, match="no dictionary `data`"):
        load_threedhp(tmp_path, "train")
