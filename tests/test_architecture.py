"""The floors of docs/architecture.md: no import upwards, no circle, no model that knows data sets."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {
    "errors": 0, "door": 0, "geometry": 0,
    "settings": 1, "files": 1, "scoring": 1, "diffusion": 1,
    "datasets": 2, "models": 2, "viz": 2,
    "engine": 3,
    "adaptation": 4, "binocular": 4, "wild": 4, "multiview": 4.5,
    "lift": 5, "programs": 5, "train": 6, "doctor": 6, "export": 6, "import_checkpoint": 6,
}  # fmt: skip
FILES = sorted((ROOT / "common").rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "common").parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Modules of the project that a file imports, also inside functions, but not for type checking only."""
    found = set()

    def visit(node):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "common":
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


@pytest.mark.parametrize("path", [p for p in FILES if p.name != "__init__.py" or p.parent.name != "common"], ids=str)
def test_no_import_goes_up(path):
    room = room_of(path)
    for module in imports(path):
        other = module.split(".")[1]
        assert FLOORS[other] <= FLOORS[room], f"{path.relative_to(ROOT)} imports {module}, a floor above it"


def test_no_circle_between_rooms():
    arrows = {room: set() for room in FLOORS}
    for path in FILES:
        if path.parent.name != "common":
            arrows[room_of(path)] |= {m.split(".")[1] for m in imports(path)} - {room_of(path)}
    left = dict(arrows)
    while left:
        free = [room for room, targets in left.items() if not targets & left.keys()]
        assert free, f"a circle between {', '.join(left)}"
        for room in free:
            del left[room]


def test_rooms_on_one_floor_that_must_not_know_each_other():
    for path in FILES:
        others = {module.split(".")[1] for module in imports(path)}
        if room_of(path) == "models":
            assert "datasets" not in others, path
        if room_of(path) in ("adaptation", "binocular", "wild"):
            assert not others & ({"adaptation", "binocular", "wild"} - {room_of(path)}), path


def test_nothing_below_the_programs_knows_a_command_line():
    for path in FILES:
        if FLOORS.get(room_of(path), 9) < 5 and room_of(path) != "settings":
            text = path.read_text(encoding="utf-8")
            if "__main__" in text:  # three files that are also typed as python -m
                continue
            assert not re.search(r"import argparse|from argparse|options: Namespace", text), path


def test_the_page_names_every_room():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for room in {room_of(path) for path in FILES} - {"__init__", "doctor", "export", "import_checkpoint"}:
        assert f"common/{room}" in page, room
