"""What a checkpoint's card and weights must be before anything is built from them: a file may say anything."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from common.errors import UserError, visible
from common.geometry.skeleton import SKELETONS, Skeleton, skeleton_of

# The largest that a size may be; whatever else is a whole number stays below ANY.
LARGEST = {"frames": 4096, "joints": 256, "channels": 8192, "depth": 256, "timesteps": 100_000}
ANY = 1 << 16


def check_content(content: dict, path: object) -> None:
    """Raise UserError where a checkpoint of ours is not {'card': ..., 'weights': ...} as it is written."""
    card, weights = content["card"], content["weights"]
    if not isinstance(card, dict) or not isinstance(weights, dict):
        raise UserError(f"{path}: damaged, its card or its weights are no dictionary")
    check_weights(weights, path)
    if missing := {"model", "sizes", "frames", "joints", "skeleton", "keypoints"} - set(card):
        raise UserError(f"{path}: damaged, its card has no {', '.join(sorted(missing))}")
    texts = {"model": False, "variant": True, "keypoints": True, "labels": True, "source": True, "subjects": True}
    for name, optional in texts.items():
        value = card.get(name)
        plain = isinstance(value, str) and visible(value) == value and len(value) < 1000
        _check(plain or (optional and value is None), name, card, path)
    for name in ("frames", "joints"):
        _check(_whole(card.get(name), 1, LARGEST[name]), name, card, path)
    _check(card.get("epoch") is None or _whole(card["epoch"], 0, 1 << 40), "epoch", card, path)
    _check(_whole(card.get("version", 0), 0, 1 << 20), "version", card, path)
    fps = card.get("fps")
    _check(fps is None or (_number(fps) and 0 < fps < 1e5), "fps", card, path)
    for name in ("sizes", "diffusion", "adaptation"):
        value = card.get(name, {})
        _check(isinstance(value, dict) and bool(name != "sizes" or value), name, card, path)
        _bounded(value, name, path)
    _check(all(card["sizes"].get(name, card[name]) == card[name] for name in ("frames", "joints")), "sizes", card, path)
    pose = card.get("mean_pose")
    fits = pose is None or np.isfinite(np.reshape(np.array(pose, float), (card["joints"], 3))).all()
    _check(bool(fits), "mean_pose", card, path)
    radius = card.get("radius")
    _check(radius is None or _is_radius(radius, card["joints"]), "radius", card, path)
    heights = card.get("heights", [])
    _check(isinstance(heights, list) and all(map(_is_curve, heights)), "heights", card, path)
    _check(len(_skeleton(card.get("skeleton"), path)) == card["joints"], "skeleton", card, path)


def check_weights(weights: object, path: object) -> None:
    """Raise UserError where weights are not names and tensors of finite numbers."""
    if not isinstance(weights, dict):
        raise UserError(f"{path}: damaged, it holds no weights")
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(f"{path}: damaged, its weights hold a {type(value).__name__} under {str(name)[:40]}")
        if value.is_complex():
            raise UserError(f"{path}: {name} holds complex numbers")


def _skeleton(described: object, path: object) -> Skeleton:
    """The card's skeleton: a tree over its joints."""
    if isinstance(described, str) and described in SKELETONS:
        return SKELETONS[described]
    if not isinstance(described, dict) or set(described) != {*vars(SKELETONS["h36m_17"])}:
        raise UserError(f"{path}: its skeleton {str(described)[:40]} is unknown here")
    skeleton = skeleton_of(described)
    count = len(skeleton.joints)
    joints = [*skeleton.parents, *skeleton.left, *skeleton.right, skeleton.root]
    fits = 0 < count <= LARGEST["joints"] and all(_whole(joint, -1, count - 1) for joint in joints)
    if fits:
        depths = [_steps(joint, skeleton.parents) for joint in range(count)]
        fits = len(skeleton.parents) == count and max(depths) <= count and skeleton.parents[skeleton.root] == -1
        fits = fits and len(skeleton.left) == len(skeleton.right) and skeleton.parents.count(-1) == 1
    if not fits:
        raise UserError(f"{path}: damaged, its skeleton is no tree of joints")
    return skeleton


def _is_radius(radius: object, joints: int) -> bool:
    """Whether it is what `scoring.radius` fits: numbers, words, a factor a joint."""
    if not isinstance(radius, dict) or not isinstance(factors := radius.get("factors"), list):
        return False
    numbers = [radius.get("share"), radius.get("floor"), *factors]
    return len(factors) == joints and all(_number(n) and 0 <= n < 1e4 for n in numbers) and _names_sampler(radius)


def _is_curve(fitted: object) -> bool:
    """Whether it is what `wild.heights` fits: as many true as lifted heights, metres, neither falling."""
    if not isinstance(fitted, dict):
        return False
    curves = [fitted.get(name) for name in ("lifted", "true")]
    if not all(isinstance(curve, list) and 0 < len(curve) <= ANY for curve in curves):
        return False
    fits = all(_number(n) and 0.1 < n < 10 for curve in curves for n in curve)
    rising = fits and all(curve == sorted(curve) for curve in curves) and len(curves[0]) == len(curves[1])
    return rising and len(set(curves[0])) == len(curves[0]) and _names_sampler(fitted)


def _names_sampler(fitted: dict) -> bool:
    """Whether something fitted says with which sampler it was."""
    words, flip = [fitted.get("sampler"), fitted.get("aggregate")], fitted.get("flip")
    counts = all(_whole(fitted.get(n), 1, ANY) for n in ("hypotheses", "steps"))
    return counts and all(_word(w) for w in words) and (isinstance(flip, bool) or flip == "own")


def _steps(joint: int, parents: tuple[int, ...]) -> int:
    steps = 0
    while joint >= 0 and steps <= len(parents):
        joint, steps = parents[joint], steps + 1
    return steps


def _bounded(value: object, name: str, path: object, depth: int = 0) -> None:
    """Settings from a card: plain, and of sizes that somebody may have meant."""
    if isinstance(value, dict) and depth < 8:
        for key, inner in value.items():
            _bounded(inner, str(key), path, depth + 1)
    elif isinstance(value, list | tuple) and depth < 8 and len(value) <= ANY:
        for inner in value:
            _bounded(inner, name, path, depth + 1)
    else:
        whole = isinstance(value, int) and -ANY <= value <= LARGEST.get(name, ANY)
        if not (value is None or isinstance(value, bool) or whole or _number(value) or _word(value)):
            raise UserError(f"{path}: damaged, its {name} is {str(value)[:40]}")


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _number(value: object) -> bool:
    """A finite number that is no huge integer."""
    return isinstance(value, float) and math.isfinite(value) or _whole(value, -ANY, ANY)


def _word(value: object) -> bool:
    return isinstance(value, str) and visible(value) == value


def _check(fine: bool, name: str, card: dict, path: object) -> None:
    if not fine:
        raise UserError(f"{path}: damaged, its {name} is {str(card.get(name))[:60]}")
