"""NASA's Common Data Format, in which Human3.6M's poses come; read with cdflib where that is installed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files.limits import Budget, reading


def read_cdf_variable(path: str | Path, name: str) -> np.ndarray:
    """A variable of numbers. Raises UserError for a missing or damaged file and where cdflib is not installed."""
    try:
        import cdflib
    except ImportError:
        raise UserError(f"{path}: reading .cdf needs the package cdflib: pip install cdflib") from None
    with reading(path, f"CDF file with a variable {name}", "") as path:
        file = cdflib.CDF(path)
        about = file.varinq(name)
        count = math.prod(int(n) for n in about.Dim_Sizes) * (int(about.Last_Rec) + 1)
        Budget(path, path.stat().st_size).take(16 * count, name)
        return np.asarray(file.varget(name))
