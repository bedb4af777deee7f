"""Curves through time for the parametric body: eased key poses, slow wandering, paths and footsteps.

Times are seconds, places metres in the world's floor plane, headings and toes degrees to the left of +x. Every curve
is a function of any time array, so that the past and the future of a clip exist: steps under way at its first frame
have begun before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.datasets.synthetic.body import Body, rotation

Curve = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Path:
    """Where the pelvis is: `place(t)` (T, 2) metres, and where it looks: `heading(t)` (T,) degrees."""

    place: Curve
    heading: Curve


@dataclass(frozen=True)
class Gait:
    """How the feet follow a path. Each foot rests for the share `stance` of a `period`, the rest of it is a step."""

    period: float  # seconds, from one step of a foot to its next
    start: float  # seconds, when the left foot begins a step
    stance: float  # share of the period in which a foot stands still
    width: float  # metres from the path to each ankle
    stagger: float = 0.0  # metres, the left foot ahead and the right one behind by this


def ease(s: np.ndarray) -> np.ndarray:
    """0 to 1 with the least jerk, at rest at both ends (Flash and Hogan, 1985)."""
    s = np.clip(s, 0, 1)
    return s**3 * (10 - 15 * s + 6 * s**2)


def key_curve(times: np.ndarray, values: np.ndarray) -> Curve:
    """A curve at rest at each key: times (K,) ascending, values (K, ...). Constant outside the keys."""

    def curve(t: np.ndarray) -> np.ndarray:
        at = np.clip(np.searchsorted(times, t, side="right") - 1, 0, len(times) - 2)
        s = ease((t - times[at]) / (times[at + 1] - times[at]))
        s = s.reshape(-1, *[1] * (values.ndim - 1))
        return values[at] + s * (values[at + 1] - values[at])

    return curve


def wander(t: np.ndarray, rng: np.random.Generator, scale: np.ndarray, waves: int = 4) -> np.ndarray:
    """Slow drift (T, C) of standard deviation `scale` (C,): sines of 1.5 to 6 seconds with random phases."""
    rate = 2 * np.pi / rng.uniform(1.5, 6.0, (waves, len(scale)))
    phase = rng.uniform(0, 2 * np.pi, (waves, len(scale)))
    return np.sin(t[:, None, None] * rate + phase).sum(1) * scale * np.sqrt(2 / waves)


def loop_path(rng: np.random.Generator, radius: float, speed: float) -> Path:
    """Round and round an uneven loop inside a radius, at a nearly steady speed (metres a second)."""
    turn = np.linspace(0, 2 * np.pi, 721)
    waves = rng.uniform(0, 0.07, 2)[:, None] * np.cos([2, 3] * turn[:, None] + rng.uniform(0, 2 * np.pi, 2)).T
    ring = 1 + waves.sum(0)
    ring = ring / ring.max() * radius * rng.uniform(0.78, 1.0)
    ellipse = np.stack([np.cos(turn), np.sin(turn) * rng.uniform(0.8, 1.0) * rng.choice([-1, 1])])
    tilt = rng.uniform(0, 2 * np.pi)
    points = (np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]) @ (ring * ellipse)).T
    points[-1] = points[0]
    steps = np.diff(points, axis=0)
    length = np.concatenate([[0], np.linalg.norm(steps, axis=-1).cumsum()])  # (721,) metres along the loop
    middle = (length[1:] + length[:-1]) / 2
    angle = np.degrees(np.unwrap(np.arctan2(steps[:, 1], steps[:, 0])))
    # One lap more at each end, so that the heading runs on over the seam.
    lap = np.round((angle[-1] - angle[0]) / 360) * 360
    middle = np.concatenate([middle - length[-1], middle, middle + length[-1]])
    angle = np.concatenate([angle - lap, angle, angle + lap])
    start = rng.uniform(0, length[-1])
    sway, sway_rate = rng.uniform(0, 0.06), 2 * np.pi / rng.uniform(3, 6)

    def travelled(t: np.ndarray) -> np.ndarray:
        return start + speed * (t + sway * np.sin(sway_rate * t))

    def place(t: np.ndarray) -> np.ndarray:
        s = travelled(t) % length[-1]
        return np.stack([np.interp(s, length, points[:, i]) for i in range(2)], -1)

    def heading(t: np.ndarray) -> np.ndarray:
        s = travelled(t)
        return np.interp(s % length[-1], middle, angle) + s // length[-1] * lap

    return Path(place, heading)


def standing_path(
    rng: np.random.Generator, radius: float, end: float, *, turns: float = 0.0, rest=(0.8, 2.5), strides: float = 0.0
) -> Path:
    """Standing somewhere inside a radius, looking anywhere, until the time `end`.

    Every `rest` seconds the person turns by up to `turns` degrees and moves by up to `strides` metres.
    """
    where, angle = radius * np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi)
    place = where * np.array([np.cos(angle), np.sin(angle)])
    heading, time = rng.uniform(0, 360), -5.0
    keys = [(time, *place, heading)]
    while time < end + 5:
        time += rng.uniform(*rest)
        keys.append((time, *place, heading))
        by = rng.uniform(0.3, 1) * rng.choice([-1, 1]) * turns
        target = place + rng.uniform(-1, 1, 2) * strides
        if np.linalg.norm(target) > radius:
            target = target * radius / np.linalg.norm(target)
        time += 0.3 + max(abs(by) / rng.uniform(60, 90), np.linalg.norm(target - place) / 0.45)
        place, heading = target, heading + by
        keys.append((time, *place, heading))
    keys = np.array(keys)  # (K, 4)
    curve = key_curve(keys[:, 0], keys[:, 1:])
    return Path(lambda t: curve(t)[:, :2], lambda t: curve(t)[:, 2])


def footsteps(body: Body, path: Path, gait: Gait, t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Feet that follow a path: ankles (T, 2, 3) metres, toes (T, 2) degrees, planted (T, 2) bool; left, then right.

    A foot stands where the body will pass over it in the middle of its rest. A step that would move it by less than
    2 cm and 4 degrees is not made. The step includes the heel's rise, so the ankle's arc is highest early.
    """
    ankles = np.zeros((len(t), 2, 3))
    toes, planted = np.zeros((len(t), 2)), np.ones((len(t), 2), bool)
    moving = (1 - gait.stance) * gait.period
    for side, sign in enumerate((1, -1)):
        start = gait.start + side * gait.period / 2
        first, last = ((t[i] - start) // gait.period for i in (0, -1))
        lift_offs = start + gait.period * np.arange(first - 2, last + 2)  # (N,)
        middle = lift_offs + (moving + gait.period) / 2
        heading = path.heading(middle)
        beside = np.array([-0.03 * body.leg + sign * gait.stagger, sign * gait.width, 0])
        spots = path.place(middle) + (rotation(0 * heading, 0 * heading, heading) @ beside)[:, :2]
        points = heading + sign * 7.0
        spot, point = spots[0], points[0]
        ankles[:, side] = [*spot, body.ankle]
        toes[:, side] = point
        for lift_off, next_spot, next_point in zip(lift_offs[1:], spots[1:], points[1:], strict=True):
            length = np.linalg.norm(next_spot - spot)
            if length < 0.02 and abs(next_point - point) < 4:
                continue
            s = (t - lift_off) / moving
            after, now = s > 0, (s > 0) & (s < 1)
            share = ease(s[after])[:, None]
            ankles[after, side, :2] = spot + share * (next_spot - spot)
            toes[after, side] = point + share[:, 0] * (next_point - point)
            arc = s[now] ** 2 * (1 - s[now]) ** 4 / 0.021948  # 1 at s = 1/3
            ankles[now, side, 2] += arc * (0.05 + 0.13 * min(1.0, length / 1.2)) * body.stature / 1.75
            planted[now, side] = False
            spot, point = next_spot, next_point
    return ankles, toes, planted
