import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.diffusion.ddim import (
    cosine_schedule,
    ddim_step,
    linear_schedule,
    network_input,
    q_sample,
    reverse_process,
    sampling_times,
)


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
        x_t = q_sample(v["in/q_x0" + tail], v["in/q_t" + tail], v["in/q_noise" + tail], abar, scale)
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
    for _, final in reverse_process(lambda x, t: truth, lambda k: torch.randn(2, 3), abar, steps, eta):
        assert torch.isfinite(final).all()
    torch.testing.assert_close(final, truth)


def test_a_step_with_the_true_noise_stays_on_the_forward_path():
    abar = cosine_schedule()
    x_0, eps = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    t, earlier = torch.full((5,), 700), torch.full((5,), 300)
    x_t = q_sample(x_0, t, eps, abar)
    moved = ddim_step(x_t, x_0, float(abar[700]), float(abar[300]), 0.0, None)
    torch.testing.assert_close(moved, q_sample(x_0, earlier, eps, abar))
