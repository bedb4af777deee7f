"""Layouts are renamings in both directions, labels really leave the clips, takes are split."""

import numpy as np
import pytest
import torch

from common.adaptation.data import in_layout, joint_order, split_takes, unlabelled
from common.datasets.windows import Windows, published_test_starts
from common.errors import UserError
from common.geometry.skeleton import COCO_17, H36M_17, MPI_INF_3DHP_17

# posynda.md 4.4: which 3DHP joint each Human3.6M joint is, and back.
H36M_OF_3DHP = [14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4]
THREEDHP_OF_H36M = [10, 8, 14, 15, 16, 11, 12, 13, 1, 2, 3, 4, 5, 6, 0, 7, 9]


def test_joint_map_is_the_documented_bijection():
    there, back = joint_order(MPI_INF_3DHP_17, H36M_17), joint_order(H36M_17, MPI_INF_3DHP_17)
    assert there == H36M_OF_3DHP and back == THREEDHP_OF_H36M
    assert [there[j] for j in back] == list(range(17)) and [back[j] for j in there] == list(range(17))


def test_joint_map_keeps_the_root_and_the_sides():
    there = joint_order(MPI_INF_3DHP_17, H36M_17)
    assert there[H36M_17.root] == MPI_INF_3DHP_17.root
    for side in ("left", "right"):
        assert {there[j] for j in getattr(H36M_17, side)} == set(getattr(MPI_INF_3DHP_17, side))
    assert [there[j] for j in H36M_17.mirror] == [MPI_INF_3DHP_17.mirror[there[j]] for j in range(17)]


def test_a_clip_survives_the_way_there_and_back(target_clips):
    clips = target_clips(0, 1)
    mapped = in_layout(clips, H36M_17, MPI_INF_3DHP_17)
    assert not np.array_equal(mapped[0].positions_3d, clips[0].positions_3d)
    back = in_layout(mapped, MPI_INF_3DHP_17, H36M_17)
    assert np.array_equal(back[0].positions_3d, clips[0].positions_3d)
    assert np.array_equal(back[0].keypoints_2d, clips[0].keypoints_2d)


def test_joints_that_are_averaged_are_no_renaming():
    with pytest.raises(UserError, match="renaming"):
        joint_order(COCO_17, H36M_17)
    with pytest.raises(UserError, match="renaming"):
        joint_order(H36M_17, COCO_17)


def test_unlabelled_clips_hold_no_pose(target_clips):
    clips = target_clips(0, 2)
    blind = Windows(unlabelled(clips, H36M_17), H36M_17, 9)
    assert blind.positions_3d.abs().max() == 0 and blind.root.abs().max() == 0
    rooted = Windows(unlabelled(clips, H36M_17, keep_root=True), H36M_17, 9)
    assert rooted.positions_3d.abs().max() == 0
    torch.testing.assert_close(rooted.root, Windows(clips, H36M_17, 9).root)


def test_takes_are_split_with_all_their_cameras(target_clips):
    clips = target_clips(0, 4) + target_clips(1, 4) + target_clips(2, 3, "S6")
    adapt, scored = split_takes(clips)
    assert [(c.subject, c.action) for c in adapt] == [("S1", "Act 0"), ("S1", "Act 2")] * 2 + [
        ("S6", "Act 0"),
        ("S6", "Act 2"),
    ]
    assert len(adapt) + len(scored) == len(clips)
    assert not {(c.subject, c.action) for c in adapt} & {(c.subject, c.action) for c in scored}


def test_published_chunks_match_the_vectors(vectors):
    v = vectors("posynda_parity.npz")
    for frames in (21, 5):
        expected = v[f"out/chunk{frames}_9_valid_index"].long()
        starts = torch.tensor(published_test_starts(frames, 9))
        found = (starts[:, None] + torch.arange(9)).clamp(max=frames - 1)
        assert torch.equal(found, expected)
