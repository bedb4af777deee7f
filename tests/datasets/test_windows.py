from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.datasets.clips import Clip
from common.datasets.windows import Windows, published_chunk_starts, published_test_starts, symmetric_starts
from common.geometry.camera import Camera
from common.geometry.skeleton import H36M_17

CAMERA = Camera("c", 1000, 1000, (2.2, 2.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))


def clip(frames: int, name: str = "Walking 1", seed: int = 0, valid=None) -> Clip:
    rng = np.random.default_rng(seed)
    return Clip(
        "S1",
        name,
        CAMERA,
        50.0,
        rng.normal(size=(frames, 17, 2)).astype("f4"),
        rng.normal(size=(frames, 17, 3)).astype("f4"),
        np.ones(frames, bool) if valid is None else valid,
    )


def test_starts_match_the_vectors(vectors):
    for key, starts in vectors("d3dp_parity.npz").items():
        if key.startswith("windows/F"):
            length, frames = (int(part[1:]) for part in key.removeprefix("windows/").split("_"))
            assert symmetric_starts(frames, length, length) == starts.tolist(), key


def test_contents_match_the_vectors(vectors):
    """Padding and mirroring. The published camera of a mirrored window (signs of two entries) is never used."""
    v = vectors("d3dp_parity.npz")
    sequence = Clip(
        "S1",
        "Walking",
        CAMERA,
        50.0,
        *(v[f"windows/example/in/seq_{d}"].numpy() for d in ("2d", "3d")),
        np.ones(12, bool),
    )
    pairs = v["windows/example/out/pairs"]
    windows = Windows([sequence], H36M_17, 9)
    assert windows.start_of.tolist() == pairs[:2, 1].tolist()
    batch = windows.batch([0, 1, 0, 1], flipped=torch.tensor([False, False, True, True]))
    root = sequence.positions_3d[:, :1]
    for name, ours in (("2d", batch.keypoints_2d), ("3d", batch.positions_3d)):
        published = torch.cat([v[f"windows/example/out/batch{b}_{name}"] for b in (0, 1)])
        if name == "3d":
            published = published - published[:, :, :1]
        torch.testing.assert_close(ours, published)
    assert root.shape == (12, 1, 3)


@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=80, deadline=None)
def test_windows_cover_every_frame(frames, length, stride):
    stride = min(stride, length)
    starts = symmetric_starts(frames, length, stride)
    covered = {f for s in starts for f in range(s, s + length)}
    assert set(range(frames)) <= covered
    over_left, over_right = -starts[0], starts[-1] + length - frames
    assert 0 <= over_right - over_left <= 1 or (frames < length and abs(over_right - over_left) <= 1)
    assert all(b - a == stride for a, b in zip(starts, starts[1:], strict=False))


@given(st.integers(1, 300), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_evaluation_counts_each_real_frame_once(frames, length):
    windows = Windows([clip(frames)], H36M_17, length)
    counted = windows.index[windows.mask].sort().values
    assert counted.tolist() == list(range(frames))


def test_published_evaluation_starts():
    assert published_test_starts(100, 243) == [0]
    assert published_test_starts(486, 243) == [0, 243]
    assert published_test_starts(500, 243) == [0, 243, 257]


def test_published_windows_count_padding_and_overlap():
    windows = Windows([clip(10), clip(25, "Eating", 1)], H36M_17, 12, published_test=True)
    assert windows.start_of.tolist() == [0, 0, 12, 13] and windows.mask.all()
    short = windows.batch([0]).keypoints_2d[0]
    torch.testing.assert_close(short[9:], short[9:10].expand(3, -1, -1))


def test_invalid_frames_are_copied_and_masked():
    valid = np.ones(8, bool)
    valid[[0, 3, 4]] = False
    sequence = clip(8, valid=valid)
    sequence.positions_3d[[0, 3, 4]] = np.nan
    batch = Windows([sequence], H36M_17, 8).batch([0])
    assert torch.isfinite(batch.positions_3d).all()
    assert batch.mask[0].tolist() == valid.tolist()
    poses = torch.from_numpy(sequence.positions_3d - sequence.positions_3d[:, :1])
    torch.testing.assert_close(batch.positions_3d[0, [0, 3, 4]], poses[[1, 2, 5]])


def test_a_clip_without_a_valid_frame_brings_no_nan():
    """Masked frames count nowhere, but 0 x NaN is NaN."""
    sequence = clip(6, valid=np.zeros(6, bool))
    sequence.positions_3d[:] = np.nan
    sequence.keypoints_2d[2] = np.inf
    batch = Windows([sequence, clip(6, "Eating", 1)], H36M_17, 6).batch([0, 1])
    assert batch.mask.tolist() == [[False] * 6, [True] * 6]
    assert torch.isfinite(batch.positions_3d).all() and torch.isfinite(batch.keypoints_2d).all()


def test_mirrored_rows_and_hidden_actions():
    windows = Windows([clip(6), clip(6, "Eating", 1)], H36M_17, 6)
    assert windows.action_names == ("Eating", "Walking")
    plain = windows.batch([0, 1])
    mixed = windows.batch([0, 1], flipped=torch.tensor([False, True]), untold=torch.tensor([True, False]))
    assert plain.action.tolist() == [1, 0] and mixed.action.tolist() == [-1, 0]
    torch.testing.assert_close(mixed.keypoints_2d[0], plain.keypoints_2d[0])
    expected = plain.positions_3d[1][:, H36M_17.mirror] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(mixed.positions_3d[1], expected)


@pytest.mark.parametrize("length", [1, 5])
def test_keys_name_windows_uniquely(length):
    windows = Windows([clip(9), clip(9, "Eating", 1)], H36M_17, length)
    assert len({windows.key(row) for row in range(len(windows))}) == len(windows)


@pytest.mark.parametrize("length", [1, 5, 9])
def test_a_network_of_the_middle_frame_answers_for_it(length):
    """One window a frame; its 2D lies around the frame that is answered for, whose 2D `target_2d` is."""
    sequence = clip(7)
    windows = Windows([sequence], H36M_17, length, centre_only=True)
    assert len(windows) == 7 and windows.output == 1
    batch = windows.batch(range(7))
    assert batch.keypoints_2d.shape == (7, length, 17, 2) and batch.mask.shape == (7, 1) and batch.mask.all()
    assert torch.equal(batch.target_2d[:, 0], torch.from_numpy(sequence.keypoints_2d))
    poses = torch.from_numpy(sequence.positions_3d)
    assert torch.equal(batch.positions_3d[:, 0], poses - poses[:, :1])
    assert torch.equal(batch.root[:, 0], poses[:, :1])
    around = torch.arange(7)[:, None] + torch.arange(length) - length // 2
    assert torch.equal(batch.keypoints_2d, torch.from_numpy(sequence.keypoints_2d)[around.clamp(0, 6)])


def test_target_2d_is_all_of_the_input_where_every_frame_is_answered_for():
    batch = Windows([clip(10)], H36M_17, 5).batch([0, 1])
    assert torch.equal(batch.target_2d, batch.keypoints_2d)


def test_starts_by_hand():
    assert symmetric_starts(10, 4, 4) == [-1, 3, 7]
    assert symmetric_starts(9, 4, 4) == [-1, 3, 7] and symmetric_starts(8, 4, 4) == [0, 4]
    assert symmetric_starts(2, 5, 5) == [-1] and symmetric_starts(10, 4, 3) == [0, 3, 6]
    assert published_test_starts(8, 4) == [0, 4] and published_test_starts(9, 4) == [0, 4, 5]
    assert published_test_starts(4, 4) == [0] and published_test_starts(3, 4) == [0]
    assert published_chunk_starts(4, 4, 2) == [] and published_chunk_starts(3, 4, 2) == []
    assert published_chunk_starts(10, 4, 4) == [0, 3]
    assert published_chunk_starts(5, 4, 1) == [0]
    assert published_chunk_starts(11, 4, 3) == [0, 3, 6]


def test_default_strides_and_the_rule_of_the_cut():
    assert Windows([clip(10)], H36M_17, 4).start_of.tolist() == [-1, 3, 7]
    assert Windows([clip(10)], H36M_17, 4, stride=3).start_of.tolist() == [0, 3, 6]
    seen = []

    def rule(frames, length, stride):
        seen.append((frames, length, stride))
        return [2]

    windows = Windows([clip(10)], H36M_17, 4, stride=3, starts_of=rule)
    assert windows.start_of.tolist() == [2] and seen == [(10, 4, 3)]


def test_padding_counts_only_where_asked():
    sequence = clip(3, valid=np.array([True, False, True]))
    assert Windows([sequence], H36M_17, 5).mask[0].tolist() == [False, True, False, True, False]
    padded = Windows([sequence], H36M_17, 5, count_padding=True).mask[0]
    assert padded.tolist() == [True, True, False, True, True]


def test_cameras_names_and_rows():
    other = Camera("d", 1000, 1000, (3.0, 3.0, 0, 0, 0, 0, 0, 0, 0))
    second = replace(clip(6, "Eating", 1), camera=other)
    windows = Windows([clip(6), second], H36M_17, 3)
    batch = windows.batch([3, 0])
    assert batch.intrinsics[:, 0].tolist() == pytest.approx([3.0, 2.2]) and batch.rows.tolist() == [3, 0]
    assert windows.has_camera and len(windows) == 4
    assert windows.key(3) == "S1/Eating/d@3" and windows.key(0) == "S1/Walking 1/c@0"
    unknown = Windows([clip(6), replace(second, camera=replace(other, intrinsics=None))], H36M_17, 3)
    assert not unknown.has_camera and unknown.batch([0]).intrinsics is None
    told = Windows([clip(6)], H36M_17, 3, action_names=["Eating"])
    assert told.action_names == ("Eating",) and told.batch([0]).action.tolist() == [-1]


def test_the_nearer_valid_frame_is_copied_the_earlier_of_two():
    valid = np.array([False, False, True, False, False, False, True, False])
    poses = Windows([clip(8, valid=valid)], H36M_17, 8).batch([0]).positions_3d[0]
    assert torch.equal(poses, poses[[2, 2, 2, 2, 2, 6, 6, 6]]) and not torch.equal(poses[2], poses[6])


def test_windows_of_several_clips_hold_their_own_frames():
    clips = [clip(7, "Walking 1", 1), clip(12, "Eating", 2), clip(3, "Sitting", 3)]
    windows = Windows(clips, H36M_17, 5)
    assert windows.action_names == ("Eating", "Sitting", "Walking")
    for row in range(len(windows)):
        own, frames, batch = clips[windows.clip_of[row]], windows.frames_of(row), windows.batch([row])
        assert len(frames) == 5 and frames[0] == windows.start_of[row]
        inside = frames.clip(0, len(own) - 1)
        np.testing.assert_array_equal(batch.keypoints_2d[0].numpy(), own.keypoints_2d[inside])
        poses = own.positions_3d[inside]
        np.testing.assert_array_equal(batch.positions_3d[0].numpy(), poses - poses[:, :1])
        np.testing.assert_array_equal(batch.mask[0].numpy(), (frames >= 0) & (frames < len(own)))
        assert windows.action_names[int(batch.action[0])] == own.action_name


def test_a_clip_without_a_valid_frame_holds_no_nan():
    spoiled = clip(6, valid=np.zeros(6, bool))
    spoiled.keypoints_2d[2], spoiled.positions_3d[3, 4] = np.nan, np.inf
    batch = Windows([spoiled], H36M_17, 6).batch([0])
    assert not batch.mask.any() and not batch.keypoints_2d[0, 2].any()
    assert torch.isfinite(batch.positions_3d).all()
    np.testing.assert_array_equal(batch.positions_3d[0, 3, 4].numpy(), -spoiled.positions_3d[3, 0])
