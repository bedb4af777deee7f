"""Code blocks of the pages in docs/, for tests that do what a page says."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str = "python") -> list[str]:
    """The code of a page's fenced blocks in a language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [code for tag, code in _BLOCK.findall(text) if tag == language]


def run_blocks(page: str) -> dict:
    """Run a page's Python blocks one after the other in the current folder; returns their names."""
    names: dict = {}
    for number, code in enumerate(blocks(page)):
        exec(compile(code, f"{page}, block {number + 1}", "exec"), names)
    return names
