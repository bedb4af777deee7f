"""CLIP's answers to the prompts, computed once an action and kept in a small file.

`python -m common.models.prompts --actions Walking ... --out FILE` writes the answers, so that a machine without CLIP
can train and run on them.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from common.door import guarded
from common.errors import UserError
from common.files.reading import load_safetensors, safetensors_card, understanding
from common.files.writing import try_writing, whole_file
from common.models.clip import TextTower, load_tower, random_tower
from common.models.prompt_layouts import (
    CTX_SEED,
    H36M_ACTIONS,
    LAYOUTS,
    Layout,
    action_tokens,
    e_positions,
    initial_ctx,
    prompt_features,
)

ALLOW_RANDOM = "ALLOW_RANDOM_PROMPTS"  # environment variable that the tests set


def write_prompts(path: Path, layout: Layout, actions: Sequence[str], tower: TextTower) -> None:
    """Compute a fresh run's features of some actions and write them; a random tower leaves its mark."""
    from safetensors.torch import save_file

    ids = action_tokens(layout, actions)
    with torch.no_grad():
        features = prompt_features(tower, layout, initial_ctx(layout, tower.width), ids)
    card = {"layout": layout.name, "actions": list(actions) if layout.has_verb else [], "ctx_seed": CTX_SEED}
    card["random"] = tower.random
    tensors = {"features": features.contiguous(), "positions": e_positions(layout, ids)}
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata={"prompts": json.dumps(card)})


def read_prompts(path: Path, layout: Layout) -> tuple[list[str], Tensor, Tensor]:
    """(actions, features (1 + A, 77, W), positions (1 + A,)) of a file; its first row is the neutral prompt.

    Raises UserError for a file of another layout and, unless the environment variable ALLOW_RANDOM_PROMPTS is set,
    for one from a random tower.
    """
    if not path.is_file():
        how = f"`python -m common.models.prompts --layout {layout.name} --out {path}` makes it"
        raise UserError(f"{path}: no such prompt file; {how}")
    tensors, metadata = load_safetensors(path, "prompt file")
    if "prompts" not in metadata or set(tensors) != {"features", "positions"}:
        raise UserError(f"{path}: not a prompt file; `python -m common.models.prompts` makes one")
    card = safetensors_card(path, metadata, "prompts")
    with understanding(path, "prompt file"):
        _check_prompts(card, **tensors)
    if card["layout"] != layout.name or card["ctx_seed"] != CTX_SEED:
        raise UserError(f"{path}: prompts of layout {card['layout']}, this model reads {layout.name}")
    if card["random"] and not os.environ.get(ALLOW_RANDOM):
        raise UserError(f"{path}: made from a random tower for tests; make it again without --random")
    return card["actions"], tensors["features"], tensors["positions"]


def _check_prompts(card: dict, features: Tensor, positions: Tensor) -> None:
    """Raise ValueError where the parts of a prompt file do not belong together."""
    rows = 1 + len(card["actions"])
    if not isinstance(card["layout"], str) or not isinstance(card["ctx_seed"], int):
        raise ValueError("its card is damaged")
    if not all(isinstance(action, str) for action in card["actions"]) or not isinstance(card["random"], bool):
        raise ValueError("its card is damaged")
    if features.dim() != 3 or len(features) != rows or not features.is_floating_point():
        raise ValueError(f"features {tuple(features.shape)} for {rows} prompts")
    if not bool(features.isfinite().all()):
        raise ValueError("features are NaN or infinite")
    if (
        positions.shape != (rows,)
        or positions.is_floating_point()
        or not bool(((positions >= 0) & (positions < features.shape[1])).all())
    ):
        raise ValueError("positions outside the prompts")


def cached_file(layout: Layout) -> Path:
    """Where a computed prompt file is kept: beside CLIP's own weights."""
    return Path.home() / ".cache" / "clip" / f"prompts_{layout.name}.safetensors"


def find_prompts(
    layout: Layout,
    actions: Sequence[str],
    *,
    file: Path | None = None,
    clip_weights: Path | None = None,
    offline: bool = False,
) -> tuple[Tensor, Tensor]:
    """A fresh run's features (1 + A, 77, W) and positions (1 + A,): from a file, the cache, or CLIP (then cached).

    Raises UserError where a given file lacks an action and where CLIP's weights cannot be had.
    """
    wanted = list(actions) if layout.has_verb else []
    cache = cached_file(layout)
    if file is not None:
        known, features, positions = read_prompts(Path(file), layout)
        lacking = [action for action in wanted if action not in known]
        if lacking:
            raise UserError(
                f"{file}: no prompt for {', '.join(lacking)}; make it again with --actions {' '.join(wanted)}"
            )
    else:
        stored = read_prompts(cache, layout) if clip_weights is None and cache.is_file() else None
        if stored is None or not set(wanted) <= set(stored[0]):
            tower = load_tower(clip_weights, offline)
            write_prompts(cache, layout, sorted({*wanted, *(stored[0] if stored else ())}), tower)
            stored = read_prompts(cache, layout)
        known, features, positions = stored
    rows = [0, *(1 + known.index(action) for action in wanted)]
    return features[rows], positions[rows]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m common.models.prompts", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--actions", nargs="*", default=H36M_ACTIONS, help="action words (default: Human3.6M's)")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--layout", choices=sorted(LAYOUTS), default="graphdiffu_h36m", help="whose prompts")
    parser.add_argument("--clip-weights", type=Path, help="CLIP ViT-B/32 weights (.pt or .safetensors)")
    parser.add_argument("--offline", action="store_true", help="fetch nothing from the network")
    parser.add_argument("--random", action="store_true", help="from a tiny random tower, for tests; marked and refused")
    return guarded(_run, parser.parse_args(arguments))


def _run(options: argparse.Namespace) -> None:
    try_writing(options.out.parent, options.out.name)
    tower = random_tower() if options.random else load_tower(options.clip_weights, options.offline)
    write_prompts(options.out, LAYOUTS[options.layout], options.actions, tower)


if __name__ == "__main__":
    raise SystemExit(main())
