"""A small 3DHP test set: annotations in the official layout and predictions with known errors."""

import h5py
import numpy as np
import pytest

FRAMES = {"TS1": 9, "TS2": 12, "TS3": 5, "TS4": 8, "TS5": 7, "TS6": 1}
ROOT = 14


def write_v73(path, arrays):
    """Arrays in MATLAB's dimension order as a MAT v7.3 file: HDF5 behind MATLAB's 512-byte header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            data = file.create_dataset(name, data=np.asarray(array, float).T)
            data.attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, written by a test".ljust(116) + bytes(8) + b"\x00\x02IM")


@pytest.fixture
def annotations(tmp_path):
    """Folder of six sequences, whole millimetres (so that offsets are exact), and their arrays by sequence."""
    rng = np.random.default_rng(3)
    folder, content = tmp_path / "3dhp_test", {}
    for name, frames in FRAMES.items():
        poses = rng.integers(-900, 900, (frames, 17, 3)).astype(float) + [100, 50, 4000]  # (F, 17, 3)
        valid = rng.random(frames) < 0.7
        valid[0] = True
        # Activity 2 and 6 never occur.
        activity = rng.choice([1, 3, 4, 5, 7], frames)
        univ = poses[:, [ROOT]] + 0.5 * (poses - poses[:, [ROOT]])
        write_v73(
            folder / name / "annot_data.mat",
            {
                "annot2": np.zeros((2, 17, 1, frames)),
                "annot3": poses.transpose(2, 1, 0)[:, :, None],
                "univ_annot3": univ.transpose(2, 1, 0)[:, :, None],
                "valid_frame": valid[None],
                "activity_annotation": activity[None],
            },
        )
        content[name] = {"poses": poses, "univ": univ, "valid": valid, "activity": activity}
    return folder, content


@pytest.fixture
def export(annotations):
    """Make an export (3, 17, F, K) per sequence: the true pose plus a noise (mm) a step, the pelvis at zero."""
    _, content = annotations

    def make(noise=(60.0, 30.0, 15.0), seed=0):
        rng = np.random.default_rng(seed)
        out = {}
        for name, a in content.items():
            relative = a["poses"] - a["poses"][:, [ROOT]]
            steps = [relative + sigma * rng.standard_normal(relative.shape) for sigma in noise]
            poses = np.stack(steps, -1).transpose(2, 1, 0, 3)  # (3, 17, F, K)
            poses[:, ROOT] = 0
            out[name] = poses
        return out

    return make
