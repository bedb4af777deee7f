"""`poses.npz` comes back as written; the check picture shows names and both sides."""

import numpy as np
import pytest

from common.errors import UserError
from common.files.poses import read_poses, spread_of, write_poses
from common.geometry.skeleton import H36M_17
from common.wild.check import write_check
from tests.people import in_camera, pixels, walker


def test_poses_round_trip_without_pickles(tmp_path):
    rng = np.random.default_rng(0)
    people = []
    for number in (4, 9):
        positions = in_camera(walker(10))
        hypotheses = positions + rng.normal(0, 0.02, (3, 10, 17, 3))
        people.append(
            {
                "id": number,
                "first": number,
                "positions": positions,
                "hypotheses": hypotheses,
                "spread": spread_of(hypotheses),
                "keypoints_2d": pixels(positions),
                "mask": rng.random((10, 17)) > 0.2,
            }
        )
    write_poses(tmp_path / "poses.npz", people, 29.97, H36M_17, card={"model": "mixste", "data": "CMU"})
    with np.load(tmp_path / "poses.npz", allow_pickle=False) as archive:
        assert str(archive["units"]) == "m" and {name: archive[name] for name in archive}
    back, fps, joints, card = read_poses(tmp_path / "poses.npz")
    assert (fps, joints, card) == (29.97, H36M_17.joints, {"model": "mixste", "data": "CMU"})
    for before, after in zip(people, back, strict=True):
        assert after["id"] == before["id"] and after["first"] == before["first"]
        for name in ("positions", "hypotheses", "spread", "keypoints_2d", "mask"):
            np.testing.assert_allclose(after[name], before[name], rtol=1e-6)


def test_spread_is_the_distance_of_known_hypotheses():
    poses = np.zeros((2, 1, 1, 3))
    poses[0, ..., 0], poses[1, ..., 0] = 0.03, -0.03
    np.testing.assert_allclose(spread_of(poses), 0.03)


def test_errors(tmp_path):
    person = {"id": 1, "positions": walker(5)}
    with pytest.raises(UserError, match="one id"):
        write_poses(tmp_path / "p.npz", [person, person], 50, H36M_17)
    with pytest.raises(UserError, match="spread has the shape"):
        write_poses(tmp_path / "p.npz", [person | {"spread": np.zeros((4, 17))}], 50, H36M_17)
    with pytest.raises(UserError, match="has 17 joints"):
        from common.geometry.skeleton import HUMANEVA_15

        write_poses(tmp_path / "p.npz", [person], 50, HUMANEVA_15)
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(UserError, match="not a readable file of poses"):
        read_poses(tmp_path / "other.npz")


def test_check_picture(tmp_path):
    from PIL import Image

    keypoints = pixels(in_camera(walker(6)))
    write_check(tmp_path / "a.png", keypoints, H36M_17, images=[np.full((720, 1280, 3), 200, np.uint8)] * 2)
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    blue = (picture[..., 2] - picture[..., 0] > 100).sum()
    orange = (picture[..., 0] - picture[..., 2] > 100).sum()
    assert blue > 2000 and orange > 2000
    swapped = keypoints[:, H36M_17.mirror]
    write_check(tmp_path / "b.png", swapped, H36M_17, images=[np.full((720, 1280, 3), 200, np.uint8)] * 2)
    other = np.asarray(Image.open(tmp_path / "b.png").convert("RGB")).astype(int)
    assert (np.abs(other - picture).max(-1) > 60).sum() > 2000  # left and right exchanged are seen
    with pytest.raises(UserError, match="check needs"):
        write_check(tmp_path / "c.png", keypoints[:, :5], H36M_17)
