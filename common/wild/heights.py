"""How tall somebody is who was lifted so tall: what a network says of size, put right.

One camera hardly tells a person's size, and a network that answers with means makes bones too short. A checkpoint's
card holds, under `heights`, how tall people truly were whom it lifted at some height, fitted on performers of its
training and their variations (`benchmarks/wild_card.py`). It is true of the sampler that it was fitted with.
"""

from __future__ import annotations

from typing import Any

import numpy as np

LEAST, MOST = 25, 12  # people behind a point of the curve; points


def fit(lifted: np.ndarray, true: np.ndarray) -> dict[str, list[float]]:
    """{'lifted', 'true'}: a rising curve through the geometric means of groups of people alike in lifted height.

    Both (N,), metres. Where groups fall, halfway between the running greatest from below and least from above.
    """
    order = np.argsort(lifted, kind="stable")
    groups = np.array_split(order, int(np.clip(len(order) // LEAST, 1, MOST)))
    x, y = (np.array([np.log(values[group]).mean() for group in groups]) for values in (lifted, true))
    rising = (np.maximum.accumulate(y) + np.minimum.accumulate(y[::-1])[::-1]) / 2
    return {name: [round(float(np.exp(v)), 4) for v in values] for name, values in (("lifted", x), ("true", rising))}


def guess(lifted: float, found: dict[str, Any]) -> float:
    """Metres, of somebody lifted at `lifted` metres; beyond the curve's ends their ratio holds."""
    x, y = np.log(found["lifted"]), np.log(found["true"])
    at = np.log(lifted)
    return float(np.exp(np.interp(at, x, y) + min(at - x[0], 0) + max(at - x[-1], 0)))
