import numpy as np
import pytest

from common.scoring import radius


def made(count=20_000, floor=0.04, joints=3, seed=0):
    """Spreads, and errors whose scale grows with sqrt(spread^2 + floor^2), each joint by another factor."""
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.005, 0.1, (count, joints))
    scale = np.sqrt(spread**2 + floor**2) * np.array([0.5, 1.0, 2.0])
    return spread, scale * np.linalg.norm(rng.normal(size=(count, joints, 3)), axis=-1)


def test_nine_of_ten_of_other_data_lie_within_at_every_joint_and_every_spread():
    found = radius.fit(*made())
    assert found["share"] == 0.9 and found["floor"] == 0.04
    spread, error = made(seed=1)
    within = error <= radius.radii(spread, found)
    np.testing.assert_allclose(within.mean(0), 0.9, atol=0.01)
    for low, high in ((0.0, 0.03), (0.03, 0.07), (0.07, 1.0)):
        assert within[(spread > low) & (spread <= high)].mean() == pytest.approx(0.9, abs=0.02)
    ratios = np.array(found["factors"]) / found["factors"][1]
    np.testing.assert_allclose(ratios, [0.5, 1.0, 2.0], rtol=0.03)


def test_a_joint_that_never_errs_has_no_radius():
    spread, error = made()
    spread[:, 0] = error[:, 0] = 0
    assert radius.radii(spread, radius.fit(spread, error))[:, 0].max() == 0


def test_spread_of_few_hypotheses_is_that_of_many_on_average():
    rng = np.random.default_rng(2)
    few = rng.normal(size=(3, 20_000))
    spread = np.sqrt(((few - few.mean(0)) ** 2).mean(0))
    assert np.sqrt((radius.unbiased(spread, 3) ** 2).mean()) == pytest.approx(1, rel=0.01)
