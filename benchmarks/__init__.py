"""Measurements, each a program: `python -m benchmarks.NAME`."""

import common  # noqa: F401 (first of all: it tells in one line which package is missing)
