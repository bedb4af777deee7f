"""How sure the poses are: the spread of the hypotheses, and the radius that holds the joint nine times of ten."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.engine.opening import Opened
from common.files.poses import Person
from common.scoring import radius
from common.settings.wild import WildSettings
from common.wild.sampler import why_not


def with_radius(model: Opened, people: list[Person], settings: WildSettings) -> list[Person]:
    """People with their `radius` (T, J), metres, where the checkpoint's card tells what the spread means.

    NaN where a joint is not `known`: how far a guess is off was never measured.
    """
    if no_radius(model, settings):
        return people
    found, count = model.card["radius"], settings.sampling.hypotheses
    radii = [radius.radii(radius.unbiased(person["spread"], count), found) for person in people]
    radii = [np.where(person["known"], own, np.nan) for person, own in zip(people, radii, strict=True)]
    return [person | {"radius": own.astype(np.float32)} for person, own in zip(people, radii, strict=True)]


def no_radius(model: Opened, settings: WildSettings) -> str | None:
    """Why the spread cannot be told as a radius that holds the joint nine times of ten; None where it can."""
    found = model.card.get("radius")
    if not found:
        return "this checkpoint does not say how its spread translates (python -m benchmarks.wild_card)"
    reason = why_not(found, settings)
    return reason and f"its radius was {reason}"


def odds_said(model: Opened, people: Sequence[Person], settings: WildSettings) -> str | None:
    """How sure the poses are, in one line; None where a single hypothesis says nothing of it."""
    root = model.skeleton.root  # it has none: all else is seen from there
    spreads = [np.delete(person["spread"], root, 1) for person in people if person.get("spread") is not None]
    if not spreads or settings.sampling.hypotheses < 2:
        return None
    if reason := no_radius(model, settings):
        spread = 1000 * np.mean([np.nanmean(spread) for spread in spreads])
        return f"mean spread of the hypotheses {spread:.0f} mm; what it means in errors is not known: {reason}"
    radii = [np.delete(person["radius"], root, 1) for person in people]
    told = [np.nanmean(own) for own in radii if np.isfinite(own).any()]
    if not told:
        return None
    within = 1000 * np.mean(told)
    share = model.card["radius"]["share"]
    return f"{share:.0%} of the joints seen lie within {within:.0f} mm on average, as seen from the root (ID/radius)"
