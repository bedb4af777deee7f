"""From the spread of hypotheses to millimetres: within this radius the true joint lies nine times of ten.

A checkpoint's card holds, under `radius`, how its spreads translate, fitted on performers of its training
(`benchmarks/wild_card.py`): radius = factor of the joint * sqrt(spread^2 + floor^2), root-relative, metres. It is true
of the sampler that it was fitted with.
"""

from __future__ import annotations

import numpy as np

SHARE = 0.9
FLOORS = (0.0, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.16)  # metres


def unbiased(spread: np.ndarray, hypotheses: int) -> np.ndarray:
    """The spread of the posterior from the root mean square distance of some hypotheses from their own mean."""
    return spread * np.sqrt(hypotheses / (hypotheses - 1))


def fit(spread: np.ndarray, error: np.ndarray, share: float = SHARE) -> dict:
    """{'share', 'floor', 'factors'} from unbiased spreads and errors (N, J), metres.

    Each joint's factor makes its radius hold `share` of the errors; of the floors that one is taken whose radii have
    the least quantile loss (Koenker and Bassett 1978): the tightest that hold as much.
    """

    def fitted(floor: float) -> tuple[np.ndarray, float]:
        scale = np.sqrt(spread**2 + floor**2)
        factors = np.quantile(error / np.maximum(scale, 1e-9), share, axis=0)
        beyond = error - factors * scale
        return factors, float(np.where(beyond > 0, share * beyond, (share - 1) * beyond).mean())

    floor = min(FLOORS, key=lambda f: fitted(f)[1])
    return {"share": share, "floor": floor, "factors": [round(float(f), 4) for f in fitted(floor)[0]]}


def radii(spread: np.ndarray, found: dict) -> np.ndarray:
    """Radii (..., J), metres, of unbiased spreads (..., J)."""
    return np.array(found["factors"]) * np.sqrt(spread**2 + found["floor"] ** 2)
