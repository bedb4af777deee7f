"""MPJPE, PCK and AUC: exact values, edge cases, and the figures of section 4 of the scoring reference."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.scoring.annotations import ACTIVITIES, GROUP_JOINTS, JOINT_NAMES, Annotation
from common.scoring.measures import joint_errors, mean_of_sequences, score_errors, score_frames, valid_predictions

VECTORS = Path(__file__).parents[1] / "vectors"
CEILING = 100 * 30 / 31
ROOT = 14


@pytest.mark.parametrize(
    ("offset", "pck", "auc"),
    [
        (0.0, 100, CEILING),
        (5.0, 100, 100 * 29 / 31),  # 93.548: exactly on a step is a miss at that step
        (150.0, 0, 0),
        (150 - 1e-9, 100, 100 / 31),  # 3.2258
    ],
)
def test_constant_errors_score_exactly(offset, pck, auc):
    rng = np.random.default_rng(0)
    truth = rng.integers(-500, 500, (6, 17, 3)).astype(float)
    predicted = truth - truth[:, [ROOT]]
    predicted[..., 0] += offset
    whole = score_frames(np.full((6, 17), offset))
    assert whole.mpjpe[-1] == offset
    predicted[:, ROOT] = 0
    result = score_frames(joint_errors(predicted, truth))
    assert result.pck == pytest.approx(np.full(9, pck), abs=1e-12)
    if offset in (0.0, 5.0, 150.0):  # whole numbers: the subtraction is exact
        assert result.auc == pytest.approx(np.full(9, auc), abs=1e-12)
    assert whole.auc == pytest.approx(np.full(9, auc), abs=1e-12)
    # The root stays at zero, so the mean over 17 joints is 16/17 of the offset.
    assert result.mpjpe[-1] == pytest.approx(offset * 16 / 17, abs=1e-9)


def test_groups_are_the_fourteen_joints():
    assert sorted(sum(GROUP_JOINTS.values(), [])) == list(range(14))
    named = {group: [JOINT_NAMES[j] for j in joints] for group, joints in GROUP_JOINTS.items()}
    assert named["Head"] == ["head_top"] and named["Neck"] == ["neck"]
    assert named["Shou"] == ["right_shoulder", "left_shoulder"] and named["Ankle"] == ["right_ankle", "left_ankle"]
    assert JOINT_NAMES[14:] == ("pelvis", "spine", "head")


def test_pelvis_spine_and_head_count_in_mpjpe_only():
    errors = np.zeros((3, 17))
    errors[:, 15:] = 400.0
    result = score_frames(errors)
    assert result.pck[-1] == 100 and result.auc[-1] == CEILING
    assert result.mpjpe[-1] == pytest.approx(800 / 17)


def test_no_frames_give_nan_and_no_warning(recwarn):
    result = score_frames(np.zeros((0, 17)))
    assert result.frames == 0 and np.isnan(result.mpjpe).all() and np.isnan(result.pck).all()
    assert result.mpjpe.shape == (18,) and result.auc.shape == (9,) and not recwarn.list


@given(st.integers(0, 10**6))
def test_the_two_means_weight_sequences_and_frames(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, 4)
    errors = {f"TS{i + 1}": rng.uniform(0, 200, (n, 17)) for i, n in enumerate(sizes)}
    activities = {name: rng.integers(1, 8, len(e)) for name, e in errors.items()}
    by_sequence, by_activity = score_errors(errors, activities)
    for name in ("mpjpe", "pck", "auc"):
        rows = np.stack([getattr(s, name) for s in by_sequence.values()])
        assert getattr(by_activity["All"], name) == pytest.approx(sizes @ rows / sizes.sum())
        assert getattr(mean_of_sequences(by_sequence), name) == pytest.approx(rows.mean(0))
        there = [by_activity[a] for a in ACTIVITIES if by_activity[a].frames]
        weighted = sum(s.frames * getattr(s, name) for s in there) / sum(s.frames for s in there)
        assert getattr(by_activity["All"], name) == pytest.approx(weighted)


def errors_with_counts(row, rng):
    """Errors (n, 17) whose PCK and AUC are the given table row's.

    Both are whole counts: of the N joints of a group, `under` lie below 150 mm, and together they pass `steps`
    thresholds. `under` joints share the steps as evenly as they can; 1 to 30 each.
    """
    n = row["frames"]
    errors = np.full((n, 17), 1000.0)
    for group, joints in GROUP_JOINTS.items():
        total = n * len(joints)
        under = round(row["pck_pct"][group] * total / 100)
        steps = round(row["auc_pct"][group] * 31 * total / 100)
        assert row["pck_pct"][group] * total / 100 == pytest.approx(under, abs=1e-6)
        assert row["auc_pct"][group] * 31 * total / 100 == pytest.approx(steps, abs=1e-6)
        each = np.full(under, steps // under)
        each[: steps % under] += 1
        assert each.min() >= 1 and each.max() <= 30
        values = np.full(total, 200.0)
        values[:under] = 150.0 - 5 * each + rng.uniform(0.0, 4.9, under)  # passes exactly `each` thresholds
        errors[:, joints] = rng.permutation(values).reshape(n, len(joints))
    return errors


def test_totals_and_means_of_the_measured_error_file():
    # The rows of the reference's error file (GraphDiffu, J_Agg, t1), cut from 3dhp_scoring.json.
    table = json.loads((VECTORS / "threedhp_scoring.json").read_text())
    rng = np.random.default_rng(0)
    errors = {name: errors_with_counts(row, rng) for name, row in table["sequences"].items()}
    activities = {name: np.ones(len(e), int) for name, e in errors.items()}
    by_sequence, by_activity = score_errors(errors, activities)
    for name, row in table["sequences"].items():
        assert by_sequence[name].pck == pytest.approx(list(row["pck_pct"].values()), abs=1e-9)
        assert by_sequence[name].auc == pytest.approx(list(row["auc_pct"].values()), abs=1e-9)
    mean, frames = mean_of_sequences(by_sequence), by_activity["All"]
    assert frames.frames == 2875
    assert (round(mean.pck[-1], 2), round(mean.auc[-1], 2)) == (98.07, 76.56)
    for got, want in ((mean, table["mean_over_sequences"]), (frames, table["mean_over_frames"])):
        assert (got.pck[-1], got.auc[-1]) == pytest.approx((want["pck"], want["auc"]), abs=1e-9)


def test_mpjpe_of_the_measured_error_file():
    table = json.loads((VECTORS / "threedhp_scoring.json").read_text())
    errors = {
        name: np.tile([row["mpjpe_mm"][joint] for joint in JOINT_NAMES], (row["frames"], 1))
        for name, row in table["sequences"].items()
    }
    by_sequence, by_activity = score_errors(errors, {name: np.ones(len(e), int) for name, e in errors.items()})
    for name, row in table["sequences"].items():
        assert by_sequence[name].mpjpe[-1] == pytest.approx(row["mpjpe_mm"]["Average"], abs=1e-9)
    assert mean_of_sequences(by_sequence).mpjpe[-1] == pytest.approx(table["mean_over_sequences"]["mpjpe"], abs=1e-9)
    assert by_activity["All"].mpjpe[-1] == pytest.approx(table["mean_over_frames"]["mpjpe"], abs=1e-9)


VALID = np.array([True, False, True, True])
ANNOTATION = Annotation("TS3", np.zeros((4, 17, 3)), VALID, np.ones(4, int), "")


def exported(frames=4, steps=2):
    poses = np.random.default_rng(0).normal(size=(3, 17, frames, steps))
    poses[:, ROOT] = 0
    return poses


def refusal(poses, layout="all"):
    with pytest.raises(UserError) as caught:
        valid_predictions(poses, ANNOTATION, layout, "file.mat")
    return str(caught.value)


def test_valid_frames_are_kept_in_order():
    poses = exported()
    kept = valid_predictions(poses, ANNOTATION, "all", "file.mat")
    assert kept.shape == (2, 3, 17, 3)
    np.testing.assert_array_equal(kept[1, 2], poses[:, :, 3, 1].T)
    np.testing.assert_array_equal(kept[0, 1], poses[:, :, 2, 0].T)
    stored = valid_predictions(exported(1, 3), ANNOTATION, "valid", "file.mat")
    assert stored.shape == (1, 3, 17, 3)
    np.testing.assert_array_equal(stored[0, 2], exported(1, 3)[:, :, 0, 2].T)


def test_other_numbers_of_frames_are_refused():
    assert "has 5 frames, its annotation has 4" in refusal(exported(5))
    assert "has 2 frames" in refusal(exported(2, 3))  # three steps of two frames are not the three valid frames
    for valid_only in (exported(1, 3), exported(3, 2)):
        assert "holds the 3 valid frames only, not the 4" in refusal(valid_only)
    for other in (exported(4, 1), exported(1, 4), exported(3, 1)):
        assert "expects (3, 17, 1, 3)" in refusal(other, "valid")


def test_only_valid_frames_must_be_numbers():
    poses = exported()
    poses[0, 3, 1, 0] = np.nan  # frame 1 is not valid
    valid_predictions(poses, ANNOTATION, "all", "file.mat")
    poses[0, 3, 2, 1], poses[1, 4, 3, 0] = np.inf, np.nan
    assert "is NaN or infinite on valid frame 2 (2 such frames)" in refusal(poses)


def test_the_pelvis_is_zero_to_a_micrometre():
    """0.001 mm: the rounding of single precision passes, anything that shows does not."""
    for offset, passes in ((0.0, True), (1e-3, True), (-1e-3, True), (1.2e-3, False), (-1.2e-3, False)):
        poses = exported()
        poses[1, ROOT, 3, 1] = offset
        if passes:
            assert valid_predictions(poses, ANNOTATION, "all", "file.mat").shape == (2, 3, 17, 3)
        else:
            assert "pelvis 0.0012 mm from zero" in refusal(poses)


def test_activities_are_told_by_number():
    errors = {"TS1": np.full((2, 17), 10.0), "TS2": np.full((1, 17), 40.0)}
    by_sequence, by_activity = score_errors(errors, {"TS1": np.array([1, 7]), "TS2": np.array([7])})
    assert list(by_sequence) == ["TS1", "TS2"] and list(by_activity) == [*ACTIVITIES, "All"]
    assert by_activity[ACTIVITIES[0]].mpjpe[-1] == 10 and by_activity[ACTIVITIES[6]].mpjpe[-1] == 25
    assert by_activity["All"].frames == 3 and by_activity["All"].mpjpe[-1] == 20
    assert by_activity[ACTIVITIES[1]].frames == 0 and mean_of_sequences(by_sequence).frames == 3
    assert mean_of_sequences(by_sequence).mpjpe[-1] == 25
