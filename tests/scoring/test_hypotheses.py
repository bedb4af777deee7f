import pytest
import torch

from common.scoring.hypotheses import AGGREGATIONS, Evidence, fitted_roots, reprojection_errors
from common.scoring.metrics import mpjpe, procrustes_align


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
    aggregation = AGGREGATIONS[name]
    blind = {
        "root": evidence.root if "root" in aggregation.reads else evidence.root * float("nan"),
        "pose": evidence.pose if "pose" in aggregation.reads else evidence.pose * float("nan"),
    }
    hidden = Evidence(evidence.keypoints_2d, evidence.intrinsics, **blind)
    assert torch.equal(aggregation(poses, evidence), aggregation(poses, hidden))
    assert not torch.isnan(aggregation(poses, hidden)).any()


def test_columns_called_free_of_truth_are():
    assert {name for name, a in AGGREGATIONS.items() if not a.reads} == {"P_Agg", "R_Agg", "J_Agg_fit"}


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
