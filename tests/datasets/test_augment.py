"""Made training data: the truth still projects onto the keypoints, and each kind changes what it should."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.datasets.augment import turned, usable, varied, with_gap
from common.datasets.h36m import SKELETON, load_h36m
from common.geometry.camera import project
from common.settings.recipe import VARIATIONS
from tests.tiny import h36m_folder


def clips(keypoints="gt"):
    return [c for c in load_h36m(h36m_folder(), keypoints, ["S1"]) if c.action_name == "Walking"]


def projected(clip):
    points = torch.from_numpy(clip.positions_3d).double()
    return project(points, points.new_tensor(clip.camera.intrinsics)).numpy()


def lengths(clip):
    child, parent = map(list, zip(*SKELETON.edges, strict=True))
    return np.linalg.norm(clip.positions_3d[:, child] - clip.positions_3d[:, parent], axis=-1)


def made(kinds, keypoints="gt", seed=0):
    return varied(clips(keypoints), kinds, SKELETON, 3, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", ["body", "turn", "speed"])
def test_the_truth_projects_onto_true_keypoints(kind):
    """A true keypoint stays one (the changed speed draws straight lines between frames, in the picture too)."""
    before, after = clips(), made((kind,))
    tolerance = 5e-3 if kind == "speed" else 1e-5
    assert len(after) >= len(before) and sum(map(len, after)) > 0
    assert all(np.abs(projected(c) - c.keypoints_2d).max() < tolerance for c in after)
    pairs = list(zip(after, before, strict=False))
    assert any(len(a) != len(b) or np.abs(a.positions_3d - b.positions_3d).max() > 0.01 for a, b in pairs)


def test_a_detectors_errors_are_kept():
    for one, other in zip(clips("cpn_ft_h36m_dbb"), made(("turn", "body"), "cpn_ft_h36m_dbb"), strict=True):
        np.testing.assert_allclose(other.keypoints_2d - projected(other), one.keypoints_2d - projected(one), atol=1e-5)


def test_a_turn_keeps_the_body_its_height_and_its_place_in_the_picture():
    clip = clips()[0]
    poses = clip.positions_3d.astype(np.float64)
    out = turned(poses, clip.camera, SKELETON, np.random.default_rng(1))
    assert np.abs(out - poses).max() > 0.05
    world = [clip.camera.camera_to_world(torch.from_numpy(p)).numpy() for p in (poses, out)]
    np.testing.assert_allclose(world[0][..., 2], world[1][..., 2], atol=1e-6)  # about the vertical
    np.testing.assert_allclose(poses[:, 0].mean(0), out[:, 0].mean(0), atol=1e-6)
    assert np.abs(projected(replace(clip, positions_3d=out.astype(np.float32)))).max() <= 1.01


def test_another_body_has_one_set_of_lengths_and_alike_sides():
    for clip in made(("body",)):
        size = lengths(clip)
        np.testing.assert_allclose(size, size[:1].repeat(len(size), 0), atol=2e-2)
        ratio = (size / lengths(clips()[0])[:1]).mean(0)
        names = [SKELETON.joints[child] for child, _ in SKELETON.edges]
        pairs = [(names.index("L" + n[1:]), names.index(n)) for n in names if n[0] == "R"]
        for left, right in pairs:
            assert ratio[left] == pytest.approx(ratio[right], rel=1e-3)


def test_a_gap_is_drawn_straight_and_only_beyond_a_joint():
    rng = np.random.default_rng(4)
    keypoints = rng.normal(size=(60, 17, 2))
    out = with_gap(keypoints, 50.0, SKELETON, rng)
    frames, joints = np.unique(np.argwhere((out != keypoints).any(-1)), axis=0).T
    lost = sorted(set(joints))
    for joint in lost:  # everything that hangs on a lost joint is lost
        assert all(j in lost for j, parent in SKELETON.edges if parent == joint)
    first, last = frames.min(), frames.max()
    assert first > 0 and last < 59 and 0.2 * 50 - 1 <= last - first + 1 <= 50
    np.testing.assert_allclose(np.diff(out[first - 1 : last + 2, lost], 2, axis=0), 0, atol=1e-12)


def test_noise_and_gaps_leave_the_truth():
    before = {round(float(c.positions_3d.sum()), 3) for c in clips("cpn_ft_h36m_dbb")}
    for seed in range(4):
        after = made(("noise", "hidden"), "cpn_ft_h36m_dbb", seed)
        assert {round(float(c.positions_3d.sum()), 3) for c in after} == before


def test_other_cameras_see_the_same_body():
    after = made(("camera",), seed=3)
    moved = [c for c in after if c.camera.intrinsics not in {b.camera.intrinsics for b in clips()}]
    assert moved and all(np.isfinite(c.keypoints_2d).all() for c in moved)
    for clip in moved:
        assert np.median(np.abs(projected(clip) - clip.keypoints_2d)) < 0.05
        np.testing.assert_allclose(lengths(clip)[0], lengths(clips()[0])[0], atol=1e-3)


def test_the_same_seed_makes_the_same_data_and_another_other():
    one, again, other = (made(VARIATIONS, seed=s) for s in (5, 5, 6))
    assert all(np.array_equal(a.keypoints_2d, b.keypoints_2d) for a, b in zip(one, again, strict=True))
    assert any(a.keypoints_2d.shape != b.keypoints_2d.shape or (a.keypoints_2d != b.keypoints_2d).any()
               for a, b in zip(one, other, strict=True))  # fmt: skip


def test_long_clips_become_pieces_that_begin_elsewhere():
    clip = clips()[0]
    long = replace(clip, **{n: np.resize(getattr(clip, n), (700, *getattr(clip, n).shape[1:]))
                            for n in ("keypoints_2d", "positions_3d", "valid")})  # fmt: skip
    sizes = {tuple(map(len, varied([long], (), SKELETON, 27, np.random.default_rng(s)))) for s in range(5)}
    assert len(sizes) > 1 and all(max(s) <= 250 and sum(s) > 680 for s in sizes)
    assert max(map(len, varied([long], (), SKELETON, 243, np.random.default_rng(0)))) == 700


def test_what_the_cameras_do_not_allow_is_left_out_and_told():
    told = []
    known = clips()
    assert usable(VARIATIONS, known, told.append) == VARIATIONS and not told
    unplaced = [replace(c, camera=replace(c.camera, rotation=(1.0, 0.0, 0.0, 0.0))) for c in known]
    assert "turn" not in usable(VARIATIONS, unplaced, told.append) and "turn,camera" in told[0]
    lying = [replace(c, camera=replace(c.camera, rotation=(0.8, 0.0, 0.0, 0.6))) for c in known]  # z is another axis
    assert usable(("turn", "body"), lying, told.append) == ("body",)
    unknown = [replace(c, camera=replace(c.camera, intrinsics=None)) for c in known]
    assert usable(VARIATIONS, unknown, told.append) == ("speed", "hidden", "noise")
    broken = [replace(c, valid=np.arange(len(c)) > 0) for c in known]
    after = varied(broken, ("body", "turn", "speed", "camera"), SKELETON, 3, np.random.default_rng(0))
    assert all(np.array_equal(a.positions_3d, b.positions_3d) for a, b in zip(after, broken, strict=True))
