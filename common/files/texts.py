"""Text from outside: plain, JSON, YAML, TOML."""

from __future__ import annotations

import datetime
import json
import tomllib
from pathlib import Path

import yaml

from common.errors import UserError
from common.files.limits import Budget, reading, understanding
from common.files.pickles import DEEPEST, weigh

LARGEST_TEXT = 1 << 30  # bytes
LARGEST_SETTINGS = 1 << 18  # bytes; PyYAML reads about 200 KB a second


def read_text(path: str | Path, limit: int = LARGEST_TEXT, kind: str = "text file", errors: str = "strict") -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    limit: bytes; errors: 'strict', or 'replace' for formats whose words are ASCII. Raises UserError for a missing or
    binary file and for one that is too long.
    """
    with reading(path, kind, "zeros" if errors == "replace" else "") as path:
        if (size := path.stat().st_size) > limit:
            raise UserError(f"{path}: {size / 2**20:.0f} MB, too long for a {kind}")
        data = path.read_bytes()
        if b"\0" in data:
            raise UserError(f"{path}: not a {kind}: it holds binary data (or is not UTF-8)")
        return data.decode("utf-8-sig", errors)


def read_json(path: str | Path, kind: str = "JSON file") -> object:
    """The content of a JSON file. Raises UserError for a missing or damaged one."""
    return parse_json(read_text(path, kind=kind), path, kind)


def parse_json(text: str, source: object, kind: str = "JSON text") -> object:
    """A JSON text; `source` stands in messages."""
    try:
        return json.loads(text)
    except RecursionError:
        raise UserError(f"{source}: not a readable {kind} (nested too deeply)") from None
    except ValueError as error:
        told = "no JSON" if not text.strip() else str(error)
        raise UserError(f"{source}: not a readable {kind} ({told})") from None


def read_yaml(path: str | Path) -> object:
    """The content of a YAML file, plain types only. Raises UserError for a missing or damaged one."""
    return parse_yaml(read_text(path, LARGEST_SETTINGS, "YAML file"), path)


def parse_yaml(text: str, source: object) -> object:
    """A YAML text; `source` stands in messages. Anchors and aliases are not read: they can say much in few words."""
    with understanding(source, "YAML text"):
        try:
            depth = 0
            for token in yaml.scan(text, yaml.SafeLoader):
                opens = isinstance(token, yaml.FlowSequenceStartToken | yaml.FlowMappingStartToken)
                opens |= isinstance(token, yaml.BlockSequenceStartToken | yaml.BlockMappingStartToken)
                closes = isinstance(token, yaml.FlowSequenceEndToken | yaml.FlowMappingEndToken | yaml.BlockEndToken)
                depth += opens - closes
                if depth > DEEPEST:
                    raise UserError(f"{source}: not a usable YAML text (nested too deeply)")
                if isinstance(token, yaml.AliasToken | yaml.AnchorToken):
                    raise UserError(f"{source}: anchors and aliases are not read in settings; write the value out")
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"{source}: not a readable YAML text ({_place(error)})") from None
        weigh(value, Budget(source, len(text)), (datetime.date,))
        return value


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    told = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{told}, line {mark.line + 1}" if mark else told


def read_toml(path: str | Path) -> dict:
    """The content of a TOML file. Raises UserError for a missing or damaged one."""
    text = read_text(path, LARGEST_SETTINGS, "TOML file")
    with understanding(path, "TOML file"):  # its errors are ValueErrors
        return tomllib.loads(text)
