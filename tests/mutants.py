"""Does the suite notice a wrong line? Changes a file in one place at a time and runs the tests that belong to it.

    python -m tests.mutants common/scoring/metrics.py
    python -m tests.mutants common/scoring/metrics.py --tests tests/scoring --lines 40-60 -j 2

The tests that belong to common/ROOM/NAME.py are tests/ROOM/test_NAME.py; --tests names others. They run in temporary
copies; the checkout is not touched. Prints the changes that no test noticed, and the share that one did. Some change
nothing that can be seen (an equivalent mutant): whether a survivor is one has to be judged by eye.
"""

from __future__ import annotations

import argparse
import ast
import copy
import gc
import multiprocessing
import os
import queue
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).parents[1]
COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
BOUNDING = {"clamp", "clamp_min", "clamp_max", "clip", "abs", "sqrt", "square"}  # x.clamp(...) becomes x
FIRST_OF = {"min", "max", "abs", "sorted"}  # max(a, b) becomes a


@dataclass(frozen=True)
class Mutant:
    line: int
    change: str  # what was, and what it became
    source: str  # of the whole file


def mutants(source: str) -> Iterator[Mutant]:
    """Every version of a file that differs in one place, in the order of the file."""
    tree = ast.parse(source)
    for parent, field, index, node in list(_places(tree)):
        original = ast.unparse(node)
        for other in _variants(node):
            ast.copy_location(other, node)
            _put(parent, field, index, other)
            yield Mutant(node.lineno, f"{_short(original)}  ->  {_short(ast.unparse(other))}", ast.unparse(tree))
            _put(parent, field, index, node)


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 70 else text[:67] + "..."


def _places(node: ast.AST, bound: frozenset[str] = frozenset()) -> Iterator[tuple]:
    """(parent, field, index, node) of what may be changed: no imports, annotations, decorators, texts."""
    if isinstance(node, (ast.FunctionDef, ast.Lambda)):
        bound = frozenset(a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs))
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases"):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or isinstance(child, (ast.JoinedStr, ast.Import, ast.ImportFrom)):
                continue
            removable = not isinstance(child, ast.Assign) or _names(child) <= bound
            if hasattr(child, "lineno") and removable:
                yield node, field, index, child
            if isinstance(child, ast.Assign):
                bound |= _names(child)  # from here on, leaving out another assignment raises no NameError
            yield from _places(child, bound)


def _names(node: ast.Assign) -> set[str]:
    return {part.id for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)}


def _variants(node: ast.AST) -> Iterator[ast.AST]:
    """What a node may become."""
    if isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            for other in COMPARISONS[type(op)]:
                changed = copy.copy(node)
                changed.ops = [*node.ops[:i], other(), *node.ops[i + 1 :]]
                yield changed
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in ARITHMETIC:
        changed = copy.copy(node)
        changed.op = ARITHMETIC[type(node.op)]()
        yield changed
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, float):
        yield ast.Constant(node.value * 1.5 or 1.0)
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in BOUNDING:
            yield node.func.value
        elif isinstance(node.func, ast.Name) and node.func.id in FIRST_OF and node.args:
            yield node.args[0]
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        changed = copy.copy(node)
        changed.test = ast.UnaryOp(ast.Not(), node.test)
        yield changed
    elif isinstance(node, ast.Return) and not (node.value is None or isinstance(node.value, ast.Constant)):
        yield ast.Return(ast.Constant(None))
    if isinstance(node, (ast.AugAssign, ast.Raise, ast.Assign, ast.Delete)):
        yield ast.Pass()
    if isinstance(node, ast.Expr) and isinstance(node.value, (ast.Call, ast.Yield, ast.YieldFrom)):
        yield ast.Pass()


def tests_of(file: Path) -> list[str]:
    """The test file of common/ROOM/NAME.py."""
    found = ROOT / "tests" / file.relative_to("common").parent / f"test_{file.stem}.py"
    if not found.is_file():
        raise SystemExit(f"{found.relative_to(ROOT)}: no such file; name the tests with --tests")
    return [str(found.relative_to(ROOT))]


def copy_project(folder: Path) -> None:
    """What the tests need, without data sets and checkpoints."""
    leave = shutil.ignore_patterns("__pycache__", ".*")
    for name in ("common", "tests", "benchmarks", "configs", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=leave)
    for file in (*ROOT.glob("*.*"), *ROOT.glob("data/*.py")):
        if file.is_file():
            (folder / file.relative_to(ROOT)).parent.mkdir(exist_ok=True)
            shutil.copy2(file, folder / file.relative_to(ROOT))


def _run_tests(folder: Path, tests: list[str], write_bytecode: bool) -> None:
    """In a forked process: run the tests of a copy; exit with pytest's code."""
    import hypothesis
    import pytest
    import torch

    os.chdir(folder)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    torch.set_num_threads(1)
    # A changed file may have the size and the second of the one before, by which Python tells stale byte code.
    sys.dont_write_bytecode = not write_bytecode
    for name in [name for name in sys.modules if name.split(".")[0] in ("common", "tests")]:
        del sys.modules[name]
    sys.path[:] = [str(folder), *(p for p in sys.path if Path(p).resolve() != ROOT)]
    steps = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutants", derandomize=True, database=None, phases=steps)
    hypothesis.settings.load_profile("mutants")
    code = pytest.main([*tests, "-x", "-q", "-p", "no:cacheprovider", "-p", "no:unraisableexception"])
    os._exit(int(code))


def _code(folder: Path, tests: list[str], limit: float | None, write_bytecode: bool = False) -> int:
    """pytest's exit code, or -1 where the tests took longer than `limit` seconds."""
    process = multiprocessing.get_context("fork").Process(target=_run_tests, args=(folder, tests, write_bytecode))
    process.start()
    process.join(limit)
    if process.is_alive():
        process.kill()
        process.join()
        return -1
    return process.exitcode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a Python file below common/")
    parser.add_argument("--tests", nargs="+", help="test files or folders instead of the file's own")
    parser.add_argument("--lines", help="change only these lines, as 40-60")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="how many at a time (default: 1)")
    options = parser.parse_args()
    file = options.file.resolve().relative_to(ROOT)
    first, last = map(int, options.lines.split("-")) if options.lines else (1, 10**9)
    source = (ROOT / file).read_text(encoding="utf-8")
    found = [m for m in mutants(source) if first <= m.line <= last]
    chosen = options.tests or tests_of(file)
    import tests.conftest  # noqa: F401  all that is slow to import is loaded once, before the forks

    gc.freeze()  # a fork's collector leaves that alone, and pytest collects often

    with tempfile.TemporaryDirectory(prefix="mutants_") as temporary:
        folders: queue.Queue[Path] = queue.Queue()
        for job in range(options.jobs):
            folder = Path(temporary).resolve() / str(job)
            copy_project(folder)
            start = time.monotonic()
            if _code(folder, chosen, None, write_bytecode=True) != 0:
                raise SystemExit(f"{' '.join(chosen)}: fails as it is, before anything is changed")
            limit = 10 + 5 * (time.monotonic() - start)
            folders.put(folder)

        def survives(mutant: Mutant) -> bool:
            folder = folders.get()
            (folder / file).write_text(mutant.source, encoding="utf-8")
            code = _code(folder, chosen, limit)
            folders.put(folder)
            return code == 0

        with ThreadPoolExecutor(options.jobs) as pool:
            results = list(tqdm(pool.map(survives, found), total=len(found), desc=str(file), leave=False))
    survivors = [m for m, survived in zip(found, results, strict=True) if survived]
    for m in survivors:
        print(f"{file}:{m.line}: {m.change}")
    killed = len(found) - len(survivors)
    print(f"{file}: {killed} of {len(found)} mutants killed ({100 * killed / max(len(found), 1):.1f} %)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
