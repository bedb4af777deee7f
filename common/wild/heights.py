"""How tall people are: what `--height` tells, or what a network says of size, put right.

One camera hardly tells a person's size, and a network that answers with means makes bones too short. A checkpoint's
card holds, under `heights`, how tall people truly were whom it lifted at some height, fitted on performers of its
training and their variations (`benchmarks/wild_card.py`). It is true of the sampler that it was fitted with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from common.engine.opening import Opened
from common.errors import UserError
from common.files.poses import Person
from common.settings.wild import LiftingSettings, WildSettings
from common.wild.sampler import why_not
from common.wild.skeletons import stature

LEAST, MOST = 25, 12  # people behind a point of the curve; points
NO_HEIGHTS = "the checkpoint does not say how tall people are (python -m benchmarks.wild_card)"


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


def check_heights(asked: LiftingSettings, numbers: Sequence[int]) -> None:
    """Raises UserError where --height tells of somebody who is not there."""
    if unknown := set(asked.height or ()) - {None, *numbers}:
        there = ", ".join(str(number) for number in numbers)
        raise UserError(f"--height: there is no person {min(unknown)}, only {there}")


def told_height(asked: LiftingSettings, number: int) -> float | None:
    """Metres that --height says of a person; None where it says nothing."""
    return (asked.height or {}).get(number, (asked.height or {}).get(None))


def height_rule(model: Opened, settings: WildSettings, number: int) -> Callable[[float], float] | None:
    """What says how tall a person is who was lifted at some height, metres: `--height`, else the card's `heights`.

    None where neither does: nothing is told, and the card has none of this sampler.
    """
    told = told_height(settings.lifting, number)
    if told is not None:
        return lambda lifted: told
    curves = [curve for curve, reason in _curves(model, settings) if reason is None]
    return partial(guess, found=curves[0]) if curves else None


def sized(model: Opened, person: Person, settings: WildSettings, say: Callable[[str], None]) -> Person:
    """The person as large, and as far away, as `height_rule` asks for, or as it was. With its `height`.

    What the picture shows stays the same: a camera cannot tell a child from somebody taller behind it.
    """
    number, present = person["id"], np.isfinite(person["positions"]).all((1, 2))
    rule, told = height_rule(model, settings, number), told_height(settings.lifting, number)
    lifted = stature(person["hypotheses"][:, present], model.skeleton, person["known"][present])
    if told is not None and lifted is None:
        say(f"person {number}: neither legs nor trunk seen, so the {told:.2f} m that were told give no size")
    elif told is not None:
        say(f"person {number}: {told:.2f} m tall, as told; lifted at {lifted:.2f} m")
    if lifted is None or rule is None:
        return person | {"height": lifted}
    height = rule(lifted)
    lengths = [key for key in ("positions", "hypotheses", "spread") if key in person]
    return person | {key: person[key] * np.float32(height / lifted) for key in lengths} | {"height": height}


def heights_said(model: Opened, people: Sequence[Person], settings: WildSettings) -> str:
    """How tall people are taken to be, and who told it, in words."""
    parts, guessed = [], False
    for person in people:
        if (height := person.get("height")) is None:
            continue
        told = told_height(settings.lifting, person["id"]) is not None
        guessed |= not told
        parts.append(f"person {person['id']} {height:.2f} m ({'told' if told else 'a guess, see --height'})")
    said = ", ".join(parts) or "not known"
    reasons = [reason for _, reason in _curves(model, settings)]
    if guessed and None not in reasons:
        why = f"the checkpoint's heights were {reasons[0]}" if reasons else NO_HEIGHTS
        said += f"; guesses as lifted: {why}"
    return said


def _curves(model: Opened, settings: WildSettings) -> list[tuple[dict, str | None]]:
    """The card's curves, and why each is not true of the sampler that is asked for."""
    any_pose = {"aggregate": settings.lifting.aggregate}  # the height lifted is that of the hypotheses
    return [(curve, why_not(curve | any_pose, settings)) for curve in model.card.get("heights") or ()]
