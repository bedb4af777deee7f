import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.scoring.metrics import (
    auc,
    joint_errors,
    mpjpe,
    mpjve,
    n_mpjpe,
    nearest_rotation,
    p_mpjpe,
    pck,
    procrustes_align,
)

POSE_METRICS = {"mpjpe": mpjpe, "p_mpjpe": p_mpjpe, "n_mpjpe": n_mpjpe}
ALONG_X, ALONG_XY = torch.tensor([1.0, 0, 0]), torch.tensor([1.0, 1, 0])
# Poses that have no size, no third axis, no second one, or no one turn that is best.
DEGENERATE = {
    "zero": lambda pose: 0 * pose,
    "one point": lambda pose: 0 * pose + 3,
    "negative zero": lambda pose: -0.0 * pose,
    "on a line": lambda pose: pose * ALONG_X,
    "in a plane": lambda pose: pose * ALONG_XY,
    "mirrored": lambda pose: pose * torch.tensor([-1.0, 1, 1]),
    "turned inside out": lambda pose: -pose,
    "tiny": lambda pose: 1e-30 * pose,
    "huge": lambda pose: 1e15 * pose,
}


def poses(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, 17, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(seed: int) -> torch.Tensor:
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    return q * torch.linalg.det(q).sign()


@given(st.integers(0, 10**6), st.floats(0.1, 10))
@settings(max_examples=40, deadline=None)
def test_procrustes_undoes_a_similarity(seed, scale):
    target = poses(seed, 4)
    moved = scale * target @ rotation(seed) + torch.tensor([1.0, -2.0, 3.0])
    torch.testing.assert_close(procrustes_align(moved, target), target, atol=1e-8, rtol=0)
    assert float(p_mpjpe(moved, target).max()) < 1e-8


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_procrustes_never_reflects_and_never_hurts(seed):
    target, predicted = poses(seed, 3), poses(seed + 1, 3)
    mirrored = target * torch.tensor([-1.0, 1.0, 1.0])
    assert (p_mpjpe(mirrored, target) > 1e-3).all()
    best = ((procrustes_align(predicted, target) - target) ** 2).sum((-1, -2))
    centred = predicted - predicted.mean(-2, keepdim=True) + target.mean(-2, keepdim=True)
    assert (best <= ((centred - target) ** 2).sum((-1, -2)) + 1e-9).all()


def test_procrustes_agrees_with_scipy_on_the_disparity():
    from scipy.spatial import procrustes

    target, predicted = poses(1), poses(1) + 0.2 * poses(2)
    _, _, disparity = procrustes(target.numpy(), predicted.numpy())
    residual = ((procrustes_align(predicted, target) - target) ** 2).sum()
    norm = ((target - target.mean(0)) ** 2).sum()
    torch.testing.assert_close(float(residual / norm), disparity)


def test_errors_by_hand():
    target = torch.zeros(2, 17, 3)
    predicted = target.clone()
    predicted[0, 0, 0], predicted[1, :, 1] = 3.0, 4.0
    torch.testing.assert_close(mpjpe(predicted, target), torch.tensor([3 / 17, 4.0]))
    torch.testing.assert_close(joint_errors(predicted, target)[0, 0], torch.tensor(3.0))
    torch.testing.assert_close(
        mpjve(predicted[None], target[None])[0], mpjpe(predicted[1:] - predicted[:1], target[1:])
    )
    scaled = poses(4, 2)
    assert float(n_mpjpe(0.3 * scaled, scaled).max()) < 1e-9


def test_pck_and_auc_are_strict_at_the_threshold():
    errors = torch.tensor([0.0, 149.999, 150.0, 151.0])
    assert float(pck(errors)) == 50.0
    torch.testing.assert_close(auc(torch.tensor([0.0])), torch.tensor(100 * 30 / 31))
    torch.testing.assert_close(auc(torch.tensor([5.0])), torch.tensor(100 * 29 / 31))


@pytest.mark.parametrize("metric", POSE_METRICS.values(), ids=POSE_METRICS)
@pytest.mark.parametrize("predicted", DEGENERATE)
def test_degenerate_poses_have_finite_errors_and_gradients(metric, predicted):
    """Against a sound pose and against every degenerate one."""
    truth = poses(1, 2).float()
    targets = torch.stack([truth, *(change(truth) for change in DEGENERATE.values())])
    predicted = DEGENERATE[predicted](truth).expand_as(targets).clone().requires_grad_()
    error = metric(predicted, targets)
    assert torch.isfinite(error).all() and (error >= 0).all()
    (error / error.detach().clamp_min(1)).sum().backward()  # a step is scaled
    assert torch.isfinite(predicted.grad).all()


def test_what_a_pose_without_size_scores():
    """It sits at the target's mean after alignment, and stays where it is when only its scale may change."""
    target, zero = poses(2), torch.zeros(17, 3, dtype=torch.float64, requires_grad=True)
    spread = joint_errors(target, target.mean(0)).mean()
    torch.testing.assert_close(p_mpjpe(zero, target), spread)
    torch.testing.assert_close(p_mpjpe(zero + 5, target), spread)
    torch.testing.assert_close(n_mpjpe(zero, target), target.norm(dim=-1).mean())
    n_mpjpe(zero, target).backward()
    assert not zero.grad.any()
    aligned = procrustes_align(target, zero.detach() + 2)
    torch.testing.assert_close(aligned, torch.full_like(aligned, 2))


@pytest.mark.parametrize("metric", POSE_METRICS.values(), ids=POSE_METRICS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@given(seed=st.integers(0, 10**6), where=st.integers(0, 4), joint=st.integers(0, 16), axis=st.integers(0, 2))
@settings(max_examples=15, deadline=None)
def test_a_pose_that_is_not_finite_spoils_only_itself(metric, bad, seed, where, joint, axis):
    target, predicted = poses(seed, 5), poses(seed + 1, 5)
    clean = metric(predicted, target)
    others = [i for i in range(5) if i != where]
    for spoil_target in (False, True):
        a, b = predicted.clone(), target.clone()
        (b if spoil_target else a)[where, joint, axis] = bad
        found = metric(a, b)
        assert not torch.isfinite(found[where])
        assert torch.equal(found[others], clean[others])


def test_a_pose_that_is_not_finite_is_nan_after_alignment():
    target = poses(0, 3)
    target[1, 4, 2] = float("inf")
    aligned = procrustes_align(poses(1, 3), target)
    assert aligned[1].isnan().all() and torch.isfinite(aligned[[0, 2]]).all()
    assert nearest_rotation(torch.full((3, 3), torch.nan)).isnan().all()


@pytest.mark.parametrize("mirrored", [False, True])
def test_gradients_of_the_alignment_are_those_of_finite_differences(mirrored):
    target, predicted = poses(1)[:5], poses(2)[:5]
    if mirrored:
        predicted = predicted + 3 * target * torch.tensor([-1.0, 1, 1])
    both = (predicted.requires_grad_(), target.requires_grad_())
    assert torch.autograd.gradcheck(procrustes_align, both, atol=1e-4)


def test_gradients_where_the_svd_has_none():
    """Two axes alike: the singular values are equal, the rotation still has a derivative."""
    matrix = torch.diag(torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(nearest_rotation, (matrix,))


@pytest.mark.parametrize("change", DEGENERATE.values(), ids=DEGENERATE)
def test_asking_for_gradients_changes_no_value(change):
    target = poses(1, 3).float()
    predicted = change(poses(2, 3).float())
    aligned = procrustes_align(predicted, target)
    assert torch.equal(procrustes_align(predicted.clone().requires_grad_(), target).detach(), aligned)


def test_one_target_serves_many_poses():
    target, predicted = poses(1, 1, 2), poses(2, 3, 2)
    for metric in POSE_METRICS.values():
        torch.testing.assert_close(metric(predicted, target), metric(predicted, target.expand_as(predicted)))
