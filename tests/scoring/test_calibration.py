"""Calibration of Gaussian posteriors, whose answers are known."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from common.scoring.calibration import (
    LEFT_OUT,
    calibration_error,
    coverage_curve,
    energy_score,
    odds_of,
    rank_correlation,
    sparsification,
    summary,
)


def gaussian(width: float, frames: int = 1000, joints: int = 3, samples: int = 200, seed: int = 0):
    """Samples of N(mean, width^2) and truths of N(mean, 1), metres times 0.05: width 1 is an honest posterior."""
    g = torch.Generator().manual_seed(seed)
    mean = torch.randn(frames, joints, 3, generator=g)
    truth = mean + 0.05 * torch.randn(frames, joints, 3, generator=g)
    return mean + 0.05 * width * torch.randn(samples, frames, joints, 3, generator=g), truth


def figures(samples, truth):
    odds = odds_of(samples, truth)
    return summary(*(x.numpy() for x in (odds.rank, odds.spread, odds.error, odds.energy)))


def test_an_honest_posterior():
    found = figures(*gaussian(1.0))
    assert found["ece"] < 0.015
    assert found["covered"]["0.5"] == pytest.approx(0.5, abs=0.02)
    assert found["covered"]["0.9"] == pytest.approx(0.9, abs=0.02)
    assert found["spread"] == pytest.approx(50 * math.sqrt(3), rel=0.01)
    # E|X - y| of two draws of N(0, 0.05^2) in 3D is 0.05 * 4 / sqrt(pi); the score is half of it.
    assert found["energy_score"] == pytest.approx(50 * 2 / math.sqrt(math.pi), rel=0.01)
    assert abs(found["spearman"]) < 0.05  # all spreads are alike: they tell nothing


@pytest.mark.parametrize(("width", "low", "high"), [(0.5, 0.0, 0.3), (2.0, 0.8, 1.0)])
def test_too_narrow_and_too_wide_posteriors_are_found(width, low, high):
    found, honest = figures(*gaussian(width)), figures(*gaussian(1.0))
    assert found["ece"] > 0.15
    assert low <= found["covered"]["0.5"] <= high
    assert found["energy_score"] > honest["energy_score"] * 1.03
    # The ball that holds half of N(0, width^2) holds P(|y| < width * 1.538) of N(0, 1) in 3D.
    radius = 1.5382 * width
    known = math.erf(radius / math.sqrt(2)) - math.sqrt(2 / math.pi) * radius * math.exp(-(radius**2) / 2)
    assert found["covered"]["0.5"] == pytest.approx(known, abs=0.02)


def test_energy_score_of_few_samples_has_the_right_mean_and_one_answer():
    few, truth = gaussian(1.0, samples=2, frames=20_000)
    many, _ = gaussian(1.0, samples=50, frames=10)
    assert float(energy_score(few, truth).mean()) == pytest.approx(0.05 * 2 / math.sqrt(math.pi), rel=0.02)
    for count in (2, 5, 6):  # against all pairs written out
        some, y = many[:count, :4], many[0, :4] + 0.1
        pairs = torch.stack([(some[a] - some[b]).norm(dim=-1) for a in range(count) for b in range(count) if a != b])
        plain = (some - y).norm(dim=-1).mean(0) - pairs.mean(0) / 2
        torch.testing.assert_close(energy_score(some, y), plain)


def test_ranks_see_the_median_not_the_mean():
    samples = torch.zeros(5, 1, 1, 3)
    samples[:, 0, 0, 0] = torch.tensor([0.0, 1.0, 2.0, 3.0, 100.0])
    truth = torch.tensor([[[3.5, 0.0, 0.0]]])  # 1.5 from the median 2: farther than 1, 2, 3
    assert float(odds_of(samples, truth).rank) == pytest.approx(0.6)


def test_ece_of_known_ranks():
    assert calibration_error(np.ones((10, 3))) == pytest.approx(0.5)  # beyond all samples: outside of every ball
    assert coverage_curve(np.array([[1.0], [0.995]]))[-1] == 0.5
    assert calibration_error(np.zeros((10, 3))) == pytest.approx(0.5)
    even = np.repeat((np.arange(1000)[:, None] + 0.5) / 1000, 2, 1)
    assert calibration_error(even) < 1e-3
    two_of_three = np.concatenate([even, even[:, :1] * 0], 1)  # the median over joints drops one that is off
    assert calibration_error(two_of_three) < 1e-3


def test_spread_that_tells_the_error_is_found():
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.1, 2, (4000, 2))
    error = scale * np.abs(rng.normal(size=scale.shape))
    assert rank_correlation(scale, error) == pytest.approx(spearmanr(scale.ravel(), error.ravel()).statistic)
    curve, best = sparsification(scale, error), sparsification(error, error)
    assert curve[0] == pytest.approx(error.mean()) and best[0] == pytest.approx(error.mean())
    assert (np.diff(best) < 0).all() and curve[10] < 0.75 * curve[0] and (curve >= best - 1e-12).all()
    assert best[LEFT_OUT.tolist().index(0.5)] == pytest.approx(np.sort(error.ravel())[:4000].mean())
    blind = sparsification(rng.random(scale.shape), error)
    assert blind[10] == pytest.approx(error.mean(), rel=0.05)
    assert math.isnan(rank_correlation(np.ones(4), error[:4, 0]))
