"""People in 2D from video frames: BlazePose (`blazepose/`), or rtmlib (Apache-2.0, onnxruntime).

rtmlib finds people with YOLOX and their joints with RTMPose. The weights are its own, downloaded once to its cache,
or taken from a folder.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common.errors import UserError
from common.files.onnx import input_shape
from common.geometry.skeleton import COCO_17, COCO_FEET_21, HALPE_26, Skeleton
from common.settings.wild import DETECTORS, SPEEDS
from common.wild.blazepose.weights import open_blazepose
from common.wild.keypoints import Detections

# A detector maps an image (height, width, 3), uint8 RGB, to people (N, J, 3): pixels and confidence.
Detector = Callable[[np.ndarray], np.ndarray]

_NO_LIBRARY = (
    "--detector rtmlib needs rtmlib: pip install -r requirements-wild.txt; --detector blazepose needs less; "
    "or give a keypoint file of another detector instead of the video"
)
_NO_WEIGHTS = "unpack these two and put their .onnx files into a folder that --detector-weights names"


def load_detector(
    name: str = DETECTORS[0],
    weights: Path | str | None = None,
    speed: str = "balanced",
    device: str = "cpu",
    offline: bool = False,
) -> tuple[Detector, Skeleton]:
    """A detector for the frames of one video, in turn, and the layout of its joints.

    name: blazepose (COCO-17 with feet, on the CPU) or rtmlib, which `speed` and `device` are for; weights: a folder
    with the two networks, None takes the cache, or, unless `offline`, downloads into it with a line that says so.
    Raises UserError where they cannot be had.
    """
    folder = None if weights is None else Path(weights)
    if name == "blazepose":
        return open_blazepose(folder, offline), COCO_FEET_21
    return open_rtmlib(folder, speed, device, offline)


def open_rtmlib(
    weights: Path | None = None, speed: str = "balanced", device: str = "cpu", offline: bool = False
) -> tuple[Detector, Skeleton]:
    """An rtmlib detector and the layout of its joints (Halpe-26 or COCO-17, told by the pose network's outputs).

    weights: a folder with two .onnx files, a detector (its name has 'yolox' or 'det') and a pose network (its name
    has 'pose'); None takes rtmlib's cache, or, unless `offline`, downloads into it with a line that says so. Raises
    UserError where they cannot be had.
    """
    if importlib.util.find_spec("rtmlib") is None:
        raise UserError(_NO_LIBRARY)
    if speed not in SPEEDS:
        raise UserError(f"--detector-speed {speed}: there are {', '.join(SPEEDS)}")
    import rtmlib

    if weights is None:
        _tell_download(_networks(rtmlib, speed), offline)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # rtmlib prints what it loads
            if weights is None:
                model = rtmlib.BodyWithFeet(mode=speed, backend="onnxruntime", device=device)
                people, pose = model.det_model, model.pose_model
            else:
                found = weight_files(weights, _networks(rtmlib, speed))
                people = rtmlib.YOLOX(
                    str(found[0]), model_input_size=_input_size(found[0]), backend="onnxruntime", device=device
                )
                height, width = _input_size(found[1])
                pose = rtmlib.RTMPose(
                    str(found[1]), model_input_size=(width, height), backend="onnxruntime", device=device
                )
    except UserError:
        raise
    except OSError as error:  # urllib's errors are OSErrors
        wanted = " and ".join(_networks(rtmlib, speed))
        raise UserError(f"rtmlib's networks could not be downloaded ({error}): {wanted}; {_NO_WEIGHTS}") from None
    except Exception as error:  # onnxruntime has no common base class for its errors
        raise UserError(f"the detector could not be loaded ({type(error).__name__}: {error})".splitlines()[0]) from None
    return _detector(people, pose), _layout(pose)


def _networks(rtmlib, speed: str) -> dict[str, Path]:
    """Where rtmlib has its detector and its pose network from, and where it keeps them."""
    cache = Path(rtmlib.tools.file._get_rtmhub_dir()) / "checkpoints"
    urls = [rtmlib.BodyWithFeet.MODE[speed][part] for part in ("det", "pose")]
    return {url: cache / f"{url.rpartition('/')[2].partition('.')[0]}.onnx" for url in urls}


def _tell_download(networks: dict[str, Path], offline: bool) -> None:
    """Say what rtmlib is about to download, or refuse it."""
    wanted = [url for url, path in networks.items() if not path.is_file()]
    if not wanted:
        return
    where = f"rtmlib's networks: {' and '.join(wanted)}"
    if offline:
        raise UserError(f"--offline: not fetched: {where}; {_NO_WEIGHTS}")
    print(f"fetching {where} to {next(iter(networks.values())).parent} (--offline forbids it)", file=sys.stderr)


def weight_files(folder: Path, wanted: Iterable[str] = ()) -> tuple[Path, Path]:
    """The detector's and the pose network's .onnx file in a folder (or below it); wanted: whose they usually are."""
    files = sorted(folder.rglob("*.onnx")) if folder.is_dir() else []
    pose = [f for f in files if "pose" in f.name.lower()]
    people = [f for f in files if f not in pose and any(word in f.name.lower() for word in ("yolox", "det"))]
    if len(pose) != 1 or len(people) != 1:
        raise UserError(
            f"--detector-weights {folder}: expected one detector (*yolox*.onnx or *det*.onnx) and one pose network "
            f"(*pose*.onnx), found {', '.join(f.name for f in files) or 'no .onnx file'}"
            + (f"; rtmlib's own are {' and '.join(wanted)}" if wanted else "")
        )
    return people[0], pose[0]


def _input_size(path: Path) -> tuple[int, int]:
    """Height and width of an ONNX network's input image."""
    shape = input_shape(path)
    if len(shape) != 4 or not all(isinstance(n, int) for n in shape[2:]):
        raise UserError(f"{path}: its input has the shape {shape}; a network for images of one size is needed")
    return int(shape[2]), int(shape[3])


def _layout(pose) -> Skeleton:
    """By the number of joints in the pose network's first output (1, J, bins)."""
    joints = pose.session.get_outputs()[0].shape[1]
    layouts = {17: COCO_17, 26: HALPE_26}
    if joints not in layouts:
        raise UserError(f"{pose.onnx_model}: a pose network of {joints} joints; 17 (COCO) or 26 (Halpe) are read")
    return layouts[joints]


def _detector(people, pose) -> Detector:
    def detect(image: np.ndarray) -> np.ndarray:
        image = np.ascontiguousarray(image[..., ::-1])  # rtmlib's networks were trained on BGR
        boxes = people(image)
        if len(boxes) == 0:  # RTMPose would take the whole image for a person
            return np.zeros((0, pose.session.get_outputs()[0].shape[1], 3), np.float32)
        points, scores = pose(image, bboxes=boxes)
        return np.concatenate([points, np.clip(scores, 0, 1)[..., None]], -1).astype(np.float32)

    return detect


def detect_people(
    images: Iterable[np.ndarray], detector: Detector, layout: Skeleton, fps: float | None = None
) -> Detections:
    """Run a detector over the frames of a video, uint8 RGB (height, width, 3)."""
    frames, size = [], None
    for image in tqdm(images, desc="finding people", unit="frame"):
        size = (image.shape[1], image.shape[0])
        people = np.asarray(detector(image), np.float32).reshape(-1, len(layout), 3)  # (N, J, 3)
        frames.append(people)
    if not frames:
        raise UserError("the video has no frames")
    return Detections(layout, frames, [np.full(len(people), -1) for people in frames], size, fps)
