"""BlazePose's two networks: where their weights come from, and how they are run (LiteRT, Apache-2.0).

The weights are Google's, Apache-2.0, model cards 'BlazePose GHUM 3D'. They come out of the wheel of the package
mediapipe, which holds them as plain files; nothing else of it is used or installed.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files.download import Packaged, fetch_packaged, is_file_of
from common.wild.blazepose.follow import BlazePose

DETECTOR, LANDMARKS = "pose_detection.tflite", "pose_landmark_full.tflite"
WEIGHTS = Packaged(
    "BlazePose's networks (Google, Apache-2.0)",
    "mediapipe==0.10.21",
    "36 MB",
    {
        "mediapipe/modules/pose_detection/pose_detection.tflite": (
            "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c"
        ),
        "mediapipe/modules/pose_landmark/pose_landmark_full.tflite": (
            "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f"
        ),
    },
    f"name a folder that holds {DETECTOR} and {LANDMARKS} of that wheel (it is a zip file) with --detector-weights",
)
_NO_LIBRARY = (
    "finding people in a video needs ai-edge-litert: pip install -r requirements-wild.txt; "
    "or give a keypoint file of another detector instead of the video"
)
MOST_THREADS = 4


def cache() -> Path:
    return Path.home() / ".cache" / "blazepose"


def open_blazepose(weights: Path | None = None, offline: bool = False) -> BlazePose:
    """The detector; the weights from a folder, else from the cache, else fetched into it, unless `offline`.

    Raises UserError where library or weights are missing, or a file is not the one that is meant (by its SHA-256).
    """
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise UserError(_NO_LIBRARY)
    folder = weights or cache()
    if weights is None:
        fetch_packaged(WEIGHTS, folder, offline)
    for name, digest in WEIGHTS.files.items():
        is_file_of(folder / Path(name).name, digest, WEIGHTS)
    detect = _network(folder / DETECTOR, (2254, 12), (2254, 1))
    mark = _network(folder / LANDMARKS, (195,), (1,), (64, 64, 39))

    def detector(crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        boxes, logits = detect(crop * 2 - 1)  # this network takes -1..1
        return boxes, logits[:, 0]

    def landmark(crop: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        raw, score, heat = mark(crop)
        return raw.reshape(39, 5), float(score[0]), heat

    return BlazePose(detector, landmark)


def _network(path: Path, *shapes: tuple[int, ...]) -> Callable[[np.ndarray], list[np.ndarray]]:
    """A function from an image (S, S, 3) to the network's outputs of these shapes."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(str(path), num_threads=min(MOST_THREADS, os.cpu_count() or 1))
        interpreter.allocate_tensors()
        given = interpreter.get_input_details()[0]["index"]
        outputs = {tuple(int(n) for n in row["shape"][1:]): row["index"] for row in interpreter.get_output_details()}
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{path}: LiteRT cannot run it ({str(error).splitlines()[0]})") from None

    def run(image: np.ndarray) -> list[np.ndarray]:
        interpreter.set_tensor(given, np.ascontiguousarray(image[None], np.float32))
        interpreter.invoke()
        return [interpreter.get_tensor(outputs[shape])[0] for shape in shapes]

    return run
