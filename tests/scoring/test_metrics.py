import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.geometry.skeleton import H36M_17, HUMANEVA_15
from common.scoring.metrics import (
    METRICS,
    acceleration_error,
    asymmetry,
    auc,
    bone_length_error,
    bone_lengths,
    joint_errors,
    metrics_named,
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


def test_acceleration_by_hand():
    """Half a t^2: the second difference is a, in every frame; the target's own is taken off."""
    time = torch.arange(6.0)[:, None, None]  # (F, 1, 1)
    predicted = 0.5 * time**2 * torch.tensor([3.0, 0, 4.0]).expand(6, 17, 3)
    torch.testing.assert_close(acceleration_error(predicted, 7 * time.expand(6, 17, 3)), torch.full((4,), 5.0))
    torch.testing.assert_close(acceleration_error(predicted[None], predicted[None] / 2), torch.full((1, 4), 2.5))


@pytest.mark.parametrize("skeleton", [H36M_17, HUMANEVA_15], ids=lambda s: s.name)
def test_bones_by_hand(skeleton):
    predicted, target = (poses(seed, 4)[:, : len(skeleton)] for seed in (1, 2))

    def length(pose, joint):
        return float(np.linalg.norm(pose[joint].numpy() - pose[skeleton.parents[joint]].numpy()))

    bones = [j for j, parent in enumerate(skeleton.parents) if parent >= 0]
    for n in range(4):
        there = [length(target[n], j) for j in bones]
        assert sorted(bone_lengths(target, skeleton)[n].tolist()) == pytest.approx(sorted(there))
        off = [abs(length(predicted[n], j) - length(target[n], j)) for j in bones]
        assert float(bone_length_error(predicted, target, skeleton)[n]) == pytest.approx(np.mean(off))
        sides = [
            abs(length(predicted[n], left) - length(predicted[n], right))
            for left, right in zip(skeleton.left, skeleton.right, strict=True)
        ]
        assert float(asymmetry(predicted, skeleton)[n]) == pytest.approx(np.mean(sides))
    for metric in (lambda x: bone_length_error(x, target, skeleton), lambda x: asymmetry(x, skeleton)):
        torch.testing.assert_close(metric(predicted[None].expand(3, -1, -1, -1)), metric(predicted).expand(3, -1))


def test_the_rows_of_an_evaluation():
    """Every row in its unit, of its length, under its names."""
    predicted, target = 0.1 * poses(1, 8), 0.1 * poses(2, 8)
    predicted, target = (x - x[:, H36M_17.root :][:, :1] for x in (predicted, target))
    expected = {
        "mpjpe": ("protocol_1", "mm", 1000 * mpjpe(predicted, target)),
        "p_mpjpe": ("protocol_2", "mm", 1000 * p_mpjpe(predicted, target)),
        "n_mpjpe": ("n_mpjpe", "mm", 1000 * n_mpjpe(predicted, target)),
        "mpjve": ("mpjve", "mm/frame", 1000 * mpjve(predicted, target)),
        "acceleration": ("acceleration", "mm/frame^2", 1000 * acceleration_error(predicted, target)),
        "pck": ("pck", "%", pck(1000 * joint_errors(predicted, target)[:, 1:])),
        "auc": ("auc", "%", auc(1000 * joint_errors(predicted, target)[:, 1:])),
        "bone_length": ("bone_length", "mm", 1000 * bone_length_error(predicted, target, H36M_17)),
        "symmetry": ("symmetry", "mm", 1000 * asymmetry(predicted, H36M_17)),
    }
    assert list(expected) == list(METRICS) and H36M_17.root == 0
    for name, (key, unit, value) in expected.items():
        row = METRICS[name]
        aligned = row.align(predicted, target) if row.align else predicted
        torch.testing.assert_close(row.factor * row.of(aligned, target, H36M_17), value)
        assert (row.key, row.unit, len(value)) == (key, unit, len(target) - row.lost)
    assert 0 < float(expected["pck"][2].max()) < 100
    assert METRICS["mpjpe"].average_title == "Protocol #1   (MPJPE)"
    assert METRICS["mpjve"].average_title == METRICS["mpjve"].title == "MPJVE"


def test_pck_and_auc_stand_at_150_mm_without_the_root():
    target = torch.zeros(1, 17, 3, dtype=torch.float64)
    for metres, share, area in ((0.1499, 100, 100 / 31), (0.1501, 0, 0), (0.2, 0, 0)):
        predicted = target.clone()
        predicted[:, 1:, 2] = metres
        assert float(METRICS["pck"].of(predicted, target, H36M_17)) == share
        assert float(METRICS["auc"].of(predicted, target, H36M_17)) == pytest.approx(area)


def test_metrics_are_found_by_name():
    assert list(metrics_named(())) == ["mpjpe"]
    assert list(metrics_named(["pck", "n_mpjpe", "pck"])) == ["mpjpe", "n_mpjpe", "pck"]  # in the table's order
    assert metrics_named(["auc"])["auc"] is METRICS["auc"]
    with pytest.raises(UserError, match="--metrics nope: unknown; there are mpjpe"):
        metrics_named(["auc", "nope"])
