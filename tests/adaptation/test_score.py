"""Scores on errors made by hand, the published metric, complete exports that both scorers agree on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.adaptation.data import in_layout, joint_order
from common.adaptation.score import actions_table, score_lifter, table
from common.datasets.synthetic.threedhp import write_threedhp
from common.datasets.threedhp import load_threedhp
from common.datasets.windows import Windows
from common.engine.devices import Place
from common.engine.evaluate import Sampling
from common.geometry.skeleton import H36M_17, MPI_INF_3DHP_17
from common.scoring.export import read_predictions
from common.scoring.metrics import mpjpe
from common.scoring.threedhp import score_folder

PLACE = Place(torch.device("cpu"))


class Known:
    """Stands for a lifter that answers with the truth and adds `error` metres along x to some joints."""

    skeleton = H36M_17
    denoiser = None

    def __init__(self, windows, error=0.0, joints=()):
        self.windows, self.error, self.joints, self.calls = windows, error, list(joints), []

    def eval(self):
        return self

    def sample(self, batch, hypotheses, steps, noise, *, flip, chunk, sampler):
        self.calls.append((len(hypotheses), steps))
        poses = self.windows.batch(batch.rows).positions_3d[:, None, None].repeat(1, steps, len(hypotheses), 1, 1, 1)
        poses[..., self.joints, 0] += self.error
        return poses


@pytest.fixture
def windows(target_clips):
    clips = target_clips(5, 3)
    valid = np.ones(21, bool)
    valid[3:8] = False
    named = [replace(c, action=f"{name} 1", valid=valid) for c, name in zip(clips, ("A", "B", "C"), strict=True)]
    return Windows(named, H36M_17, 9)


def test_perfect_poses(windows):
    """PCK 100, AUC 30 of 31, and nothing else than zero; but S_Agg smooths, and these people jump about."""
    scores = score_lifter(Known(windows), windows, Sampling(2, 1, 4, metrics=("mpjpe", "p_mpjpe")), PLACE)
    assert scores["frames"] == 3 * 16
    assert 0 < scores["columns"].pop("S_Agg")["action_wise"]["mpjpe"] < 20
    for column in scores["columns"].values():
        row = column["action_wise"]
        assert row["mpjpe"] == 0 and row["p_mpjpe"] == pytest.approx(0, abs=0.01)
        assert row["pck"] == 100 and row["auc"] == pytest.approx(100 * 30 / 31)
        assert list(column["actions"]) == ["A", "B", "C"]


def test_errors_by_hand(windows):
    """A wrist off by 160 mm: a miss among 14 joints; the spine off: in MPJPE, not in PCK."""
    wrist = Known(windows, 0.16, [H36M_17.index("LWrist")])
    row = score_lifter(wrist, windows, Sampling(1, 1, 4, metrics=("mpjpe", "p_mpjpe")), PLACE)["columns"]["P_Agg"][
        "frame_wise"
    ]
    assert row["mpjpe"] == pytest.approx(160 / 17, rel=1e-4) and row["pck"] == pytest.approx(100 * 13 / 14)
    spine = Known(windows, 0.16, [H36M_17.index("Spine")])
    row = score_lifter(spine, windows, Sampling(1, 1, 4, metrics=("mpjpe", "p_mpjpe")), PLACE)["columns"]["P_Agg"][
        "frame_wise"
    ]
    assert row["mpjpe"] == pytest.approx(160 / 17, rel=1e-4) and row["pck"] == 100


def test_hypotheses_and_steps_asked_for_are_used(windows):
    lifter = Known(windows)
    scores = score_lifter(lifter, windows, Sampling(3, 2, 4, metrics=("mpjpe", "p_mpjpe")), PLACE)
    assert (3, 2) in lifter.calls and len(scores["steps"]) == 2


def test_tables_name_what_reads_the_truth(windows):
    before = score_lifter(Known(windows, 0.1, [3]), windows, Sampling(2, 1, 4, metrics=("mpjpe", "p_mpjpe")), PLACE)
    after = score_lifter(Known(windows), windows, Sampling(2, 1, 4, metrics=("mpjpe", "p_mpjpe")), PLACE)
    text = table("title", before, after)
    assert "P_Best (oracle)" in text and "J_Agg (true root)" in text
    row = next(line for line in text.splitlines() if line.startswith("P_Agg")).split()
    assert float(row[1]) == pytest.approx(100 / 17, abs=0.01) and float(row[2]) == 0
    assert len(table("title", before, None).splitlines()[-1].split()) == 1 + 1 + 4
    assert [line.split()[0] for line in actions_table(before, after).splitlines()[1:]] == ["A", "B", "C"]


def test_published_metric_matches_the_vectors(vectors):
    """MPJPE over valid frames: the mean pose, and the one hypothesis best over the batch."""
    v = vectors("posynda_parity.npz")
    poses, target, valid = v["in/metric_pred"], v["in/metric_target"], v["in/metric_valid"][..., 0].bool()
    steps = poses.shape[1]
    mean = [mpjpe(poses[:, k].mean(1), target)[valid].mean() for k in range(steps)]
    torch.testing.assert_close(torch.stack(mean), v["out/metric_pagg"], rtol=1e-4, atol=1e-4)
    errors = mpjpe(poses, target[:, None, None])  # (B, K, H, F)
    best = [min(errors[:, k, h][valid].mean() for h in range(poses.shape[2])) for k in range(steps)]
    torch.testing.assert_close(torch.stack(best), v["out/metric_pbest"], rtol=1e-4, atol=1e-4)


def test_exports_are_complete_and_scored_alike(tmp_path):
    """Every frame of every sequence in 3DHP's order, lengths no multiple of F; the folder's scorer agrees."""
    write_threedhp(tmp_path, tmp_path / "ts", seconds=0.2, progress=False)
    clips = in_layout(load_threedhp(tmp_path, "test")[0], MPI_INF_3DHP_17, H36M_17)
    windows = Windows(clips, H36M_17, 9)
    joints = [H36M_17.index("RKnee"), H36M_17.index("Head")]
    sampling = Sampling(2, 2, 16, metrics=("mpjpe", "p_mpjpe"))
    scores = score_lifter(Known(windows, 0.123, joints), windows, sampling, PLACE, export=tmp_path / "out")
    poses = read_predictions(tmp_path / "out" / "inference_data_R_Agg.mat")
    order = joint_order(H36M_17, MPI_INF_3DHP_17)
    for clip in clips:
        relative = clip.positions_3d - clip.positions_3d[:, :1]
        relative[:, joints, 0] += 0.123
        expected = 1000 * relative[clip.valid][:, order].transpose(2, 1, 0)
        assert poses[clip.subject].shape == (3, 17, len(clip), 2)
        np.testing.assert_allclose(poses[clip.subject][:, :, clip.valid, 1], expected, atol=0.01)
        assert np.abs(poses[clip.subject][:, 0]).min(axis=(0, 2)).all()  # the head top is nowhere left at zero
    told = score_folder(
        tmp_path / "out", tmp_path / "ts", labels="annot3", modes=list(scores["columns"]), progress=False
    )
    for name, column in scores["columns"].items():
        last = told["modes"][name]["t2"]
        for average, key in (("action_wise", "mean_over_sequences"), ("frame_wise", "mean_over_frames")):
            for measure in ("mpjpe", "pck", "auc"):
                assert column[average][measure] == pytest.approx(last[key][measure], abs=0.01), (name, average, measure)
