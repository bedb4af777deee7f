"""Bodies: smoothing, one skeleton, the vertical, feet that stand, each on motion whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.geometry.ground import ground_axes, on_ground
from common.geometry.skeleton import COCO_17, H36M_17, part_of
from common.scoring.metrics import bone_lengths
from common.settings.wild import BodySettings
from common.wild import standing
from common.wild.bodies import believable
from common.wild.lifting import camera_of
from common.wild.skeletons import median_lengths, nearest_with_lengths
from common.wild.smoothing import penalised, smooth, strength_of
from tests.people import in_camera, walker

LEGS = standing.legs_of(H36M_17)
FPS = 50.0


def jitter(poses):
    return np.linalg.norm(np.diff(poses, n=2, axis=0), axis=-1).mean()


def test_the_smoother_keeps_parabolas_and_halves_a_wave_at_its_cutoff():
    time = np.arange(200) / FPS
    curve = np.stack([1 + 2 * time - 3 * time**2, time], 1)
    np.testing.assert_allclose(penalised(curve, np.full(197, strength_of(2.0, FPS))), curve, atol=1e-6)
    wave = np.sin(2 * np.pi * 2.0 * time)[:, None]
    smoothed = penalised(wave, np.full(197, strength_of(2.0, FPS)))
    assert np.abs(smoothed[50:150]).max() == pytest.approx(0.5, abs=0.02)


def test_frames_without_weight_are_bridged():
    time = np.arange(60) / FPS
    curve, weights = (time**2)[:, None], np.ones(60)
    weights[20:40] = 0
    broken = np.where(weights[:, None] > 0, curve, np.nan)
    np.testing.assert_allclose(penalised(broken, np.full(57, 100.0), weights), curve, atol=1e-4)


@pytest.mark.parametrize("fps", [25.0, 240.0, 960.0, 10_000.0])
def test_what_stands_still_stays_at_every_rate(fps):
    x = np.ones((500, 2, 3))
    assert np.abs(smooth(x, fps, 1.5, 4.0) - x).max() < 1e-7


def test_smoothing_removes_jitter_and_keeps_a_kick():
    rng = np.random.default_rng(0)
    time = np.arange(150) / FPS
    kick = np.exp(-(((time - 1.5) / 0.12) ** 2))[:, None, None] * [0.0, 0.6, 0.3]
    noisy = kick + 0.01 * rng.standard_normal((150, 1, 3))
    calm = smooth(noisy, FPS, 1.5, 4.0)
    assert jitter(calm[:50]) < 0.05 * jitter(noisy[:50])
    assert np.linalg.norm(calm, axis=-1).max() > 0.93 * np.linalg.norm(kick, axis=-1).max()
    heavy = smooth(noisy, FPS, 1.5, 0.0)  # without the speed the kick is lost
    assert np.linalg.norm(heavy, axis=-1).max() < 0.75 * np.linalg.norm(kick, axis=-1).max()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5))
def test_short_clips_come_back(seed, frames):
    x = np.random.default_rng(seed).normal(size=(frames, 17, 3))
    assert np.isfinite(smooth(x, 25.0, 1.5, 4.0)).all()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_bones_have_their_lengths_and_a_good_pose_is_left_alone(seed):
    rng = np.random.default_rng(seed)
    truth = walker(30)
    truth = truth - truth[:, :1]
    lengths = median_lengths(truth[None], H36M_17)
    np.testing.assert_allclose(nearest_with_lengths(truth, lengths, H36M_17), truth, atol=1e-9)
    noisy = truth + 0.03 * rng.standard_normal(truth.shape)
    noisy = noisy - noisy[:, :1]
    fitted = nearest_with_lengths(noisy, lengths, H36M_17)
    import torch

    found = bone_lengths(torch.from_numpy(fitted), H36M_17).numpy()
    assert np.abs(found.std(0)).max() < 1e-9
    assert np.linalg.norm(fitted - truth, axis=-1).mean() < np.linalg.norm(noisy - truth, axis=-1).mean()


def test_lengths_are_of_both_sides_and_of_what_was_seen():
    poses = np.stack([walker(20), walker(20)])
    known = np.ones((20, 17), bool)
    poses[:, 10:, H36M_17.index("LWrist")] += 1.0
    known[10:, H36M_17.index("LWrist")] = False
    lengths = median_lengths(poses, H36M_17, known)
    left, right = (H36M_17.index(s + "Wrist") for s in "LR")
    assert lengths[left] == lengths[right] == pytest.approx(np.hypot(0.24, 0.028), abs=1e-2)
    assert lengths[H36M_17.root] == 0


@pytest.mark.parametrize("pitch, roll", [(0, 0), (20, 0), (-15, 3), (35, -2)])
def test_the_vertical_of_a_walk(pitch, roll):
    """A camera that looks down sees the walker tilted; steps and the body's axis tell by how much."""
    up = standing.up_of(np.radians(pitch), np.radians(roll))
    world = walker(150)
    seen = (world - [0, 0, 1.0]) @ ground_axes(up) + [0, 0, 6.0]
    contact = world[:, list(LEGS.feet), 2] < world[:, list(LEGS.feet), 2].min() + 0.03
    axes, upright = standing.upright(seen, contact, H36M_17, LEGS)
    assert upright.mean() > 0.5
    steps = standing.steps_of(seen, contact, LEGS)
    found = standing.vertical(standing.level_axes(axes[upright]), upright.sum() / FPS, upright.mean(), [steps])
    assert np.degrees(np.arccos(found @ up)) < 7
    told = standing.vertical(axes, 3.0, 1.0, [steps], pitch)
    assert np.degrees(np.arccos(told @ up)) <= abs(roll) + 1e-6
    assert (standing.vertical(axes[:0], 0.0, 0.0, []) == standing.up_of(0, 0)).all()
    standing_on = on_ground(seen, up, float(np.median(steps @ up)))
    assert abs(np.median(standing_on[..., list(LEGS.feet), 2][contact])) < 0.03


def test_the_mass_of_a_body():
    weight = standing.weight_of(H36M_17)
    assert weight.sum() == pytest.approx(1) and weight[H36M_17.index("Thorax")] > weight[H36M_17.index("LWrist")]
    centre = weight @ walker(1)[0]
    assert 0.9 < centre[2] < 1.15  # of somebody 1.7 m tall
    assert not standing.weight_of(COCO_17).any()


def stepping(frames=200, drift=0.1):
    """Somebody who stands on both feet before the camera while the estimate of the place drifts; and the truth."""
    truth = np.repeat(in_camera(walker(1)), frames, 0).astype(float)
    sway = 0.02 * np.sin(np.arange(frames) / 15)[:, None]
    truth[:, [j for j in range(17) if j not in (LEGS.feet + LEGS.knees)], 0] += sway
    truth = nearest_with_lengths(truth, median_lengths(truth[None], H36M_17), H36M_17)
    truth = standing.planted(truth, np.ones((frames, 2), bool), FPS, LEGS)
    return truth + np.sin(np.arange(frames) / 15)[:, None, None] * [0.1 * drift, 0, drift], truth


def test_feet_that_stand_do_not_slide_and_bones_keep_their_length():
    wrong, truth = stepping()
    rays = truth[..., :2] / truth[..., 2:]
    seen = np.ones(rays.shape[:2], bool)
    stands = standing.contacts(wrong, rays, seen, FPS, standing.up_of(0, 0), LEGS)
    assert stands.mean() > 0.95
    moved = wrong + standing.anchored(wrong, stands, LEGS)[:, None]
    fixed = standing.planted(moved, stands, FPS, LEGS)
    feet = list(LEGS.feet)

    def slide(poses):
        return np.linalg.norm(np.diff(poses[:, feet], axis=0), axis=-1).mean()

    assert slide(moved) < 0.4 * slide(wrong) and slide(fixed) < 1e-4
    before, after = (median_lengths(x[None], H36M_17) for x in (wrong, fixed))
    np.testing.assert_allclose(after, before, atol=1e-6)
    assert jitter(fixed) < 3 * jitter(truth)


def test_standing_feet_come_to_the_floor():
    poses = np.repeat(in_camera(walker(1)), 150, 0).astype(float)
    up, ground = standing.up_of(0.2, 0.05), np.array([0.05, 1.1, 4.0])
    poses = (poses - poses[:, LEGS.feet[0], None]) @ ground_axes([0, -1, 0]).T @ ground_axes(up) + ground
    drift = 0.08 * np.sin(np.arange(150) / 40)[:, None, None] * up
    floor = float((poses[:, list(LEGS.feet)] @ up).mean())
    stands = np.ones((150, 2), bool)
    stands[60:90] = False
    moved = poses + drift + standing.lowered(poses + drift, stands, FPS, up, floor, LEGS)[:, None]
    assert np.abs(moved[:, list(LEGS.feet)] @ up - floor)[stands].max() < 0.02
    assert jitter(moved) < 1e-3
    far = standing.lowered(poses + up, stands, FPS, up, floor, LEGS)  # a metre up: a table, no error
    assert not far.any()


def test_a_fast_foot_stands_not_and_a_leg_out_of_reach_is_straight():
    truth = in_camera(walker(100)).astype(float)
    rays = truth[..., :2] / truth[..., 2:]
    stands = standing.contacts(truth, rays, np.ones(rays.shape[:2], bool), FPS, standing.up_of(0, 0), LEGS)
    speed = np.linalg.norm(np.gradient(truth[:, list(LEGS.feet)], axis=0), axis=-1) * FPS
    assert not stands[speed > 2.2].any()
    hip, knee, foot = np.zeros((1, 3)), np.array([[0.1, 0.4, 0]]), np.array([[0, 0.8, 0.0]])
    knee_to, foot_to = standing.two_bones(hip, knee, foot, np.array([[0, 3.0, 0]]))
    assert np.linalg.norm(foot_to) == pytest.approx(np.linalg.norm(knee_to) * 2, rel=1e-3)
    knee_to, foot_to = standing.two_bones(hip, knee, foot, np.array([[0.2, 0.6, 0.1]]))
    np.testing.assert_allclose(foot_to, [[0.2, 0.6, 0.1]])
    assert np.linalg.norm(knee_to) == pytest.approx(np.hypot(0.1, 0.4))


def person_of(poses, rng, hypotheses=3):
    camera = camera_of((1280, 720), 1100.0)
    pixels = poses[..., :2] / poses[..., 2:] * 1100 + [640, 360]
    several = poses + 0.03 * rng.standard_normal((hypotheses, *poses.shape))
    several -= several[:, :, :1] - poses[:, :1]
    everything = np.ones(poses.shape[:2], bool)
    person = {"id": 1, "positions": several.mean(0).astype(np.float32), "hypotheses": several.astype(np.float32),
              "keypoints_2d": pixels.astype(np.float32), "mask": everything, "known": everything}  # fmt: skip
    return person, camera


def test_each_step_has_its_effect_and_its_flag():
    poses = in_camera(walker(120)).astype(float)
    person, camera = person_of(poses, np.random.default_rng(0))
    confidence = [np.ones(poses.shape[:2], np.float32)]

    def body(**flags):
        return believable([person], confidence, H36M_17, camera, FPS, BodySettings(**flags), 0.5)[0]

    done, nothing = body(), body(no_smoothing=True, no_skeleton=True, no_floor=True, no_feet=True)
    np.testing.assert_array_equal(nothing["positions"], person["positions"])
    assert "up" not in nothing and "floor" in done
    np.testing.assert_array_equal(done["positions_raw"], person["positions"])

    def error(result):
        relative = result["positions"] - result["positions"][:, :1]
        return np.linalg.norm(relative - (poses - poses[:, :1]), axis=-1).mean()

    def spread(result):
        parts = [result["positions"][:, a] - result["positions"][:, b] for a, b in H36M_17.edges]
        return max(np.linalg.norm(bone, axis=-1).std() for bone in parts)

    assert error(done) < 0.7 * error(nothing) and jitter(done["positions"]) < 0.3 * jitter(nothing["positions"])
    assert spread(done) < 1e-4 < spread(body(no_skeleton=True))
    assert jitter(body(no_smoothing=True)["positions"]) > 3 * jitter(done["positions"])
    assert np.degrees(np.arccos(np.clip(done["up"] @ [0, -1, 0], -1, 1))) < 5
    assert np.abs(body(no_feet=True)["positions"] - done["positions"]).max() > 1e-3
    pitched = body(camera_pitch=10.0)["up"]
    np.testing.assert_allclose(pitched, standing.up_of(np.radians(10), 0), atol=1e-6)
    root = done["hypotheses"][:, :, :1]
    np.testing.assert_allclose(root, np.broadcast_to(done["positions"][:, :1], root.shape), atol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_a_picture_is_a_body_too(frames):
    poses = in_camera(walker(frames)).astype(float)
    person, camera = person_of(poses, np.random.default_rng(0))
    confidence = [np.ones(poses.shape[:2], np.float32)]
    body = believable([person], confidence, H36M_17, camera, FPS, BodySettings(), 0.5)[0]
    assert np.isfinite(body["positions"]).all() and np.linalg.norm(body["up"]) == pytest.approx(1)


def test_absences_stay_absences():
    poses = in_camera(walker(120)).astype(float)
    person, camera = person_of(poses, np.random.default_rng(0))
    for key in ("positions", "hypotheses"):
        person[key][..., 40:80, :, :] = np.nan
    body = believable([person], [np.ones((120, 17), np.float32)], H36M_17, camera, FPS, BodySettings(), 0.5)[0]
    present = np.isfinite(body["positions"]).all((1, 2))
    assert (~present).nonzero()[0].tolist() == list(range(40, 80))


def test_a_part_of_a_skeleton():
    upper, joints = part_of(H36M_17, [j for j, name in enumerate(H36M_17.joints) if "Knee" not in name and
                                      "Foot" not in name])  # fmt: skip
    assert len(upper) == 13 and upper.root == 0 and not {"LKnee", "RFoot"} & set(upper.joints)
    assert [H36M_17.joints[j] for j in joints] == list(upper.joints)
    for n, parent in enumerate(upper.parents):
        whole = H36M_17.parents[joints[n]]
        assert (joints[parent] if parent >= 0 else -1) == whole
    assert [upper.joints[a][1:] for a in upper.left] == [upper.joints[b][1:] for b in upper.right]
    assert part_of(COCO_17, [])[0].joints == ("Nose",)
    hand, _ = part_of(H36M_17, [H36M_17.index("LWrist")])
    assert hand.joints == ("Hip", "Spine", "Thorax", "LShoulder", "LElbow", "LWrist")
