"""Training, evaluation and simulation of one run: files in, files out."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from common.binocular import checkpoint, results
from common.binocular.evaluate import baselines, errors, score
from common.binocular.run import Run
from common.binocular.sample import aggregate, predict
from common.binocular.setup import guard_leak, load_side, make_sampler, pick_actions, read_noise, settle
from common.binocular.train import StereoTrainer, ema_network, hold_out, make_process
from common.engine import run as engine
from common.engine.checkpoint import fill
from common.engine.folder import claimed, set_aside
from common.engine.run import Plan
from common.errors import UserError
from common.files.writing import save_json
from common.geometry.stereo import triangulate
from common.settings.two_view import TRAINED

LAST = "ckpt_last.pth"


def train_run(run: Run) -> Path:
    """Train; returns the path of the last checkpoint."""
    with claimed(run.folder, run.place):
        return _train(run)


def _train(run: Run) -> Path:
    content = run.resume or (checkpoint.load(run.weights) if run.weights else None)
    settings = settle(run, content and content["card"])
    select = settings.training.select
    data = load_side(settings, "train", detections=select == "held")
    noise, held = read_noise(settings, "train"), None
    if select == "held":
        data, held = hold_out(data)
    elif select == "test":
        held = load_side(settings, "val", detections=True)
        run.say("Warning: the best epoch is chosen on the TEST people (training.select test).")
    run.say(f"{len(data)} training frames ({data.dropped} dropped for a missing view).")
    if content is None and settings.training.loss_type == "2d":
        run.say("Warning: from scratch, loss_type 2d alone is known to diverge; 3dand2d is not.")

    torch.manual_seed(run.seed)
    network = checkpoint.build(settings.model)
    if content:
        fill(network, content["weights"], str(run.weights or "the resumed checkpoint"))
    trainer = StereoTrainer(settings, network, data, noise, run.place, seed=run.seed, amp=run.amp)
    if run.resume:
        trainer.restore(run.resume)
        run.say(f"Resumed after epoch {trainer.epoch}.")
    card = {
        "model": "dual_diffusion",
        "version": checkpoint.VERSION,
        "source": "trained here",
        "settings": {key: settings.values[key] for key in TRAINED},
        "all_settings": settings.values,
        "skeleton": "stereo_17",
        "units": "m",
        "seed": run.seed,
        "selected_on": select,
        "noise_source": noise.source,
    }

    def validate() -> dict[str, float]:
        if held is None:
            return {}
        averaged = ema_network(trainer.network, trainer.ema)
        debiased = held.detections - noise.mean if settings.testing.debias == "file" else held.detections
        views = held.views(settings.model.depth_axis, settings.data.weighted)
        sampler = make_sampler(settings, noise, run.seed)
        batch = settings.testing.batch_size
        poses, _ = predict(
            averaged, debiased, views, held.row, sampler, run.place.device, batch_size=batch, progress=False
        )
        found = results.means(errors(poses, held.keypoints_3d))
        return {f"{name}_mm": found[name] for name in ("absolute", "relative")}

    best = {"absolute_mm": "ckpt_best_mpjpe.pth", "relative_mm": "ckpt_best_mpjpe_re.pth"}
    plan = Plan(
        folder=run.folder,
        epochs=settings.training.n_epochs,
        last=LAST,
        best=best if held is not None else {},
        lines=lambda history: [epoch_line(row, len(history)) for row in history],
        tell=lambda row: epoch_line(row, settings.training.n_epochs),
        say=run.say,
    )
    if not run.resume:
        set_aside(run.folder, ("ckpt_*.pth",))
    engine.run(trainer, plan, card, run.place, validate)
    return run.folder / LAST


def epoch_line(row: dict, epochs: int) -> str:
    """One epoch for the eye and for training_log.txt."""
    measured = "".join(f"  {name.removesuffix('_mm')} {row[name]:.2f} mm" for name in row if name.endswith("_mm"))
    return f"epoch {row['epoch']}/{epochs}  loss {row['loss']:.5f}{measured}"


def evaluate_run(run: Run) -> dict:
    """Evaluate a checkpoint; writes the run's folder -001 and returns the report."""
    if not run.weights:
        raise UserError("--model_diff_path is needed: the checkpoint to evaluate")
    content = checkpoint.load(run.weights)
    settings = settle(run, content["card"])
    data = pick_actions(load_side(settings, "val", detections=True), run.actions)
    run.say(f"{len(data)} frames ({data.dropped} dropped for a missing view).")
    protocol, debias = settings.testing.protocol, settings.testing.debias == "file"
    known = settings.dataset.val.pred_2d_error_dis_path is not None
    noise = read_noise(settings, "val") if debias or known else None
    if noise is None:
        run.say("No detector statistics are named (dataset.val.pred_2d_error_dis_path): no de-biased row.")
    leaked = guard_leak(noise, data, protocol)
    if leaked:
        run.say(f"Warning: {leaked} (--protocol published).")

    network = checkpoint.build(settings.model)
    fill(network, content["weights"], str(run.weights))
    averaged = settings.model.ema and protocol == "default" and content.get("ema") is not None
    if averaged:
        network = ema_network(network, content["ema"])
    start = data.detections - noise.mean if debias else data.detections
    views = data.views(settings.model.depth_axis, settings.data.weighted)
    sampler, began = make_sampler(settings, noise, run.seed), time.perf_counter()
    poses = baselines(data, noise, settings.data.weighted)
    model, states = predict(
        network.to(run.place.device),
        start,
        views,
        data.row,
        sampler,
        run.place.device,
        batch_size=settings.testing.batch_size,
    )
    seconds = time.perf_counter() - began
    scores = score(poses | {"model": model}, data)

    folder = run.folder / "-001"  # the published name: epoch -1
    folder.mkdir(parents=True, exist_ok=True)
    poses |= {"model": model, "input": triangulate(start, data.projections, views.weights)}
    results.save_arrays(folder, data, poses, states, aggregate(states[-1], start, sampler.aggregation))
    card = {key: value for key, value in content["card"].items() if key != "all_settings"}
    about = {
        "note": run.note,
        "card": card,
        "checkpoint": Path(run.weights).name,
        "weights": "EMA" if averaged else "raw",
        "protocol": protocol,
        "variant": settings.model.variant,
        "hypotheses": sampler.hypotheses,
        "steps": len(sampler.grid),
        "times": sampler.grid,
        "seed": run.seed,
        "debias": settings.testing.debias,
        "reads": ["action"] if settings.model.action_emd else [],
        "detector_statistics": {"source": noise.source if noise else None, "leaked": leaked},
        "cost": {"seconds": seconds, "device": str(run.place.device), "frames_per_second": len(data) / seconds},
    }
    report = results.save_reports(folder, scores, about)
    run.say(f"{sampler.hypotheses} hypotheses, times {sampler.grid}, {about['weights']} weights; millimetres.")
    run.say(results.table(report))
    if run.figures:
        from common.viz.stereo import draw_frames  # Matplotlib: not needed otherwise

        for path in draw_frames(folder, data, start, poses, run.figures, note=run.note):
            run.say(str(path))
    return report


def simulate_run(run: Run) -> list[dict]:
    """Show the 3D error that the forward process makes at some times, beside the detector's own.

    Where they are alike, T suits the detector. Nothing is trained; writes simulation.json.
    """
    settings = settle(run, None)
    data = load_side(settings, "val", detections=settings.dataset.val.pred_2d_results_path is not None)
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
    save_json(run.folder / "simulation.json", rows)
    run.say(results.simulation_table(rows))
    return rows
