"""Samplers where the answer is known: Gaussian poses, whose ideal denoiser and flow are formulas."""

import math
from types import SimpleNamespace

import pytest
import torch

from common.diffusion.ddim import cosine_schedule, ddim_step, reverse_process
from common.diffusion.diff3dhpe import diff3dhpe_diffusion
from common.diffusion.lifter import DiffusionLifter
from common.diffusion.samplers import SAMPLERS, euler, flow, network_calls
from common.errors import UserError
from common.geometry.skeleton import H36M_17
from common.models import build
from common.settings import lifting

MEAN, SPREAD = 0.2, 0.35
START = torch.linspace(-2, 2, 9, dtype=torch.float64)


def ideal(abar, calls=None):
    """The mean of x_0 given x_t for poses of N(MEAN, SPREAD^2)."""

    def denoise(x, t):
        if calls is not None:
            calls.append(t)
        a = float(abar[t])
        return MEAN + math.sqrt(a) * SPREAD**2 / (a * SPREAD**2 + 1 - a) * (x - math.sqrt(a) * MEAN)

    return denoise


def on_the_flow(x, now, then):
    """Where the flow leads: every x_t keeps its place in its own Gaussian."""
    mean, spread = (lambda a: math.sqrt(a) * MEAN), (lambda a: math.sqrt(a * SPREAD**2 + 1 - a))
    return mean(then) + spread(then) * (x - mean(now)) / spread(now)


def angles(steps, first=1.5, last=0.1):
    """A schedule of as many times as steps, even in the angle."""
    return torch.cos(torch.linspace(last, first, steps, dtype=torch.float64)) ** 2


def arrived(name, abar, **more):
    """The state at the schedule's last time, before the step to the clean pose."""
    return list(SAMPLERS[name](ideal(abar), lambda k: START, abar, len(abar), **more))[-1][0]


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("euler", 1), ("heun", 2), ("dpm++", 2)])
def test_order_of_convergence(name, order):
    """Twice the steps: the error halves for methods of first order, is quartered for those of second."""
    more = {"eta": 0.0} if name == "ddim" else {}
    errors = []
    for steps in (65, 129, 257):
        abar = angles(steps)
        exact = on_the_flow(START, float(abar[-1]), float(abar[0]))
        errors.append(float((arrived(name, abar, **more) - exact).abs().max()))
    orders = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert orders == pytest.approx([order, order], abs=0.12), errors
    assert errors[-1] < (6e-3 if order == 1 else 1e-4)


@pytest.mark.parametrize("name", ["euler", "heun", "dpm++"])
def test_many_steps_turn_noise_into_the_data(name):
    """Over the published schedule: the ends of the flow are the data's distribution, quantile by quantile."""
    abar = cosine_schedule()
    *_, (_, x_0) = SAMPLERS[name](ideal(abar), lambda k: START, abar, 500)
    torch.testing.assert_close(x_0, MEAN + SPREAD * START, atol=4e-3, rtol=0)


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_euler_is_ddim_without_noise(steps):
    abar = cosine_schedule()
    ours = list(euler(ideal(abar), lambda k: START, abar, steps))
    ddim = list(reverse_process(ideal(abar), lambda k: START, abar, steps, eta=0.0))
    for (x, x_0), (y, y_0) in zip(ours, ddim, strict=True):
        torch.testing.assert_close(x, y, atol=1e-12, rtol=0)
        torch.testing.assert_close(x_0, y_0, atol=1e-12, rtol=0)


def test_a_step_of_the_flow_by_hand():
    x, x_0 = torch.tensor(0.9).double(), torch.tensor(0.4).double()
    assert float(flow(x, x_0, 0.36, 0.64)) == pytest.approx(0.8 * 0.4 + 0.6 * (0.9 - 0.6 * 0.4) / 0.8)
    torch.testing.assert_close(flow(x, x_0, 0.36, 0.64), ddim_step(x, x_0, 0.36, 0.64, 0.0, None))
    assert float(flow(x, x_0, 0.36, 1.0)) == pytest.approx(0.4)


def test_a_2m_step_by_hand():
    """Lu et al. 2022, algorithm 2, line 7, for the second of three steps."""
    abar = torch.tensor([0.8, 0.5, 0.2], dtype=torch.float64)
    answers = {2: 0.3, 1: 0.5, 0: -0.1}
    steps = list(SAMPLERS["dpm++"](lambda x, t: 0 * x + answers[t], lambda k: START, abar, 3))
    (x, _), (y, _), (z, last) = steps
    alpha, sigma = abar.sqrt().tolist(), (1 - abar).sqrt().tolist()
    lam = [math.log(a / s) for a, s in zip(alpha, sigma, strict=True)]
    first = sigma[1] / sigma[2] * x - alpha[1] * math.expm1(-(lam[1] - lam[2])) * 0.3
    torch.testing.assert_close(y, first)
    ratio = (lam[1] - lam[2]) / (lam[0] - lam[1])
    ahead = (1 + 1 / (2 * ratio)) * 0.5 - 1 / (2 * ratio) * 0.3
    torch.testing.assert_close(z, sigma[0] / sigma[1] * y - alpha[0] * math.expm1(-(lam[0] - lam[1])) * ahead)
    torch.testing.assert_close(last, torch.full_like(START, -0.1))


@pytest.mark.parametrize("name", list(SAMPLERS))
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_calls_are_counted(name, steps):
    abar, calls, draws = cosine_schedule(100), [], []

    def noise(k):
        draws.append(k)
        return START

    found = list(SAMPLERS[name](ideal(abar, calls), noise, abar, steps))
    assert len(calls) == network_calls(name, steps) and len(found) == steps
    assert draws == (list(range(steps)) if name == "ddim" else [0])  # only stochastic DDIM draws again


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_one_step_is_one_call_from_pure_noise(name):
    abar = cosine_schedule()
    ((x, x_0),) = SAMPLERS[name](ideal(abar), lambda k: START, abar, 1)
    assert torch.equal(x, START) and torch.equal(x_0, ideal(abar)(START, 999))


def test_the_command_line_knows_every_sampler():
    assert tuple(SAMPLERS) == lifting.SAMPLERS


def lifter_of(diffusion=None):
    return DiffusionLifter(build("mixste", frames=3, joints=17, channels=16, depth=1), H36M_17, diffusion).eval()


def test_every_sampler_runs_in_the_lifter_and_gradients_flow():
    torch.manual_seed(0)
    lifter, batch = lifter_of(), SimpleNamespace(keypoints_2d=torch.rand(2, 3, 17, 2))
    noise = lambda h: lambda k: torch.randn(2, len(h), 3, 17, 3, generator=torch.Generator().manual_seed(k))  # noqa: E731
    found = {}
    for name in SAMPLERS:
        found[name] = lifter.sample(batch, 2, 3, noise, sampler=name)
        assert found[name].shape == (2, 3, 2, 3, 17, 3) and torch.isfinite(found[name]).all()
        found[name].square().sum().backward()
        torch.testing.assert_close(found[name][:, 0], found["ddim"][:, 0])
    assert len({float(poses[:, -1].detach().sum()) for poses in found.values()}) == 4
    assert float(lifter.denoiser.head[1].weight.grad.abs().sum()) > 0


def test_a_step_of_its_own_is_refused():
    lifter = lifter_of(diff3dhpe_diffusion(unit=1.0, variant="published"))
    batch = SimpleNamespace(keypoints_2d=torch.zeros(1, 3, 17, 2))
    with pytest.raises(UserError, match="--sampler heun: this checkpoint's step is its own"):
        lifter.sample(batch, 1, 2, lambda h: lambda k: torch.zeros(1, 1, 3, 17, 3), sampler="heun")
