"""Calibrated cameras from the files of calibration programs: TOML (Pose2Sim, anipose), OpenCV YAML (EasyMocap).

All give OpenCV's numbers: matrix, distortion, rotation vector and translation from the world to the camera. A lens
becomes the project's nine numbers (`common.geometry.camera`), whose tangential term is another than OpenCV's: its five
coefficients are fitted to OpenCV's lens over the picture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from common.errors import UserError
from common.files.reading import parse_yaml, read_text, read_toml, require
from common.geometry.camera import Camera, screen_intrinsics

NO_CAMERAS = ("metadata", "capture_volume", "charuco", "checkerboard")  # tables of a TOML file that are none
LARGEST_SIDE = 1 << 16  # pixels
LENS_ERROR = 1.0  # pixels: a lens that the nine numbers miss by more is refused


@dataclass(frozen=True)
class OpenCVCamera:
    """One camera as OpenCV calibrates it; `size` (width, height) is None where the file has none."""

    name: str
    size: tuple[int, int] | None
    matrix: np.ndarray  # (3, 3)
    distortion: np.ndarray  # 0, 4, 5 or 8 numbers: k1 k2 p1 p2 k3 k4 k5 k6, or 4 of the fisheye model
    rotation: np.ndarray  # (3, 3), world to camera
    translation: np.ndarray  # (3,)
    fisheye: bool = False


def read_calibration(path: Path | str) -> list[OpenCVCamera]:
    """The cameras of a `.toml` file, of EasyMocap's folder or pair of intri.yml and extri.yml, in the file's order.

    Raises UserError for a missing or damaged file and for numbers that are no calibration.
    """
    path = Path(path)
    if path.is_dir() or path.name in ("intri.yml", "extri.yml"):
        folder = path if path.is_dir() else path.parent
        return _easymocap(folder)
    if require(path).suffix.lower() != ".toml":
        raise UserError(f"{path}: a calibration is a .toml file of Pose2Sim or anipose, or intri.yml beside extri.yml")
    tables = {key: t for key, t in read_toml(path).items() if isinstance(t, dict) and key not in NO_CAMERAS}
    cameras = [_toml_camera(key, table, f"{path}: [{key}]") for key, table in tables.items()]
    return _complete(cameras, path)


def _toml_camera(key: str, table: dict, where: str) -> OpenCVCamera:
    missing = [name for name in ("matrix", "rotation", "translation") if name not in table]
    if missing:
        raise UserError(f"{where}: lacks {', '.join(missing)}")
    size = _numbers(table["size"], (2,), f"{where} size") if "size" in table else None
    return OpenCVCamera(
        name=str(table.get("name", key)),
        size=None if size is None else (round(size[0]), round(size[1])),
        matrix=_numbers(table["matrix"], (3, 3), f"{where} matrix"),
        distortion=_numbers(table.get("distortions", []), None, f"{where} distortions"),
        rotation=_turn(table["rotation"], f"{where} rotation"),
        translation=_numbers(table["translation"], (3,), f"{where} translation"),
        fisheye=bool(table.get("fisheye", False)),
    )


def _easymocap(folder: Path) -> list[OpenCVCamera]:
    inner, outer = (read_opencv_yaml(folder / name) for name in ("intri.yml", "extri.yml"))
    names = inner.get("names", outer.get("names"))
    if not isinstance(names, list) or not names:
        raise UserError(f"{folder / 'intri.yml'}: has no list 'names' of cameras")
    cameras = []
    for number, name in enumerate(map(str, names), 1):

        def member(content: dict, prefix: str, name: str = name, number: int = number):
            # Pose2Sim's exporter numbers the matrices, whatever the cameras are called.
            return content.get(f"{prefix}_{name}", content.get(f"{prefix}_{number}"))

        where = f"{folder}: camera {name}"
        turn = member(outer, "Rot")
        turn = member(outer, "R") if turn is None else turn
        matrix, shift = member(inner, "K"), member(outer, "T")
        for value, what in ((matrix, "K in intri.yml"), (turn, "R or Rot in extri.yml"), (shift, "T in extri.yml")):
            if value is None:
                raise UserError(f"{where}: no {what}")
        lens = member(inner, "dist")
        high, wide = (member(inner, key) for key in "HW")
        cameras.append(
            OpenCVCamera(
                name,
                None if high is None or wide is None else (round(float(wide)), round(float(high))),
                _numbers(matrix, (3, 3), f"{where}: K"),
                _numbers([] if lens is None else lens, None, f"{where}: dist"),
                _turn(turn, f"{where}: rotation"),
                _numbers(shift, (3,), f"{where}: T"),
            )
        )
    return _complete(cameras, folder)


def read_opencv_yaml(path: Path) -> dict:
    """A YAML file of cv::FileStorage: {name: number, text, list, or an array where it says !!opencv-matrix}."""
    text = read_text(path, kind="YAML file of OpenCV")
    # OpenCV's head is no YAML directive; its tag says what the keys rows, cols and data say too.
    text = re.sub(r"^%YAML[: ][^\n]*\n", "", text.replace("!!opencv-matrix", ""))
    content = parse_yaml(text, path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a YAML file of OpenCV")
    return {name: _matrix(value, f"{path}: {name}") for name, value in content.items()}


def _matrix(value: object, where: str) -> object:
    if not (isinstance(value, dict) and {"rows", "cols", "data"} <= set(value)):
        return value
    shape = _numbers([value["rows"], value["cols"]], (2,), where)
    return _numbers(value["data"], tuple(int(n) for n in shape), where)


def _numbers(value, shape: tuple[int, ...] | None, where: str) -> np.ndarray:
    """Finite numbers of a shape; None is any number of them."""
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError):
        raise UserError(f"{where}: not numbers") from None
    array = array.ravel() if shape is None else array
    if shape is not None:
        if array.size != np.prod(shape):
            raise UserError(f"{where}: {array.size} numbers, {int(np.prod(shape))} belong there")
        array = array.reshape(shape)
    if not np.isfinite(array).all():
        raise UserError(f"{where}: numbers that are not finite")
    return array


def _turn(value, where: str) -> np.ndarray:
    """(3, 3) from a rotation vector or a rotation matrix."""
    array = _numbers(value, None, where)
    if array.size == 3:
        return Rotation.from_rotvec(array).as_matrix()
    if array.size != 9:
        raise UserError(f"{where}: {array.size} numbers, 3 or 9 belong there")
    matrix = array.reshape(3, 3)
    if np.abs(matrix @ matrix.T - np.eye(3)).max() > 1e-3 or np.linalg.det(matrix) < 0:
        raise UserError(f"{where}: no rotation matrix")
    return matrix


def _complete(cameras: list[OpenCVCamera], path: Path) -> list[OpenCVCamera]:
    if not cameras:
        raise UserError(f"{path}: no camera in it")
    names = [camera.name for camera in cameras]
    if len(set(names)) < len(names):
        raise UserError(f"{path}: two cameras with one name among {', '.join(names)}")
    for camera in cameras:
        fx, fy, skew = camera.matrix[0, 0], camera.matrix[1, 1], camera.matrix[0, 1]
        if not 10 <= min(fx, fy) <= max(fx, fy) <= 1e6 or abs(skew) > 0.01 * fx:
            raise UserError(f"{path}: camera {camera.name}: a matrix with focal lengths {fx:g}, {fy:g}, skew {skew:g}")
        if camera.size is not None and not all(1 <= side <= LARGEST_SIDE for side in camera.size):
            raise UserError(f"{path}: camera {camera.name}: a picture of {camera.size[0]} x {camera.size[1]} pixels")
        if np.abs(camera.translation).max() > 1e9:
            raise UserError(f"{path}: camera {camera.name}: {np.abs(camera.translation).max():.3g} from the origin")
        if len(camera.distortion) not in (0, 4, 5, 8):
            raise UserError(f"{path}: camera {camera.name}: {len(camera.distortion)} distortions; 4, 5 or 8 are read")
    return cameras


def distort(xy: np.ndarray, camera: OpenCVCamera) -> np.ndarray:
    """OpenCV's lens on the ideal image plane (..., 2): its 8-coefficient rational model, or its fisheye model."""
    k = np.zeros(8)
    k[: len(camera.distortion)] = camera.distortion
    r2 = (xy * xy).sum(-1, keepdims=True)
    if camera.fisheye:
        r = np.sqrt(np.maximum(r2, 1e-18))
        theta = np.arctan(r)
        powers = theta ** np.array([3, 5, 7, 9])
        return xy * (theta + powers @ k[:4, None]) / r
    k1, k2, p1, p2, k3, k4, k5, k6 = k
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    across = np.array([p2, p1])
    return xy * (radial + 2 * (xy * across).sum(-1, keepdims=True)) + across * r2


def to_camera(camera: OpenCVCamera, size: tuple[int, int], metres: float = 1.0) -> Camera:
    """The project's camera for pictures of a size (width, height); `metres` is one unit of the calibration's lengths.

    Raises UserError for a lens that the project's five coefficients do not follow to LENS_ERROR pixels.
    """
    focal, centre = np.diag(camera.matrix)[:2], camera.matrix[:2, 2]
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 201)] * 2), -1).reshape(-1, 2)  # rays up to 45 degrees aside
    bent = distort(grid, camera)
    pixels = bent * focal + centre
    reach = np.linalg.norm(np.maximum(centre, np.array(size) - centre) / focal)
    inside = (pixels >= 0).all(1) & (pixels <= size).all(1) & (np.linalg.norm(grid, axis=1) <= 1.5 * reach)
    if not inside.any():
        raise UserError(f"camera {camera.name}: its principal point is not in a picture of {size[0]} x {size[1]}")
    xy, off = grid[inside], (bent - grid)[inside]
    r2 = (xy * xy).sum(-1)
    columns = [xy * (r2**n)[:, None] for n in (1, 2, 3)]
    columns += [xy * xy[:, [0]] + r2[:, None] * [1, 0], xy * xy[:, [1]] + r2[:, None] * [0, 1]]
    system = np.stack(columns, -1).reshape(-1, 5)  # linear in k1 k2 k3 and the two tangential ones
    lens = np.linalg.lstsq(system, off.ravel(), rcond=None)[0] if len(camera.distortion) else np.zeros(5)
    missed = np.abs((system @ lens).reshape(-1, 2) - off).max() * focal.max()
    if missed > LENS_ERROR:
        kind = "fisheye lens" if camera.fisheye else "lens"
        raise UserError(
            f"camera {camera.name}: its {kind} is followed to {missed:.1f} pixels only; undistort its pictures first"
        )
    x, y, z, w = Rotation.from_matrix(camera.rotation).inv().as_quat()
    place = -camera.rotation.T @ camera.translation * metres
    numbers = screen_intrinsics(focal, centre, lens[:3], lens[3:], *size)
    return Camera(camera.name, *size, tuple(map(float, numbers)), (w, x, y, z), tuple(map(float, place)))
