"""An environment that lacks packages, or has the wrong ones, is told of in one line; the lists of packages agree."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from common.errors import why_unusable
from common.programs import installation

ROOT = Path(__file__).parents[2]
LISTS = ("requirements.txt", "requirements-dev.txt", "requirements-wild.txt")
NEED_NOTHING = ["-m common.doctor", "-m benchmarks.reproduce", "-m benchmarks.licences"]


def programs() -> list[str]:
    """Every file that runs as a program, as it is typed: `main.py`, `data/convert_h36m.py`, `-m common.doctor`."""
    found = []
    for path in sorted(
        {*ROOT.glob("*.py"), *ROOT.glob("data/*.py"), *ROOT.glob("benchmarks/*.py"), *ROOT.glob("common/**/*.py")}
    ):
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8"):
            name = path.relative_to(ROOT)
            module = name.parts[0] in ("common", "benchmarks")
            found.append(f"-m {'.'.join(name.with_suffix('').parts)}" if module else str(name))
    return found


def bare(command: str) -> subprocess.CompletedProcess:
    """A command under a Python that finds its own library and this project, and no installed package (-S)."""
    line = [sys.executable, "-S", *command.split()]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("command", [name for name in programs() if name not in NEED_NOTHING])
def test_a_program_without_its_packages_says_so_in_one_line(command):
    done = bare(command + " input.npy" * (command == "main_wild.py"))  # its one argument without a name
    assert done.returncode == 2 and not done.stdout, done.stderr
    assert re.fullmatch(r"error: \w+ is not installed: pip install -r requirements\.txt; .*\n", done.stderr)


def test_the_doctor_works_before_anything_is_installed():
    done = bare("-m common.doctor")
    assert done.returncode == 2 and not done.stderr
    for name in installation.REQUIRED:
        assert re.search(rf"PROBLEM +{name} +not installed", done.stdout)
    assert "not looked at" in done.stdout and "problems found" in done.stdout


def test_packages_that_do_not_fit_are_named():
    """torch and torchvision of different releases, and a torch whose libraries are absent: their own words."""
    assert "one command" in why_unusable(RuntimeError("operator torchvision::nms does not exist"))
    broken = ImportError("libcudart.so.12: cannot open shared object file", name="torch._C")
    assert why_unusable(broken) == "torch cannot be imported (libcudart.so.12: cannot open shared object file)"
    assert why_unusable(ModuleNotFoundError("No module named 'yaml'", name="yaml")) == "PyYAML is not installed"
    for bug in (
        ImportError("cannot import name 'x'", name="common.geometry"),
        ModuleNotFoundError("No module named 'benchmarks.x'", name="benchmarks.x"),
        ImportError("cannot import name 'x'", name="os"),
        RuntimeError("something else"),
        UnboundLocalError("x"),
    ):
        assert why_unusable(bug) is None


def test_the_doctor_tries_what_is_installed(monkeypatch):
    def refuse(name):
        if name in ("h5py", "torchvision"):
            raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(installation.importlib, "import_module", refuse)
    problems = {f.what: f.text for f in installation.installation() if f.state == installation.PROBLEM}
    assert set(problems) == {"h5py", "torchvision"} and "one command" in problems["torchvision"]


def required(name: str) -> list[Requirement]:
    lines = ((ROOT / name).read_text(encoding="utf-8")).splitlines()
    lines = [line.partition("#")[0].strip() for line in lines]
    return [Requirement(line) for line in lines if line and not line.startswith("-r")]


def test_the_tested_set_is_within_the_ranges():
    pinned = {line.name.lower().replace("_", "-"): str(line.specifier) for line in required("constraints.txt")}
    for requirement in (line for name in LISTS for line in required(name)):
        exact = pinned[requirement.name.lower().replace("_", "-")]
        assert exact.startswith("==") and requirement.specifier.contains(exact.removeprefix("=="))
        assert not str(requirement.specifier).startswith("==")  # nobody is shut out by a pin
    assert "-c constraints.txt" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_torchvision_fits_torch():
    """The pair of this environment is one that torchvision itself asks for."""
    needs = [Requirement(line) for line in importlib.metadata.requires("torchvision")]
    assert any(n.name == "torch" and n.specifier.contains(importlib.metadata.version("torch")) for n in needs)
