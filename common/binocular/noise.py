"""Statistics of a 2D detector's error, from calibration data: mean and deviation of each view, joint and coordinate.

    python -m common.binocular.noise --detections data/calibration.pkl --labels data/labels.npy --split train

The published statistics were taken from the very frames that were then evaluated. Here they come from other people;
what they came from stands in a file of the same name that ends in .json, and the evaluation reads it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.datasets import stereo_formats as formats
from common.datasets.stereo import StereoData, label_kind, load_labels, load_split
from common.door import guarded
from common.errors import UserError
from common.files.reading import load_array, read_json
from common.files.writing import save_json, save_npy
from common.settings.ranges import COUNT


@dataclass(frozen=True)
class DetectorNoise:
    """Mean and deviation (V, J, 2) of detected minus true, crop units, and what is known about their source."""

    mean: Tensor
    std: Tensor
    source: dict = field(default_factory=dict)

    @property
    def eta(self) -> float:
        """The noise level of the published sampler: the mean deviation."""
        return float(self.std.mean())


def measure(data: StereoData) -> DetectorNoise:
    """Mean and population deviation over all frames but Human3.6M's damaged ones, whose labels are wrong."""
    if data.detections is None:
        raise UserError("no 2D estimates to take statistics of")
    good = ~data.damaged
    error = (data.detections - data.keypoints_2d)[good]  # (N, V, J, 2)
    people = sorted({data.subjects[s] for s in data.subject[good].tolist()})
    source = {"frames": len(error), "left_out_damaged": int((~good).sum()), "subjects": people}
    return DetectorNoise(error.mean(0), error.std(0, correction=0), source)


def save_noise(path: str | Path, noise: DetectorNoise) -> None:
    """Write the published array (V, 17, 4), float64: mean u, mean v, deviation u, deviation v; and its source."""
    path = Path(path)
    save_npy(path, torch.cat([noise.mean, noise.std], -1).double().numpy())
    save_json(path.with_suffix(".json"), noise.source)


def load_noise(path: str | Path, views: int = 2) -> DetectorNoise:
    """Read statistics; a file without a `.json` beside it (a published one) has an empty source."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; make it with python -m common.binocular.noise (docs/dual_diffusion.md)")
    array = load_array(path)
    if not isinstance(array, np.ndarray) or array.shape != (views, 17, 4) or array.dtype.kind not in "fiu":
        raise UserError(f"{path}: expected detector statistics of shape ({views}, 17, 4)")
    values = torch.from_numpy(array.astype(np.float64))
    if not bool(values.isfinite().all()) or bool((values[..., 2:] < 0).any()):
        raise UserError(f"{path}: a deviation is negative or not a number")
    source = path.with_suffix(".json")
    known = read_json(source) if source.is_file() else {}
    subjects = known.get("subjects", []) if isinstance(known, dict) else None
    if not isinstance(subjects, list) or not all(isinstance(subject, str) for subject in subjects):
        raise UserError(f"{source}: not what common.binocular.noise writes beside its statistics")
    return DetectorNoise(values[..., :2], values[..., 2:], known)


def leak(noise: DetectorNoise, data: StereoData) -> str | None:
    """Why these statistics must not be used on these frames: they know their people, or are their own mean."""
    people = {data.subjects[s] for s in data.subject.tolist()}
    if shared := sorted(people & set(noise.source.get("subjects") or ())):
        return f"the statistics were taken from {', '.join(shared)}, who are evaluated"
    if data.detections is not None:
        error = data.detections - data.keypoints_2d
        for rows in (torch.ones(len(data), dtype=torch.bool), ~data.damaged):
            # 1e-5 crop units are 0.002 pixels: no other people's statistics come that near in every joint.
            if rows.any() and bool(((error[rows].mean(0) - noise.mean).abs() < 1e-5).all()):
                return "the statistics equal those of the evaluated frames"
    return None


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m common.binocular.noise", description=__doc__.splitlines()[0])
    p.add_argument("--detections", required=True, help="2D estimates: a pickle with keypoints_2d_pred and indexes")
    p.add_argument("--labels", required=True, help="label file of the same frames")
    p.add_argument("--split", default="train", choices=("train", "test", "all"), help="whose rows the estimates are")
    p.add_argument("--subjects", help="the same by name, separated by commas")
    p.add_argument("--image_shape", type=COUNT, default=384, help="side of the resized crop, pixels")
    p.add_argument("--num_views", type=COUNT, default=2)
    p.add_argument("--legacy_skew", action="store_true", help="crop cameras as published (skew not scaled)")
    p.add_argument("--out", help="file to write (default: the detections' name ending in _gauss.npy)")
    return p


def run(arguments: argparse.Namespace) -> None:
    data_set = formats.DATA_SETS[label_kind(load_labels(arguments.labels))]
    subjects = {"train": data_set.train, "test": data_set.test, "all": None}[arguments.split]
    if arguments.subjects:
        subjects = tuple(arguments.subjects.split(","))
    elif subjects is not None:
        subjects = tuple(s for s in subjects if s in load_labels(arguments.labels)["subject_names"])
    size = (arguments.image_shape, arguments.image_shape)
    data = load_split(
        arguments.labels,
        subjects=subjects,
        detections_path=arguments.detections,
        image_size=size,
        views=arguments.num_views,
        legacy_skew=arguments.legacy_skew,
    )
    noise = measure(data)
    noise.source.update(detections=Path(arguments.detections).name, labels=Path(arguments.labels).name)
    out = Path(arguments.out or Path(arguments.detections).with_suffix("").as_posix() + "_gauss.npy")
    save_noise(out, noise)
    pixels = arguments.image_shape / 2
    print(
        f"{out}: {noise.source['frames']} frames of {', '.join(noise.source['subjects'])}; mean error up to "
        f"{float(noise.mean.abs().max()) * pixels:.2f} px, mean deviation {noise.eta * pixels:.2f} px."
    )
    if shared := sorted(set(noise.source["subjects"]) & set(data_set.test)):
        print(f"Do not evaluate {', '.join(shared)} with it: these are {data_set.name}'s test people.")


def main(arguments: Sequence[str] | None = None) -> int:
    return guarded(run, parser().parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
