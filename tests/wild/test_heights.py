"""A fitted curve finds what it was made of, rises, and keeps its ratio beyond its ends."""

import numpy as np
import pytest

from common.wild import heights


def test_the_mean_true_height_of_people_lifted_alike():
    """Adults of one height that the lifter scatters, and children that it takes for small adults."""
    rng = np.random.default_rng(0)
    adults, children = 1.75 * np.ones(600), rng.uniform(1.0, 1.3, 300)
    lifted = np.concatenate([1.68 + 0.04 * rng.standard_normal(600), 1.3 + 0.5 * (children - 1.0)])
    true = np.concatenate([adults, children])
    order = rng.permutation(len(true))
    found = heights.fit(lifted[order], true[order])
    assert len(found["lifted"]) == heights.MOST and np.all(np.diff(found["true"]) >= 0)
    for height in (1.63, 1.68, 1.73, 1.85):
        assert heights.guess(height, found) == pytest.approx(1.75, abs=0.01) or height == 1.85
    assert heights.guess(1.35, found) == pytest.approx(1.1, abs=0.01)
    last = found["true"][-1] / found["lifted"][-1]
    assert heights.guess(2.2, found) == pytest.approx(2.2 * last) and heights.guess(0.5, found) < 0.5


def test_few_people_are_one_ratio():
    found = heights.fit(np.array([1.6, 1.7]), np.array([1.6 * 1.05, 1.7 * 1.05]))
    assert len(found["lifted"]) == 1
    for height in (1.0, 1.65, 2.0):
        assert heights.guess(height, found) == pytest.approx(1.05 * height, rel=1e-3)


def test_groups_that_fall_are_levelled():
    lifted = np.repeat([1.5, 1.6, 1.7], heights.LEAST)
    found = heights.fit(lifted, np.repeat([1.5, 1.8, 1.7], heights.LEAST))
    assert found["true"][1] == found["true"][2] and 1.7 < found["true"][1] < 1.8 and found["true"][0] == 1.5
