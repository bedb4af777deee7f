"""Types of numbers that are typed: whole or real, finite, within a range."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable

LARGEST = 2**31 - 1


def whole(low: int = -LARGEST, high: int = LARGEST) -> Callable[[str], int]:
    """A whole number from `low` to `high`."""

    def read(text: str) -> int:
        try:
            value = int(str(text))
        except ValueError:  # also thousands of digits
            raise argparse.ArgumentTypeError(f"invalid int value: {str(text)[:40]!r}") from None
        if value < low:
            raise argparse.ArgumentTypeError(f"{str(text)[:40]}: must be {low} or more")
        if value > high:
            raise argparse.ArgumentTypeError(f"{str(text)[:40]}: must be {high} or less")
        return value

    read.__name__ = "int"  # as the help shows it
    return read


def real(low: float = -1e9, high: float = 1e9, *, above: bool = False) -> Callable[[str], float]:
    """A finite number from `low` (with `above`: beyond it) to `high`."""

    def read(text: str) -> float:
        try:
            value = float(str(text))
        except ValueError:
            raise argparse.ArgumentTypeError(f"invalid float value: {str(text)[:40]!r}") from None
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"{str(text)[:40]}: must be a finite number")
        if value < low or (above and value == low):
            raise argparse.ArgumentTypeError(f"{text}: must be {f'above {low:g}' if above else f'{low:g} or more'}")
        if value > high:
            raise argparse.ArgumentTypeError(f"{text}: must be {high:g} or less")
        return value

    read.__name__ = "float"
    return read


# What the programs refuse with words of their own (0 epochs, a negative focal length) is left to them.
WHOLE = whole()
COUNT = whole(1)
NATURAL = whole(0)
SEED = whole(0, 2**63 - 1)
FRAMES = whole(0, 4096)  # of a window
WIDTH = whole(0, 8192)  # of a network
DEPTH = whole(0, 256)
STEPS = whole(0, 100_000)  # of a diffusion; hypotheses
FINITE = real()
SHARE = real(0.0, 1.0)
POSITIVE = real(0.0, above=True)
WEIGHT = real(0.0)
RATE = real(0.0, 10.0)  # of learning
DECAY = real(0.0, 2.0, above=True)
UNIT = real(0.0, 1000.0, above=True)  # metres
FPS = real(0.01, 10_000.0)
PIXELS = real(-1e9, 1e6)
INCHES = real(1.0, 100.0)


def two_factors(text: str | Iterable[float]) -> tuple[float, float]:
    """'1.2,1', or a list from a settings file, as two factors from 0 to 10."""
    parts = text.split(",") if isinstance(text, str) else list(text)
    if len(parts) != 2:
        raise argparse.ArgumentTypeError(f"{str(text)[:40]}: expected two numbers, as 1.2,1")
    first, later = (real(0, 10)(str(part)) for part in parts)
    return first, later
