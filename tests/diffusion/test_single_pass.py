"""The loss of single-pass training."""

import torch

from common.diffusion.single_pass import joint_weights, single_pass_loss
from common.geometry.skeleton import H36M_17, HUMANEVA_15, MPI_INF_3DHP_17


def test_joint_weights_go_by_role():
    assert joint_weights(H36M_17) == [1, 1, 2.5, 2.5, 1, 2.5, 2.5, 1, 1, 1, 1.5, 1.5, 4, 4, 1.5, 4, 4]
    assert joint_weights(HUMANEVA_15) == [1, 1, 1.5, 4, 4, 1.5, 4, 4, 1, 2.5, 2.5, 1, 2.5, 2.5, 1.5]
    published = [1, 1, 2.5, 2.5, 1, 2.5, 2.5, 1, 1.5, 1.5, 4, 4, 1.5, 4, 4]
    assert joint_weights(HUMANEVA_15, published=True) == published
    for skeleton in (H36M_17, HUMANEVA_15, MPI_INF_3DHP_17):
        weights = joint_weights(skeleton)
        assert [weights[j] for j in skeleton.mirror] == weights


def test_single_pass_loss_is_the_published_mean():
    y, truth, w = torch.randn(2, 5, 17, 3), torch.randn(2, 5, 17, 3), torch.tensor(joint_weights(H36M_17))
    mask = torch.ones(2, 5, dtype=torch.bool)
    dy, dt = y[:, 1:] - y[:, :-1], truth[:, 1:] - truth[:, :-1]
    expected = (
        (w * (y - truth).norm(dim=-1)).mean() + 0.5 * (w[:, None] * dy**2).mean() + 2.0 * (dy - dt).norm(dim=-1).mean()
    )
    torch.testing.assert_close(single_pass_loss(y, truth, mask, w) / mask.sum(), expected)
    mask[1, 2:] = False  # what is masked may be anything
    before = single_pass_loss(y, truth, mask, w)
    y[1, 2:] = 100.0
    torch.testing.assert_close(single_pass_loss(y, truth, mask, w), before)
    assert torch.isfinite(single_pass_loss(y[:, :1], truth[:, :1], mask[:, :1], w))
