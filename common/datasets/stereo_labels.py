"""Label tables of the two-view data sets from calibrated cameras and 3D poses: boxes, projections, records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.datasets.stereo_formats import camera_dtype, table_dtype
from common.errors import UserError
from common.geometry.rectification import Rig, rectify
from common.geometry.skeleton import STEREO_17

MARGIN = 20  # pixels around the joints, as published for MHAD
LARGEST = 32000  # boxes are stored as 16-bit integers


@dataclass(frozen=True)
class Frames:
    """Poses of one rig: keypoints (N, 17, 3), world millimetres, order of STEREO_17, and their indices (N,)."""

    keypoints: np.ndarray
    subject: np.ndarray
    action: np.ndarray
    frame: np.ndarray
    repetition: np.ndarray | None = None


def boxes(rig: Rig, original: Rig, keypoints: np.ndarray, aligned: bool) -> np.ndarray:
    """Square boxes (N, V, 4), int16, (top, left, bottom, right), around every pose in every view; zeros where the
    pose is behind a camera or its root outside the image that was taken.

    aligned: both views share top and bottom, as rectified pairs need. rig: the cameras of the boxes; original: those
    that took the images.
    """
    pixels = rig.project(keypoints)  # (N, V, J, 2)
    low, high = pixels.min(2) - MARGIN, pixels.max(2) + MARGIN  # (N, V, 2)
    if aligned:
        low[..., 1], high[..., 1] = low[..., 1].min(1, keepdims=True), high[..., 1].max(1, keepdims=True)
    side = (high - low).max(-1)  # (N, V)
    if aligned:
        side = np.broadcast_to(side.max(1, keepdims=True), side.shape)
    side = np.ceil(side)
    corner = np.round((low + high) / 2 - side[..., None] / 2)
    out = np.stack([corner[..., 1], corner[..., 0], corner[..., 1] + side, corner[..., 0] + side], -1)

    root = original.project(keypoints[:, [STEREO_17.root]])[:, :, 0]  # (N, V, 2)
    seen = ((root >= 0) & (root < original.sizes)).all(-1)
    seen &= (original.camera_points(keypoints)[..., 2] > 0).all(-1) & (rig.camera_points(keypoints)[..., 2] > 0).all(-1)
    seen &= (np.abs(out) < LARGEST).all(-1)
    return np.where(seen[..., None], out, 0).astype(np.int16)


def camera_records(rig: Rig, homographies: np.ndarray, distortion: np.ndarray | None = None) -> np.ndarray:
    """The cameras of a label file: (V,) records. T is the camera's centre."""
    records = np.zeros(len(rig.rotation), camera_dtype())
    records["R"], records["K"], records["H"] = rig.rotation, rig.intrinsics, homographies
    records["t"], records["T"] = rig.translation[..., None], rig.centres[..., None]
    if distortion is not None:
        records["dist"] = distortion
    return records


def prepare_rig(rig: Rig, rectified: bool) -> tuple[Rig, np.ndarray]:
    """The rig that labels are written in, and the homographies to it: rectified, or as it is."""
    if not rectified:
        return rig, np.broadcast_to(np.eye(3), rig.intrinsics.shape)
    if len(rig.rotation) != 2:
        raise UserError(f"only two cameras can be rectified, not {len(rig.rotation)}")
    return rectify(rig)


def build_table(
    data_set: str, rig: Rig, original: Rig, frames: Frames, *, group: int = 0, aligned: bool = True
) -> np.ndarray:
    """The label table (N,) of the frames that one rig sees; `group` numbers the rig (MHAD)."""
    count, views = len(frames.keypoints), len(rig.rotation)
    table = np.zeros(count, table_dtype(data_set, views))
    table["keypoints"] = frames.keypoints
    table["subject_idx"], table["action_idx"], table["frame_idx"] = frames.subject, frames.action, frames.frame
    table["bbox_by_camera_tlbr"] = boxes(rig, original, frames.keypoints, aligned)
    if data_set == "mhad":
        table["reptition_idx"] = 0 if frames.repetition is None else frames.repetition
        table["group_idx"] = group
        table["keypoints_2d"][..., :2] = rig.project(frames.keypoints)
        table["keypoints_2d"][..., 2] = 1
    return table
