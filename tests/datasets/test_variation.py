"""New bodies and motions: bones keep their lengths or change as told, and nothing leaves its joint."""

import numpy as np
import pytest

from common.datasets import variation
from common.datasets.random_cameras import random_view
from common.datasets.synthetic.face import FACE, TRUNK, coco_points
from common.geometry.skeleton import COCO_17, H36M_17
from tests.people import walker


def lengths(poses):
    return np.stack([np.linalg.norm(poses[:, j] - poses[:, p], axis=-1) for j, p in H36M_17.edges], 1)


def test_bones_put_together_again_are_the_poses():
    poses = walker()
    np.testing.assert_allclose(variation.assembled(variation.bones(poses, H36M_17), H36M_17), poses, atol=1e-12)


def test_another_body_has_bones_of_one_length_alike_on_both_sides():
    poses, sizes = walker(), []
    for seed in range(120):
        other = variation.with_proportions(poses, H36M_17, np.random.default_rng(seed))
        factor = lengths(other) / lengths(poses)
        assert np.ptp(factor, axis=0).max() < 1e-9
        by_joint = {H36M_17.joints[j]: factor[0, n] for n, (j, _) in enumerate(H36M_17.edges)}
        for name in ("Hip", "Knee", "Foot", "Shoulder", "Elbow", "Wrist"):
            assert by_joint["L" + name] == pytest.approx(by_joint["R" + name])
        sizes.append((by_joint["LKnee"], by_joint["Head"] / by_joint["Thorax"]))
    legs, heads = np.array(sizes).T
    assert legs.min() < 0.85 < 1.0 < legs.max() < 1.4
    assert heads[legs < 0.75].mean() > 1.1  # children have large heads


def test_other_arms_come_with_the_same_legs_and_bones():
    legs, arms = walker(60), variation.with_posture(walker(60, phase=1.0), 50.0, H36M_17, np.random.default_rng(1))
    turned = arms @ np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]).T  # another heading
    mixed = variation.with_other_arms(legs, turned, H36M_17)
    below = [H36M_17.index(n) for n in ("Hip", "RHip", "RKnee", "RFoot", "LHip", "LKnee", "LFoot")]
    np.testing.assert_allclose(mixed[:, below], legs[:, below], atol=1e-9)
    np.testing.assert_allclose(lengths(mixed), lengths(legs), atol=1e-9)
    same = variation.with_other_arms(legs, arms, H36M_17)
    np.testing.assert_allclose(mixed, same, atol=1e-9)  # the other take's heading does not matter
    assert np.abs(mixed - legs).max() > 0.1


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_speed(factor):
    poses = walker(100)
    other = variation.at_speed(poses, factor)
    assert len(other) == pytest.approx(100 / factor, abs=1.1)
    if factor >= 1:
        np.testing.assert_allclose(other, poses[:: int(factor)], atol=1e-9)
    else:
        np.testing.assert_allclose(other[::2], poses, atol=1e-9)


def test_postures_keep_bones_trunk_and_smoothness():
    poses, flexion = walker(200), []
    trunk = [H36M_17.index(n) for n in ("Hip", "RHip", "LHip", "Spine", "Thorax", "Nose", "Head")]
    for seed in range(30):
        other = variation.with_posture(poses, 50.0, H36M_17, np.random.default_rng(seed))
        np.testing.assert_allclose(lengths(other), lengths(poses), atol=1e-9)
        np.testing.assert_allclose(other[:, trunk], poses[:, trunk], atol=1e-9)
        assert np.linalg.norm(np.diff(other, 2, axis=0), axis=-1).max() < 0.02  # metres a frame and frame
        thigh = other[:, H36M_17.index("LKnee")] - other[:, H36M_17.index("LHip")]
        flexion.append(np.degrees(np.arccos(-thigh[0, 2] / np.linalg.norm(thigh[0]))))
    assert max(flexion) > 80


def test_knees_bend_backwards_and_elbows_forwards():
    frame = tuple(np.tile(v, (1, 1)) for v in ([1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]))  # left, up, forward
    for side in "LR":
        thigh, shin = variation._leg(frame, side, np.radians([[0.0, 0, 90, 0]]))
        np.testing.assert_allclose(thigh, [[0, 0, -1]], atol=1e-9)
        np.testing.assert_allclose(shin, [[0, 1, 0]], atol=1e-9)  # behind
        thigh, shin = variation._leg(frame, side, np.radians([[90.0, 0, 90, 0]]))
        np.testing.assert_allclose([thigh[0], shin[0]], [[0, -1, 0], [0, 0, -1]], atol=1e-9)  # on a chair
        out = 1 if side == "L" else -1
        thigh, shin = variation._leg(frame, side, np.radians([[90.0, 45, 120, 90]]))
        assert thigh[0, 0] * out > 0.6 and shin[0, 0] * out < -0.5 and abs(shin[0, 2]) < 0.1  # cross-legged


def test_smooth_noise_has_unit_variance_and_memory():
    x = variation.smooth_noise((20_000, 3), 0.5, 50.0, np.random.default_rng(0))
    np.testing.assert_allclose(x.std(0), 1, atol=0.1)
    assert np.corrcoef(x[:-5, 0], x[5:, 0])[0, 1] > 0.95
    assert abs(np.corrcoef(x[:-200, 0], x[200:, 0])[0, 1]) < 0.2


def test_the_face_looks_where_the_chest_does_and_grows_with_the_body():
    poses = walker(400)
    points = coco_points(poses, 50.0, np.random.default_rng(0))
    at = {name: points[:, j] for j, name in enumerate(COCO_17.joints)}
    ears = (at["LEar"] + at["REar"]) / 2
    forward = (at["Nose"] - ears).mean(0)
    assert forward[1] < -0.05 and abs(forward[2]) < 0.06  # the walker walks along -y
    assert (at["LEar"] - at["REar"]).mean(0)[0] > 0.05
    np.testing.assert_allclose(at["LAnkle"], poses[:, H36M_17.index("LFoot")])
    half = coco_points(0.5 * poses, 50.0, np.random.default_rng(0))
    width = np.linalg.norm(points[:, 3] - points[:, 4], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(half[:, 3] - half[:, 4], axis=-1), width * 0.5**0.4, rtol=1e-6)
    trunk = np.linalg.norm((at["LShoulder"] + at["RShoulder"] - at["LHip"] - at["RHip"]) / 2, axis=-1)
    np.testing.assert_allclose(width, 2 * FACE["LEar"][0] * (np.median(trunk) / TRUNK) ** 0.4, rtol=1e-6)


def test_steep_cameras_look_from_the_ground_and_from_the_ceiling():
    pitches = []
    for seed in range(60):
        camera, _ = random_view(walker(20), np.random.default_rng(seed), steep=1.0)
        w, x, y, z = camera.rotation
        pitches.append(np.degrees(-np.arcsin(1 - 2 * (x * x + y * y))))  # how far the optical axis looks down
    assert min(pitches) < -15 and max(pitches) > 55
