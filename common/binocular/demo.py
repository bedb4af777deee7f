"""The demo: synthetic people before two camera rigs, a noisy detector, training, evaluation, pictures.

Everything is SYNTHETIC, and every output says so. The detector's noise is zero-mean, Gaussian, independent for every
joint, view and coordinate; its deviations are the table below, fixed before any training. The people whose estimates
give the detector's statistics are neither trained on nor evaluated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common.binocular.noise import measure, save_noise
from common.binocular.run import Run, talker
from common.binocular.work import evaluate_run, train_run
from common.datasets import stereo_formats as formats
from common.datasets import stereo_labels as labels
from common.datasets.actions import ACTIONS, synthetic_motion
from common.datasets.stereo import load_split
from common.datasets.synthetic.body import BODIES, Body, make_body
from common.engine.devices import Place
from common.files.writing import save_json, save_pickle, save_text
from common.geometry.rectification import Rig
from common.geometry.skeleton import H36M_17, STEREO_17, joint_map
from common.geometry.stereo import crop_units_to_pixels
from common.settings.two_view_files import find_config, read_config, resolve

DATA, OUT = Path("data/demo_2view"), Path("checkpoint/demo_2view")
SIZE = 384  # pixels, side of the crop
# Deviation of the detector in pixels of the crop: what moves more is found less well.
_PIXELS = {"Hip": 1.0, "Spine": 1.0, "Thorax": 1.0, "Nose": 1.2, "Head": 1.2, "Wrist": 2.0, "Ankle": 2.0}
DEVIATION = np.array([next((s for name, s in _PIXELS.items() if j.endswith(name)), 1.5) for j in STEREO_17.joints])
FPS, SECONDS, EVERY = 50, 8, 10  # one frame in ten is kept
CALIBRATION = ("S01", "S02")  # names in the calibration file, where they are people of their own
NOTE = "SYNTHETIC"


def look_at(centre: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (world to camera: right, down, forward) and translation, mm, of a camera at `centre` seeing `target`."""
    forward = (target - centre) / np.linalg.norm(target - centre)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return rotation, -rotation @ centre


def make_rig(angle: float, height: float, baseline: float) -> Rig:
    """Two cameras 3.6 m from the origin at `angle` degrees, `baseline` mm apart, turned towards the middle."""
    a = np.deg2rad(angle)
    outward, along = np.array([np.cos(a), np.sin(a), 0]), np.array([-np.sin(a), np.cos(a), 0])
    middle = 3600 * outward + [0, 0, height]
    target = np.array([0, 0, 900.0])
    poses = [look_at(middle + s * baseline / 2 * along, target) for s in (-1, 1)]
    k = np.array([[530.0, 0, 320], [0, 530.0, 240], [0, 0, 1]])
    rotation, shift = (np.stack(part) for part in zip(*poses, strict=True))
    return Rig(np.stack([k, k]), rotation, shift, np.array([[640.0, 480.0]] * 2))


RIGS = {0: (0.0, 1300.0, 1000.0), 1: (20.0, 1500.0, 900.0)}  # angle, height, baseline


def random_person(name: str, rng: np.random.Generator) -> Body:
    """A person of random proportions."""
    ratios = rng.normal(1, 0.04, 5).clip(0.9, 1.1)
    return make_body(name, float(rng.uniform(1.55, 1.95)), *ratios)


def h36m_trial(action: str) -> str:
    """The Human3.6M trial that a synthetic action is filed under; never one of S9's damaged ones."""
    name = {"Photo": "TakingPhoto"}.get(action, action)
    return f"{name}-2" if name == "Waiting" else f"{name}-1"


H36M_NUMBERS = [formats.H36M.actions.index(h36m_trial(a)) for a in ACTIONS]


def record(people: list[Body], subjects: list[int], numbers: list[int], rng: np.random.Generator) -> labels.Frames:
    """Motion of every person in every action: keypoints in mm and the order of STEREO_17. numbers: what each action is
    filed under."""
    parts, order = [], joint_map(H36M_17, STEREO_17).astype(np.float64)
    index = np.arange(0, FPS * SECONDS, EVERY)
    for body, subject in tqdm(list(zip(people, subjects, strict=True)), desc="making motion"):
        for number, action in zip(numbers, ACTIONS, strict=True):
            motion = synthetic_motion(body, action, FPS * SECONDS, rng, fps=FPS, radius=0.5)[index]  # (T, 17, 3), m
            parts.append((1000 * order @ motion, np.full(len(index), subject), np.full(len(index), number), index))
    return labels.Frames(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def write_labels(path: Path, data_set: str, frames: labels.Frames, rigs: list[int]) -> None:
    """Rectify the rigs and write a label file in a published format."""
    tables, records = [], []
    for group, rig in enumerate(rigs):
        original = make_rig(*RIGS[rig])
        rectified, homographies = labels.prepare_rig(original, rectified=True)
        records.append(labels.camera_records(rectified, homographies))
        tables.append(labels.build_table(data_set, rectified, original, frames, group=group))
    names = [["left", "right"]] * len(rigs)
    if data_set == "h36m":  # one rig, listed for every person
        records, names = records * len(formats.H36M.subjects), names[0]
    formats.save_labels(path, formats.label_file(data_set, np.stack(records), np.concatenate(tables), names))


def detect(label_path: Path, subjects: tuple[str, ...] | None, out: Path, rng: np.random.Generator) -> None:
    """Write noisy 2D estimates of some people in the published format: crop pixels."""
    data = load_split(label_path, subjects=subjects, image_size=(SIZE, SIZE))
    pixels = crop_units_to_pixels(data.keypoints_2d, data.image_size).numpy()  # (N, V, 17, 2)
    found = pixels + rng.normal(size=pixels.shape) * DEVIATION[:, None]
    total = int(data.row.max()) + 1
    estimates = np.zeros((total, *found.shape[1:]), np.float32)  # rows without both views have no estimate
    truth = np.zeros_like(estimates)
    estimates[data.row.numpy()], truth[data.row.numpy()] = found, pixels
    content = {"keypoints_2d_pred": estimates, "keypoints_2d_gt": truth, "indexes": np.arange(total)}
    save_pickle(out, content)


def make_data(seed: int, folder: Path) -> None:
    """The whole synthetic set: MHAD's format (training and test), Human3.6M's format (test), and the calibration
    people with the statistics measured on them."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    plain = list(range(len(ACTIONS)))
    mhad = [random_person(name, rng) for name in formats.MHAD.subjects]
    write_labels(folder / "mhad_labels.npy", "mhad", record(mhad, list(range(12)), plain, rng), [0, 1])
    detect(folder / "mhad_labels.npy", formats.MHAD.test, folder / "mhad_results.pkl", rng)

    h36m = [BODIES[name] for name in formats.H36M.test]
    subjects = [formats.H36M.subjects.index(name) for name in formats.H36M.test]
    write_labels(folder / "h36m_labels.npy", "h36m", record(h36m, subjects, H36M_NUMBERS, rng), [0])
    detect(folder / "h36m_labels.npy", formats.H36M.test, folder / "h36m_results.pkl", rng)

    others = [random_person(f"calibration {i}", rng) for i in range(2)]
    write_labels(folder / "calibration_labels.npy", "mhad", record(others, [0, 1], plain, rng), [0, 1])
    detect(folder / "calibration_labels.npy", CALIBRATION, folder / "calibration.pkl", rng)
    calibration = load_split(
        folder / "calibration_labels.npy",
        subjects=CALIBRATION,
        detections_path=folder / "calibration.pkl",
        image_size=(SIZE, SIZE),
    )
    noise = measure(calibration)
    noise.source.update(subjects=["calibration 0", "calibration 1"], detections="calibration.pkl", note=NOTE)
    save_noise(folder / "calibration_gauss.npy", noise)
    save_text(
        folder / "README.txt",
        f"{NOTE}: computed bodies, cameras and detector noise (seed {seed}). Made by --demo; no real person.\n",
    )


def run_demo(
    typed: dict[str, object], seed: int, place: Place, say: Callable[[str], None], *, amp: bool = False
) -> dict:
    """Make the data, train, evaluate both formats with the last epoch, draw. Returns the report of MHAD's format."""
    data, folder = DATA / f"seed_{seed}", OUT / f"seed_{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    say(f"{NOTE} data to {data}, results to {folder}.")
    make_data(seed, data)
    file = read_config(find_config("demo_2view.yml"))
    file = {k: v.replace(f"{DATA}/seed_0", str(data)) if isinstance(v, str) else v for k, v in file.items()}
    values, _ = resolve(file, typed, "demo_2view.yml")
    for left in ("stdout.txt", "ckpt_last.pth"):  # an earlier demo's
        (folder / left).unlink(missing_ok=True)
    say = talker(folder, "info")
    run = Run(values=values, typed=typed, folder=folder, place=place, seed=seed, say=say, amp=amp, figures=3, note=NOTE)
    weights = str(train_run(run))
    reports = {}
    for kind in ("mhad", "h36m"):
        changes = {
            "data.dataset": f"{kind}_2view",
            "dataset.val.labels_path": str(data / f"{kind}_labels.npy"),
            "dataset.val.pred_2d_results_path": str(data / f"{kind}_results.pkl"),
        }
        say(f"\n{NOTE} test people, in the format of {kind}:")
        there = folder / kind
        there.mkdir(exist_ok=True)
        reports[kind] = evaluate_run(replace(run, values=values | changes, folder=there, weights=weights))
    summary = {kind: report["results"]["overall"]["all"] for kind, report in reports.items()}
    save_json(folder / "summary.json", {"note": NOTE, "seed": seed} | summary)
    return reports["mhad"]
