"""Every page is led to, every link leads somewhere, quoted messages are the code's, the README's commands parse."""

import ast
import re
import shlex
from functools import cache

import pytest

from common.programs import two_view
from common.settings import wild
from common.settings.adaptation import read_settings
from common.settings.config_files import read_config
from common.settings.flags import parse
from common.settings.lifting import FLAGS
from tests.docs.pages import ROOT

PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("checkpoint/**/*.md"), ROOT / "data/README.MD"})
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """Of headings, as hosts make them."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in _LINK.findall(text) + re.findall(r'src="([^"]+)"', text):
        if link.startswith(("http://", "https://")):
            assert re.fullmatch(r"https?://[\w.-]+\.\w+(/\S*)?", link), link
            continue
        path, _, anchor = link.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(there.read_text(encoding="utf-8")), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_files_are_there(page):
    """`docs/x.md`, `tests/x.py` in a page's text or a table."""
    text = page.read_text(encoding="utf-8")
    made = "common/datasets/mine.py", "common/models/blind.py", "common/programs/bones.py"  # by the pages of test_walks
    for name in re.findall(r"`((?:docs|common|data|benchmarks|tests)/[\w./-]+\.(?:py|md|toml|json))`", text):
        published = page.name == "published_interface.md" and name.startswith("data/")
        assert (ROOT / name).exists() or name in made or published, f"{page.name}: {name}"


def test_the_index_leads_to_every_page():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    missing = {path.name for path in ROOT.glob("docs/*.md")} - set(re.findall(r"\]\(([\w.]+)\)", index)) - {"index.md"}
    assert not missing


def literal(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
    return None


@cache
def texts() -> list[str]:
    """Every text of the code, with \\0 for what is filled in."""
    found = []
    for path in [*ROOT.glob("common/**/*.py"), *ROOT.glob("data/*.py")]:
        found += [t for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if (t := literal(node))]
    return found


def messages() -> list[str]:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `(.+?)` \|", page, re.MULTILINE)


@pytest.mark.parametrize("message", messages())
def test_a_quoted_message_is_one_of_the_code(message):
    pattern = re.compile(r"[^\n]*?".join(map(re.escape, message.split("..."))))
    assert any(pattern.search(text) for text in texts())


def test_the_page_of_messages_has_a_line_of_every_kind():
    assert len(messages()) > 30 and len(set(messages())) == len(messages())


def commands() -> list[str]:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    typed = re.findall(r"^(?:    )?(?:pip install -r \S+ && )?(python .+)$", readme, re.MULTILINE)
    return [line.split("  ")[0] for line in typed + re.findall(r"`(python [\w./-]+\.py [^`]+)`", readme)]


def _stereo(argv):
    parsed = two_view.parser("").parse_args(argv)
    assert parsed.demo or (ROOT / "configs" / parsed.config).is_file()


READERS = {
    "main_wild.py": wild.read_settings,
    "h36m_transfer.py": lambda argv: read_settings("h36m_transfer", argv),
    "h36m_3dhp_transfer.py": lambda argv: read_settings("h36m_3dhp_transfer", argv),
    "main_diffpose_2view_frame.py": _stereo,
}


@pytest.mark.parametrize("line", commands())
def test_the_readmes_commands_parse(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    _, script, *argv = shlex.split(line)
    if script == "-m":
        assert (ROOT / f"{argv[0].replace('.', '/')}.py").is_file() or argv[0] == "pytest"
        return
    assert (ROOT / script).is_file()
    if not script.startswith("data/"):
        READERS.get(script, lambda argv: parse(argv, None, FLAGS, {}, config=read_config))(argv)


def test_the_readme_is_short_and_has_its_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) < 150 and len(commands()) > 20
    opening = re.findall(r"^pip install -r requirements\S*\.txt && (.+)$", readme, re.MULTILINE)
    assert opening == ["python main.py --demo", "python -m pytest", "python main_wild.py video.mp4"]
