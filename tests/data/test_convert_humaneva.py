"""data/convert_humaneva.py, run as a program on trees that this test writes from the layout's description.

It was not run on the official files: they may not be passed on.
"""

import contextlib
import io
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import scipy.io

from common.datasets.humaneva import load_humaneva

# Frames of the two splits (published): subject, take, Validate from 5 to, Train from there to.
TAKES = [
    ("S1", "Walking_1", 590, 1203),
    ("S1", "Jog_1", 367, 740),
    ("S2", "Walking_1", 438, 876),
    ("S2", "Jog_1", 398, 795),
    ("S3", "Walking_1", 448, 939),
    ("S3", "Jog_1", 401, 842),
]


def take(frames: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Joints (T, 15, 3) mm and keypoints (T, 3, 15, 2) px, every number its own."""
    rng = np.random.RandomState(seed)
    return rng.uniform(-900, 900, (frames, 15, 3)), rng.uniform(10, 470, (frames, 3, 15, 2))


PROGRAM = Path(__file__).parents[2] / "data" / "convert_humaneva.py"


def run(root: Path, out: Path) -> SimpleNamespace:
    """The program as typed, in this process: a process of its own each time would take minutes."""
    stdout, stderr = io.StringIO(), io.StringIO()
    arguments = [str(PROGRAM), "--root", str(root), "--out", str(out)]
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
        pytest.raises(SystemExit) as end,
    ):
        patch.setattr(sys, "argv", arguments)
        runpy.run_path(str(PROGRAM), run_name="__main__")
    return SimpleNamespace(returncode=end.value.code, stdout=stdout.getvalue(), stderr=stderr.getvalue())


def refusal(root: Path, out: Path) -> str:
    result = run(root, out)
    assert result.returncode == 2, result.stderr
    assert not list(out.glob("*.npz*"))
    return result.stderr.strip().splitlines()[-1]


def test_it_starts_from_any_folder(tmp_path):
    command = [sys.executable, str(PROGRAM), "--root", str(tmp_path / "none")]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2 and result.stderr.strip() == f"error: {tmp_path / 'none'}: no such folder"


def save(path: Path, **variables) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, variables)


@pytest.fixture
def whole(tmp_path):
    """Whole takes, SUBJECT/ACTION_TAKE.mat: half of them v7.3. Returns the arrays."""
    stored = {}
    for i, (subject, name, _, end) in enumerate(TAKES):
        joints, pixels = stored[subject, name] = take(end + 7, i)
        path = tmp_path / "raw" / subject / f"{name}.mat"
        if i % 2:
            path.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(path, "w", userblock_size=512) as file:  # as MATLAB writes it: a header, axes reversed
                for key, value in (("poses_3d", joints), ("poses_2d", pixels)):
                    file.create_dataset(key, data=value.T).attrs["MATLAB_class"] = np.bytes_("double")
            header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + bytes(8) + b"\x00\x02IM"
            with path.open("r+b") as stream:
                stream.write(header)
        else:
            save(path, poses_3d=joints, poses_2d=pixels)
    return stored


def test_whole_takes_are_cut_at_the_published_frames(tmp_path, whole):
    out = tmp_path / "out"
    result = run(tmp_path / "raw", out)
    assert result.returncode == 0, result.stderr
    assert "missing" not in result.stdout and "detectron" in result.stdout
    with np.load(out / "data_3d_humaneva15.npz", allow_pickle=True) as archive:
        positions = archive["positions_3d"].item()
    with np.load(out / "data_2d_humaneva15_gt.npz", allow_pickle=True) as archive:
        keypoints, metadata = archive["positions_2d"].item(), archive["metadata"].item()
    assert metadata == {
        "layout_name": "humaneva15",
        "num_joints": 15,
        "keypoints_symmetry": [[2, 3, 4, 8, 9, 10], [5, 6, 7, 11, 12, 13]],
    }
    for subject, name, middle, end in TAKES:
        joints, pixels = whole[subject, name]
        key = name.replace("_", " ") + " chunk0"
        for split, start, stop in (("Validate", 5, middle), ("Train", middle, end)):
            ours = positions[f"{split}/{subject}"][key]
            assert ours.dtype == np.float32 and ours.shape == (stop - start, 15, 3)
            np.testing.assert_allclose(ours, joints[start:stop] / 1000, atol=1e-6)
            views = keypoints[f"{split}/{subject}"][key]
            assert len(views) == 3
            for camera, view in enumerate(views):
                np.testing.assert_allclose(view, pixels[start:stop, camera], atol=1e-4)
    clips = load_humaneva(out, "gt", ["Train/S1", "Validate/S3"])
    assert len(clips) == 12 and sum(map(len, clips)) == 3 * (613 + 373 + 443 + 396)


def test_corrupted_frames_cut_chunks(tmp_path):
    joints, pixels = take(60, 0)
    joints[20:23, 4] = np.nan
    pixels[41, 1, 0] = np.nan
    save(tmp_path / "converted_15j" / "Train" / "S2" / "Box_1.mat", poses_3d=joints, poses_2d=pixels)
    save(tmp_path / "converted_15j" / "Train" / "S2" / "Jog_1.mat", poses_3d=joints[:10], poses_2d=pixels[:10])
    result = run(tmp_path, tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "4 corrupted" in result.stdout and "missing: Train/S1 Walking 1" in result.stdout
    assert "10 frames; the published Train split has 397" in result.stdout
    clips = {clip.action: clip for clip in load_humaneva(tmp_path / "out", "gt", "Train/S2")}
    # Runs of corrupted frames are numbered too, as in the detections that people share.
    bounds = {"Box 1 chunk0": (0, 20), "Box 1 chunk2": (23, 41), "Box 1 chunk4": (42, 60), "Jog 1 chunk0": (0, 10)}
    assert {name: len(clip) for name, clip in clips.items()} == {name: b - a for name, (a, b) in bounds.items()}


def test_without_keypoints_only_the_joints_are_written(tmp_path):
    save(tmp_path / "raw" / "Validate" / "S1" / "Walking_1.mat", any_name=take(30, 0)[0])
    result = run(tmp_path / "raw", tmp_path / "out")
    assert result.returncode == 0 and "no keypoints" in result.stdout
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["data_3d_humaneva15.npz"]


def test_official_release_needs_matlab(tmp_path):
    """Objects of MATLAB's classes: in v7.3 the class's name stands in an attribute."""
    path = tmp_path / "raw" / "S1" / "Mocap_Data" / "Walking_1.mat"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("pose", data=np.zeros((1, 6), np.uint32)).attrs["MATLAB_class"] = np.bytes_("body_pose")
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM")
    line = refusal(tmp_path / "raw", tmp_path / "out")
    assert "body_pose" in line and "MATLAB" in line and "ConvertHumanEva.m" in line
    path.unlink()
    (path.parent / "Walking_1.c3d").write_bytes(b"\x02P")
    assert ".c3d" in refusal(tmp_path / "raw", tmp_path / "out")


def test_old_style_objects_need_matlab_too(tmp_path):
    """A v5 file with an object (array class 3), its bytes written by hand."""

    def element(kind: int, payload: bytes) -> bytes:
        return (
            kind.to_bytes(4, "little")
            + len(payload).to_bytes(4, "little")
            + payload.ljust(-(-len(payload) // 8) * 8, b"\0")
        )

    number = element(6, (6).to_bytes(4, "little") + bytes(4)) + element(5, (1).to_bytes(4, "little") * 2)
    number += element(1, b"") + element(9, np.float64(1).tobytes())
    body = element(6, (3).to_bytes(4, "little") + bytes(4)) + element(5, (1).to_bytes(4, "little") * 2)
    body += element(1, b"pose") + element(1, b"body_pose") + element(5, (8).to_bytes(4, "little"))
    body += element(1, b"x".ljust(8, b"\0")) + element(14, number)
    header = b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8) + b"\x00\x01IM"
    path = tmp_path / "raw" / "S2" / "Mocap_Data" / "Jog_1.mat"
    path.parent.mkdir(parents=True)
    path.write_bytes(header + element(14, body))
    line = refusal(tmp_path / "raw", tmp_path / "out")
    assert "body_pose" in line and "Jog_1.mat" in line


def test_refusals(tmp_path):
    out, file = tmp_path / "out", tmp_path / "raw" / "Train" / "S1" / "Walking_1.mat"
    assert "no such folder" in refusal(tmp_path / "raw", out)
    (tmp_path / "raw").mkdir()
    assert "Train/S1/Walking_1.mat" in refusal(tmp_path / "raw", out)
    joints, pixels = take(30, 0)
    save(file, poses_3d=np.zeros((30, 20, 3)), poses_2d=pixels)
    assert "(30, 20, 3)" in refusal(tmp_path / "raw", out)
    save(file, poses_3d=joints / 1000, poses_2d=pixels)
    assert "millimetres" in refusal(tmp_path / "raw", out)
    save(file, poses_3d=joints, poses_2d=pixels[:29])
    assert "29 frames" in refusal(tmp_path / "raw", out)
    save(file, poses_3d=joints, poses_2d=pixels / 640)
    assert "pixels" in refusal(tmp_path / "raw", out)
    file.write_bytes(b"not a mat file")
    assert "not a readable" in refusal(tmp_path / "raw", out)
    file.unlink()
    save(tmp_path / "raw" / "S1" / "Walking_1.mat", poses_3d=joints, poses_2d=pixels)
    assert "30 frames" in refusal(tmp_path / "raw", out)  # a whole take must reach the published frames
