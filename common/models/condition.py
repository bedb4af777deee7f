"""What travels beside x, x_t and t into a denoiser that needs more."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Condition:
    """Made by `denoiser.condition(batch)`; subclasses add their tensors, one row a window.

    The sampler runs the original and the flipped windows as one batch and the hypotheses in chunks. `calls`,
    `first_hypothesis` and `hypotheses` (None: no more than are seen) tell a network that cares, one whose published
    variant mixes up the rows of a call, where its rows stood in the published calls.
    """

    calls: int = 1  # 2: the rows are [original; flipped]
    first_hypothesis: int = 0
    hypotheses: int | None = None

    def doubled(self) -> Condition:
        """The condition of the batch [original; flipped]; subclasses repeat their rows."""
        return replace(self, calls=2 * self.calls)

    def from_hypothesis(self, first: int, of: int | None = None) -> Condition:
        return replace(self, first_hypothesis=first, hypotheses=of)
