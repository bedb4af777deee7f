"""Training, evaluation and simulation of one run: files in, files out."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from common.binocular import checkpoint, formats, results
from common.binocular.data import StereoData, action_name, load_split
from common.binocular.diffusion import time_grid
from common.binocular.evaluate import baselines, errors, score
from common.binocular.geometry import triangulate
from common.binocular.network import GraphDenoiser
from common.binocular.noise import DetectorNoise, leak, load_noise
from common.binocular.options import TRAINED
from common.binocular.sample import Sampler, aggregate, predict
from common.binocular.train import Trainer, ema_network, hold_out, make_process, train
from common.errors import UserError

if TYPE_CHECKING:
    from common.binocular.program import Run

DEPTH_AXIS = {"default": "camera", "published": "world_z"}


def settle(run: Run, content: dict | None) -> dict:
    """The settings with what the weights fix, and `depth_axis` and `legacy_skew` made definite.

    A typed value that contradicts the weights is an error; a file's is overruled with a line.
    """
    settings = dict(run.settings)
    for key, value in (content["card"]["settings"] if content else {}).items():
        if key in run.typed and run.typed[key] != value:
            raise UserError(f"{key}: {run.typed[key]} asked for, but the checkpoint has {value}")
        if settings[key] != value:
            if settings[key] is not None:
                run.say(f"{key}: {value}, as in the checkpoint (the settings say {settings[key]}).")
            settings[key] = value
    published = settings["model.variant"] == "published"
    if settings["model.depth_axis"] is None:
        settings["model.depth_axis"] = DEPTH_AXIS[settings["model.variant"]]
    if settings["data.legacy_skew"] is None:
        settings["data.legacy_skew"] = published
    if settings["model.action_emd"]:
        run.say("Warning: model.action_emd feeds the TRUE action label to the network, also in evaluation.")
    return settings


def load_side(settings: dict, side: str, detections: bool) -> StereoData:
    """The `train` or `val` split of the settings, with its 2D estimates if asked for."""
    kind, views = settings["data.dataset"].split("_")
    if int(views[0]) != settings["dataset.num_views"]:
        raise UserError(f"data.dataset is {kind}_{views}, but dataset.num_views is {settings['dataset.num_views']}")
    known = formats.DATA_SETS[kind]
    path, found = (settings[f"dataset.{side}.{name}"] for name in ("labels_path", "pred_2d_results_path"))
    if path is None:
        raise UserError(f"dataset.{side}.labels_path is not set")
    if detections and found is None:
        raise UserError(f"dataset.{side}.pred_2d_results_path is not set: no 2D estimates to work on")
    subjects = settings[f"dataset.{side}.subjects"] or (known.train if side == "train" else known.test)
    data = load_split(
        path,
        subjects,
        found if detections else None,
        (settings["dataset.image_shape"],) * 2,
        settings["dataset.num_views"],
        settings["dataset.include_cameras"],
        settings[f"dataset.{side}.groups"],
        settings["data.legacy_skew"],
    )
    if data.kind != kind:
        raise UserError(f"{path}: a label file of {data.kind}, but data.dataset is {kind}_{views}")
    return data.take(torch.arange(0, len(data), settings["data.downsample"]))


def read_noise(settings: dict, side: str) -> DetectorNoise:
    path = settings[f"dataset.{side}.pred_2d_error_dis_path"]
    if path is None:
        raise UserError(f"dataset.{side}.pred_2d_error_dis_path is not set; python -m common.binocular.noise makes it")
    return load_noise(path, settings["dataset.num_views"])


def make_sampler(settings: dict, noise: DetectorNoise | None, seed: int) -> Sampler:
    """The sampler of the settings."""
    process, total = make_process(settings), settings["testing.test_num_diffusion_timesteps"]
    if total > len(process) - 1:
        raise UserError(f"testing.test_num_diffusion_timesteps {total}: at most T - 1 = {len(process) - 1}")
    grid, eta = (
        time_grid(total, settings["testing.test_timesteps"], settings["testing.skip_type"]),
        settings["testing.eta"],
    )
    if eta is None and noise is None and len(grid) > 1:
        raise UserError("testing.eta: give a number, or detector statistics whose mean deviation it is")
    return Sampler(
        process=process,
        grid=grid,
        hypotheses=settings["testing.test_times"],
        eta=eta if eta is not None else noise.eta if noise else 0.0,
        seed=seed,
        depth_norm_by_bw=settings["model.depth_norm_by_bw"],
        root_relative=settings["data.root_relative"],
        aggregation=settings["testing.hypothesis_agg"],
    )


def train_run(run: Run) -> Path:
    """Train; returns the path of the last checkpoint."""
    content = run.resume or (checkpoint.load(run.weights) if run.weights else None)
    settings = settle(run, content)
    select = settings["training.select"]
    data = load_side(settings, "train", detections=select == "held")
    noise, held = read_noise(settings, "train"), None
    if select == "held":
        data, held = hold_out(data)
    elif select == "test":
        held = load_side(settings, "val", detections=True)
        run.say("Warning: the best epoch is chosen on the TEST people (training.select test).")
    run.say(f"{len(data)} training frames ({data.dropped} dropped for a missing view).")
    if content is None and settings["training.loss_type"] == "2d":
        run.say("Warning: from scratch, loss_type 2d alone is known to diverge; 3dand2d is not.")

    network = checkpoint.build(settings)
    trainer = Trainer(settings, network, data, noise, run.device)
    if run.resume:
        trainer.restore(run.resume)
        run.say(f"Resumed after epoch {trainer.epoch}.")
    elif content:
        checkpoint.fill(network, content["weights"], run.weights)
        if trainer.ema is not None:
            trainer.ema = {name: p.detach().clone() for name, p in network.named_parameters()}
    card = {
        "model": "dual_diffusion",
        "version": checkpoint.VERSION,
        "source": "trained here",
        "settings": {key: settings[key] for key in TRAINED},
        "all_settings": settings,
        "skeleton": "stereo_17",
        "units": "m",
        "seed": run.seed,
        "selected_on": select,
        "noise_source": noise.source,
    }

    def validate(averaged: GraphDenoiser) -> dict[str, float]:
        debiased = held.detections - noise.mean if settings["testing.debias"] == "file" else held.detections
        views = held.views(settings["model.depth_axis"], settings["data.weighted"])
        sampler = make_sampler(settings, noise, run.seed)
        batch = settings["testing.batch_size"]
        poses, _ = predict(averaged, debiased, views, held.row, sampler, run.device, batch, progress=False)
        found = results.means(errors(poses, held.keypoints_3d))
        return {name: found[name] for name in ("absolute", "relative")}

    train(trainer, card, run.folder, run.say, validate if held else None, run.progress)
    return run.folder / "ckpt_last.pth"


def pick_actions(data: StereoData, wanted: str) -> StereoData:
    """Only the actions of `--actions`: full names, or names without their trial."""
    if wanted == "*":
        return data
    names = {name.strip() for name in wanted.split(",")}
    chosen = [i for i, a in enumerate(data.actions) if a in names or action_name(a) in names]
    known = set(data.actions) | {action_name(a) for a in data.actions}
    if unknown := sorted(names - known):
        raise UserError(f"--actions {', '.join(unknown)}: not in the labels")
    data = data.take(torch.isin(data.action, torch.tensor(chosen)))
    if not len(data):
        raise UserError(f"--actions {wanted}: no frame of it")
    return data


def guard_leak(noise: DetectorNoise | None, data: StereoData, protocol: str) -> str | None:
    """Refuse detector statistics that come from the evaluated frames; under `published` say so and go on."""
    reason = leak(noise, data) if noise is not None else None
    if reason and protocol != "published":
        raise UserError(f"{reason}; take other people's, or reproduce with --protocol published")
    return reason


def evaluate_run(run: Run) -> dict:
    """Evaluate a checkpoint; writes the run's folder -001 and returns the report."""
    if not run.weights:
        raise UserError("--model_diff_path is needed: the checkpoint to evaluate")
    content = checkpoint.load(run.weights)
    settings = settle(run, content)
    data = pick_actions(load_side(settings, "val", detections=True), run.actions)
    run.say(f"{len(data)} frames ({data.dropped} dropped for a missing view).")
    protocol, debias = settings["testing.protocol"], settings["testing.debias"] == "file"
    known = settings["dataset.val.pred_2d_error_dis_path"] is not None
    noise = read_noise(settings, "val") if debias or known else None
    leaked = guard_leak(noise, data, protocol)
    if leaked:
        run.say(f"Warning: {leaked} (--protocol published).")

    network = checkpoint.build(settings)
    checkpoint.fill(network, content["weights"], run.weights)
    averaged = settings["model.ema"] and protocol == "default" and content.get("ema") is not None
    if averaged:
        network = ema_network(network, content["ema"])
    start = data.detections - noise.mean if debias else data.detections
    views = data.views(settings["model.depth_axis"], settings["data.weighted"])
    sampler, began = make_sampler(settings, noise, run.seed), time.perf_counter()
    poses = baselines(data, noise, settings["data.weighted"])
    model, states = predict(
        network.to(run.device),
        start,
        views,
        data.row,
        sampler,
        run.device,
        settings["testing.batch_size"],
        run.progress,
    )
    seconds = time.perf_counter() - began
    scores = score(poses | {"model": model}, data)

    folder = run.folder / "-001"  # the published name: epoch -1
    folder.mkdir(parents=True, exist_ok=True)
    poses |= {"model": model, "input": triangulate(start, data.projections, views.weights)}
    results.save_arrays(folder, data, poses, states, aggregate(states[-1], start, sampler.aggregation))
    card = {key: value for key, value in content["card"].items() if key != "all_settings"}
    about = {
        "card": card,
        "checkpoint": Path(run.weights).name,
        "weights": "EMA" if averaged else "raw",
        "protocol": protocol,
        "variant": settings["model.variant"],
        "hypotheses": sampler.hypotheses,
        "steps": len(sampler.grid),
        "times": sampler.grid,
        "seed": run.seed,
        "debias": settings["testing.debias"],
        "reads": ["action"] if settings["model.action_emd"] else [],
        "detector_statistics": {"source": noise.source if noise else None, "leaked": leaked},
        "cost": {"seconds": seconds, "device": str(run.device), "frames_per_second": len(data) / seconds},
    }
    report = results.save_reports(folder, scores, about)
    run.say(f"{sampler.hypotheses} hypotheses, times {sampler.grid}, {about['weights']} weights; millimetres.")
    run.say(results.table(report))
    if run.figures:
        from common.binocular.figure import draw_frames  # Matplotlib: not needed otherwise

        for path in draw_frames(folder, data, start, poses, run.figures):
            run.say(str(path))
    return report


def simulate_run(run: Run) -> list[dict]:
    """Show the 3D error that the forward process makes at some times, beside the detector's own.

    Where they are alike, T suits the detector. Nothing is trained; writes simulation.json.
    """
    settings = settle(run, None)
    data = load_side(settings, "val", detections=settings["dataset.val.pred_2d_results_path"] is not None)
    noise, process, rows = read_noise(settings, "val"), make_process(settings), []
    if data.detections is not None:
        for name, pose in baselines(data, noise).items():
            rows.append({"name": f"detector, {name}", **results.means(errors(pose, data.keypoints_3d))})
    generator = torch.Generator().manual_seed(run.seed)
    last = len(process) - 1
    for t in sorted({0, last // 4, last // 2, 3 * last // 4, last}):
        draw = torch.randn(data.keypoints_2d.shape, generator=generator, dtype=torch.float64) * noise.std
        noisy = process.sample(data.keypoints_2d, torch.full((len(data),), t), draw)
        found = errors(triangulate(noisy, data.projections), data.keypoints_3d)
        rows.append({"name": f"forward process, t = {t}", **results.means(found)})
    (run.folder / "simulation.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    run.say(results.simulation_table(rows))
    return rows


def with_settings(run: Run, **changes) -> Run:
    return replace(run, **changes)
