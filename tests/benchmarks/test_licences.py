"""docs/licences.md names every requirement with a licence, as the installed packages state it."""

import importlib.metadata
from email.message import Message

import pytest

from benchmarks import licences


def test_the_page_names_every_requirement_and_what_it_states():
    text = licences.PAGE.read_text(encoding="utf-8")
    assert licences.lacking(text) == [] and licences.main(["--check"]) == 0
    for source in licences.LISTS:
        for name in licences.requirements(source):
            try:
                found = importlib.metadata.metadata(name)
            except importlib.metadata.PackageNotFoundError:
                continue  # rtmlib is not part of a development environment
            line = next(line for line in text.splitlines() if line.startswith(f"| {found['Name']} |"))
            if f"| {found['Version']} |" in line:  # another version may say it in other words
                assert f"| {licences.licence(found)} |" in line


def test_a_new_requirement_is_missed(monkeypatch, tmp_path, capsys):
    for name in licences.LISTS:
        (tmp_path / name).write_text((licences.ROOT / name).read_text(encoding="utf-8") + "new-package>=1\n")
    monkeypatch.setattr(licences, "ROOT", tmp_path)
    assert licences.main(["--check"]) == 1
    assert "new-package" in capsys.readouterr().out
    assert licences.main([]) == 2
    assert "not installed" in capsys.readouterr().err


def test_nothing_under_the_gpl_alone_is_required():
    rows = [line for line in licences.PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert len(rows) > 50
    assert not [row for row in rows if "GPL" in row.split("|")[3]]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"License-Expression": "MIT", "License": "whatever"}, "MIT"),
        ({"Classifier": "License :: OSI Approved :: MIT License"}, "MIT License"),
        ({"License": "Apache 2.0\nand a long text"}, "Apache 2.0"),
        ({"License": "x" * 300}, "not stated"),
        ({}, "not stated"),
    ],
)
def test_where_the_licence_is_told(fields, told):
    metadata = Message()
    for key, value in fields.items():
        metadata[key] = value
    assert licences.licence(metadata) == told
