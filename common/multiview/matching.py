"""Who is who across cameras and over time: detections that one 3D person explains.

A detection belongs to a person where its keypoints lie near the person's reprojection: the median distance over the
joints, as a share of the person's size. Identities of the files are not trusted: 2D trackers swap them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from common.geometry.camera import Camera
from common.multiview.triangulation import extrinsics, person_sizes, rays

GATE = 0.12  # of the person's size: a detection with a larger median distance is somebody else, or nobody
REACH = 1.0  # of the size: what the gate grows by in a second in which a person was not seen
PATIENCE = 0.7  # seconds after which a person who comes back is a new one
SHORTEST = 0.25  # seconds, and at least 5 frames (fewer where the recording is shorter): less is a false detection
SAME = 0.15  # of the size: two 3D people so close are one, detected twice
COMMON = 4  # joints that two detections must share to be compared

Frames = list[np.ndarray]  # a frame's people, (N, J, 3): pixels and confidence


@dataclass
class Person:
    """One person: `chosen` (V, T), the number of its detection in each view and frame, -1 where there is none."""

    chosen: np.ndarray
    points: np.ndarray  # (J, 3), world, at the last frame
    last: int
    velocity: np.ndarray | float = 0.0  # (3,), world units a frame
    seen: list[int] = field(default_factory=list)

    def predict(self, frame: int) -> np.ndarray:
        return self.points + self.velocity * min(frame - self.last, 3)

    def add(self, frame: int, members: dict[int, int], points: np.ndarray) -> None:
        """Join a frame's detections {view: number} and their 3D (J, 3); a joint that it lacks moves with the rest."""
        for view, n in members.items():
            self.chosen[view, frame] = n
        if self.seen:
            points = np.where(np.isfinite(points), points, self.predict(frame))
            moved = np.median(points - self.points, axis=0) / (frame - self.last)
            self.velocity = 0.5 * self.velocity + 0.5 * moved
        else:
            points = np.where(np.isfinite(points), points, np.nanmedian(points, axis=0))
        self.points, self.last = points, frame
        self.seen.append(frame)


@dataclass(frozen=True)
class CameraPeople:
    """One camera's detections on the ideal image plane: `plane[t]` (N, J, 2), `sure[t]` (N, J), `size[t]` (N,)."""

    turn: np.ndarray  # (3, 3), world to camera
    shift: np.ndarray  # (3,)
    plane: list[np.ndarray]
    sure: list[np.ndarray]
    size: list[np.ndarray]

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) to the ideal image plane (..., 2); NaN behind the camera."""
        local = points @ self.turn.T + self.shift
        depth = np.where(local[..., 2:] > 1e-9, local[..., 2:], np.nan)
        return local[..., :2] / depth

    def distances(self, points: np.ndarray, frame: int, numbers: list[int]) -> np.ndarray:
        """(N,): the median distance of some detections from 3D points (J, 3), as a share of the person's size."""
        expected = self.project(points)  # (J, 2)
        sure = (self.sure[frame][numbers] > 0) & np.isfinite(expected[:, 0])
        size = np.maximum(self.size[frame][numbers], _extent(expected))
        away = np.linalg.norm(self.plane[frame][numbers] - expected, axis=-1) / size[:, None]
        out = np.full(len(numbers), np.inf)
        for n, (row, good) in enumerate(zip(away, sure, strict=True)):
            if good.sum() >= min(COMMON, len(good)):
                out[n] = np.median(row[good])
        return out


def _extent(plane: np.ndarray) -> float:
    good = plane[np.isfinite(plane[:, 0])]
    return float(np.linalg.norm(np.ptp(good, axis=0))) if len(good) > 1 else 0.0


def prepare(frames: Frames, camera: Camera, outer: np.ndarray) -> CameraPeople:
    """A camera's detections with the lens undone; `outer` (3, 4) is the camera's place, world to camera."""
    counts = np.cumsum([len(people) for people in frames])[:-1]
    everyone = np.concatenate(frames).astype(np.float64)  # (all detections, J, 3)
    sure = everyone[..., 2]
    plane = rays(np.where(sure[..., None] > 0, everyone[..., :2], 0), camera)
    size = person_sizes(everyone[..., :2], sure > 0) * 2 / (camera.width * np.mean(camera.intrinsics[:2]))
    return CameraPeople(outer[:, :3], outer[:, 3], *(np.split(part, counts) for part in (plane, sure, size)))


def match_people(views: list[Frames], cameras: list[Camera], fps: float, progress: bool = True) -> list[Person]:
    """The people of a recording, those seen in most frames first. `views` holds each camera's frames, equally many.

    Detections that belong to nobody are left out: false ones, doubles, and people whom one camera alone sees.
    """
    frames = len(views[0])
    seen = [prepare(view, c, outer) for view, c, outer in zip(views, cameras, extrinsics(cameras), strict=True)]
    active: list[Person] = []
    done: list[Person] = []
    for frame in tqdm(range(frames), desc="people across cameras", unit="frame", disable=not progress):
        done += [p for p in active if frame - p.last > PATIENCE * fps]
        active = [p for p in active if frame - p.last <= PATIENCE * fps]
        free = [set(range(len(view.plane[frame]))) for view in seen]
        for person, group in zip(active, _continue(active, seen, frame, fps), strict=True):
            settled = _settle(group, seen, frame)
            if settled is not None:
                person.add(frame, *settled)
                for view, n in settled[0].items():
                    free[view].discard(n)
        for members, points in _seeds(seen, free, frame):
            if not any(p.last == frame and _distance(p.points, points) < SAME for p in active):
                active.append(Person(np.full((len(views), frames), -1), points, frame))
                active[-1].add(frame, members, points)
    shortest = max(2, min(max(5, round(SHORTEST * fps)), frames // 2))
    kept = [p for p in done + active if len(p.seen) >= shortest]
    return sorted(kept, key=lambda p: (-len(p.seen), p.seen[0]))


def _continue(active: list[Person], seen: list[CameraPeople], frame: int, fps: float) -> list[dict[int, int]]:
    """For each known person, {view: detection}: in every view the assignment with the least total distance."""
    groups: list[dict[int, int]] = [{} for _ in active]
    gates = np.array([GATE + REACH * (frame - p.last - 1) / fps for p in active])
    for number, view in enumerate(seen):
        count = len(view.plane[frame])
        if not count or not active:
            continue
        cost = np.stack([view.distances(p.predict(frame), frame, list(range(count))) for p in active])  # (P, N)
        allowed = cost < gates[:, None]
        for row, column in zip(*linear_sum_assignment(np.where(allowed, cost, 1e3)), strict=True):
            if allowed[row, column]:
                groups[row][number] = int(column)
    return groups


def _settle(group: dict[int, int], seen: list[CameraPeople], frame: int) -> tuple[dict[int, int], np.ndarray] | None:
    """The group without the views that its 3D does not explain, and that 3D (J, 3); None where under two are left."""
    while len(group) >= 2:
        points = locate(group, seen, frame)
        away = {v: seen[v].distances(points, frame, [n])[0] for v, n in group.items()}
        worst = max(away, key=away.get)
        if away[worst] < GATE:
            return group, points
        group = {v: n for v, n in group.items() if v != worst}
    return None


def locate(group: dict[int, int], seen: list[CameraPeople], frame: int) -> np.ndarray:
    """A person's points (J, 3) nearest to the rays of its detections {view: number}; NaN where under two views see it.

    Closed form, without regard to outliers: good enough to tell people apart.
    """
    rows = [(seen[v], seen[v].plane[frame][n], seen[v].sure[frame][n]) for v, n in group.items()]
    centres = np.stack([-view.turn.T @ view.shift for view, _, _ in rows])  # (V, 3)
    directions = np.stack([np.concatenate([p, np.ones_like(p[:, :1])], -1) @ view.turn for view, p, _ in rows])
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)  # (V, J, 3)
    weights = np.stack([sure for _, _, sure in rows])  # (V, J)
    across = (np.eye(3) - directions[..., None] * directions[..., None, :]) * weights[..., None, None]  # (V, J, 3, 3)
    system = across.sum(0) + 1e-9 * np.eye(3)
    points = np.linalg.solve(system, np.einsum("vjik,vk->ji", across, centres)[..., None])[..., 0]
    points[(weights > 0).sum(0) < 2] = np.nan
    return points


def _seeds(seen: list[CameraPeople], free: list[set], frame: int) -> list[tuple[dict[int, int], np.ndarray]]:
    """New people among the free detections: the pair of views that agrees best, with every other view that joins."""
    pairs = []
    for a in range(len(seen)):
        for b in range(a + 1, len(seen)):
            for m in free[a]:
                for n in free[b]:
                    group = {a: m, b: n}
                    points = locate(group, seen, frame)
                    if np.isfinite(points[:, 0]).sum() < COMMON:
                        continue
                    worst = max(seen[v].distances(points, frame, [k])[0] for v, k in group.items())
                    if worst < GATE:
                        pairs.append((worst, group, points))
    found: list[tuple[dict[int, int], np.ndarray]] = []
    for _, group, points in sorted(pairs, key=lambda pair: pair[0]):
        if any(n not in free[v] for v, n in group.items()):
            continue
        for number, view in enumerate(seen):
            if number in group or not free[number]:
                continue
            candidates = sorted(free[number])
            away = view.distances(points, frame, candidates)
            if away.min() < GATE:
                group[number] = candidates[int(away.argmin())]
        settled = _settle(group, seen, frame)
        if settled is None:
            continue
        for view, n in settled[0].items():
            free[view].discard(n)
        if not any(_distance(settled[1], other) < SAME for _, other in found):
            found.append(settled)
    return found


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Median distance of two people's joints (J, 3) as a share of the first one's extent."""
    good = np.isfinite(a).all(-1) & np.isfinite(b).all(-1)
    if good.sum() < COMMON:
        return np.inf
    extent = np.linalg.norm(np.ptp(a[good], axis=0))
    return float(np.median(np.linalg.norm(a[good] - b[good], axis=-1)) / max(extent, 1e-9))
