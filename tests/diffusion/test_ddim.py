import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.diffusion.ddim import (
    cosine_schedule,
    ddim_step,
    linear_schedule,
    logcosine_schedule,
    network_input,
    q_sample,
    reverse_process,
    sampling_times,
)
from common.errors import UserError


def test_cosine_schedule_has_the_published_values():
    abar = cosine_schedule(1000)
    assert abar.dtype == torch.float64
    known = {10: 0.99928, 100: 0.97158, 199: 0.89871, 300: 0.78563, 399: 0.64748, 500: 0.49229, 599: 0.34081}
    known |= {799: 0.09405, 900: 0.02362}
    for t, value in known.items():
        assert abs(float(abar[t]) - value) < 6e-6, t
    assert abs(float(abar[0]) - 0.99995872) < 1e-8 and abs(float(abar[-1]) - 2.43e-9) < 1e-11


@given(st.integers(2, 1200))
@settings(max_examples=30, deadline=None)
def test_schedules_fall_from_signal_to_noise(timesteps):
    for abar in (cosine_schedule(timesteps), linear_schedule(timesteps)):
        assert (abar[1:] < abar[:-1]).all() and abar[-1] > 0 and abar[0] < 1


def test_forward_process_matches_the_vectors(vectors):
    v, abar = vectors("d3dp_parity.npz"), cosine_schedule()
    for scale, tail in ((1.0, ""), (2.0, "_scale2")):
        x_t = q_sample(v["in/q_x0" + tail], v["in/q_t" + tail], v["in/q_noise" + tail], abar, scale=scale)
        torch.testing.assert_close(x_t, v["out/q_sample" + tail], atol=1e-5, rtol=0)
        seen = network_input(v["out/q_sample" + tail], scale)
        torch.testing.assert_close(seen, v["out/q_network_input" + tail], atol=1e-5, rtol=0)


def test_sampling_times(vectors):
    assert [t for t, _ in sampling_times(1000, 3)] + [-1] == vectors("d3dp_parity.npz")["in/wrap_times"].tolist()
    assert sampling_times(1000, 1) == [(999, -1)]
    assert [t for t, _ in sampling_times(1000, 10)] == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]


@given(st.integers(1, 60), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_every_step_count_stays_finite(steps, eta):
    """In float32 coefficients, five steps with eta = 1 give NaN."""
    abar = cosine_schedule()
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(2, 3, generator=generator)
    final = None
    for _, final in reverse_process(lambda x, t: truth, lambda k: torch.randn(2, 3), abar, steps, eta=eta):
        assert torch.isfinite(final).all()
    torch.testing.assert_close(final, truth)


def test_a_step_with_the_true_noise_stays_on_the_forward_path():
    abar = cosine_schedule()
    x_0, eps = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    t, earlier = torch.full((5,), 700), torch.full((5,), 300)
    x_t = q_sample(x_0, t, eps, abar)
    moved = ddim_step(x_t, x_0, float(abar[700]), float(abar[300]), 0.0, None)
    torch.testing.assert_close(moved, q_sample(x_0, earlier, eps, abar))


def test_linear_schedule_by_hand():
    """Betas from 0.0001 to 0.02, both ends included (Ho et al. 2020)."""
    abar = linear_schedule(1000)
    betas = 1 - torch.cat([abar[:1], abar[1:] / abar[:-1]])
    torch.testing.assert_close(betas[[0, 500, 999]], torch.tensor([1e-4, 1e-4 + 0.0199 * 500 / 999, 0.02]).double())
    assert len(abar) == 1000 and abs(float(abar[-1]) - 4.0358e-5) < 1e-9
    torch.testing.assert_close(linear_schedule(2, 0.1, 0.5), torch.tensor([0.9, 0.45], dtype=torch.float64))
    torch.testing.assert_close(linear_schedule(), abar)


def test_cosine_and_logcosine_by_hand():
    for schedule, times in (
        (cosine_schedule, [0, 0.25, 0.5, 0.75, 1]),
        (logcosine_schedule, [10 ** (-2 + k / 2) for k in range(5)]),
    ):
        curve = [math.cos((s + 0.008) / 1.008 * math.pi / 2) ** 2 for s in times]
        share = 1.0
        for a, b, found in zip(curve[:-1], curve[1:], schedule(4), strict=True):
            share *= max(b / a, 0.001)  # at most 0.999 of noise a step: the last one of both
            assert float(found) == pytest.approx(share, rel=1e-12)
        assert len(schedule()) == 1000 and schedule().dtype == torch.float64


def test_q_sample_and_the_network_input_by_hand():
    abar = torch.tensor([0.81, 0.36], dtype=torch.float64)
    x_0, noise = torch.full((2, 1, 3), 2.0), torch.full((2, 1, 3), -1.0)
    x_t = q_sample(x_0, torch.tensor([1, 0]), noise, abar, scale=0.5)
    torch.testing.assert_close(x_t[:, 0, 0], torch.tensor([0.6 - 0.8, 0.9 - 0.19**0.5]))
    torch.testing.assert_close(q_sample(x_0, torch.tensor([1, 1]), noise, abar)[0], torch.full((1, 3), 1.2 - 0.8))
    far = torch.tensor([-9.0, -1.0, 0.5, 9.0])
    torch.testing.assert_close(network_input(far), torch.tensor([-1.1, -1.0, 0.5, 1.1]))
    torch.testing.assert_close(network_input(far, 2.0), torch.tensor([-1.1, -0.5, 0.25, 1.1]))
    torch.testing.assert_close(network_input(far, 1.0, 3.0), torch.tensor([-3.0, -1.0, 0.5, 3.0]))


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_a_step_by_hand(eta):
    """Song et al. 2021, eq. 12 with the sigma of eq. 16."""
    x_t, x_0, noise = (torch.tensor([v], dtype=torch.float64) for v in (0.9, 0.4, -0.7))
    now, earlier = 0.36, 0.64
    eps = (0.9 - 0.6 * 0.4) / 0.8
    sigma = eta * math.sqrt((1 - earlier) / (1 - now)) * math.sqrt(1 - now / earlier)
    expected = 0.8 * 0.4 + math.sqrt(1 - earlier - sigma**2) * eps + sigma * -0.7
    moved = ddim_step(x_t, x_0, now, earlier, eta, noise if eta else None)
    assert float(moved) == pytest.approx(expected, rel=1e-12)


def test_noise_and_order_of_the_reverse_process():
    """The start is draw 0, step k uses draw k + 1, no draw follows the last step; without eta there is one draw."""
    abar = cosine_schedule(100)
    for eta, expected in ((1.0, [0, 1, 2]), (0.0, [0])):
        drawn, times = [], []

        def noise(k, drawn=drawn):
            drawn.append(k)
            return torch.full((1,), float(k + 1), dtype=torch.float64)

        def denoise(x, t, times=times):
            times.append(t)
            return 0 * x

        states = [float(x_t) for x_t, _ in reverse_process(denoise, noise, abar, 3, eta=eta)]
        assert drawn == expected and times == [99, 65, 32]
        x = 1.0
        for k, (t, earlier) in enumerate([(99, 65), (65, 32)]):
            assert states[k] == pytest.approx(x)
            fresh = torch.tensor(float(k + 2), dtype=torch.float64)
            x = float(ddim_step(torch.tensor(x).double(), torch.tensor(0.0), *abar[[t, earlier]].tolist(), eta, fresh))
        assert states[2] == pytest.approx(x)


def test_as_many_steps_as_times():
    """K = T visits every time, 0 too, and moves there by a step of its own."""
    abar = cosine_schedule(6)
    times, seen = [], []

    def denoise(x, t):
        times.append(t)
        return torch.full_like(x, 0.25)

    for x_t, _ in reverse_process(denoise, lambda k: torch.ones(1, dtype=torch.float64), abar, 6, eta=0.0):
        seen.append(float(x_t))
    assert times == [5, 4, 3, 2, 1, 0] and sampling_times(6, 6)[-1] == (0, -1)
    last = ddim_step(torch.tensor(seen[-2]).double(), torch.tensor(0.25), *abar[[1, 0]].tolist(), 0.0, None)
    assert seen[-1] == pytest.approx(float(last), rel=1e-6) and seen[-1] != seen[-2]


def test_without_noise_left_a_step_is_the_clean_pose():
    """abar' = 1: rounding must not make the root of a negative number."""
    x = torch.tensor([0.3], dtype=torch.float64)
    torch.testing.assert_close(ddim_step(x, 2 * x, 0.5, 1.0, 1.0, x), 2 * x)


def test_steps_are_counted_from_one_to_the_schedule():
    assert sampling_times(7, 7)[0] == (6, 5) and sampling_times(7, 1) == [(6, -1)]
    for steps in (0, 8, -1):
        with pytest.raises(UserError, match=f"-sampling_timesteps {steps}: of the schedule's 7"):
            sampling_times(7, steps)


def test_more_noise_than_the_step_holds_stays_finite():
    """eta above 1 may ask for more variance than there is: nothing is left of the old direction."""
    x = torch.ones(2, 3, dtype=torch.float64)
    found = ddim_step(2 * x, x, 0.5, 0.9, 3.0, 0 * x)
    torch.testing.assert_close(found, math.sqrt(0.9) * x)


def test_the_reverse_process_draws_as_much_noise_as_ddpm_by_default():
    abar = cosine_schedule(10)

    def last(**more):
        noise = lambda k: torch.full((1, 2), float(k + 1), dtype=torch.float64)  # noqa: E731
        return list(reverse_process(lambda x, t: x / 2, noise, abar, 4, **more))[-1][0]

    assert torch.equal(last(), last(eta=1.0)) and not torch.equal(last(), last(eta=1.5))
