"""MPJPE, PCK and AUC: exact values, edge cases, and the figures of section 4 of the scoring reference."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.scoring.annotations import ACTIVITIES, GROUP_JOINTS, JOINT_NAMES
from common.scoring.measures import joint_errors, mean_of_sequences, score, score_errors

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
    whole = score(np.full((6, 17), offset))
    assert whole.mpjpe[-1] == offset
    predicted[:, ROOT] = 0
    result = score(joint_errors(predicted, truth))
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
    result = score(errors)
    assert result.pck[-1] == 100 and result.auc[-1] == CEILING
    assert result.mpjpe[-1] == pytest.approx(800 / 17)


def test_no_frames_give_nan_and_no_warning(recwarn):
    result = score(np.zeros((0, 17)))
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
