"""The plain variants compute what the fast code computes: a baseline of something else would be none."""

import numpy as np
import pytest
import torch

from benchmarks import plain
from benchmarks.work import COLUMNS, MODES, SIZES, Bench
from common.diffusion.ddim import network_input
from common.geometry.skeleton import H36M_17
from common.models import REGISTRY


@pytest.fixture(params=REGISTRY)
def bench(request):
    made = Bench(request.param, SIZES["tiny"], torch.device("cpu"))
    with torch.no_grad():
        for p in made.network.parameters():
            p.add_(0.05 * torch.randn_like(p))
    made.plain = plain.plain_denoiser(request.param, made.network)
    return made


def test_forward_and_sampling_agree(bench):
    torch.manual_seed(3)
    fast = bench._forward(MODES["fp32"])
    torch.manual_seed(3)
    torch.testing.assert_close(bench._plain_forward()(), fast(), atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(bench._plain_sampling()(), bench._sampling(MODES["fp32"])(), atol=5e-5, rtol=1e-4)


def test_batches_agree(bench):
    rows = torch.arange(bench.size.batch)
    batch = bench._batch_assembly(MODES["fp32"])()
    keypoints, poses = bench._plain_batch_assembly()()
    torch.testing.assert_close(keypoints, batch.keypoints_2d)
    torch.testing.assert_close(poses, batch.positions_3d, atol=1e-6, rtol=0)
    assert (poses[1] - bench.windows.batch(rows).positions_3d[1]).abs().max() > 0.1  # the second one is mirrored


def test_metrics_agree():
    bench = Bench("mixste", SIZES["tiny"], torch.device("cpu"))
    fast, slow = bench._metrics(MODES["fp32"])(), bench._plain_metrics()()
    for metric, errors in fast.items():  # (B, K, columns, F)
        for column, name in enumerate(COLUMNS):
            np.testing.assert_allclose(slow[metric][name], float(errors[:, :, column].mean()), rtol=1e-4)
    assert slow["p_mpjpe"]["P_Agg"] < slow["mpjpe"]["P_Agg"]


def test_training_losses_agree():
    bench = Bench("mixste", SIZES["tiny"], torch.device("cpu"))
    lifter, batch = bench.lifter(MODES["fp32"], training=False), bench.windows.batch(range(3))
    torch.manual_seed(5)
    slow = plain.training_loss(bench.plain.eval(), None, batch.keypoints_2d, batch.positions_3d, bench.diffusion)
    torch.manual_seed(5)
    draws = [(torch.randint(1000, (1,)), torch.randn(batch.positions_3d.shape[1:])) for _ in range(3)]
    t, noise = torch.cat([d[0] for d in draws]), torch.stack([d[1] for d in draws])
    fast = lifter.training_loss(batch, t, noise) / batch.mask.sum()
    torch.testing.assert_close(slow, fast, rtol=1e-5, atol=0)


def test_noisy_targets_are_clamped_as_the_network_sees_them():
    bench = Bench("mixste", SIZES["tiny"], torch.device("cpu"))
    noisy, clean, times = plain.targets(5 * torch.ones(2, 3, 17, 3), bench.diffusion)
    assert noisy.abs().max() <= 1.1 and torch.equal(noisy, network_input(noisy)) and len(times) == 2
    torch.testing.assert_close(clean, 5 * torch.ones(2, 3, 17, 3))


def test_flip_mirrors_the_body():
    x = torch.randn(2, 17, 3)
    turned = plain.flip(x, H36M_17)
    torch.testing.assert_close(turned[:, H36M_17.index("LFoot"), 1:], x[:, H36M_17.index("RFoot"), 1:])
    torch.testing.assert_close(turned[:, H36M_17.index("LFoot"), 0], -x[:, H36M_17.index("RFoot"), 0])
    torch.testing.assert_close(plain.flip(turned, H36M_17), x)
