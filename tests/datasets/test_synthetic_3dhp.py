"""The synthetic 3DHP set: its files are read by the loader and by both scorers, end to end."""

import json
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from common.datasets.synthetic.threedhp import TEST_TAKES, write_threedhp
from common.datasets.threedhp import load_threedhp
from common.datasets.threedhp_layout import TRAIN_SEQUENCES
from common.errors import UserError
from common.geometry.camera import project
from common.geometry.skeleton import MPI_INF_3DHP_17
from common.scoring.annotations import read_annotation
from common.scoring.export import write_predictions
from common.scoring.threedhp import score_folder

SCRIPT = Path(__file__).parents[2] / "3dhp_test" / "test_util" / "mpii_test_predictions_ori_py.m"
ROOT = MPI_INF_3DHP_17.root


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    write_threedhp(folder, folder / "3dhp_test", seconds=0.5, progress=False)
    return folder


def test_every_sequence_and_camera_reprojects(tree):
    (train, labels), (test, other) = (load_threedhp(tree, split) for split in ("train", "test"))
    assert labels == other == "annot3" and len(train) == 16 * 8 and len(test) == 6
    for clip in train + test:
        screen = project(torch.from_numpy(clip.positions_3d), torch.tensor(clip.camera.intrinsics))
        np.testing.assert_allclose(screen.numpy(), clip.keypoints_2d, atol=2e-6)
        height = clip.camera.height / clip.camera.width
        assert (np.abs(clip.keypoints_2d) < [1, height]).all()  # the whole person is in the picture
        upright = clip.positions_3d[:, MPI_INF_3DHP_17.index("HeadTop"), 1]
        assert (upright < clip.positions_3d[:, MPI_INF_3DHP_17.index("LAnkle"), 1]).all()  # y points down
    assert {(c.subject + " " + c.action, c.fps) for c in train} == {(n, fps) for n, (_, fps) in TRAIN_SEQUENCES.items()}
    assert [len(c) for c in test] == [frames for _, _, frames in TEST_TAKES.values()]
    assert not all(c.valid.all() for c in test)


def test_no_test_person_is_a_training_person(tree):
    def bones(clip):
        edges = np.array(MPI_INF_3DHP_17.edges)
        lengths = np.linalg.norm(clip.positions_3d[:, edges[:, 0]] - clip.positions_3d[:, edges[:, 1]], axis=-1)
        return np.round(lengths.mean(0) * 1000)

    train, test = (load_threedhp(tree, split)[0] for split in ("train", "test"))
    people = {tuple(bones(c)[:6]) for c in train}
    assert not people & {tuple(bones(c)[:6]) for c in test}


def test_univ_labels_are_scaled_about_the_pelvis(tree):
    metric, _ = load_threedhp(tree, "test", labels="annot3")
    universal, labels = load_threedhp(tree, "test", labels="univ_annot3")
    assert labels == "univ_annot3"
    for a, b in zip(metric, universal, strict=True):
        np.testing.assert_allclose(a.positions_3d[:, ROOT], b.positions_3d[:, ROOT], rtol=1e-6)
        ratio = (b.positions_3d - b.positions_3d[:, [ROOT]])[:, 0] / (a.positions_3d - a.positions_3d[:, [ROOT]])[:, 0]
        assert abs(np.median(ratio) - 1) > 1e-3 and np.ptp(np.median(ratio, 0)) < 1e-3


def test_annotations_have_every_official_key(tree):
    for name, (_, _, frames) in TEST_TAKES.items():
        path = tree / "3dhp_test" / name / "annot_data.mat"
        assert path.read_bytes()[:10] == b"MATLAB 7.3" and path.read_bytes()[124:128] == b"\x00\x02IM"
        with h5py.File(path) as file:
            shapes = {key: file[key].shape for key in file if key != "#refs#"}
            assert file[file["bb_crop"][0, 0]].shape == (34, 1)
        assert shapes == {
            "annot2": (frames, 1, 17, 2),
            "annot3": (frames, 1, 17, 3),
            "univ_annot3": (frames, 1, 17, 3),
            "valid_frame": (frames, 1),
            "activity_annotation": (frames, 1),
            "bb_crop": (frames, 1),
        }


def test_same_seed_same_data_other_seed_other_data(tree, tmp_path):
    for seed in (0, 1):
        write_threedhp(tmp_path / str(seed), tmp_path / str(seed), seed=seed, seconds=0.2, progress=False)
    first = read_annotation(tree / "3dhp_test", "TS3").poses
    np.testing.assert_array_equal(read_annotation(tmp_path / "0", "TS3").poses, first)
    assert not np.allclose(read_annotation(tmp_path / "1", "TS3").poses, first)


def test_real_files_are_not_written_over(tmp_path):
    (tmp_path / "data_train_3dhp_ori.npz").write_bytes(b"real")
    with pytest.raises(UserError, match="is not synthetic"):
        write_threedhp(tmp_path, tmp_path / "3dhp_test", seconds=0.2, progress=False)
    assert (tmp_path / "data_train_3dhp_ori.npz").read_bytes() == b"real"


@pytest.fixture(scope="module")
def scored(tree):
    """Predictions off by 30 mm of noise, scored in Python."""
    rng, clips = np.random.default_rng(0), load_threedhp(tree, "test")[0]
    poses = {}
    for clip in clips:
        relative = 1000.0 * (clip.positions_3d - clip.positions_3d[:, [ROOT]])
        steps = [relative + sigma * rng.standard_normal(relative.shape) for sigma in (60, 30)]
        poses[clip.subject] = np.stack(steps, -1).transpose(2, 1, 0, 3)  # (3, 17, F, K)
        poses[clip.subject][:, ROOT] = 0
    out = tree / "checkpoint"
    write_predictions(out, "J_Agg", poses)
    return out, score_folder(out, tree / "3dhp_test", progress=False)


def test_python_scores_the_synthetic_set(scored):
    _, report = scored
    result = report["modes"]["J_Agg"]["t2"]
    # The mean length of 3D Gaussian noise of 30 mm, 16 joints of 17.
    assert result["mean_over_frames"]["mpjpe"] == pytest.approx(30 * np.sqrt(8 / np.pi) * 16 / 17, rel=0.02)
    empty = [name for name, row in result["activities"].items() if row["frames"] == 0]
    assert empty == ["Exercising", "On The Floor", "Sports"]
    assert report["annotations"]["TS5"]["frames"] == 7


@pytest.mark.skipif(shutil.which("octave") is None, reason="octave is not on PATH")
def test_octave_scores_the_synthetic_set_to_the_same_figures(scored, tree):
    out, report = scored
    run = f"addpath('{SCRIPT.parent}'); mpii_test_predictions_ori_py('J_Agg', '{out}', '{tree}/3dhp_test', '{tree}/m');"
    command = ["octave", "--no-gui", "--quiet", "--norc", "--eval", run]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    files = sorted(out.glob("*.csv"))
    assert len(files) == 4
    for path in files:
        ours, theirs = ([r.split(",") for r in p.read_text().splitlines()] for p in (path, tree / "m" / path.name))
        for row_a, row_b in zip(ours, theirs, strict=True):
            for a, b in zip(row_a, row_b, strict=True):
                assert a == b or abs(float(a) - float(b)) <= 1e-9
    assert json.loads((out / "3dhp_scores_annot3.json").read_text()) == report
