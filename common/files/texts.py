"""Text from outside: plain, JSON, YAML, TOML."""

from __future__ import annotations

import datetime
import json
import tomllib
from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError
from common.files.limits import Budget, reading, understanding
from common.files.pickle_names import Damaged
from common.files.pickles import DEEPEST, weigh

LARGEST_TEXT = 1 << 30  # bytes
LARGEST_SETTINGS = 1 << 16  # characters of YAML or TOML; PyYAML reads about 50 KB a second


def read_text(path: str | Path, limit: int = LARGEST_TEXT, kind: str = "text file", errors: str = "strict") -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    limit: bytes; errors: 'strict', or 'replace' for formats whose words are ASCII. Raises UserError for a missing or
    binary file and for one that is too long.
    """
    with reading(path, f"{kind}", "zeros" if errors == "replace" else "") as path:
        if (size := path.stat().st_size) > limit:
            raise UserError(f"{path}: {size / 2**20:.0f} MB, too long for a {kind}")
        data = path.read_bytes()
        if b"\0" in data:
            raise UserError(f"{path}: not a {kind}: it holds binary data (or is not UTF-8)")
        return data.decode("utf-8-sig", errors)


def read_json(path: str | Path, kind: str = "JSON file") -> Any:
    """The content of a JSON file. Raises UserError for a missing or damaged one."""
    return parse_json(read_text(path, kind=kind), path, kind)


def parse_json(text: str, source: object, kind: str = "JSON text") -> Any:
    """A JSON text; `source` stands in messages."""
    try:
        return json.loads(text)
    except RecursionError:
        raise UserError(f"{source}: not a readable {kind} (nested too deeply)") from None
    except ValueError as error:
        told = "no JSON" if not text.strip() else str(error)
        raise UserError(f"{source}: not a readable {kind} ({told})") from None


class _Loader(yaml.SafeLoader):
    """YAML's own types, and two more tags: an argparse.Namespace, as published programs save their settings, is read
    as the keys and values that it is written with, a tuple as a list. Merge keys are not read: a few of them make a
    text without end."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise RecursionError
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.constructor.ConstructorError(None, None, "a merge key (<<); write the keys out", node.start_mark)


def _mapping(loader: _Loader, node: yaml.Node) -> dict:
    return loader.construct_mapping(node, deep=True)  # deep: one that holds itself is an error


def _list(loader: _Loader, node: yaml.Node) -> list:
    return loader.construct_sequence(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:python/object:argparse.Namespace", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _list)


def read_yaml(path: str | Path) -> dict:
    """The keys and values of a YAML file; an empty file has none.

    Raises UserError for a missing file, for one that is no YAML or holds no keys, and for one that asks for any Python
    object.
    """
    tree = parse_yaml(read_text(path, kind="YAML file"), path)
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected keys and values")
    return tree


def parse_yaml(text: str, source: object) -> Any:
    """A YAML text of at most LARGEST_SETTINGS characters; `source` stands in messages."""
    if len(text) > LARGEST_SETTINGS:
        raise UserError(f"{source}: {len(text) / 1024:.0f} KB of YAML, too long; {LARGEST_SETTINGS >> 10} KB are read")
    with understanding(source, "YAML text"):
        try:
            value = yaml.load(text, _Loader)
            weigh(value, Budget(source, len(text)), (datetime.date,))
        except yaml.constructor.ConstructorError as error:
            raise UserError(f"{source}: refused, {error.problem}; only keys and plain values are read") from None
        except yaml.YAMLError as error:
            raise UserError(f"{source}: not a readable YAML text ({_place(error)})") from None
        except Damaged as error:
            raise UserError(f"{source}: not a readable YAML text ({error})") from None
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
