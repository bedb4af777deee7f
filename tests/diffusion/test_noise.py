import torch

from common.diffusion.noise import seed_of, window_noise

KEYS = ["S9/Walking 1/54138969@0", "S9/Walking 1/54138969@27"]


def draws(keys, hypotheses, count=2, seed=7):
    source = window_noise(seed, keys, hypotheses, (3, 17, 3))
    return torch.stack([source(k) for k in range(count)])  # (count, B, H, 3, 17, 3)


def test_noise_depends_on_what_is_sampled_and_on_nothing_else():
    """The same numbers for any batch, order and chunk of hypotheses; others for another seed, window or hypothesis."""
    whole = draws(KEYS, range(4))
    assert whole.shape == (2, 2, 4, 3, 17, 3)
    assert torch.equal(draws(KEYS[1:], range(4)), whole[:, 1:])
    assert torch.equal(draws(KEYS[::-1], range(2, 4)), whole.flip(1)[:, :, 2:])
    parts = whole.flatten(0, 2)
    assert len({float(part.sum()) for part in parts}) == len(parts)
    assert not torch.equal(draws(KEYS, range(4), seed=8), whole)


def test_noise_is_standard_normal():
    noise = draws([f"clip@{i}" for i in range(40)], range(5))
    assert abs(float(noise.mean())) < 0.02 and abs(float(noise.std()) - 1) < 0.02


def test_a_seed_is_a_fixed_63_bit_number():
    """The same on every machine and in every process: Python's own hash() is not."""
    assert seed_of(1, "S9/Walking 1", 0) == 5708795681584842622
    assert all(0 <= seed_of("x", i) < 2**63 for i in range(300))
    assert max(seed_of("x", i) for i in range(300)) > 2**62  # all 63 bits are used
    assert seed_of("a", "bc") != seed_of("ab", "c") and seed_of(1, 2) != seed_of(2, 1)
