import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.scoring.metrics import auc, joint_errors, mpjpe, mpjve, n_mpjpe, p_mpjpe, pck, procrustes_align


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
