import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.datasets.clips import Clip
from common.datasets.windows import Windows, published_test_starts, symmetric_starts
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
