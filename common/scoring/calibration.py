"""How honest hypotheses are: does the truth lie among them as often as they say?

Samples (..., S, F, J, 3) of a posterior and the truth (..., F, J, 3), one length unit. Each joint of a frame is asked
by itself; a joint that the samples agree on by definition (the root) must be left out by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from common.scoring.metrics import joint_errors

QUANTILES = np.arange(21) / 20
REGIONS = (0.5, 0.9)
LEFT_OUT = np.arange(20) / 20  # shares of the joints that a sparsification curve leaves out


@dataclass(frozen=True)
class Odds:
    """What is kept of the samples of some joints, each array (..., F, J)."""

    rank: Tensor  # share of the samples that lie nearer to their median than the truth does
    spread: Tensor  # root mean square distance of a sample from the mean of the posterior
    error: Tensor  # distance of the samples' mean from the truth
    energy: Tensor  # energy score


def odds_of(samples: Tensor, truth: Tensor) -> Odds:
    """The odds of at least two samples (..., S, F, J, 3)."""
    mean = samples.mean(-4)
    apart = samples - mean.unsqueeze(-4)
    count = samples.shape[-4]
    spread = (apart.square().sum(-1).sum(-3) / (count - 1)).sqrt()
    return Odds(ranks(samples, truth), spread, joint_errors(mean, truth), energy_score(samples, truth))


def ranks(samples: Tensor, truth: Tensor) -> Tensor:
    """Share (..., F, J) of the samples nearer to their median, taken by coordinate, than the truth is.

    Where truth and samples come from one distribution it is even on 0 to 1 (Pierzchlewicz et al. 2022, section 3).
    """
    count = samples.shape[-4]
    ordered = samples.sort(-4).values
    median = (ordered.select(-4, (count - 1) // 2) + ordered.select(-4, count // 2)) / 2
    nearer = joint_errors(samples, median.unsqueeze(-4)) < joint_errors(truth, median).unsqueeze(-3)
    return nearer.to(samples.dtype).mean(-3)


def energy_score(samples: Tensor, truth: Tensor) -> Tensor:
    """E |X - y| - E |X - X'| / 2 of each joint (..., F, J): the least for the true posterior (Gneiting and
    Raftery 2007, eq. 21). All pairs of different samples count, so that its mean does not depend on their number."""
    count = samples.shape[-4]
    to_truth = joint_errors(samples, truth.unsqueeze(-4)).mean(-3)
    between = torch.zeros_like(to_truth)
    for shift in range(1, count // 2 + 1):  # `count` pairs at a time; at half way round each comes twice
        weight = 1 if 2 * shift == count else 2
        between += weight * joint_errors(samples, samples.roll(shift, -4)).mean(-3)
    return to_truth - between / (2 * (count - 1))


def coverage_curve(rank: np.ndarray, quantiles: np.ndarray = QUANTILES) -> np.ndarray:
    """Share (quantiles, J) of the truths (N, J) within the ball about the median that holds this share of samples.

    A truth that lies farther away than every sample is in none of the balls, the greatest (1) included.
    """
    return np.stack([((rank <= q + 1e-9) & (rank < 1)).mean(0) for q in quantiles])


def calibration_error(rank: np.ndarray) -> float:
    """Expected calibration error of ranks (N, J): the mean distance between share of truths, the median over joints,
    and quantile, at 0, 0.05, ..., 1 (Pierzchlewicz et al. 2022, section 3). 0 is honest, 0.5 as far off as can be."""
    return float(np.abs(np.median(coverage_curve(rank), 1) - QUANTILES).mean())


def rank_correlation(spread: np.ndarray, error: np.ndarray) -> float:
    """Spearman's: 1 where a joint of greater spread always has the greater error, NaN where one of them is constant."""
    a, b = (rankdata(x, axis=None) for x in (spread, error))
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def sparsification(order: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Mean error of what is left where the joints of greatest `order` are left out, at the shares `LEFT_OUT`."""
    ordered = error.ravel()[np.argsort(order, axis=None, kind="stable")]
    sums = np.cumsum(ordered, dtype=np.float64)
    kept = np.maximum(1, np.round((1 - LEFT_OUT) * len(ordered))).astype(int)
    return sums[kept - 1] / kept


def summary(rank: np.ndarray, spread: np.ndarray, error: np.ndarray, energy: np.ndarray) -> dict:
    """The figures of arrays (N, J), metres in, millimetres out."""
    curve = coverage_curve(rank)
    return {
        "ece": calibration_error(rank),
        "covered": {f"{q:g}": float((rank <= q + 1e-9).mean()) for q in REGIONS},
        "energy_score": 1000 * float(energy.mean(dtype=np.float64)),
        "spearman": rank_correlation(spread, error),
        "spread": 1000 * float(spread.mean(dtype=np.float64)),
        "error": 1000 * float(error.mean(dtype=np.float64)),
        "compared": int(rank.size),
        "curve": np.median(curve, 1).tolist(),
        "sparsification": (1000 * sparsification(spread, error)).tolist(),
        "sparsification_best": (1000 * sparsification(error, error)).tolist(),
    }
