"""Velocity training: paths, the loss, the estimates that come back, on data whose best velocity is a formula."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from common.diffusion.ddim import cosine_schedule, q_sample
from common.diffusion.lifter import Diffusion, DiffusionLifter
from common.diffusion.samplers import SAMPLERS
from common.diffusion.velocity import OBJECTIVES, SPREAD, loss_weight, place_on_path, reading, trained_for
from common.errors import UserError
from common.geometry.skeleton import H36M_17
from common.settings import lifting

SHAPE = (2, 3, 17, 3)


class Says(nn.Module):
    """A network of velocities that knows the right one: answer(x_s, t) is what it adds to what is known."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def condition(self, batch):
        return None

    def forward(self, x_2d, x_s, t, condition=None):
        return self.answer(x_s, t)


def known(abar, scale=1.0):
    """The share of x_s in the velocity that is known, from the least squares that make it."""
    s = place_on_path(abar)[0]
    variance = (scale * SPREAD) ** 2
    return (s - (1 - s) * variance) / ((1 - s) ** 2 * variance + s**2)


def lifter_of(answer, scale=1.0):
    return DiffusionLifter(Says(answer), H36M_17, trained_for(Diffusion(scale=scale), "velocity")).eval()


def test_every_noisy_pose_lies_on_a_straight_path():
    abar = cosine_schedule()
    x_0, noise = torch.randn(SHAPE, dtype=torch.float64), torch.randn(SHAPE, dtype=torch.float64)
    for t in (0, 3, 400, 999):
        s, size = (float(v) for v in place_on_path(abar[t]))
        x_t = q_sample(x_0, torch.full((2,), t), noise, abar)
        torch.testing.assert_close(x_t / size, (1 - s) * x_0 + s * noise)
    assert float(place_on_path(abar)[0][-1]) > 0.9999 and float(place_on_path(abar)[0][0]) < 0.01


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_true_velocity_gives_the_pose_and_no_loss(scale):
    """A network that says eps - x_0 exactly: the estimate is x_0 at every time, the loss is rounding."""
    abar, g = cosine_schedule(), torch.Generator().manual_seed(0)
    x_0 = 0.3 * torch.randn(SHAPE, generator=g)
    noise = torch.randn(SHAPE, generator=g)

    def answer(x_s, t):
        rest = noise - scale * x_0 - known(abar, scale)[t].view(-1, 1, 1, 1).float() * x_s[:, 0]
        return rest.unsqueeze(1)

    lifter = lifter_of(answer, scale)
    batch = SimpleNamespace(keypoints_2d=torch.zeros(2, 3, 17, 2), positions_3d=x_0, mask=torch.ones(2, 3))
    for t in ([0, 999], [50, 500]):
        times = torch.tensor(t)
        x_t = q_sample(x_0, times, noise, abar, scale=scale)
        torch.testing.assert_close(
            lifter.estimate(batch.keypoints_2d, x_t[:, None], times, None)[:, 0], x_0, atol=2e-5, rtol=0
        )
        loss, error = lifter.training_losses(batch, times, noise)
        assert float(loss) < 1e-6 and float(error) / 6 < 2e-5


def test_the_loss_is_the_squared_error_of_the_velocity():
    """An answer that is off by a constant costs its square, at every time alike."""
    abar = cosine_schedule()
    x_0, noise = 0.3 * torch.randn(SHAPE), torch.randn(SHAPE)

    def answer(x_s, t):
        rest = noise - x_0 - known(abar)[t].view(-1, 1, 1, 1).float() * x_s[:, 0]
        return rest.unsqueeze(1) + 0.2

    batch = SimpleNamespace(keypoints_2d=torch.zeros(2, 3, 17, 2), positions_3d=x_0, mask=torch.ones(2, 3))
    for t in (5, 300, 999):
        loss, error = lifter_of(answer).training_losses(batch, torch.full((2,), t), noise)
        assert float(loss) / 6 == pytest.approx(0.04, rel=1e-3)
        s = float(place_on_path(abar[t])[0])
        assert float(error) / 6 == pytest.approx(s * 0.2 * math.sqrt(3), rel=1e-3)  # metres of the pose


def test_what_is_known_leaves_the_least_to_say():
    """k is the regression of the velocity on x_s: of what is left, x_s tells nothing where poses have that spread."""
    abar, g = cosine_schedule(), torch.Generator().manual_seed(1)
    x_0 = SPREAD * torch.randn(200_000, generator=g, dtype=torch.float64)
    noise = torch.randn(200_000, generator=g, dtype=torch.float64)
    for t in (0, 100, 500, 999):
        s = place_on_path(abar[t])[0]
        x_s = (1 - s) * x_0 + s * noise
        rest = noise - x_0 - known(abar)[t] * x_s
        assert abs(float((rest * x_s).mean() / x_s.std() / rest.std())) < 0.01
        assert float(rest.std()) < 1.1


@pytest.mark.parametrize("name", ["euler", "heun", "dpm++"])
def test_samplers_follow_the_flow_of_a_gaussian(name):
    """Data N(m, d^2): the mean velocity is a formula; noise z must come out as m + d z."""
    mean, spread, abar = 0.1, 0.25, cosine_schedule()

    def answer(x_s, t):
        s = place_on_path(abar)[0][t].view(-1, 1, 1, 1, 1)
        variance = (1 - s) ** 2 * spread**2 + s**2
        velocity = (s - (1 - s) * spread**2) / variance * (x_s - (1 - s) * mean) - mean
        return velocity.float() - known(abar)[t].view(-1, 1, 1, 1, 1).float() * x_s

    lifter = lifter_of(answer)
    z = torch.linspace(-2, 2, 2 * 3 * 17 * 3).view(2, 1, 3, 17, 3)
    batch = SimpleNamespace(keypoints_2d=torch.zeros(2, 3, 17, 2))
    poses = lifter.sample(batch, 1, 400, lambda h: lambda k: z, flip=False, sampler=name)
    torch.testing.assert_close(poses[:, -1], mean + spread * z, atol=4e-3, rtol=0)


def test_the_rows_are_float64_and_x0_stays_as_it_is():
    abar = cosine_schedule()
    assert reading(abar).dtype == torch.float64 and reading(abar).shape == (3, 1000)
    plain = Diffusion()
    assert trained_for(plain, "x0") is plain and plain.reading is None and plain.weight is None
    torch.testing.assert_close(loss_weight(abar, 2.0), 4 * loss_weight(abar))
    with pytest.raises(UserError, match="--objective eps: unknown"):
        trained_for(plain, "eps")
    assert OBJECTIVES == lifting.OBJECTIVES and set(SAMPLERS) == set(lifting.SAMPLERS)
