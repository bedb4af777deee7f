"""From the person detector's raw output to people: anchors, decoding, weighted non-maximum suppression.

BlazeFace (arXiv 1907.05047): anchors of one size, on the coarser grids several a cell; and instead of suppressing
overlapping boxes, their mean weighted by score, which is steadier from frame to frame.
"""

from __future__ import annotations

from functools import cache

import numpy as np

INPUT = 224  # pixels a side
GRIDS = ((28, 2), (14, 2), (7, 6))  # cells a side, anchors a cell: strides 8, 16 and three times 32 of the input
POINTS = 4  # of the body a box: hip centre, a point on the circle around the body, and the same of the upper body


@cache
def anchors() -> np.ndarray:
    """Centres (2254, 2) of the anchors, x and y in 0..1, in the network's order: rows, columns, anchors of a cell."""
    grids = []
    for cells, each in GRIDS:
        centre = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(centre, centre, indexing="ij")
        grids.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), each, 0))
    return np.concatenate(grids).astype(np.float32)


def decode(boxes: np.ndarray, logits: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """People above the score `least`: (N, 12) and scores (N,), best first.

    boxes (2254, 12) and logits (2254,) are the network's output: centre, size and four points, in pixels of its input,
    all but the size relative to the anchor. Out: left, top, right, bottom, then x and y of the points, in 0..1.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
    kept = np.flatnonzero(scores >= least)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    raw, origin = boxes[kept] / INPUT, anchors()[kept]
    centre, half = raw[:, :2] + origin, raw[:, 2:4] / 2
    points = raw[:, 4:].reshape(-1, POINTS, 2) + origin[:, None]
    return np.concatenate([centre - half, centre + half, points.reshape(-1, 2 * POINTS)], 1), scores[kept]


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union (N,) of a box (4,) with boxes (N, 4): left, top, right, bottom."""
    shared = np.clip(np.minimum(box[2:], boxes[:, 2:4]) - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(-1)
    union = (box[2:] - box[:2]).prod() + (boxes[:, 2:4] - boxes[:, :2]).prod(-1) - shared
    return shared / np.maximum(union, 1e-12)


def merge(people: np.ndarray, scores: np.ndarray, overlap: float) -> tuple[np.ndarray, np.ndarray]:
    """Weighted non-maximum suppression of `decode`'s rows, best first: one row a person.

    The best row left takes in all that overlap it by more than `overlap` (their mean weighted by score, under the best
    score); what it takes in counts no more.
    """
    merged, best = [], []
    while len(people):
        own = overlaps(people[0, :4], people[:, :4]) > overlap
        own[0] = True
        weight = scores[own, None]
        merged.append((people[own] * weight).sum(0) / weight.sum())
        best.append(scores[0])
        people, scores = people[~own], scores[~own]
    return np.reshape(merged, (-1, 4 + 2 * POINTS)), np.array(best)
