"""Facts of MPI-INF-3DHP: sequences, frames, frame rates, cameras, image sizes, and the names of the npz files."""

from __future__ import annotations

from common.geometry.skeleton import MPI_INF_3DHP_17

SKELETON = MPI_INF_3DHP_17  # its root, the pelvis, is joint 14

TRAIN_CAMERAS = ("0", "1", "2", "4", "5", "6", "7", "8")  # the 8 of 14 that the field trains on
TRAIN_SIZE = (2048, 2048)

# Training sequences: frames and frames a second.
TRAIN_SEQUENCES: dict[str, tuple[int, float]] = {
    "S1 Seq1": (6416, 25.0),
    "S1 Seq2": (12430, 50.0),
    "S2 Seq1": (6502, 25.0),
    "S2 Seq2": (6081, 25.0),
    "S3 Seq1": (12488, 50.0),
    "S3 Seq2": (12283, 50.0),
    "S4 Seq1": (6171, 25.0),
    "S4 Seq2": (6675, 25.0),
    "S5 Seq1": (12820, 50.0),
    "S5 Seq2": (12312, 50.0),
    "S6 Seq1": (6188, 25.0),
    "S6 Seq2": (6145, 25.0),
    "S7 Seq1": (6239, 25.0),
    "S7 Seq2": (6320, 25.0),
    "S8 Seq1": (6468, 25.0),
    "S8 Seq2": (6054, 25.0),
}

TEST_FRAMES = {"TS1": 6151, "TS2": 6080, "TS3": 5838, "TS4": 6007, "TS5": 320, "TS6": 492}
# The benchmark states no rate for its test sequences. 25 serves pictures and speeds; no score reads it.
TEST_FPS = 25.0
TEST_SIZES = {name: (1920, 1080) if name in ("TS5", "TS6") else (2048, 2048) for name in TEST_FRAMES}

# `_ori` files hold annot3 (metric; it reprojects onto the 2D), files without it univ_annot3 (P-STMO's).
FILE_ENDINGS = {"annot3": "_ori", "univ_annot3": ""}


def archive_name(split: str, labels: str) -> str:
    """`data_train_3dhp_ori.npz` and its three relatives; split is train or test."""
    return f"data_{split}_3dhp{FILE_ENDINGS[labels]}.npz"
