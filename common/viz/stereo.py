"""Pictures of evaluated frames: both views with the detections and the result, and the poses in 3D."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from common.datasets.stereo import StereoData
from common.errors import visible
from common.files.writing import save_figure
from common.geometry.skeleton import STEREO_17
from common.geometry.stereo import camera_centres, crop_units_to_pixels, project
from common.scoring.metrics import mpjpe

TRUTH, RAW, MODEL = "#555555", "#d95f02", "#1b6fb5"


def draw_frame(
    data: StereoData, row: int, start: Tensor, poses: dict[str, Tensor], path: Path, *, note: str = ""
) -> Path:
    """Draw frame `row`: one panel a view, one in 3D with the triangulated and the denoised pose over the true one.

    start (N, V, J, 2), the 2D poses that the network started from, crop units; poses: 'input' and 'model' (N, J, 3).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    views = data.projections.shape[1]
    figure = Figure(figsize=(4.4 * views + 5, 5.2))
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        1, views + 1, width_ratios=[*[1] * views, 1.1], left=0.05, right=0.97, top=0.84, wspace=0.2
    )
    truth, model, raw = data.keypoints_3d[row], poses["model"][row], poses["input"][row]
    for v in range(views):
        ax = figure.add_subplot(grid[v])
        camera = data.projections[row, v : v + 1]
        layers = (
            (project(truth, camera)[0], TRUTH, "truth", "-"),
            (start[row, v], RAW, "2D estimate", ":"),
            (project(model, camera)[0], MODEL, "denoised", "-"),
        )
        for points, colour, label, line in layers:
            pixels = crop_units_to_pixels(points, data.image_size)
            for child, parent in STEREO_17.edges:
                bone = pixels[[child, parent]]
                ax.plot(bone[:, 0], bone[:, 1], color=colour, lw=1.4, ls=line)
            ax.scatter(pixels[:, 0], pixels[:, 1], s=8, color=colour, label=label)
        ax.set(xlim=(0, data.image_size[1]), ylim=(data.image_size[0], 0), aspect="equal", title=f"view {v + 1}")
        ax.set_xlabel("pixels of the crop")
        if v == 0:
            ax.legend(loc="lower right", fontsize=7)
    ax = figure.add_subplot(grid[views], projection="3d")
    for pose, colour, label in ((truth, TRUTH, "truth"), (raw, RAW, "triangulated"), (model, MODEL, "denoised")):
        for child, parent in STEREO_17.edges:
            bone = pose[[child, parent]]
            ax.plot(bone[:, 0], bone[:, 1], bone[:, 2], color=colour, lw=1.4)
        error = "" if label == "truth" else f" {1000 * float(mpjpe(pose, truth)):.1f} mm"
        ax.plot([], [], color=colour, label=label + error)
    ax.legend(loc="lower left", bbox_to_anchor=(0.1, 0.98), fontsize=8, ncols=3, columnspacing=1, handlelength=1)
    ax.set(xlabel="x, m", ylabel="y, m", zlabel="z, m")
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_major_locator(MaxNLocator(4))
    middle, half = (truth.amin(0) + truth.amax(0)) / 2, (truth.amax(0) - truth.amin(0)) / 2 + 0.1
    half[:2] = half[:2].max().clamp_min(0.45)
    low, high = middle - half, middle + half
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    ax.set_box_aspect((high - low).tolist())
    # Seen from the side, where depth, the direction that two views know least, lies in the picture.
    toward = camera_centres(data.extrinsics[row]).mean(0) - truth.mean(0)
    ax.view_init(elev=12, azim=float(torch.rad2deg(torch.atan2(toward[1], toward[0]))) + 60)
    who = f"{data.subjects[data.subject[row]]}, {data.actions[data.action[row]]}, row {int(data.row[row])}"
    figure.suptitle(visible(" - ".join(filter(None, (note, who)))), parse_math=False)
    return save_figure(path, figure, dpi=100)


def draw_frames(
    folder: Path, data: StereoData, start: Tensor, poses: dict[str, Tensor], count: int, *, note: str = ""
) -> list[Path]:
    """Draw `count` frames, evenly spaced, as folder/frame_<row>.png."""
    rows = torch.linspace(0, len(data) - 1, count + 2).long()[1:-1].unique().tolist()
    return [draw_frame(data, r, start, poses, folder / f"frame_{int(data.row[r]):06d}.png", note=note) for r in rows]
