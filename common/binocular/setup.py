"""From settings to parts: what weights fix, the data of a split, detector statistics, the sampler."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from common.binocular.noise import DetectorNoise, leak, load_noise
from common.binocular.run import Run
from common.binocular.sample import Sampler
from common.binocular.train import make_process
from common.datasets import stereo_formats as formats
from common.datasets.stereo import StereoData, action_name, load_split
from common.diffusion.two_view import time_grid
from common.errors import UserError
from common.settings.lifting import EVERYTHING
from common.settings.two_view import LOOSE, TwoViewSettings

DEPTH_AXIS = {"default": "camera", "published": "world_z"}


def settle(run: Run, card: dict | None) -> TwoViewSettings:
    """The settings with what the weights fix, and `depth_axis` and `legacy_skew` made definite.

    A typed value that contradicts the card is an error, or wins where the weights allow it (`LOOSE`); a file's is
    overruled with a line.
    """
    values = dict(run.values)
    for key, value in (card["settings"] if card else {}).items():
        if key in run.typed and key in LOOSE:
            continue
        if key in run.typed and run.typed[key] != value:
            raise UserError(f"{key}: {run.typed[key]} asked for, but the checkpoint has {value}")
        if values[key] != value:
            if values[key] is not None:
                run.say(f"{key}: {value}, as in the checkpoint (the settings say {values[key]}).")
            values[key] = value
    if values["model.depth_axis"] is None:
        values["model.depth_axis"] = DEPTH_AXIS[values["model.variant"]]
    if values["data.legacy_skew"] is None:
        values["data.legacy_skew"] = values["model.variant"] == "published"
    if values["model.action_emd"]:
        run.say("Warning: model.action_emd feeds the TRUE action label to the network, also in evaluation.")
    return TwoViewSettings.of(values)


def load_side(settings: TwoViewSettings, side: str, detections: bool) -> StereoData:
    """The `train` or `val` split of the settings, with its 2D estimates if asked for."""
    kind, views = settings.data.dataset.split("_")
    if int(views[0]) != settings.dataset.num_views:
        raise UserError(f"data.dataset is {kind}_{views}, but dataset.num_views is {settings.dataset.num_views}")
    known = formats.DATA_SETS[kind]
    path, found = (getattr(settings.dataset.side(side), name) for name in ("labels_path", "pred_2d_results_path"))
    if path is None:
        raise UserError(f"dataset.{side}.labels_path is not set")
    if detections and found is None:
        raise UserError(f"dataset.{side}.pred_2d_results_path is not set: no 2D estimates to work on")
    subjects = settings.dataset.side(side).subjects or (known.train if side == "train" else known.test)
    data = load_split(
        path,
        subjects=subjects,
        detections_path=found if detections else None,
        image_size=(settings.dataset.image_shape,) * 2,
        views=settings.dataset.num_views,
        cameras=settings.dataset.include_cameras,
        groups=settings.dataset.side(side).groups,
        legacy_skew=settings.data.legacy_skew,
    )
    if data.kind != kind:
        raise UserError(f"{path}: a label file of {data.kind}, but data.dataset is {kind}_{views}")
    return data.take(torch.arange(0, len(data), settings.data.downsample))


def read_noise(settings: TwoViewSettings, side: str) -> DetectorNoise:
    path = settings.dataset.side(side).pred_2d_error_dis_path
    if path is None:
        raise UserError(f"dataset.{side}.pred_2d_error_dis_path is not set; python -m common.binocular.noise makes it")
    return load_noise(path, settings.dataset.num_views)


def make_sampler(settings: TwoViewSettings, noise: DetectorNoise | None, seed: int) -> Sampler:
    """The sampler of the settings."""
    process, total = make_process(settings), settings.testing.test_num_diffusion_timesteps
    if total > len(process):
        raise UserError(f"testing.test_num_diffusion_timesteps {total}: at most T = {len(process)}")
    grid, eta = (
        time_grid(total, settings.testing.test_timesteps, settings.testing.skip_type),
        settings.testing.eta,
    )
    if eta is None and noise is None and len(grid) > 1:
        raise UserError("testing.eta: give a number, or detector statistics whose mean deviation it is")
    return Sampler(
        process=process,
        grid=grid,
        hypotheses=settings.testing.test_times,
        eta=eta if eta is not None else noise.eta if noise else 0.0,
        seed=seed,
        depth_norm_by_bw=settings.model.depth_norm_by_bw,
        root_relative=settings.data.root_relative,
        aggregation=settings.testing.hypothesis_agg,
    )


def pick_actions(data: StereoData, wanted: Sequence[str]) -> StereoData:
    """Only the actions of `--actions`: full names, or names without their trial; ('*',) is all."""
    if tuple(wanted) == EVERYTHING:
        return data
    names = set(wanted)
    chosen = [i for i, a in enumerate(data.actions) if a in names or action_name(a) in names]
    known = set(data.actions) | {action_name(a) for a in data.actions}
    if unknown := sorted(names - known):
        raise UserError(f"--actions {', '.join(unknown)}: not in the labels")
    data = data.take(torch.isin(data.action, torch.tensor(chosen)))
    if not len(data):
        raise UserError(f"--actions {','.join(wanted)}: no frame of it")
    return data


def guard_leak(noise: DetectorNoise | None, data: StereoData, protocol: str) -> str | None:
    """Refuse detector statistics that come from the evaluated frames; under `published` say so and go on."""
    reason = leak(noise, data) if noise is not None else None
    if reason and protocol != "published":
        raise UserError(f"{reason}; take other people's, or reproduce with --protocol published")
    return reason
