"""BVH written and read back: the poses return to less than a millimetre."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.files.bvh import euler_zxy, retarget, smallest_rotation, write_bvh
from common.files.bvh_reader import read_bvh
from common.geometry.skeleton import H36M_17, HUMANEVA_15, MPI_INF_3DHP_17, joint_map
from tests.people import in_camera

CMU = Path(__file__).parents[2].parent / "shared" / "data" / "cmu" / "cmu_h36m17.npz"


def round_trip(path, positions, skeleton, **options):
    write_bvh(path, positions, skeleton, 50, **options)
    motion = read_bvh(path, options.get("frame", "camera"), options.get("unit", "m"))
    assert motion.fps == pytest.approx(50, rel=1e-6)
    return motion.of(skeleton.joints)


@pytest.mark.parametrize("unit", ["m", "cm"])
@pytest.mark.parametrize("frame", ["camera", "world"])
def test_constant_bones_return_below_a_millimetre(tmp_path, walk, frame, unit):
    poses = in_camera(walk) if frame == "camera" else walk
    back = round_trip(tmp_path / "a.bvh", poses, H36M_17, frame=frame, unit=unit)
    assert np.linalg.norm(back - poses, axis=-1).max() < 2e-5  # metres


@pytest.mark.parametrize("skeleton", [MPI_INF_3DHP_17, HUMANEVA_15])
def test_other_skeletons(tmp_path, walk, skeleton):
    poses = retarget(joint_map(H36M_17, skeleton) @ walk, skeleton)
    back = round_trip(tmp_path / "a.bvh", poses, skeleton, frame="world")
    assert np.linalg.norm(back - poses, axis=-1).max() < 2e-5


@pytest.mark.skipif(not CMU.exists(), reason="CMU motion is not here")
def test_recorded_motion(tmp_path):
    with np.load(CMU) as archive:
        for key in list(archive)[::15]:
            back = round_trip(tmp_path / "a.bvh", archive[key], H36M_17, frame="world")
            assert np.linalg.norm(back - archive[key], axis=-1).max() < 1e-3, key


def test_varying_bones_are_retargeted_as_said(tmp_path, walk):
    noisy = walk + np.random.default_rng(0).normal(0, 0.01, walk.shape)
    back = round_trip(tmp_path / "a.bvh", noisy, H36M_17, frame="world")
    assert np.linalg.norm(back - retarget(noisy, H36M_17), axis=-1).max() < 2e-5
    lengths = [np.linalg.norm(back[:, c] - back[:, p], axis=-1) for c, p in H36M_17.edges]
    means = [np.linalg.norm(noisy[:, c] - noisy[:, p], axis=-1).mean() for c, p in H36M_17.edges]
    np.testing.assert_allclose(np.stack(lengths, 1), np.tile(means, (len(noisy), 1)), atol=2e-5)
    np.testing.assert_allclose(back[:, 0], noisy[:, 0], atol=1e-6)  # the root's path


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_any_pose_returns(tmp_path_factory, seed):
    """Bones in any direction, straight up and against the rest pose among them."""
    rng = np.random.default_rng(seed)
    poses = retarget(rng.normal(size=(5, 17, 3)), H36M_17)
    poses[0] = 0
    for child, parent in H36M_17.edges:  # every bone straight down: half a turn from rest for trunk and head
        poses[0, child] = poses[0, parent] + [0, 0, -0.3]
    poses = retarget(poses, H36M_17)
    back = round_trip(tmp_path_factory.mktemp("bvh") / "a.bvh", poses, H36M_17, frame="world")
    assert np.linalg.norm(back - poses, axis=-1).max() < 1e-4


def test_walking_upright_faces_forward_with_small_turns(tmp_path, walk):
    """The rest pose is a T in y up; a walker seen from the front needs no half turns in its trunk and legs."""
    write_bvh(tmp_path / "a.bvh", in_camera(walk), H36M_17, 50)
    text = (tmp_path / "a.bvh").read_text()
    table = np.array([line.split() for line in text.splitlines() if line[0] in "-0123456789"], float)
    assert table.shape == (len(walk), 3 + 3 * sum(word in ("ROOT", "JOINT") for word in text.split()))
    assert np.abs(table[:, 3:6]).max() < 45  # the hip
    assert np.abs(np.diff(table, axis=0)).max() < 40  # no flips from frame to frame


def test_rotations():
    rng = np.random.default_rng(0)
    a, b = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in rng.normal(size=(2, 20, 3)))
    b[0], b[1] = a[0], -a[1]
    r = smallest_rotation(a, b)
    np.testing.assert_allclose((r @ a[..., None])[..., 0], b, atol=1e-6)
    np.testing.assert_allclose(r @ r.swapaxes(1, 2), np.tile(np.eye(3), (20, 1, 1)), atol=1e-6)
    assert np.abs(np.diff(euler_zxy(r[[3] * 5]), axis=0)).max() == 0


def test_errors(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_bvh(tmp_path / "none.bvh")
    (tmp_path / "bad.bvh").write_text("HIERARCHY\nROOT Hip\n{\nWHAT\n}\nMOTION\n")
    with pytest.raises(UserError, match="not a readable BVH"):
        read_bvh(tmp_path / "bad.bvh")
    with pytest.raises(UserError, match="finite positions"):
        write_bvh(tmp_path / "a.bvh", np.full((3, 17, 3), np.nan), H36M_17, 50)
