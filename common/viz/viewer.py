"""The viewer page: one HTML file with poses, styles and program inside. It needs no network and no server.

The page's parts lie in `page/` and are joined here.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

from common.errors import UserError, visible
from common.files.bvh import FRAMES
from common.files.poses import Person, held, spread_of
from common.files.writing import save_text
from common.geometry.skeleton import Skeleton

PAGE = Path(__file__).parent / "page"
SCRIPTS = ("data.js", "scene.js", "picture.js", "player.js")
LARGEST_EMBEDDED = 40_000_000  # bytes of video that go into the page

# The page's frame: z up. Rows in the y-up frame of `bvh.FRAMES`.
_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def write_viewer(
    path: Path | str,
    people: Sequence[Person],
    fps: float,
    skeleton: Skeleton,
    *,
    frame: str = "camera",
    size: tuple[int, int] | None = None,
    video: Path | str | None = None,
    embed_video: bool = False,
    title: str = "3D poses",
    note: str = "",
    floor: float | None = None,
    most_hypotheses: int = 20,
) -> None:
    """Write the viewer of some people (dictionaries as in `common.files.poses`), all at one frame rate.

    frame: of the positions, 'camera' (x right, y down, z forward) or 'world' (z up); size: (width, height) of the
    image that the 2D joints belong to, pixels; video: shown under them, named relative to the page, or inside it with
    `embed_video`; note: on what the model was trained; floor: its height in the frame, where it is known. At most
    `most_hypotheses` of each person are drawn. Joints that are not `known` are not drawn.
    """
    path = Path(path)
    if not people:
        raise UserError(f"{path}: nobody to show")
    turn = _Z_UP @ FRAMES[frame]
    radius = all(person.get("radius") is not None for person in people)  # of one kind for everybody
    packed = [_pack_person(person, turn, most_hypotheses, radius) for person in people]
    spreads = [_spread(person, radius) for person in people]
    spreads = np.concatenate([s.ravel() for s in spreads if s is not None] or [np.zeros(1)])
    if floor is None:
        heights = [(np.asarray(person["positions"]) @ turn.T)[..., 2].min(-1) for person in people]
        floor = float(np.nanpercentile(np.concatenate(heights), 5))
    data = {
        "title": visible(title),
        "note": visible(note),
        "fps": float(fps),
        "frames": max(p["first"] + p["count"] for p in packed),
        "skeleton": {
            "joints": skeleton.joints,
            "parents": skeleton.parents,
            "left": skeleton.left,
            "right": skeleton.right,
            "root": skeleton.root,
        },
        "image": list(size) if size else None,
        "video": _video(path, video, embed_video),
        "floor": floor,
        "radius": radius,
        "spread_scale": max(0.02, float(np.ceil(np.nanpercentile(spreads, 98) * 50) / 50)),  # full steps of 20 mm
        "people": packed,
    }
    save_text(path, _page(data))


def _page(data: dict) -> str:
    html, style, *scripts = ((PAGE / name).read_text(encoding="utf-8") for name in ("page.html", "style.css", *SCRIPTS))
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    for mark, content in (("STYLE", style), ("SCRIPT", "\n".join(scripts)), ("DATA", text)):
        html = html.replace(f"/*{mark}*/", content, 1)
    return html


def _video(page: Path, video: Path | str | None, embed: bool) -> str | None:
    """The video's address in the page: relative, or its content."""
    if video is None:
        return None
    video = Path(video)
    if not video.is_file():
        raise UserError(f"{video}: no such file")
    if not embed:
        return quote(os.fsencode(Path(os.path.relpath(video.resolve(), page.resolve().parent)).as_posix()))
    if video.stat().st_size > LARGEST_EMBEDDED:
        raise UserError(f"{video}: {video.stat().st_size / 1e6:.0f} MB are too much to embed; leave it beside the page")
    kind = {".webm": "video/webm", ".mov": "video/quicktime"}.get(video.suffix.lower(), "video/mp4")
    return f"data:{kind};base64,{base64.b64encode(video.read_bytes()).decode('ascii')}"


def _spread(person: Person, radius: bool) -> np.ndarray | None:
    """(T, J) metres: the radius, or the spread as given or from the hypotheses."""
    if radius:
        return np.asarray(person["radius"])
    if person.get("spread") is not None:
        return np.asarray(person["spread"])
    hypotheses = person.get("hypotheses")
    return spread_of(hypotheses) if hypotheses is not None and len(hypotheses) > 1 else None


def _pack_person(person: Person, turn: np.ndarray, most: int, radius: bool) -> dict:
    positions = np.asarray(person["positions"])
    if positions.ndim != 3 or not np.isfinite(positions).any():
        raise UserError(f"person {person['id']}: the viewer needs positions (frames, joints, 3)")
    known = np.isfinite(positions).all(-1)
    if person.get("known") is not None:
        known &= np.asarray(person["known"])
    hypotheses = person.get("hypotheses")
    hypotheses = np.asarray(hypotheses)[:most] if hypotheses is not None and len(hypotheses) > 1 else None
    mask = person.get("mask")
    return {
        "id": int(person["id"]),
        "label": visible(person.get("label") or f"Person {person['id']}"),
        "first": int(person.get("first", 0)),
        "count": len(positions),
        "hypotheses_count": 0 if hypotheses is None else len(hypotheses),
        "pose": pack(positions @ turn.T),
        "hypotheses": pack(None if hypotheses is None else hypotheses @ turn.T),
        "truth": pack(None if person.get("truth") is None else np.asarray(person["truth"]) @ turn.T),
        "spread": pack(None if (spread := _spread(person, radius)) is None else np.nan_to_num(spread), channels=1),
        "keypoints": pack(person.get("keypoints_2d")),
        "mask": pack(None if mask is None else np.asarray(mask, np.float32), channels=1),
        "known": None if known.all() else pack(known.astype(np.float32), channels=1),
    }


def pack(values: np.ndarray | None, channels: int | None = None) -> dict | None:
    """An array as little-endian int16 in base64: value = integer * scale + offset of its channel (the last axis).

    The step is 1 / 65534 of the widest channel's range: 0.15 mm where a person walks ten metres. What is not finite
    takes the place of the frame before; time is the axis before the joints.
    """
    if values is None:
        return None
    values = np.asarray(values, np.float64)
    values = held(values, max(0, values.ndim - 3))
    flat = values.reshape(-1, channels or values.shape[-1])
    low, high = flat.min(0), flat.max(0)
    offset = (low + high) / 2
    scale = max(float((high - low).max()) / 65534, 1e-9)
    data = np.round((flat - offset) / scale).astype("<i2").tobytes()
    return {"data": base64.b64encode(data).decode("ascii"), "scale": scale, "offset": [float(o) for o in offset]}
