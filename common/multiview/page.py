"""One HTML file that shows, camera by camera, how the triangulated people project onto what was detected."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.files.writing import whole_file
from common.geometry.camera import Camera
from common.geometry.skeleton import H36M_17
from common.multiview.matching import Frames, Person
from common.multiview.recording import Reconstructed
from common.multiview.triangulation import person_sizes, reproject

TEMPLATE = Path(__file__).with_name("page.html")
MOST_FRAMES = 300  # of a take, spread over it


def write_page(path: Path, title: str, takes: Sequence[dict]) -> Path:
    """Write the page of some takes (`take_of`); it needs no network and no server."""
    data = json.dumps({"bones": H36M_17.edges, "takes": list(takes)}, separators=(",", ":")).replace("<", "\\u003c")
    text = TEMPLATE.read_text(encoding="utf-8").replace("__TITLE__", html.escape(title)).replace("__DATA__", data)
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def take_of(
    name: str,
    fps: float,
    cameras: list[Camera],
    views: list[Frames],
    matched: list[Person],
    people: dict[str, Reconstructed],
) -> dict:
    """What the page shows of one take: plain lists, pixels rounded. `matched` and `people` go together."""
    frames = len(views[0])
    shown = np.unique(np.linspace(0, frames - 1, min(frames, MOST_FRAMES)).astype(int)).tolist()
    others = []
    for v, view in enumerate(views):
        taken = [{int(person.chosen[v, t]) for person in matched} for t in shown]
        loose = [[p for n, p in enumerate(view[t]) if n not in used] for t, used in zip(shown, taken, strict=True)]
        others.append([[point for person in some for point in _dots(person)] for some in loose])
    return {
        "name": name,
        "fps": round(fps, 3),
        "frames": frames,
        "shown": shown,
        "pause": max(20, round(1000 / fps * (shown[-1] - shown[0]) / max(len(shown) - 1, 1))),
        "cameras": [{"name": c.name, "width": c.width, "height": c.height} for c in cameras],
        "others": others,
        "people": [_person(key, person, cameras, shown) for key, person in people.items()],
    }


def _person(name: str, person: Reconstructed, cameras: list[Camera], shown: list[int]) -> dict:
    errors, reprojected, detected = [], [], []
    for v, camera in enumerate(cameras):
        pixels = reproject(person.points, camera)  # (T, 17, 2)
        reprojected.append([[_pair(point) for point in pixels[t]] for t in shown])
        both = [np.concatenate([person.keypoints[v, t], person.confidence[v, t, :, None]], -1) for t in shown]
        detected.append([_dots(points) for points in both])
        errors.append(_error(person, v))
    known = np.isfinite(person.spread)
    spread = f"{1000 * np.median(person.spread[known]):.0f} mm" if known.any() else ""
    about = {"name": name, "whole": int(person.whole.sum()), "spread": spread, "errors": errors}
    return about | {"reprojected": reprojected, "detected": detected}


def _error(person: Reconstructed, view: int) -> str:
    """'1.3 %, 9 px': the median distance of keypoints and reprojection; empty where the camera never saw the person."""
    share = np.linalg.norm(person.raw.errors[view], axis=-1)  # (T, J), sizes
    if not np.isfinite(share).any():
        return ""
    sizes = person_sizes(person.keypoints[view], person.confidence[view] > 0)
    return f"{100 * np.nanmedian(share):.1f} %, {np.nanmedian(share * sizes[:, None]):.0f} px"


def _pair(point: np.ndarray) -> list[int] | None:
    return [int(v) for v in np.round(point)] if np.isfinite(point).all() and np.abs(point).max() < 1e6 else None


def _dots(person: np.ndarray) -> list[list[float]]:
    """[x, y, confidence] of the joints that were found, of (J, 3)."""
    return [[round(float(x)), round(float(y)), round(float(c), 2)] for x, y, c in person if c > 0]
