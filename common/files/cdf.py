"""NASA's Common Data Format, in which Human3.6M's poses come; read with cdflib where that is installed.

cdflib believes what a file says of its records: a damaged one sends it round in circles, a small one with compressed
blocks fills the memory. So it works in a process of its own that has little time and, where the system can bound it,
little memory.
"""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files.limits import Budget, reading

SECONDS = 5.0  # for a small file on an idle machine; more for a large one
LIBRARIES = 2 << 30  # bytes of address space that Python, NumPy and cdflib take
_CHILD = """
import math, sys
path, name, most, memory, seconds = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
except (ImportError, ValueError, OSError):
    pass
import cdflib, numpy
file = cdflib.CDF(path)
about = file.varinq(name)
if not 0 <= 16 * math.prod(int(n) for n in about.Dim_Sizes) * (int(about.Last_Rec) + 1) <= most:
    raise ValueError("it claims far more than a file of its size can hold")
numpy.save(sys.stdout.buffer, numpy.asarray(file.varget(name)), allow_pickle=False)
"""


def read_cdf_variable(path: str | Path, name: str) -> np.ndarray:
    """A variable of numbers. Raises UserError for a missing or damaged file and where cdflib is not installed."""
    if importlib.util.find_spec("cdflib") is None:
        raise UserError(f"{path}: reading .cdf needs the package cdflib: pip install cdflib")
    with reading(path, f"CDF file with a variable {name}", "") as path:
        size = path.stat().st_size
        most, seconds = Budget(path, size).most, SECONDS + size / 1e6
        numbers = [most, LIBRARIES + 4 * most, int(seconds)]
        line = [sys.executable, "-c", _CHILD, str(path.resolve()), name, *map(str, numbers)]
        try:
            done = subprocess.run(line, capture_output=True, timeout=12 * seconds, check=False)  # on a busy machine
        except subprocess.TimeoutExpired:
            raise ValueError("its records lead nowhere") from None
        if done.returncode:
            told = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise ValueError(told[-1].partition(": ")[2] or told[-1] if told else "its records lead nowhere")
        return np.load(io.BytesIO(done.stdout), allow_pickle=False)
