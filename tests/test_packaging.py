"""One version, one list of packages, one way that CI runs."""

import re
import tomllib
from pathlib import Path

import pytest

import common

ROOT = Path(__file__).parents[1]


def test_one_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", common.__version__)
    for name, form in (("CITATION.cff", "^version: {}$"), ("CHANGELOG.md", "^## {},")):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert re.search(form.format(re.escape(common.__version__)), text, re.MULTILINE), name


def test_the_package_takes_its_needs_from_the_requirement_files(monkeypatch):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(project["project"]["dynamic"]) == {"version", "dependencies", "optional-dependencies"}
    assert project["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": "requirements.txt"}
    core = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert not [line for line in core if line.startswith("-")]  # setuptools reads no options
    setuptools = pytest.importorskip("setuptools")
    asked = {}
    monkeypatch.setattr(setuptools, "setup", asked.update)
    exec(
        compile((ROOT / "setup.py").read_text(encoding="utf-8"), "setup.py", "exec"),
        {"__file__": str(ROOT / "setup.py")},
    )
    extras = asked["extras_require"]
    assert {"wild", "dev"} == set(extras) and "pytest>=8" in extras["dev"] and "ai-edge-litert>=1.3" in extras["wild"]
    assert all(
        re.fullmatch(r"[\w.-]+[><=~!]=?[\d.]+(,[<>=\d.]+)?", line) for lines in extras.values() for line in lines
    )


def test_everything_beside_the_code_goes_along():
    """Files that the programs read (JSON, the pages' parts) are package data."""
    kinds = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    beside = [p for p in (ROOT / "common").rglob("*.*") if p.suffix not in (".py", ".pyc") and p.is_file()]
    assert len(beside) > 5 and {f"*{path.suffix}" for path in beside} <= set(kinds["*"])


def test_the_host_runs_what_is_run_by_hand():
    yaml = pytest.importorskip("yaml")
    steps = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]["run"][
        "steps"
    ]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
