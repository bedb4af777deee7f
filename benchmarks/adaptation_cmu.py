"""Adaptation on real motion: performers of S1, S5 to those of S9, S11, who are seen by other cameras.

    python -m benchmarks.adaptation_cmu FOLDER --out checkpoint/adaptation_cmu

FOLDER holds real motion in the Human3.6M layout (data_3d_h36m.npz and data_2d_h36m_NAME.npz), such as the CMU
recordings converted by `to_h36m.py FOLDER`. The source is S1, S5 before the Human3.6M cameras. The target is S9, S11
before four cameras of another focal length, height and distance; of each subject's takes, every other one is adapted
on, without labels, and the others are scored. Three lifters are scored on them: source only, adapted, and one of the
same size trained on the target takes' labels. The table goes to OUT/table.md as it comes out.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from common.adaptation import results
from common.adaptation.data import load_target, split_takes
from common.adaptation.lifter import load_source_only, read
from common.adaptation.score import MEASURES, score_lifter
from common.adaptation.source import find_source
from common.adaptation.work import adapt
from common.datasets import DATA_SETS, DataSet
from common.datasets.clips import Clip
from common.datasets.synthetic.detector import detect_old
from common.datasets.windows import Windows
from common.door import guarded
from common.engine import devices
from common.engine.evaluation import sampling_of
from common.engine.log import say
from common.engine.training import BEST, train
from common.files.writing import save_json, save_text
from common.geometry.camera import Camera, pixels_to_screen, screen_intrinsics
from common.geometry.skeleton import H36M_17
from common.settings.adaptation import AdaptationSettings, read_settings
from common.settings.lifting import DataSettings, Settings

NAME = "other_cameras"
SIZE = (1280, 960)  # pixels
FOCAL = 1000.0  # pixels: 1.56 half image widths; Human3.6M's cameras have 2.29
AZIMUTHS = (20.0, 110.0, 200.0, 290.0)  # degrees
HEIGHTS = (0.6, 2.6, 0.9, 2.2)  # metres; Human3.6M's stand at about 1.6
DISTANCES = (4.4, 6.5, 4.8, 6.0)  # metres from the person's mean place; Human3.6M's about 5

SMALL = (
    "-f 27 -cs 64 -dep 3 -b 432 -lr 1e-3 -lrd 0.9 --nolog -num_proposals 3 --select last --refiner-channels 64 "
    "--refiner-depth 2 --source-epochs 4 --source-batch-size 432 --source-learning-rate 1e-3 --source-lr-decay 0.85"
)


def other_camera(number: int, centre: np.ndarray) -> Camera:
    """A camera that looks at a person's mean place (3,), metres, from where the tables above put it."""
    angle = np.radians(AZIMUTHS[number])
    place = centre * [1, 1, 0] + [DISTANCES[number] * np.cos(angle), DISTANCES[number] * np.sin(angle), HEIGHTS[number]]
    forward = centre - place
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    turn = np.stack([right, np.cross(forward, right), forward], -1)  # columns: the camera's axes in the world
    intrinsics = screen_intrinsics((FOCAL, FOCAL), (SIZE[0] / 2, SIZE[1] / 2), (0, 0, 0), (0, 0), *SIZE)
    return Camera(f"other{number}", *SIZE, intrinsics, quaternion(turn), tuple(place))


def quaternion(turn: np.ndarray) -> tuple[float, ...]:
    """Unit quaternion, w first, of a rotation matrix: the leading eigenvector of Bar-Itzhack's matrix (2000)."""
    m = turn
    k = np.array(
        [
            [m[0, 0] + m[1, 1] + m[2, 2], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 0] - m[1, 1] - m[2, 2], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]],
            [m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], m[1, 2] + m[2, 1]],
            [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1]],
        ]
    )
    return tuple(np.linalg.eigh(k)[1][:, -1])


def other_cameras(data: DataSettings, subjects: tuple[str, ...], role: str, seed: int = 1) -> list[Clip]:
    """The test subjects' takes, each once per camera of ours. `-k gt` gives exact 2D, any other name our detector's."""
    takes = {(clip.subject, clip.action): clip for clip in DATA_SETS["h36m"].load(data, data.subjects_test, "test")}
    clips = []
    for clip in takes.values():
        world = clip.camera.camera_to_world(torch.from_numpy(clip.positions_3d.astype(np.float64)))
        centre = world.mean((0, 1)).numpy()
        rng = np.random.default_rng([seed, len(clips)])
        for number in range(len(AZIMUTHS)):
            camera = other_camera(number, centre)
            points = camera.world_to_camera(world)
            pixels = camera.project(points).numpy()
            pixels = pixels if data.keypoints == "gt" else detect_old(pixels, H36M_17, SIZE, clip.fps, rng)[0]
            screen = pixels_to_screen(torch.from_numpy(pixels), *SIZE).numpy().astype(np.float32)
            clips.append(
                replace(clip, camera=camera, keypoints_2d=screen, positions_3d=points.numpy().astype(np.float32))
            )
    return clips


def target_takes(data: DataSettings, subjects: tuple[str, ...], role: str, seed: int = 1) -> list[Clip]:
    """For training on the target: the takes that adaptation sees, labels and all."""
    return split_takes(other_cameras(data, subjects, role, seed))[0]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("checkpoint/adaptation_cmu"))
    parser.add_argument("-k", "--keypoints", default="cpn_ft_h36m_dbb")
    parser.add_argument("-e", "--epochs", type=int, default=3, help="of adaptation; the source trains 4")
    parser.add_argument("--variants", default="none,ema", help="teachers to adapt with, comma list")
    parser.add_argument("--size", default="person", choices=("person", "source"), help="of placed poses")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gpu", default="-1")
    return guarded(compare, parser.parse_args(argv))


def compare(arguments: argparse.Namespace) -> int:
    """Train, adapt, score, write the table."""
    seed = arguments.seed
    DATA_SETS[NAME] = DataSet(partial(other_cameras, seed=seed), H36M_17, NAME)
    DATA_SETS[NAME + "_takes"] = DataSet(partial(target_takes, seed=seed), H36M_17, NAME)
    typed = ["--data-root", str(arguments.folder), "-c", str(arguments.out), "-k", arguments.keypoints, *SMALL.split()]
    typed += ["-e", str(arguments.epochs), "--target", NAME, "-str", "S1,S5", "-ste", "S9,S11"]
    typed += ["--seed", str(seed), "-gpu", arguments.gpu, "--size", arguments.size]
    settings, own, _ = read_settings("h36m_transfer", typed)
    place = devices.join(arguments.gpu, say)
    source = find_source(settings, own, place)
    rows = {}
    for teacher in arguments.variants.split(","):
        there = settings.changed(checkpoint=str(arguments.out / f"teacher_{teacher}"))
        taught = replace(own, teacher=teacher)
        report = results.evaluate_file(there, taught, place, adapt(there, taught, place, source))
        rows.setdefault("source only", report["before"])
        rows[f"adapted, teacher {teacher}"] = report["after"]
    rows["trained on the target's labels"] = score_trained(train_on_target(settings, own, place), settings, own, place)
    write(arguments.out, rows, f"{arguments.keypoints}, seed {seed}")
    return 0


def train_on_target(settings: Settings, own: AdaptationSettings, place: devices.Place) -> Path:
    """A lifter of the same size, with as many optimiser steps as the source's, on the takes that adaptation sees."""
    folder, data, seed = Path(settings.run.checkpoint) / "on_target", settings.data, settings.run.seed
    source = DATA_SETS["h36m"].load(data, data.subjects_train, "train")
    longer = sum(map(len, source)) / sum(map(len, target_takes(data, (), "train", seed)))
    training = settings.changed(
        checkpoint=str(folder),
        dataset=NAME + "_takes",
        subjects_train=data.subjects_test,
        epochs=round(own.source_epochs * longer),
        lr_decay=own.source_lr_decay ** (1 / longer),
        batch_size=own.source_batch_size,
        learning_rate=own.source_learning_rate,
        select="last",
        no_eval=True,
    )
    train(replace(training, given=frozenset()), place)
    return folder / BEST


def score_trained(path: Path, settings: Settings, own: AdaptationSettings, place: devices.Place) -> dict:
    content = read(path)
    clips = load_target(settings.data, own.target, own.target_split, say, scored_only=True)[1]
    windows = Windows(clips, H36M_17, content["card"]["frames"], device=place.device)
    sampling = replace(sampling_of(settings, content["card"], place), metrics=("mpjpe", "p_mpjpe"))
    return score_lifter(load_source_only(content).to(place.device).eval(), windows, sampling, place)


def write(out: Path, rows: dict[str, dict], title: str) -> None:
    """table.md and table.json: P_Agg, means over frames."""
    heads = list(MEASURES.values())
    lines = [
        f"| {title} | " + " | ".join(heads) + " |",
        "|---" * (1 + len(heads)) + "|",
    ]
    for name, scores in rows.items():
        cells = scores["columns"]["P_Agg"]["frame_wise"]
        lines.append(f"| {name} | " + " | ".join(f"{cells[m]:.2f}" for m in MEASURES) + " |")
    text = "\n".join(lines) + "\n"
    print(text)
    save_text(out / "table.md", text)
    content = {name: scores["columns"] for name, scores in rows.items()}
    save_json(out / "table.json", content)


if __name__ == "__main__":
    raise SystemExit(main())
