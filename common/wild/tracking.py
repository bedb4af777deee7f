"""Who is who from frame to frame: detections linked into one track a person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from common.errors import UserError
from common.wild.keypoints import Detections

TALL = 1.7  # metres that a person's whole box is taken to measure from corner to corner
FASTEST = 15.0  # metres a second; who moves faster is somebody else
LEAST_JUMP = 0.6  # metres below which a detector's noise may look as fast
SPREAD = 0.15  # of a joint, as a share of the person's size: the k of COCO's OKS, wide enough for a frame's motion


@dataclass(frozen=True)
class Track:
    """One person. keypoints (T, J, 3): pixels and confidence; a frame where the person was not found is all zero.

    `first` is the video frame of row 0; the first and the last row were seen.
    """

    id: int
    first: int
    keypoints: np.ndarray

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def seen(self) -> np.ndarray:
        """(T,), True where the person was found."""
        return (self.keypoints[..., 2] > 0).any(-1)


def box(person: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom of the visible joints of (J, 3)."""
    points = person[person[:, 2] > 0, :2]
    return np.concatenate([points.min(0), points.max(0)]) if len(points) else np.zeros(4, np.float32)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    overlap = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    union = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - overlap
    return float(overlap / union) if union > 0 else 0.0


def oks(a: np.ndarray, b: np.ndarray) -> float:
    """Object keypoint similarity of two people (J, 3) over the joints seen in both, COCO's formula with one k."""
    both = (a[:, 2] > 0) & (b[:, 2] > 0)
    if not both.any():
        return 0.0
    boxes = np.stack([box(a), box(b)])
    area = max((boxes[:, 2:] - boxes[:, :2]).prod(-1).mean(), 1.0)
    squared = ((a[both, :2] - b[both, :2]) ** 2).sum(-1)
    return float(np.exp(-squared / (2 * area * SPREAD**2)).mean())


class _Open:
    """A track while it grows; predicts where the person is next from the last frames' motion."""

    def __init__(self, id: int, frame: int, person: np.ndarray):
        self.id, self.frames, self.people = id, [frame], [person]

    def add(self, frame: int, person: np.ndarray) -> None:
        self.frames.append(frame)
        self.people.append(person)

    def predict(self, frame: int) -> np.ndarray:
        last = self.people[-1].copy()
        back = min(len(self.people), 6) - 1
        before = self.people[-1 - back]
        both = (last[:, 2] > 0) & (before[:, 2] > 0)
        if back and both.any():
            speed = np.median(last[both, :2] - before[both, :2], 0) / (self.frames[-1] - self.frames[-1 - back])
            last[:, :2] += speed * min(frame - self.frames[-1], 10)  # motion far into a gap is a guess
        return last

    def speed(self, frame: int, person: np.ndarray, fps: float) -> float:
        """Metres a second at which the middle of the joints would have moved; 0 for what noise can do."""
        last = self.people[-1]
        both = (last[:, 2] > 0) & (person[:, 2] > 0)
        if both.sum() < 3:
            return 0.0
        size = max(np.linalg.norm(box(p)[2:] - box(p)[:2]) for p in self.people[-10:])
        metres = TALL * np.linalg.norm((person[both, :2] - last[both, :2]).mean(0)) / max(size, 1.0)
        return float(metres * fps / (frame - self.frames[-1])) if metres > LEAST_JUMP else 0.0

    def close(self) -> Track:
        keypoints = np.zeros((self.frames[-1] - self.frames[0] + 1, *self.people[0].shape), np.float32)
        keypoints[np.array(self.frames) - self.frames[0]] = self.people
        return Track(self.id, self.frames[0], keypoints)


def track(
    detections: Detections,
    fps: float = 25.0,
    *,
    patience: float = 1.2,
    similarity: float = 0.3,
    shortest: int = 10,
    trust_ids: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> list[Track]:
    """Link detections into tracks, the longest first.

    Where every person of the file has an identity of their own, it is kept, but nobody moves faster than `FASTEST`:
    who does is somebody else, with another identity, which `say` tells. Otherwise each frame's people are matched to
    the open tracks by the larger of IoU and OKS against the predicted place, the best total first; below `similarity` a
    new track begins, and a track unseen for more than `patience` seconds ends. Tracks seen in fewer than `shortest`
    frames are dropped, unless no other exists. Raises UserError where nobody is found.
    """
    if trust_ids and _identified(detections, say):
        done = _by_identity(detections, fps, say)
    else:
        done = _by_place(detections, round(patience * fps), similarity)
    long = [t for t in done if t.seen.sum() >= shortest] or done
    if not long:
        raise UserError(f"nobody found in {len(detections.frames)} frames")
    return sorted(long, key=lambda t: (-int(t.seen.sum()), t.id))


def _identified(detections: Detections, say: Callable[[str], None]) -> bool:
    """Whether every person has an identity that tells them apart; where most frames with several give one to two
    people, it does not (AlphaPose writes idx 0 for everybody where it did not track)."""
    given = np.concatenate(detections.ids) if detections.ids else np.zeros(0, int)
    if not len(given) or (given < 0).any():
        return False
    several = [ids for ids in detections.ids if len(ids) > 1]
    twice = sum(len(set(ids.tolist())) < len(ids) for ids in several)
    if 2 * twice > len(several):
        say("note: several people of a frame have one id in the file, so ids are left aside")
        return False
    return True


def _by_identity(detections: Detections, fps: float, say: Callable[[str], None]) -> list[Track]:
    tracks: dict[int, list[_Open]] = {}
    following = max(max(ids.tolist(), default=0) for ids in detections.ids) + 1
    for frame, (people, ids) in enumerate(zip(detections.frames, detections.ids, strict=True)):
        done = set()
        for person, id in zip(people, ids.tolist(), strict=True):
            if not (person[:, 2] > 0).any() or id in done:  # an identity twice in a frame: the first counts
                continue
            done.add(id)
            own = tracks.setdefault(id, [])
            speeds = [t.speed(frame, person, fps) for t in own]
            if not own:
                own.append(_Open(id, frame, person))
            elif min(speeds) <= FASTEST:
                own[int(np.argmin(speeds))].add(frame, person)
            else:
                say(
                    f"person {id} moves at {min(speeds):.0f} m/s in frame {frame}: taken for somebody else, {following}"
                )
                own.append(_Open(following, frame, person))
                following += 1
    return [t.close() for own in tracks.values() for t in own]


def _by_place(detections: Detections, patience: int, similarity: float) -> list[Track]:
    open_tracks: list[_Open] = []
    done: list[Track] = []
    following = 0
    for frame, people in enumerate(detections.frames):
        people = [person for person in people if (person[:, 2] > 0).any()]
        done += [t.close() for t in open_tracks if frame - t.frames[-1] > patience]
        open_tracks = [t for t in open_tracks if frame - t.frames[-1] <= patience]
        expected = [t.predict(frame) for t in open_tracks]
        scores = np.array([[max(iou(box(e), box(p)), oks(e, p)) for p in people] for e in expected])
        matched = set()
        if scores.size:
            for row, column in zip(*linear_sum_assignment(-scores), strict=True):
                if scores[row, column] >= similarity:
                    open_tracks[row].add(frame, people[column])
                    matched.add(column)
        for n, person in enumerate(people):
            if n not in matched:
                open_tracks.append(_Open(following, frame, person))
                following += 1
    return done + [t.close() for t in open_tracks]
