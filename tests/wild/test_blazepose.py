"""BlazePose's geometry by exact round trips, and people followed by networks that read painted marks.

The stand-ins answer in the real networks' form, so everything between picture and joints is the program's own.
"""

import numpy as np
import pytest

from common.geometry.skeleton import COCO_FEET_21, H36M_17, joint_map
from common.wild.blazepose import anchors, crops, landmarks
from common.wild.blazepose.follow import EVERY, BlazePose, steady, views

RNG = np.random.default_rng(0)


def encoded(people, scores):
    """The detector's raw output for people (N, 12), 0..1: each at its nearest anchor, and logits."""
    boxes, logits = np.zeros((2254, 12)), np.full(2254, -50.0)
    for person, score in zip(people, scores, strict=True):
        centre = (person[:2] + person[2:4]) / 2
        free = np.linalg.norm(anchors.anchors() - centre, axis=1) + 10 * (logits > -50)
        n = int(free.argmin())
        origin = anchors.anchors()[n]
        boxes[n] = 224 * np.concatenate(
            [centre - origin, person[2:4] - person[:2], (person[4:].reshape(4, 2) - origin).ravel()]
        )
        logits[n] = np.log(score / (1 - score))
    return boxes, logits


def a_box(x, y, side=0.2):
    return np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2, x, y, x, y - side, x, y, x, y])


def test_anchors_are_the_published_ones():
    a = anchors.anchors()
    assert a.shape == (2254, 2)
    np.testing.assert_allclose(a[[0, 1, 2]], [[0.5 / 28, 0.5 / 28]] * 2 + [[1.5 / 28, 0.5 / 28]], rtol=1e-6)
    np.testing.assert_allclose(a[1568], [0.5 / 14, 0.5 / 14], rtol=1e-6)
    np.testing.assert_allclose(a[1960:1967, 0] * 7, [0.5] * 6 + [1.5], rtol=1e-5)
    np.testing.assert_allclose(a[-1], [6.5 / 7, 6.5 / 7], rtol=1e-6)


def test_boxes_come_back_best_first():
    people, scores = np.stack([a_box(0.3, 0.4), a_box(0.8, 0.6), a_box(0.1, 0.9)]), [0.6, 0.9, 0.4]
    rows, found = anchors.decode(*encoded(people, scores), 0.5)
    np.testing.assert_allclose(rows, people[[1, 0]], atol=1e-6)
    np.testing.assert_allclose(found, [0.9, 0.6], rtol=1e-6)
    rows, found = anchors.decode(*encoded(people, scores), 0.95)
    assert rows.shape == (0, 12) and anchors.merge(rows, found, 0.3)[0].shape == (0, 12)


def test_overlapping_boxes_are_averaged_by_their_scores():
    rows = np.stack([a_box(0.5, 0.5), a_box(0.52, 0.5), a_box(0.8, 0.5), a_box(0.5, 0.54)])
    merged, best = anchors.merge(rows, np.array([0.9, 0.8, 0.7, 0.5]), 0.3)
    assert len(merged) == 2 and best.tolist() == [0.9, 0.7]
    np.testing.assert_allclose(merged[0], (0.9 * rows[0] + 0.8 * rows[1] + 0.5 * rows[3]) / 2.2)
    np.testing.assert_allclose(merged[1], rows[2])
    assert anchors.overlaps(np.array([0, 0, 2, 2.0]), np.array([[1, 1, 3, 3.0], [5, 5, 6, 6]])) == pytest.approx(
        [1 / 7, 0]
    )


def test_points_go_to_the_crop_and_back():
    for _ in range(20):
        crop = np.array([*RNG.uniform(-100, 900, 2), RNG.uniform(10, 700), RNG.uniform(-4, 4)])
        points = RNG.uniform(-0.5, 1.5, (7, 2))
        np.testing.assert_allclose(crops.to_crop(crops.to_picture(points, crop), crop), points, atol=1e-9)


def test_a_crop_stands_upright_on_hip_and_circle():
    for angle in np.linspace(-3, 3, 13):  # clockwise from upright
        centre, radius = RNG.uniform(0, 500, 2), RNG.uniform(20, 200)
        crop = crops.around(centre, centre + radius * np.array([np.sin(angle), -np.cos(angle)]))
        np.testing.assert_allclose(crop, [*centre, 2.5 * radius, angle], rtol=1e-9, atol=1e-9)
        up = crops.to_crop(centre + radius * np.array([np.sin(angle), -np.cos(angle)]), crop)
        np.testing.assert_allclose(up, [0.5, 0.1], atol=1e-9)  # 1.25 of room: the rim lies a tenth below the top


def test_cutting_reads_the_picture_where_the_crop_says():
    image = RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    whole = crops.whole(40, 40)
    np.testing.assert_allclose(crops.cut(image, whole, 40) * 255, image, atol=1e-4)
    turned = crops.cut(image, np.array([20, 20, 40, np.pi / 2]), 40) * 255  # lying with the head to the right
    np.testing.assert_allclose(turned[1:, :], np.rot90(image)[:-1, :], atol=1e-4)
    y, x = np.mgrid[:120, :160]
    ramp = np.stack([x, y, np.full_like(x, 7)], -1).astype(np.uint8)
    crop = np.array([80.0, 60.0, 70.0, 0.4])
    out = crops.cut(ramp, crop, 64) * 255
    places = crops.to_picture(np.stack(np.meshgrid(np.arange(64) / 64, np.arange(64) / 64), -1), crop)
    assert np.abs(out[..., :2] - places).max() < 0.5 + 1 / 32 + 1e-6  # whole grey levels, 32nds of a pixel
    assert (np.round(out[..., 2]) == 7).all()


def test_beyond_the_picture_its_edge_or_nothing():
    image = np.full((20, 30, 3), 200, np.uint8)
    crop = np.array([0.0, 0.0, 40.0, 0.0])
    assert (np.round(crops.cut(image, crop, 32) * 255) == 200).all()
    black = np.round(crops.cut(image, crop, 32, black=True) * 255)
    assert (black[17:, 17:] == 200).all() and (black[:15] == 0).all() and (black[:, :15] == 0).all()


def test_heat_maps_correct_points_where_they_peak():
    points = RNG.uniform(0.2, 0.8, (39, 2))
    heat = np.full((64, 64, 39), -50.0)
    cells = np.floor(points * 64).astype(int)
    for n, (x, y) in enumerate(cells):
        heat[y + 2, x - 3, n] = heat[y + 2, x - 2, n] = 3.0
    np.testing.assert_allclose(landmarks.refine(points, heat), (cells + [-2.5, 2]) / 64, atol=1e-9)
    np.testing.assert_array_equal(landmarks.refine(points, np.minimum(heat, -0.1)), points)  # no peak
    far = np.full((64, 64, 39), -50.0)
    far[0, 0] = 9.0  # out of reach
    np.testing.assert_array_equal(landmarks.refine(points, far), points)
    outside = points + 5
    np.testing.assert_array_equal(landmarks.refine(outside, heat), outside)


def test_landmarks_are_pixels_of_the_crop_and_two_chances():
    raw = RNG.normal(0, 3, (39, 5))
    points, sure = landmarks.decode(raw, None)
    np.testing.assert_allclose(points * 256, raw[:, :2])
    np.testing.assert_allclose(np.log(sure / (1 - sure)), raw[:, 3:], atol=1e-6)


WIDTH, HEIGHT = 320, 240


def scene(people):
    """A picture of people (hip (2,), rim (2,), colour 1..3), the later ones in front: a disc at hip and rim each."""
    image = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for hip, rim, colour in people:
        for channel, (a, b) in enumerate((hip, rim)):
            disc = (x - a) ** 2 + (y - b) ** 2 < 10**2
            image[disc] = 0
            image[disc, channel] = 255
            image[disc, 2] = 40 * colour
    return image


def discs(crop):
    """{colour: [hip, rim]} of the discs in a crop (S, S, 3), 0..1 of it; those hardly to be seen are left out."""
    found, size = {}, len(crop)
    places = np.argwhere(crop[..., :2].max(-1) > 0.9)
    pixels = crop[places[:, 0], places[:, 1]]
    for colour in range(1, 4):
        mine = np.abs(pixels[:, 2] * 255 - 40 * colour) < 12
        spots = [places[mine & (pixels[:, channel] > 0.9)] for channel in (0, 1)]
        if all(len(spot) > 4 for spot in spots):
            found[colour] = [spot.mean(0)[::-1] / size for spot in spots]
    return found


def detector_network(crop):
    rows = [np.concatenate([h - 0.1, h + 0.1, h, r, h, r]) for h, r in discs(crop).values()]
    return encoded(rows, [0.9] * len(rows))


def landmark_network(crop):
    """Joints on the line from hip to rim, all of the person who is nearest to the middle."""
    people = list(discs(crop).values())
    if not people:
        return np.zeros((39, 5)), 0.1, np.full((64, 64, 39), -50.0)
    hip, rim = min(people, key=lambda p: np.linalg.norm(p[0] - 0.5))
    raw = np.zeros((39, 5))
    raw[:, :2] = 256 * (hip + np.linspace(0, 1, 39)[:, None] * (rim - hip))
    across = np.array([-(rim - hip)[1], (rim - hip)[0]])  # shoulders and hips have a width
    raw[[23, 24], :2] = 256 * hip
    raw[[11, 23], :2] -= 256 * 0.3 * across
    raw[[12, 24], :2] += 256 * 0.3 * across
    raw[33, :2], raw[34, :2], raw[:, 3:] = 256 * hip, 256 * rim, 3.0
    return raw, 0.9, np.full((64, 64, 39), -50.0)


def detector():
    return BlazePose(detector_network, landmark_network)


def hips(people):
    middle = (people[:, COCO_FEET_21.index("LHip"), :2] + people[:, COCO_FEET_21.index("RHip"), :2]) / 2
    return sorted(middle.tolist())


def person(x, y, colour, radius=45, angle=0.0):
    hip = np.array([x, y], float)
    return hip, hip + radius * np.array([np.sin(angle), -np.cos(angle)]), colour


def test_several_people_are_found_where_they_are_however_turned():
    people = [person(60, 120, 1, 50), person(160, 130, 2, 40, 0.7), person(260, 110, 3, 45, -2.0)]
    found = detector()(scene(people))
    assert found.shape == (3, 21, 3) and found.dtype == np.float32
    for hip, rim, _ in people:
        nose = hip  # joint 0 stands on the hip in this stand-in
        apart = np.linalg.norm(found[:, COCO_FEET_21.index("Nose"), :2] - nose, axis=-1)
        assert apart.min() < 1.5
        row = found[apart.argmin()]
        toe = hip + 31 / 38 * (rim - hip)
        assert np.linalg.norm(row[COCO_FEET_21.index("LBigToe"), :2] - toe) < 1.5
    np.testing.assert_allclose(found[..., 2], 1 / (1 + np.exp(-3)), rtol=1e-5)


def test_nobody_is_nobody_and_comers_and_goers_are_noticed():
    d = detector()
    assert d(scene([])).shape == (0, 21, 3)
    seen = [len(d(scene([person(100, 120, 1)] + [person(220, 120, 2)] * (3 <= t < 20)))) for t in range(34)]
    assert seen[0] == 1 and set(seen[:3]) == {1}
    assert 2 in seen[3 : 3 + EVERY] and set(seen[3 + EVERY : 20]) == {2}
    assert set(seen[20:]) == {1}


def test_crops_follow_and_people_cross():
    """Two walk past each other, one behind the other: never three, both before and after, each where it is."""
    d = detector()
    for t in range(30):
        left, right = person(60 + 7 * t, 125, 1), person(260 - 7 * t, 115, 2)
        found = d(scene([left, right]))
        assert 1 <= len(found) <= 2
        apart = abs(left[0][0] - right[0][0])
        if apart > 60 and not 14 < t < 14 + EVERY:
            assert len(found) == 2, t
            np.testing.assert_allclose(hips(found), sorted([left[0].tolist(), right[0].tolist()]), atol=6)


def test_a_small_person_in_a_wide_picture_is_looked_for_in_squares():
    looked = views(1920, 1080)
    np.testing.assert_allclose(looked[0], [960, 540, 1920, 0])
    assert all(v[2] == 1080 for v in looked[1:]) and looked[1][0] == 540 and looked[-1][0] == 1380
    assert max(np.diff([v[0] for v in looked[1:]])) <= 540
    tall = views(480, 640)
    assert tall[1][:2].tolist() == [240, 240] and tall[-1][:2].tolist() == [240, 400]
    assert len(views(500, 480)) == 1


def test_the_crop_stands_still_on_trembling_and_keeps_up_with_running():
    old = detector().look(scene([person(100, 120, 1)]), np.array([100, 120, 120, 0.0]))
    shaken = [steady(old.raw + RNG.normal(0, 0.5, (2, 2)), old)[0] - old.place for _ in range(200)]
    assert np.std(shaken) < 0.25
    place, slope, raw = old.place, old.slope, old.raw
    for _ in range(30):  # a sixth of the diameter a frame
        raw = raw + [15.0, 0]
        moved = type(old)(old.points, old.sure, 0.9, raw - [15.0, 0], place, slope)
        place, slope = steady(raw, moved)
    assert np.abs(place - raw).max() < 3


def test_its_joints_serve_the_lifter():
    people = detector()(scene([person(160, 120, 1)]))
    h36m = joint_map(COCO_FEET_21, H36M_17) @ people[0, :, :2]
    np.testing.assert_allclose(h36m[H36M_17.root], [160, 120], atol=4)
