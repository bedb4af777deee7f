"""Reading a settings file (YAML) of anybody: keys and plain values, nothing is run."""

from __future__ import annotations

from pathlib import Path

import yaml

from common.errors import UserError


class _Loader(yaml.SafeLoader):
    """YAML's own types, and one more tag: an argparse.Namespace, as published programs save their settings, is read
    as the keys and values that it is written with."""


def _mapping(loader: _Loader, node: yaml.Node) -> dict:
    return loader.construct_mapping(node, deep=True)  # deep: one that holds itself is an error


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:python/object:argparse.Namespace", _mapping)


def read_yaml(path: str | Path) -> dict:
    """The keys and values of a YAML file; an empty file has none.

    Raises UserError for a file that cannot be read, is no YAML, holds no keys, or asks for any Python object.
    """
    path = Path(path)
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except yaml.constructor.ConstructorError as error:
        raise UserError(f"{path}: refused, {error.problem}; only keys and plain values are read") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UserError(f"{path}: not a readable YAML file ({str(error).splitlines()[0]})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected keys and values")
    return tree
