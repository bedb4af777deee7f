"""People keep their identity, gaps are filled and masked."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.geometry.skeleton import COCO_17, H36M_17, HALPE_26
from common.wild.cleaning import clean, fill_gaps
from common.wild.keypoints import Detections
from common.wild.tracking import Track, iou, oks, track
from tests.people import in_camera, pixels, walker


def scene(*tracks, shuffle=True):
    """Detections of several people (T, J, 2), in a random order a frame; NaN rows are not found."""
    rng = np.random.default_rng(1)
    frames, owners = [], []
    for t in range(max(len(p) for p in tracks)):
        seen = [n for n, p in enumerate(tracks) if t < len(p) and np.isfinite(p[t]).all()]
        seen = rng.permutation(seen).astype(int).tolist() if shuffle else seen
        points = [np.concatenate([tracks[n][t], np.full((17, 1), 0.9)], 1) for n in seen]
        frames.append(np.stack(points).astype(np.float32) if points else np.zeros((0, 17, 3), np.float32))
        owners.append(seen)
    return Detections(H36M_17, frames, [np.full(len(o), -1) for o in owners]), owners


def test_two_people_cross_and_keep_their_ids():
    """One walks to the right, one to the left, a little nearer to the camera; they pass in the middle."""
    still = pixels(in_camera(walker(100) - walker(100)[:, :1] + [0, 0, 0.95]))
    x = np.linspace(-300, 300, 100)[:, None]
    right, left = still.copy(), 1.15 * (still - 640) + 640
    right[..., 0] += x
    left[..., 0] -= x
    detections, _ = scene(right, left)
    tracks = track(detections)
    assert len(tracks) == 2 and all(len(t) == 100 for t in tracks)
    for t in tracks:
        source = min((right, left), key=lambda p: abs(p[0] - t.keypoints[0, :, :2]).max())
        np.testing.assert_allclose(t.keypoints[..., :2], source, atol=1e-3)


def test_short_gap_is_bridged_and_long_gap_is_not():
    still = pixels(in_camera(walker(100) - walker(100)[:, :1]))
    short = still.copy()
    short[40:60] = np.nan
    [t] = track(scene(short)[0])
    assert len(t) == 100 and t.seen.sum() == 80 and not t.seen[40:60].any()
    assert len(track(scene(short)[0], patience=10 / 25)) == 2


def test_ids_of_the_file_are_kept():
    still = pixels(in_camera(walker(30)))
    detections, owners = scene(still, still + 3)  # on top of each other: only the file knows
    named = Detections(H36M_17, detections.frames, [np.array(o) + 7 for o in owners])
    tracks = sorted(track(named), key=lambda t: t.id)
    assert [t.id for t in tracks] == [7, 8]
    np.testing.assert_allclose(tracks[1].keypoints[..., :2], still + 3, atol=1e-3)


def test_flicker_is_dropped_but_never_everybody():
    still = pixels(in_camera(walker(50)))
    ghost = np.full_like(still, np.nan)
    ghost[20:23] = still[20:23] + [400, 0]
    assert len(track(scene(still, ghost)[0])) == 1
    assert len(track(scene(ghost)[0])) == 1
    with pytest.raises(UserError, match="nobody"):
        track(Detections(H36M_17, [np.zeros((0, 17, 3), np.float32)] * 5, [np.zeros(0, int)] * 5))


def test_similarities():
    a = np.concatenate([np.random.default_rng(0).uniform(0, 100, (17, 2)), np.ones((17, 1))], 1)
    assert oks(a, a) == pytest.approx(1) and oks(a, a + [500, 0, 0]) < 1e-6
    assert iou(np.array([0, 0, 2, 2]), np.array([1, 0, 3, 2])) == pytest.approx(1 / 3)
    assert iou(np.zeros(4), np.zeros(4)) == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_gaps_of_linear_motion_are_filled_exactly(seed):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(1, 17, 2)) * 100 + rng.normal(size=(1, 17, 2)) * np.arange(40)[:, None, None]
    seen = rng.random((40, 17)) > 0.6
    seen[[0, -1]] = True
    filled = fill_gaps(np.where(seen[..., None], truth, 0), seen, COCO_17)
    np.testing.assert_allclose(filled, truth, atol=1e-3)


def test_clean_masks_what_was_not_seen():
    points = np.random.default_rng(0).uniform(50, 400, (20, 26, 3)).astype(np.float32)
    points[..., 2] = 0.9
    neck, knee, ankle = (HALPE_26.index(j) for j in ("Neck", "RKnee", "LAnkle"))
    points[5, neck] = 0  # missing
    points[7, knee, 2] = 0.1  # not sure
    feet = [HALPE_26.index(j) for j in ("LBigToe", "LSmallToe", "LHeel")]
    points[:, [ankle, *feet]] = 0  # never seen
    cleaned = clean(Track(0, 0, points), HALPE_26)
    keypoints, confidence, mask = cleaned.keypoints, cleaned.confidence, cleaned.mask
    assert keypoints.shape == (20, 17, 2) and mask.shape == confidence.shape == (20, 17)
    spine, thorax, foot = (H36M_17.index(j) for j in ("Spine", "Thorax", "LFoot"))
    assert not mask[5, [spine, thorax]].any() and mask[4].sum() == 16
    assert not mask[7, H36M_17.index("RKnee")] and not mask[:, foot].any()
    near = HALPE_26.index("Nose")  # the neck's nearest joint that is seen
    aside = (points[[4, 6], neck, :2] - points[[4, 6], near, :2]).mean(0)
    np.testing.assert_allclose(keypoints[5, thorax], points[5, near, :2] + aside, rtol=1e-4)
    assert cleaned.known.sum(0).tolist() == [0 if j == foot else 20 for j in range(17)] and cleaned.present.all()
    assert (confidence[~mask] == 0).all() and (confidence[mask] > 0.8).all()


def test_nothing_sure_enough():
    with pytest.raises(UserError, match="confidence"):
        clean(Track(0, 0, np.full((5, 17, 3), 0.01, np.float32)), H36M_17)


def test_one_id_for_everybody_is_none():
    """AlphaPose without tracking gives everybody 0: nobody is lost, and an id that a few frames repeat still counts."""
    still = pixels(in_camera(walker(30)))
    people = [still + [x, 0] for x in (0, 400, 800)]
    detections, _ = scene(*people)
    said = []
    same = Detections(H36M_17, detections.frames, [np.zeros(len(frame), int) for frame in detections.frames])
    assert [len(t) for t in track(same, say=said.append)] == [30, 30, 30] and "one id" in said[0]
    detections, owners = scene(*people, shuffle=False)
    ids = [np.array(owner) for owner in owners]
    ids[3][2] = ids[3][1]
    tracks = track(Detections(H36M_17, detections.frames, ids))
    assert sorted(int(t.seen.sum()) for t in tracks) == [29, 30, 30]
