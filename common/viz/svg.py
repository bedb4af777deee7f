"""Read poses back from an SVG figure: what was drawn can be checked against what was meant."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

_SVG = "{http://www.w3.org/2000/svg}"
_DESCRIPTION = "{http://purl.org/dc/elements/1.1/}description"
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def read_poses(path: Path | str) -> dict[str, np.ndarray]:
    """Every skeleton of a figure by its id: joints (J, 2) in the units of its panel.

    3D panels: metres right and up in the picture (`View.project`), height 0 on the floor. 2D panels: screen units.
    The coordinates come from the drawn bones alone; a joint that is not drawn is NaN. Raises ValueError where two
    bones disagree on a joint that they share.
    """
    root = ElementTree.parse(path).getroot()
    about = json.loads(next(root.iter(_DESCRIPTION)).text)
    groups = {group.get("id"): group for group in root.iter(f"{_SVG}g") if group.get("id")}
    return {
        name: _pose(groups[name], drawn, _scale(groups[drawn["panel"]], about["panels"][drawn["panel"]]))
        for name, drawn in about["skeletons"].items()
        if name in groups
    }


def _numbers(path: ElementTree.Element) -> np.ndarray:
    return np.array([float(number) for number in _NUMBER.findall(path.get("d"))]).reshape(-1, 2)


def _scale(panel: ElementTree.Element, limits: dict) -> tuple[np.ndarray, np.ndarray]:
    """Factor and offset (2,) that turn the file's points into the panel's units."""
    corners = _numbers(next(panel.iter(f"{_SVG}path")))
    low, high = corners.min(0), corners.max(0)
    (left, right), (bottom, top) = limits["x"], limits["y"]
    factor = np.array([right - left, bottom - top]) / (high - low)  # the file's y runs down
    return factor, np.array([left, top]) - low * factor


def _pose(group: ElementTree.Element, drawn: dict, scale: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    paths = list(group.iter(f"{_SVG}path"))[1 if drawn["rims"] else 0 :: 2 if drawn["rims"] else 1]
    pose = np.full((max(max(bone) for bone in drawn["bones"]) + 1, 2), np.nan)
    for bone, path in zip(drawn["bones"], paths, strict=True):
        for joint, place in zip(bone, _numbers(path) * scale[0] + scale[1], strict=True):
            if not np.isnan(pose[joint]).any() and np.abs(pose[joint] - place).max() > 1e-4:
                raise ValueError(f"{group.get('id')}: bones disagree on joint {joint}")
            pose[joint] = place
    return pose
