"""BlazePose over the frames of a video: people found now and then, each followed by its own crop in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.geometry.skeleton import BLAZEPOSE_33, COCO_FEET_21
from common.wild.blazepose import anchors, crops, landmarks

LEAST = 0.5  # score of a box, and of a person in a crop
OVERLAP = 0.3  # of boxes that mean one person
EVERY = 10  # frames from one look for new people to the next
SOON = 3  # the same while somebody was lost or nobody is there
WIDE = 1.2  # long over short side from which a picture is also looked at in squares of its short side
NEW, ONE = 0.4, 0.7  # overlap of their boxes above which a newcomer is none, and two followed people are one
SAME = 0.05  # distance between the trunks of two people, as a share of a crop, below which they are one
RATE = 30.0  # frames a second that the filter's constants are for
CUTOFF, BETA, SLOPE_CUTOFF = 0.01, 10.0, 1.0  # of the filter: hertz, per (circle diameter a second), hertz

# The two networks as functions: a crop in 0..1 (S, S, 3) to the detector's boxes (2254, 12) and logits (2254,), and to
# the landmarks' raw (39, 5), the chance that a person is there, and the heat maps (64, 64, 39).
DetectorNetwork = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
LandmarkNetwork = Callable[[np.ndarray], tuple[np.ndarray, float, np.ndarray]]

ORDER = [BLAZEPOSE_33.index(joint) for joint in COCO_FEET_21.joints]
TRUNK = [BLAZEPOSE_33.index(joint) for joint in ("LShoulder", "RShoulder", "LHip", "RHip")]


@dataclass
class Followed:
    """A person in one frame: points (39, 2) in pixels, visibility and presence (39, 2), and the filter of the two
    points that place the next crop: where they were (2, 2), where they count as being, and their speed."""

    points: np.ndarray
    sure: np.ndarray
    score: float
    raw: np.ndarray
    place: np.ndarray
    slope: np.ndarray

    @property
    def crop(self) -> np.ndarray:
        """Where to look in the next frame."""
        return crops.around(*self.place)

    @property
    def box(self) -> np.ndarray:
        """Left, top, right, bottom of the joints."""
        joints = self.points[: landmarks.JOINTS]
        return np.concatenate([joints.min(0), joints.max(0)])

    @property
    def joints(self) -> np.ndarray:
        """(21, 3) of COCO_FEET_21: pixels and visibility."""
        return np.concatenate([self.points[ORDER], self.sure[ORDER, :1]], 1).astype(np.float32)


class BlazePose:
    """A detector with a memory: called with the frames of one video in turn, gives each frame's people (N, 21, 3)."""

    def __init__(self, detect: DetectorNetwork, mark: LandmarkNetwork):
        self.detect, self.mark = detect, mark
        self.people: list[Followed] = []
        self.waited = EVERY  # frames since the last look for people

    def __call__(self, image: np.ndarray) -> np.ndarray:
        before = len(self.people)
        self.people = self.distinct([p for old in self.people if (p := self.look(image, old.crop, old))])
        self.waited += 1
        if self.waited >= (EVERY if self.people and len(self.people) == before else SOON) or not before:
            self.waited = 0
            self.people += self.newcomers(image)
        return np.array([p.joints for p in self.people], np.float32).reshape(-1, len(ORDER), 3)

    def look(self, image: np.ndarray, crop: np.ndarray, old: Followed | None = None) -> Followed | None:
        """The person in a crop, if there is one."""
        raw, score, heat = self.mark(crops.cut(image, crop, landmarks.INPUT))
        if score < LEAST:
            return None
        points, sure = landmarks.decode(raw, heat)
        points = crops.to_picture(points, crop)
        placing = points[[landmarks.CENTRE, landmarks.RIM]]
        if np.hypot(*(placing[1] - placing[0])) < 1:  # a pixel: nothing to cut out next time
            return None
        if old is None:
            return Followed(points, sure, score, placing, placing, np.zeros((2, 2)))
        return Followed(points, sure, score, placing, *steady(placing, old))

    def newcomers(self, image: np.ndarray) -> list[Followed]:
        """People whom nobody follows yet, the surest box first, those of the whole picture before all others."""
        found: list[Followed] = []
        for view in views(image.shape[1], image.shape[0]):
            for crop in self.boxes(image, view):
                known = [*self.people, *found]
                if any(near(crop, other.crop) for other in known):
                    continue
                person = self.look(image, crop)
                again = person and self.look(image, person.crop)  # a bad crop of somebody known comes to show them
                if again and not any(same(again, other, NEW) for other in known):
                    found.append(person)
        return found

    def boxes(self, image: np.ndarray, view: np.ndarray) -> list[np.ndarray]:
        """Crops around the people whom the detector sees in a view, best first."""
        boxes, logits = self.detect(crops.cut(image, view, anchors.INPUT, black=True))
        rows, _ = anchors.merge(*anchors.decode(boxes, logits, LEAST), OVERLAP)
        points = crops.to_picture(rows[:, 4:].reshape(-1, anchors.POINTS, 2), view)
        sides = np.hypot(*(points[:, 1] - points[:, 0]).T)
        return [crops.around(centre, rim) for (centre, rim, *_), side in zip(points, sides, strict=True) if side >= 1]

    @staticmethod
    def distinct(people: list[Followed]) -> list[Followed]:
        """Two crops that came to show one person, as they do where people cross, are one: the surer stays."""
        kept: list[Followed] = []
        for person in sorted(people, key=lambda p: -p.score):
            if not any(same(person, other, ONE) for other in kept):
                kept.append(person)
        return [person for person in people if any(person is k for k in kept)]


def views(width: int, height: int) -> list[np.ndarray]:
    """Crops in which people are looked for: the whole picture, and squares along a long one, half over each other.

    The detector sees 224 pixels a side: in a wide picture alone a person of a quarter of its height is too small.
    """
    short, long = sorted((width, height))
    out = [crops.whole(width, height)]
    if long < WIDE * short:
        return out
    count = int(np.ceil((long - short) / (short / 2))) + 1
    for middle in np.linspace(short / 2, long - short / 2, count):
        centre = (middle, height / 2) if width > height else (width / 2, middle)
        out.append(np.array([*centre, short, 0.0]))
    return out


def near(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two crops show the same: their centres lie within a fifth of a side, their sides within a factor 1.5."""
    side = min(a[2], b[2])
    return bool(np.hypot(*(a[:2] - b[:2])) < 0.2 * side and max(a[2], b[2]) < 1.5 * side)


def same(a: Followed, b: Followed, overlap: float) -> bool:
    """Whether two crops' joints are one person's: their boxes overlap by more than this, or the middles of their
    shoulders and of their hips are in one place. (Left and right may have changed places on one and the same person.)
    """
    apart = np.hypot(*(a.points - b.points)[TRUNK].reshape(2, 2, 2).mean(1).T).max()
    if apart < SAME * min(a.crop[2], b.crop[2]):
        return True
    return bool(anchors.overlaps(a.box, b.box[None])[0] > overlap)


def steady(placing: np.ndarray, old: Followed) -> tuple[np.ndarray, np.ndarray]:
    """The two placing points (2, 2) through a One Euro filter (Casiez, Roussel and Vogel, CHI 2012), and their slope.

    Speeds are in diameters of the body's circle a second: a crop stands still on a still person, and a fast one is not
    left behind.
    """
    diameter = 2 * np.hypot(*(placing[1] - placing[0]))
    share = _share(SLOPE_CUTOFF)
    slope = share * (placing - old.raw) / diameter * RATE + (1 - share) * old.slope
    share = _share(CUTOFF + BETA * np.abs(slope))
    return share * placing + (1 - share) * old.place, slope


def _share(cutoff):
    """Of the new value in a first-order low-pass filter of this cutoff, hertz."""
    return 1 / (1 + RATE / (2 * np.pi * cutoff))
