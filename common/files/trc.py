"""Motion as TRC, the text table of marker trajectories that OpenSim and Pose2Sim read: metres, y up.

Five lines of head (the last two name the markers and their columns), then a line a frame. Joints bear Pose2Sim's names
for its own markers, so its OpenSim models and scaling files find them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files.bvh import FRAMES
from common.files.writing import save_text
from common.geometry.skeleton import Skeleton

# What Pose2Sim calls the joints that are called otherwise here.
MARKERS = {"Pelvis": "Hip", "LFoot": "LAnkle", "RFoot": "RAnkle", "Thorax": "Neck", "HeadTop": "Head"}


def marker_names(skeleton: Skeleton) -> list[str]:
    """Pose2Sim's names of a skeleton's joints; a joint that has such a name already keeps it."""
    return [name if (name := MARKERS.get(joint, joint)) not in skeleton.joints else joint for joint in skeleton.joints]


def write_trc(
    path: Path | str,
    positions: np.ndarray,
    skeleton: Skeleton,
    fps: float,
    *,
    frame: str = "camera",
    first: int = 0,
    unit: str = "m",
) -> None:
    """Write absolute joint positions (T, J, 3), metres, of one person.

    frame: 'camera' (x right, y down, z forward) or 'world' (z up), turned to y up; first: the video frame of row 0, so
    that time is the video's; unit: 'm' or 'mm'. A joint that is not finite is written as nan,
    which OpenSim reads as a gap; an empty field at the end of a line it refuses.
    """
    positions = np.asarray(positions, np.float64)
    if positions.ndim != 3 or positions.shape[1:] != (len(skeleton), 3) or unit not in ("m", "mm"):
        raise UserError(f"{path}: TRC needs positions (frames, {len(skeleton)}, 3), metres, got {positions.shape}")
    turned = positions @ FRAMES[frame].T * (1000 if unit == "mm" else 1)  # (T, J, 3), y up
    names, count = marker_names(skeleton), len(positions)
    facts = (f"{fps:g}", f"{fps:g}", count, len(names), unit, f"{fps:g}", first + 1, count)
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{Path(path).name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        "\t".join(map(str, facts)),
        "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t",
        "\t\t" + "\t".join(f"{axis}{n}" for n in range(1, len(names) + 1) for axis in "XYZ"),
    ]
    for number, row in enumerate(turned.reshape(count, -1), first):
        values = (f"{value:.6f}" if np.isfinite(value) else "nan" for value in row)
        lines.append("\t".join([str(number + 1), f"{number / fps:.6f}", *values]))
    save_text(path, "\n".join(lines) + "\n")
