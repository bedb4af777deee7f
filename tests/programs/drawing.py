"""A small data set and a network with a known answer, for the tests of the figure and animation programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common.datasets.h36m_cameras import H36M_SUBJECTS, h36m_cameras
from common.datasets.synthetic.h36m import as_recorded, capture_centre, project_all
from common.engine import checkpoint
from common.engine.checkpoint import VERSION
from common.geometry.skeleton import H36M_17, H36M_17_OF_32
from tests.viz.poses import STANDING, clip

SIGNAL = H36M_17.index("LWrist")


def write_data(folder: Path, frames: dict[str, int]) -> Path:
    """Human3.6M files with these actions and frames for S9; the other subjects have two frames of `Photo 1`."""
    positions, keypoints = {}, {}
    for number, subject in enumerate(H36M_SUBJECTS):
        cameras = h36m_cameras(subject)
        centre = np.array([*capture_centre(cameras), 0.9])
        for action, count in (frames if subject == "S9" else {"Photo 1": 2}).items():
            pose = clip(count, seed=number + len(action)) @ np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])  # z up
            world = as_recorded((pose + centre).astype(np.float32))  # (T, 32, 3)
            seen = [pixels.astype(np.float32) for pixels in project_all(world[:, H36M_17_OF_32], cameras)]
            positions.setdefault(subject, {})[action] = world
            keypoints.setdefault(subject, {})[action] = seen
    metadata = {"num_joints": 17, "keypoints_symmetry": [list(H36M_17.left), list(H36M_17.right)]}
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "data_3d_h36m.npz", positions_3d=positions)
    np.savez(folder / "data_2d_h36m_cpn_ft_h36m_dbb.npz", positions_2d=keypoints, metadata=metadata)
    return folder


class Known(nn.Module):
    """Answers every frame with one pose whose left wrist tells, by its height, what the frame's first keypoint was."""

    def __init__(self, frames: int, joints: int, channels: int, depth: int, turn: float = 0.0):
        super().__init__()
        self.pose = nn.Parameter(torch.tensor(known_pose(turn), dtype=torch.float32), requires_grad=False)

    def condition(self, batch) -> None:
        return None

    def forward(self, x_2d: Tensor, x_t: Tensor, t: Tensor, condition=None) -> Tensor:
        out = self.pose.expand(x_t.shape).clone()  # (B, H, F, J, 3)
        out[..., SIGNAL, 1] += x_2d[:, None, :, 0, 0]
        return out


def known_pose(turn: float) -> np.ndarray:
    """A pose that is not in the data: arms spread, the whole body turned by some radians."""
    pose = STANDING.copy()
    pose[H36M_17.index("RWrist")] = [-0.8, -0.5, 0.2]
    pose[SIGNAL] = [0.9, -0.2, 0.1]
    c, s = np.cos(turn), np.sin(turn)
    return pose @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def known_answer(turn: float, keypoints_2d: np.ndarray) -> np.ndarray:
    """What `Known` must lift keypoints (J, 2) to, (J, 3), when the mirrored body is left out."""
    pose = known_pose(turn)
    pose[SIGNAL, 1] += keypoints_2d[0, 0]
    return pose


def save_known(folder: Path, turn: float = 0.0, frames: int = 9, file: str = "best_epoch_1_1.bin") -> Path:
    """A checkpoint of `Known`; the name `known` must be in the registry to read it."""
    sizes = {"frames": frames, "joints": 17, "channels": 8, "depth": 1, "turn": turn}
    card = {
        "model": "known", "sizes": sizes, "variant": "default", "frames": frames, "joints": 17,
        "skeleton": "h36m_17", "keypoints": "cpn_ft_h36m_dbb", "version": VERSION, "diffusion": {},
    }  # fmt: skip
    checkpoint.save(folder / file, {"card": card, "weights": Known(**sizes).state_dict()})
    return folder
