"""The extras, `pip install -e .[wild]`, from the requirement files: pyproject.toml cannot leave out their -r lines."""

from pathlib import Path

from setuptools import setup


def packages(name: str) -> list[str]:
    lines = (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()
    lines = [line.partition("#")[0].strip() for line in lines]
    return [line for line in lines if line and not line.startswith("-")]


setup(extras_require={kind: packages(f"requirements-{kind}.txt") for kind in ("wild", "dev")})
