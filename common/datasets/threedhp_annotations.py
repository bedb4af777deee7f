"""MPI-INF-3DHP's annotations as they are downloaded: a training sequence's annot.mat, a test one's annot_data.mat."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.datasets.threedhp_layout import FILE_ENDINGS, TRAIN_CAMERAS
from common.errors import UserError
from common.files.reading import load_mat, open_hdf5
from common.geometry.skeleton import MPI_INF_3DHP_17, MPI_INF_3DHP_17_OF_28

ALL_JOINTS = 28


def read_training_annotation(path: Path) -> dict[str, dict]:
    """{label set: {camera: {'data_2d' (F, 17, 2) px, 'data_3d' (F, 17, 3) mm}}} of one training sequence.

    annot.mat (MAT v5) has for each of 14 cameras a cell of F x 56 pixels and cells of F x 84 mm: 28 joints a row.
    Raises UserError.
    """
    keys = ("annot2", *FILE_ENDINGS)
    content = load_mat(path, [*keys, "cameras"])
    for key in keys:
        if not isinstance(content.get(key), np.ndarray) or content[key].dtype != object:
            raise UserError(f"{path}: no variable {key}, a cell for each camera")
    cells = {key: content[key].reshape(-1) for key in keys}
    order = _camera_order(path, content.get("cameras"), len(cells["annot2"]))
    views = {labels: {} for labels in FILE_ENDINGS}
    for camera in TRAIN_CAMERAS:
        if int(camera) not in order or order.index(int(camera)) >= len(cells["annot2"]):
            raise UserError(f"{path}: no camera {camera}; it has {', '.join(map(str, order))}")
        cell = order.index(int(camera))
        pixels = _joints(path, "annot2", camera, cells["annot2"][cell], 2)
        for labels in FILE_ENDINGS:
            if cell >= len(cells[labels]):
                raise UserError(f"{path}: {labels} has {len(cells[labels])} cameras, annot2 {len(cells['annot2'])}")
            poses = _joints(path, labels, camera, cells[labels][cell], 3)
            if len(poses) != len(pixels):
                raise UserError(f"{path} camera {camera}: {len(pixels)} frames of annot2, {len(poses)} of {labels}")
            views[labels][camera] = {"data_2d": pixels, "data_3d": poses}
    lengths = {camera: len(view["data_2d"]) for camera, view in views["annot3"].items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"{path}: the cameras differ in their frames: {lengths}")
    return views


def _camera_order(path: Path, cameras: object, count: int) -> list[int]:
    """Which camera each cell belongs to: as the file says, else 0, 1, 2, ..."""
    if cameras is None:
        return list(range(count))
    if not isinstance(cameras, np.ndarray) or cameras.dtype.kind not in "fiu" or not np.isfinite(cameras).all():
        raise UserError(f"{path}: its variable `cameras` is no list of numbers")
    return [int(camera) for camera in cameras.ravel()]


def _joints(path: Path, key: str, camera: str, cell: np.ndarray, dims: int) -> np.ndarray:
    """(F, 28 * dims) to the 17 joints (F, 17, dims), float32."""
    cell = np.asarray(cell)
    if cell.dtype.kind not in "fiu" or cell.ndim != 2 or cell.shape[1] != ALL_JOINTS * dims or len(cell) == 0:
        raise UserError(f"{path} camera {camera}: {key} is {cell.shape}, expected (F, {ALL_JOINTS * dims})")
    joints = cell.reshape(-1, ALL_JOINTS, dims)[:, MPI_INF_3DHP_17_OF_28].astype(np.float32)
    if not np.isfinite(joints).all():
        raise UserError(f"{path} camera {camera}: {key} has NaN or infinite values")
    return joints


def read_test_annotation(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """{label set: {'data_2d' (F, 17, 2) px, 'data_3d' (F, 17, 3) mm, 'valid' (F,)}} of one test sequence, MAT v7.3.

    Raises UserError.
    """
    joints = len(MPI_INF_3DHP_17)
    with open_hdf5(path) as file:
        missing = [key for key in ("annot2", *FILE_ENDINGS, "valid_frame") if key not in file]
        if missing:
            raise UserError(f"{path}: no {', '.join(missing)}; not an annotation of the 3DHP test set")
        # HDF5 shows MATLAB's 3 x 17 x 1 x F as (F, 1, 17, 3).
        arrays = {key: file.array(key).astype(np.float32) for key in ("annot2", *FILE_ENDINGS)}
        valid = (file.array("valid_frame").reshape(-1) == 1).astype(np.float64)
    for key, array in arrays.items():
        expected = (len(valid), 1, joints, 2 if key == "annot2" else 3)
        if array.shape != expected:
            raise UserError(f"{path}: {key} is {array.shape}, expected {expected}")
    pixels = arrays["annot2"][:, 0]
    return {
        labels: {"data_2d": pixels, "data_3d": arrays[labels][:, 0], "valid": valid.copy()} for labels in FILE_ENDINGS
    }
