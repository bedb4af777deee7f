"""The made detector: errors of the size, memory, tails and confidence that its table says."""

import numpy as np
import pytest

from common.datasets.synthetic.detector import DETECTORS, detect, detect_old, person_size, table
from common.geometry.skeleton import BODY_25, COCO_17, H36M_17, HUMANEVA_15, MPI_INF_3DHP_17, STEREO_17, joint_map

SIZE, FPS = (1000, 1000), 50.0


def still(skeleton=COCO_17, frames=1500) -> np.ndarray:
    """Exact pixels (T, J, 2) of a person who stands still: joints spread over 300 x 600 pixels."""
    pose = np.random.default_rng(1).uniform((350, 200), (650, 800), (len(skeleton), 2))
    return np.repeat(pose[None], frames, 0)


def quiet(**other) -> dict:
    """The table without episodes of any kind, and other constants."""
    joints = {name: row | {"hard_rate": 0.0} for name, row in table()["joints"].items()}
    return table() | {"joints": joints, "swap_rate": 0.0} | other


def errors(pixels, skeleton, constants=None, count=12, size=SIZE):
    drawn = [detect(pixels, skeleton, size, FPS, np.random.default_rng(n), constants=constants) for n in range(count)]
    return np.stack([keypoints - pixels for keypoints, _ in drawn]), np.stack([sure for _, sure in drawn])


def test_the_same_seed_gives_the_same_keypoints():
    pixels = still(frames=60)
    first, again, other = (detect(pixels, COCO_17, SIZE, FPS, np.random.default_rng(n)) for n in (3, 3, 4))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert np.abs(first[0] - other[0]).max() > 1
    np.testing.assert_array_equal(pixels, still(frames=60))  # the input is left alone


@pytest.mark.parametrize("joint", ["LHip", "RKnee"])
def test_errors_are_as_wide_as_the_table_says(joint):
    pixels = still()
    away, _ = errors(pixels, COCO_17, quiet(track_spread=0.0, grid=10**6))
    share = away[:, :, COCO_17.index(joint)] / person_size(pixels, COCO_17)[:, None]
    assert share.std() == pytest.approx(table()["joints"][joint[1:]]["scale"], rel=0.15)


def test_errors_scale_with_the_person():
    pixels = still(frames=200)
    near, _ = errors(pixels, COCO_17, quiet(grid=10**6))
    far, _ = errors(pixels / 4, COCO_17, quiet(grid=10**6))
    np.testing.assert_allclose(near, 4 * far, atol=1e-2)


def test_errors_remember():
    """The autocovariance is the table's mixture of two exponentials."""
    away, _ = errors(still(frames=4000), COCO_17, quiet(track_spread=0.0, grid=10**6))
    known = table()
    for lag in (2, 5, 20):
        both = (away[:, lag:] * away[:, :-lag]).mean() / (away**2).mean()
        decay = [np.exp(-lag / FPS / known[f"{part}_seconds"]) for part in ("slow", "fast")]
        expected = known["slow_share"] * decay[0] + (1 - known["slow_share"]) * decay[1]
        assert both == pytest.approx(expected, abs=0.05)


def test_a_still_joint_stands_on_the_detectors_grid():
    keypoints, _ = detect(still(), COCO_17, SIZE, FPS, np.random.default_rng(0), constants=quiet())
    step = SIZE[1] / table()["grid"]
    np.testing.assert_allclose(keypoints / step % 1, 0.5, atol=1e-6)
    stands = (np.diff(keypoints, axis=0) == 0).all(-1).mean()
    assert 0.3 < stands < 0.95  # most frames no step, some a step


def test_motion_adds_jitter():
    pixels = still(frames=400)
    moving = pixels + 300 * np.sin(np.arange(400) / 8)[:, None, None] * [1, 0]
    changes = []
    for exact in (pixels, moving):
        away, _ = errors(exact, COCO_17, quiet(grid=10**6), size=(10**4, 10**4))
        changes.append(np.diff(away, axis=1).std())
    assert changes[1] > 1.5 * changes[0]


def test_what_is_hard_to_see_is_unsure_and_farther_off():
    away, sure = errors(still(), COCO_17, quiet() | {"joints": table()["joints"]}, 20)
    length, wrist = np.linalg.norm(away, axis=-1), [COCO_17.index("LWrist"), COCO_17.index("LElbow")]
    low = (sure[:, :, wrist] > 0) & (sure[:, :, wrist] < 0.4)
    assert 0.01 < low.mean() < 0.2
    assert length[:, :, wrist][low].mean() > 1.6 * length[:, :, wrist][~low].mean()
    lost = sure == 0
    assert lost[:, :, COCO_17.index("LEar")].mean() > lost[:, :, COCO_17.index("LHip")].mean() > 0
    assert (sure >= 0).all() and (sure <= 1).all()


def test_limbs_change_sides_together():
    pixels = still()
    constants = quiet(swap_rate=0.5)
    away, _ = errors(pixels, COCO_17, constants, 4)
    left, right = COCO_17.index("LKnee"), COCO_17.index("RKnee")
    gap = pixels[0, right] - pixels[0, left]
    on = np.linalg.norm(away[:, :, left] - gap, axis=-1) < 60
    share = 0.5 * constants["swap_seconds"] / (1 + 0.5 * constants["swap_seconds"])
    assert on.mean() == pytest.approx(share, rel=0.5)
    ankle = pixels[0, COCO_17.index("RAnkle")] - pixels[0, COCO_17.index("LAnkle")]
    np.testing.assert_array_equal(on, np.linalg.norm(away[:, :, COCO_17.index("LAnkle")] - ankle, axis=-1) < 60)
    shoulder = np.linalg.norm(away[:, :, COCO_17.index("LShoulder")], axis=-1)
    assert np.quantile(shoulder, 0.999) < 60


def test_a_lost_joint_moves_with_the_body():
    """Who crosses the picture takes along the head that the detector lost, also before its first sight."""
    pixels = still(H36M_17, 400)
    pixels = pixels + np.linspace(-300, 300, 400)[:, None, None] * [1, 0]
    calm = {name: row | {"lost_share": 1.0} for name, row in table()["joints"].items()}
    away, sure = errors(pixels, H36M_17, table() | {"joints": calm, "swap_rate": 0.0}, size=(3000, 1000))
    share = np.linalg.norm(away, axis=-1) / person_size(pixels, H36M_17)[:, None]
    assert (sure == 0)[..., H36M_17.index("Head")].mean() > 0.2
    assert share[sure == 0].max() < 0.2


def test_outside_the_picture_a_joint_is_lost_and_stays_inside():
    pixels = still(frames=100)
    pixels[30:, 9] = (1200, -50)
    keypoints, sure = detect(pixels, COCO_17, SIZE, FPS, np.random.default_rng(0), constants=quiet())
    assert (sure[30:, 9] == 0).all() and (sure[:30, 9] > 0).all()
    assert np.isfinite(keypoints).all() and (keypoints[30:, 9] >= 0).all() and (keypoints[30:, 9] < 1000).all()
    from_elbow = keypoints[29:, 9] - keypoints[29:, 7]
    np.testing.assert_allclose(from_elbow, np.repeat(from_elbow[:1], 71, 0), atol=1e-9)


@pytest.mark.parametrize("skeleton", [COCO_17, H36M_17, HUMANEVA_15, MPI_INF_3DHP_17, STEREO_17])
def test_every_layout_that_a_map_reaches(skeleton):
    keypoints, sure = detect(still(skeleton, 20), skeleton, SIZE, FPS, np.random.default_rng(0))
    assert keypoints.shape == (20, len(skeleton), 2) and sure.shape == (20, len(skeleton))
    assert np.isfinite(keypoints).all()


def test_a_layout_that_none_reaches_is_refused():
    with pytest.raises(KeyError):
        detect(still(BODY_25, 5), BODY_25, SIZE, FPS, np.random.default_rng(0))


def test_joints_made_of_several_err_less_and_are_as_sure_as_the_least():
    away, _ = errors(still(H36M_17), H36M_17, quiet(track_spread=0.0, grid=10**6))
    wide = away.std((0, 1, 3))
    hip, left = (wide[H36M_17.index(joint)] for joint in ("Hip", "LHip"))
    assert hip == pytest.approx(left / np.sqrt(2), rel=0.15)
    parts = (joint_map(COCO_17, H36M_17)[H36M_17.index("Spine")] != 0).sum()
    assert parts == 4 and wide[H36M_17.index("Spine")] < hip


def test_one_frame_is_enough():
    keypoints, sure = detect(still(STEREO_17, 1), STEREO_17, SIZE, FPS, np.random.default_rng(0))
    assert keypoints.shape == (1, 17, 2) and sure.shape == (1, 17)


def test_the_old_guess_keeps_its_numbers():
    """Taken from the code before the fit: the same seed, the same keypoints."""
    pixels = np.linspace(100, 900, 40 * 17 * 2).reshape(40, 17, 2)
    keypoints, sure = DETECTORS["old"](pixels, H36M_17, SIZE, FPS, np.random.default_rng(11))
    assert DETECTORS["old"] is detect_old and (sure == 1).all()
    np.testing.assert_allclose(keypoints[[0, 17, 39], [0, 3, 16]], OLD, atol=1e-6)


OLD = [
    [99.68521101317891, 100.35119498838782],
    [439.63469526445925, 444.10063574759334],
    [898.8989623423538, 910.5106655912994],
]
