import numpy as np
import pytest

from common.geometry.skeleton import (
    COCO_17,
    H36M_17,
    H36M_17_OF_32,
    HUMANEVA_15,
    MPI_INF_3DHP_17,
    MPI_INF_3DHP_17_OF_28,
    SKELETONS,
    joint_map,
)


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda s: s.name)
def test_a_skeleton_is_one_tree_with_paired_sides(skeleton):
    assert [p for p in skeleton.parents].count(-1) == 1 and skeleton.parents[skeleton.root] == -1
    for joint in range(len(skeleton)):
        seen = set()
        while joint != skeleton.root:
            assert joint not in seen
            seen.add(joint)
            joint = skeleton.parents[joint]
    mirror = skeleton.mirror
    assert [mirror[m] for m in mirror] == list(range(len(skeleton)))
    for left, right in zip(skeleton.left, skeleton.right, strict=True):
        assert skeleton.joints[left][1:] == skeleton.joints[right][1:]


def test_layouts_have_the_published_indices():
    assert H36M_17.parents == (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
    assert (H36M_17.left, H36M_17.right) == ((4, 5, 6, 11, 12, 13), (1, 2, 3, 14, 15, 16))
    assert HUMANEVA_15.parents == (-1, 0, 1, 2, 3, 1, 5, 6, 0, 8, 9, 0, 11, 12, 1)
    assert (HUMANEVA_15.left, HUMANEVA_15.right) == ((2, 3, 4, 8, 9, 10), (5, 6, 7, 11, 12, 13))
    assert MPI_INF_3DHP_17.root == 14
    assert (MPI_INF_3DHP_17.left, MPI_INF_3DHP_17.right) == ((5, 6, 7, 11, 12, 13), (2, 3, 4, 8, 9, 10))
    assert (COCO_17.left, COCO_17.right) == ((1, 3, 5, 7, 9, 11, 13, 15), (2, 4, 6, 8, 10, 12, 14, 16))
    assert len(H36M_17_OF_32) == len(MPI_INF_3DHP_17_OF_28) == 17


def test_human36m_to_humaneva_is_the_published_order():
    order = joint_map(H36M_17, HUMANEVA_15).argmax(1).tolist()
    assert order == [0, 8, 11, 12, 13, 14, 15, 16, 4, 5, 6, 1, 2, 3, 9]


def test_3dhp_and_human36m_are_a_bijection():
    there, back = joint_map(MPI_INF_3DHP_17, H36M_17), joint_map(H36M_17, MPI_INF_3DHP_17)
    np.testing.assert_array_equal(there @ back, np.eye(17))
    np.testing.assert_array_equal(there.sum(0), np.ones(17))


def test_coco_midpoints():
    pose = np.random.default_rng(0).normal(size=(5, 17, 2)).astype(np.float32)
    mapped = joint_map(COCO_17, H36M_17) @ pose
    hips, shoulders = (pose[:, 11] + pose[:, 12]) / 2, (pose[:, 5] + pose[:, 6]) / 2
    np.testing.assert_allclose(mapped[:, 0], hips, atol=1e-6)
    np.testing.assert_allclose(mapped[:, 8], shoulders, atol=1e-6)
    np.testing.assert_allclose(mapped[:, 7], (hips + shoulders) / 2, atol=1e-6)
    np.testing.assert_allclose(mapped[:, 9], pose[:, 0], atol=1e-6)
    np.testing.assert_allclose(mapped[:, 10], (pose[:, 1] + pose[:, 2]) / 2, atol=1e-6)
    np.testing.assert_allclose(mapped[:, [1, 2, 3, 4, 5, 6]], pose[:, [12, 14, 16, 11, 13, 15]], atol=1e-6)
    np.testing.assert_allclose(mapped[:, [11, 12, 13, 14, 15, 16]], pose[:, [5, 7, 9, 6, 8, 10]], atol=1e-6)
