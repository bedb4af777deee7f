"""The detector's fit, on a recording that the made detector itself made: what went in comes out."""

import numpy as np
import pytest

from benchmarks.fit_detector import fit, residuals
from common.datasets.actions import synthetic_motion
from common.datasets.synthetic.detector import detect, table
from common.geometry.camera import Camera, screen_intrinsics
from common.geometry.skeleton import COCO_17, H36M_17, joint_map
from common.multiview.folders import Take
from common.multiview.matching import Person
from common.multiview.triangulation import reproject
from common.programs.multiview import Recording

FPS, FRAMES, SIZE = 60.0, 240, (1920, 1080)


def camera(number: int) -> Camera:
    """One of five around the origin, 4 m away, looking at it; rotations are written as quaternions about z, then x."""
    angle = 2 * np.pi * (number + 0.3) / 5
    turn = (angle + np.pi / 2) / 2  # the camera's forward axis points to the origin
    level = np.array([np.cos(np.pi / 4), -np.sin(np.pi / 4), 0, 0])  # z forward, y down
    w, x = level[:2]
    c, s = np.cos(turn), np.sin(turn)
    rotation = (c * w, c * x, s * x, s * w)
    place = (4 * np.cos(angle), 4 * np.sin(angle), 1.0)
    numbers = screen_intrinsics((1100, 1100), (960, 540), (0, 0, 0), (0, 0), *SIZE)
    return Camera(f"c{number}", *SIZE, numbers, rotation, place)


def recording(constants: dict, seed: int = 0) -> Recording:
    rng = np.random.default_rng(seed)
    joints = synthetic_motion("S6", "Greeting", FRAMES, rng, fps=FPS)
    joints = joints - [*joints[:, 0, :2].mean(0), 0]
    world = np.linalg.pinv(joint_map(COCO_17, H36M_17).astype(float)) @ joints  # COCO joints that map to these
    cameras = [camera(number) for number in range(5)]
    views = []
    for one in cameras:
        exact = reproject(world, one)
        assert np.isfinite(exact).all()
        keypoints, sure = detect(exact, COCO_17, SIZE, FPS, rng, constants=constants)
        keypoints[sure == 0] = 0
        views.append([np.concatenate([k, c[:, None]], -1)[None] for k, c in zip(keypoints, sure, strict=True)])
    person = Person(np.zeros((5, FRAMES), int), world[0], FRAMES - 1)
    return Recording(Take("made", [], []), cameras, COCO_17, FPS, views, [person], [], 0)


@pytest.fixture(scope="module")
def fitted() -> dict:
    known = table() | {"swap_rate": 0.0}
    made = [recording(known, seed) for seed in (1, 2)]
    return fit([residuals(one, one.people[0]) for one in made], draws=1)


def test_the_size_of_the_errors_comes_back(fitted):
    for joint in ("Shoulder", "Elbow", "Hip", "Knee", "Ankle"):
        assert fitted["joints"][joint]["scale"] == pytest.approx(table()["joints"][joint]["scale"], rel=0.35)
    hip, knee = (fitted["joints"][joint]["scale"] for joint in ("Hip", "Knee"))
    assert hip > 1.4 * knee


def test_confidence_and_episodes_come_back(fitted):
    for joint in ("Shoulder", "Knee"):
        assert fitted["joints"][joint]["confidence"] == pytest.approx(table()["joints"][joint]["confidence"], abs=0.05)
    assert fitted["hard_confidence"] == pytest.approx(table()["hard_confidence"], abs=0.05)
    wrist, hip = (fitted["joints"][joint]["hard_rate"] for joint in ("Wrist", "Hip"))
    assert wrist > hip
    assert fitted["joints"]["Knee"]["hard_seconds"] == pytest.approx(0.046, rel=0.5)


def test_errors_that_stay_are_told_from_errors_that_go(fitted):
    assert 0.3 < fitted["slow_seconds"] < 3 and fitted["fast_seconds"] < fitted["slow_seconds"]
    quick = recording(table() | {"slow_seconds": 0.05, "fast_seconds": 0.02, "swap_rate": 0.0})
    found = residuals(quick, quick.people[0])
    slow = recording(table() | {"swap_rate": 0.0})
    other = residuals(slow, slow.people[0])

    def memory(r):
        error = np.clip(r.error, *np.nanquantile(r.error, (0.01, 0.99)))
        return np.nanmean(error[:, 12:] * error[:, :-12]) / np.nanmean(error**2)

    assert memory(other) > memory(found) + 0.2


def test_keypoints_without_a_detector_are_no_data():
    made = recording(table())
    views = [[np.where(np.arange(3) == 2, 1.0, frame) for frame in view] for view in made.views]
    fake = Recording(made.take, made.cameras, COCO_17, FPS, views, made.people, [], 0)
    assert residuals(fake, fake.people[0]) is None
