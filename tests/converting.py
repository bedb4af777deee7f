"""For the tests of the converters: a program run as typed, and a camera written apart from the project's."""

import contextlib
import io
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

DATA = Path(__file__).parents[1] / "data"


def run(program: str, *arguments) -> SimpleNamespace:
    """A program of data/ as typed, in this process: a process of its own each time would take minutes."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
        pytest.raises(SystemExit) as end,
    ):
        patch.setattr(sys, "argv", [str(DATA / program), *map(str, arguments)])
        runpy.run_path(str(DATA / program), run_name="__main__")
    return SimpleNamespace(returncode=end.value.code, stdout=stdout.getvalue(), stderr=stderr.getvalue())


def refusal(program: str, root: Path, out: Path, *more) -> str:
    """The one line with which a program refuses a root; nothing may be written."""
    result = run(program, "--root", root, "--out", out, *more)
    assert result.returncode == 2, result.stderr
    assert not list(out.glob("*"))
    return result.stderr.strip().splitlines()[-1]


def seen(camera: dict, world: np.ndarray) -> np.ndarray:
    """Pixels (T, J, 2) of world points in metres through a camera as the custom 3D files hold it, by matrices."""
    w, x, y, z = camera["orientation"]
    to_world = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    points = (world - np.array(camera["translation"])) @ to_world  # rows times R is R^T times columns
    u, v = points[..., 0] / points[..., 2], points[..., 1] / points[..., 2]
    (k1, k2, k3), (p1, p2) = camera["radial_distortion"], camera["tangential_distortion"]
    r2 = u * u + v * v
    factor = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + p1 * u + p2 * v
    bent = np.stack([u * factor + p1 * r2, v * factor + p2 * r2], -1)
    return bent * np.array(camera["focal_length"]) + np.array(camera["center"])
