import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.geometry.skeleton import H36M_17
from common.scoring.hypotheses import (
    AGGREGATIONS,
    CUT_OFF,
    ONE_POSE,
    TIE,
    Evidence,
    assemble,
    available,
    average_repeats,
    fitted_roots,
    near_least,
    only_least,
    reprojection_errors,
    smoothed,
    with_lengths,
)
from common.scoring.metrics import bone_lengths, mpjpe, procrustes_align


@pytest.fixture
def case(vectors):
    """Hypotheses (2, 3, 4, 5, 17, 3) and the evidence of the JPMA vectors."""
    v = vectors("d3dp_parity.npz")
    intrinsics = v["jpma/in/intrinsic9"].expand(2, 1, 9)
    evidence = Evidence(
        v["jpma/in/input2d_bFJ2"][:, None], intrinsics, v["jpma/in/traj_bF1C"][:, None], v["jpma/in/gt_bFJC"][:, None]
    )
    return v, v["jpma/in/pred_bKHFJC"], evidence


def test_reprojection_and_choice_match_the_vectors(case):
    v, poses, evidence = case
    errors = reprojection_errors(poses, evidence.root.unsqueeze(-4), evidence)
    chosen = v["jpma/out/select_idx_bK1FJ"].squeeze(2)
    assert torch.equal(errors.argmin(-3), chosen)
    published = torch.linalg.vector_norm(v["jpma/out/reproj_bKHFJ2"] - v["jpma/in/input2d_bFJ2"][:, None, None], dim=-1)
    torch.testing.assert_close(errors, published, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["P_Agg", "J_Agg", "J_Best"])
def test_protocol_1_matches_the_vectors(case, name):
    v, poses, evidence = case
    error = mpjpe(AGGREGATIONS[name](poses, evidence), evidence.pose).mean((0, 2))
    torch.testing.assert_close(error, v[f"jpma/out/P1_{name}"], atol=1e-5, rtol=0)


def test_p_agg_aligned_matches_the_vectors(case):
    v, poses, evidence = case
    aligned = procrustes_align(AGGREGATIONS["P_Agg"](poses, evidence), evidence.pose)
    torch.testing.assert_close(mpjpe(aligned, evidence.pose).mean((0, 2)), v["jpma/out/P2_P_Agg"], atol=1e-5, rtol=0)


def test_oracles_bound_the_rest(case):
    _, poses, evidence = case
    error = {name: mpjpe(a(poses, evidence), evidence.pose) for name, a in AGGREGATIONS.items()}
    assert (error["J_Best"] <= error["P_Best"] + 1e-7).all()
    each = mpjpe(poses, evidence.pose.unsqueeze(-4))
    torch.testing.assert_close(error["P_Best"], each.amin(-2))


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_an_aggregation_sees_only_what_its_row_says(case, name):
    """With every part of the truth that the row does not name replaced by NaN, the poses are the same, bit for bit."""
    _, poses, evidence = case
    evidence = replace(evidence, fps=torch.tensor([[50.0], [25.0]]), skeleton=H36M_17)
    aggregation = AGGREGATIONS[name]
    blind = {
        "root": evidence.root if "root" in aggregation.reads else evidence.root * float("nan"),
        "pose": evidence.pose if "pose" in aggregation.reads else evidence.pose * float("nan"),
    }
    hidden = replace(evidence, **blind)
    assert torch.equal(aggregation(poses, evidence), aggregation(poses, hidden))
    assert not torch.isnan(aggregation(poses, hidden)).any()


def test_columns_called_free_of_truth_are():
    assert {name for name, a in AGGREGATIONS.items() if not a.reads} == {"P_Agg", "R_Agg", "S_Agg", "J_Agg_fit"}


def test_one_hypothesis_is_its_own_aggregate(case):
    _, poses, evidence = case
    single = poses[:, :, :1]
    for aggregation in AGGREGATIONS.values():
        torch.testing.assert_close(aggregation(single, evidence), single[:, :, 0])


def test_true_hypothesis_is_found_without_the_truth(case):
    """Exact 2D: the hypothesis that is the truth reprojects best, so J_Agg_fit takes all of it."""
    from common.geometry.camera import project

    _, poses, evidence = case
    truth = evidence.pose - evidence.pose[..., :1, :]
    keypoints = project(truth + evidence.root, evidence.intrinsics[..., None, :])
    seen = Evidence(keypoints, evidence.intrinsics, evidence.root)
    poses = torch.cat([poses, truth.unsqueeze(-4).expand(2, 3, 1, 5, 17, 3)], 2)
    picked = AGGREGATIONS["J_Agg_fit"](poses, seen)
    assert float(mpjpe(picked, truth).mean()) < 1e-3
    roots = fitted_roots(poses, seen)[:, :, -1]
    torch.testing.assert_close(roots, evidence.root.expand_as(roots), atol=1e-3, rtol=0)


PINHOLE = torch.tensor([2.0, 2.0, 0, 0, 0, 0, 0, 0, 0])


def aside(*metres: float) -> tuple[torch.Tensor, Evidence]:
    """Hypotheses (H, 1, 17, 3) of a person 4 m away whose joint 5 is so many metres aside; the evidence of a true pose.

    One metre aside is 0.5 screen units; the true root is the evidence's.
    """
    true = 0.3 * torch.randn(1, 17, 3, generator=torch.Generator().manual_seed(0))
    true[:, 0] = true[:, 5] = 0
    root = torch.tensor([0.0, 0.0, 4.0]).view(1, 1, 3)
    points = true + root
    poses = true.repeat(len(metres), 1, 1, 1)
    poses[:, 0, 5, 0] = torch.tensor(metres)
    return poses, Evidence(2 * points[..., :2] / points[..., 2:], PINHOLE.view(1, 9)[0], root, true)


def test_errors_are_in_screen_units_at_the_root():
    poses, evidence = aside(0.0, 0.1, -0.2)
    errors = reprojection_errors(poses, evidence.root.unsqueeze(-4), evidence)
    torch.testing.assert_close(errors[:, 0, 5], torch.tensor([0.0, 0.05, 0.1]), atol=1e-6, rtol=0)
    assert errors[:, 0, [j for j in range(17) if j != 5]].abs().max() < 1e-6
    roots = fitted_roots(poses, evidence)
    assert roots.shape == (3, 1, 1, 3) and (roots - evidence.root).abs().max() < 0.2


def test_r_agg_weighs_by_a_softmax_at_its_temperature():
    """0.01 screen units more of error are a weight e times less."""
    poses, evidence = aside(0.05, 0.11, -0.3)
    errors = reprojection_errors(poses, fitted_roots(poses, evidence), evidence)[:, 0, 5]
    weights = torch.exp(-errors / 0.01)
    expected = (weights * torch.tensor([0.05, 0.11, -0.3])).sum() / weights.sum()
    torch.testing.assert_close(AGGREGATIONS["R_Agg"](poses, evidence)[0, 5, 0], expected)
    warm = Evidence(evidence.keypoints_2d, evidence.intrinsics, temperature=1e9)
    torch.testing.assert_close(AGGREGATIONS["R_Agg"](poses, warm), AGGREGATIONS["P_Agg"](poses, evidence))


@pytest.mark.parametrize("name", ["J_Agg", "J_Agg_fit", "J_Best", "P_Best"])
def test_the_best_hypothesis_gives_the_joint(name):
    poses, evidence = aside(0.3, -0.02, 0.2)
    picked = AGGREGATIONS[name](poses, evidence)
    assert float(picked[0, 5, 0]) == pytest.approx(-0.02)


def test_p_best_takes_a_whole_pose_and_j_best_joints():
    poses, evidence = aside(0.3, 0.1)
    poses[1, 0, 8] += 5.0
    torch.testing.assert_close(AGGREGATIONS["P_Best"](poses, evidence), poses[0])
    best = AGGREGATIONS["J_Best"](poses, evidence)
    torch.testing.assert_close(best[0, 5], poses[1, 0, 5])
    torch.testing.assert_close(best[0, 8], poses[0, 0, 8])


def test_only_least_takes_the_first_of_equal_ones():
    errors = torch.tensor([0.3, 0.2, 0.2, 0.9]).view(4, 1, 1)
    assert only_least(errors).flatten().tolist() == [0, 1, 0, 0]


def test_near_least_shares_between_ties():
    errors = torch.tensor([0.5, 0.25, 0.25, 0.5]).view(4, 1, 1)
    assert near_least(errors, 0.1).flatten().tolist() == [0, 0.5, 0.5, 0]
    shares = near_least(torch.tensor([1.0, 1.5, 2.0, 9.0]).view(4, 1, 1), 1.0).flatten()
    torch.testing.assert_close(shares, torch.tensor([2 / 3, 1 / 3, 0, 0]))
    poses = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 1, 3)
    torch.testing.assert_close(assemble(poses, shares.view(4, 1, 1)), torch.full((1, 1, 3), 1 / 3))


@given(st.floats(0.001, 0.3), st.floats(-3e-7, 3e-7), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_rounding_makes_no_joint_jump(distance, rounding, seed):
    """Two hypotheses equally far on either side: the pose moves by little of their distance, where J_Agg's jumps."""
    poses, evidence = aside(distance, -distance)
    noise = rounding * torch.randn(poses.shape, generator=torch.Generator().manual_seed(seed))
    poses, moved = poses.double(), poses.double() + noise
    evidence = Evidence(evidence.keypoints_2d.double(), evidence.intrinsics.double(), evidence.root.double())
    before, after = (AGGREGATIONS["J_Agg_fit"](p, evidence) for p in (poses, moved))
    assert (before - after).abs().max() < 0.05 * 2 * distance + 1e-5
    for p in (poses, moved):  # what is published is one hypothesis or the other
        joint = AGGREGATIONS["J_Agg"](p, evidence)[0, 5, 0]
        assert abs(abs(float(joint)) - distance) < 1e-5


def test_a_tie_is_a_hundredth_of_a_pixel():
    """Of an image 1000 wide: 2e-5 screen units. Twice as much apart, the better one has the joint to itself."""
    for apart, alone in ((0.5 * TIE, False), (2 * TIE, True)):
        errors = torch.tensor([0.01, 0.01 + apart], dtype=torch.float64).view(2, 1, 1)
        assert (float(near_least(errors, TIE)[0]) == 1) is alone
    assert pytest.approx(0.01 * 2 / 1000) == TIE


def test_rows_say_what_they_need():
    assert list(AGGREGATIONS) == ["P_Agg", "R_Agg", "S_Agg", "J_Agg_fit", "J_Agg", "P_Best", "J_Best"]
    assert available(True) == AGGREGATIONS
    assert list(available(False)) == ["P_Agg", "S_Agg", "P_Best", "J_Best"]
    assert [n for n, a in AGGREGATIONS.items() if a.assembles] == ["J_Agg_fit", "J_Agg", "J_Best"]
    assert [n for n, a in AGGREGATIONS.items() if a.oracle] == ["P_Best", "J_Best"]
    for aggregation in available(False).values():
        poses, evidence = aside(0.1, 0.2)
        assert aggregation(poses, Evidence(evidence.keypoints_2d, None, None, evidence.pose)).shape == (1, 17, 3)


def test_what_is_hidden_cannot_be_read():
    poses, evidence = aside(0.1, 0.2)
    for name, aggregation in AGGREGATIONS.items():
        seen = {}

        def look(poses, evidence, seen=seen, inner=aggregation.function):
            seen.update(root=evidence.root is not None, pose=evidence.pose is not None)
            assert evidence.temperature == 0.5  # everything else arrives
            return inner(poses, evidence)

        spy = type(aggregation)(look, aggregation.reads, aggregation.camera, aggregation.assembles)
        spy(poses, Evidence(evidence.keypoints_2d, evidence.intrinsics, evidence.root, evidence.pose, 0.5))
        assert seen == {"root": "root" in aggregation.reads, "pose": "pose" in aggregation.reads}, name


def test_of_aligned_decides_by_the_truth_after_and_by_the_image_before():
    poses, evidence = aside(0.1, 0.4)
    aligned = poses.flip(0)  # the hypothesis that reprojects best is the worse one after alignment
    for name, expected in (("J_Agg", 0.4), ("J_Agg_fit", 0.4), ("J_Best", 0.1), ("P_Best", 0.1), ("P_Agg", 0.25)):
        joint = AGGREGATIONS[name].of_aligned(poses, aligned, evidence)[0, 5, 0]
        assert float(joint) == pytest.approx(expected), name


def test_repeats_are_averaged_by_neighbours():
    poses = torch.arange(6.0).view(1, 1, 6, 1, 1, 1)
    assert average_repeats(poses, 3).flatten().tolist() == [1.0, 4.0]
    assert average_repeats(poses, 2).shape == (1, 1, 3, 1, 1, 1)


def wave(hertz: float, fps: float, frames: int = 200) -> torch.Tensor:
    return torch.sin(2 * math.pi * hertz * torch.arange(frames) / fps).view(1, frames, 1, 1).expand(1, frames, 2, 3)


def test_smoothing_halves_the_cut_off_keeps_what_is_slow_and_drops_what_is_fast():
    for fps in (25.0, 50.0):
        for hertz, kept in ((CUT_OFF, 0.5), (1.0, 1.0), (10.0, 0.0)):
            poses = wave(hertz, fps)
            out = smoothed(poses, torch.ones(1, 200), torch.tensor([fps]))
            inner = slice(50, 150)  # the ends have fewer neighbours
            assert float(out[:, inner].norm() / poses[:, inner].norm()) == pytest.approx(kept, abs=0.02), (fps, hertz)


def test_smoothing_keeps_even_acceleration_at_every_weight():
    time = torch.linspace(0, 1, 30).view(30, 1, 1)
    poses = 0.3 + time * torch.tensor([1.0, -2.0, 0.5]) + time**2
    out = smoothed(poses, torch.rand(30) + 0.1, torch.tensor(25.0))
    torch.testing.assert_close(out, poses, atol=1e-5, rtol=0)


def test_a_frame_that_hypotheses_disagree_on_counts_less():
    truth = torch.zeros(1, 1, 15, 2, 3)
    poses = truth.repeat(1, 2, 1, 1, 1)
    poses[:, :, 7] = torch.tensor([0.0, 0.2]).view(1, 2, 1, 1)  # their mean is 0.1 off
    sure = poses.mean(1, keepdim=True).repeat(1, 2, 1, 1, 1)
    off = [
        float(AGGREGATIONS["S_Agg"](p, Evidence(truth, fps=torch.tensor([25.0])))[0, 7].norm()) for p in (poses, sure)
    ]
    assert off[0] < 0.2 * off[1]


def test_bones_get_the_median_length_and_keep_their_directions():
    g = torch.Generator().manual_seed(3)
    poses = torch.randn(2, 5, 4, 17, 3, generator=g)
    poses = poses - poses[..., :1, :]
    one = AGGREGATIONS["S_Agg"](poses, Evidence(torch.zeros(2, 4, 17, 2), skeleton=H36M_17))
    lengths = bone_lengths(poses, H36M_17).flatten(1, 2).median(1, keepdim=True).values
    torch.testing.assert_close(bone_lengths(one, H36M_17), lengths.expand(2, 4, -1))
    child, parent = map(list, zip(*H36M_17.edges, strict=True))
    ours, theirs = ((x[..., child, :] - x[..., parent, :]) for x in (one, poses.mean(1)))
    assert float(torch.cosine_similarity(ours, theirs, dim=-1).min()) > 1 - 1e-5
    assert torch.equal(one[..., 0, :], torch.zeros(2, 4, 3))
    own = poses[:, 0]
    torch.testing.assert_close(with_lengths(own, bone_lengths(own, H36M_17), H36M_17), own)


@pytest.mark.parametrize("frames", [1, 3, 4, 27])
def test_s_agg_of_any_number_of_frames_and_windows(frames):
    g = torch.Generator().manual_seed(frames)
    poses = torch.randn(3, 2, 6, frames, 17, 3, generator=g)
    evidence = Evidence(torch.zeros(3, 1, frames, 17, 2), fps=torch.tensor([[25.0], [50.0], [6.0]]), skeleton=H36M_17)
    together = AGGREGATIONS[ONE_POSE](poses, evidence)
    assert together.shape == (3, 2, frames, 17, 3) and torch.isfinite(together).all()
    for n in range(3):
        alone = AGGREGATIONS[ONE_POSE](poses[n : n + 1], replace(evidence, fps=evidence.fps[n : n + 1]))
        torch.testing.assert_close(alone[0], together[n], atol=1e-6, rtol=0)


def test_smoothing_keeps_what_stands_still_at_every_rate():
    poses = torch.rand(4, 1, 17, 3, generator=torch.Generator().manual_seed(0)).expand(4, 81, 17, 3)
    rates = torch.tensor([25.0, 240.0, 1000.0, 10_000.0])
    torch.testing.assert_close(smoothed(poses, torch.rand(4, 81) + 0.01, rates), poses, atol=2e-6, rtol=0)


def test_frames_that_only_fill_a_window_pull_no_others():
    g = torch.Generator().manual_seed(1)
    seen = torch.randn(1, 5, 12, 17, 3, generator=g)
    padded = torch.cat([seen, seen[:, :, -1:].expand(1, 5, 15, 17, 3)], 2)
    evidence = Evidence(torch.zeros(1, 27, 17, 2), fps=torch.tensor([25.0]))
    alone = AGGREGATIONS["S_Agg"](seen, evidence)
    told = AGGREGATIONS["S_Agg"](padded, replace(evidence, mask=torch.arange(27)[None] < 12))
    torch.testing.assert_close(told[:, :12], alone, atol=1e-3, rtol=0)
    assert (AGGREGATIONS["S_Agg"](padded, evidence)[:, :12] - alone).abs().max() > 0.05
