"""Prompts: what CLIP reads about an action, and its answer, computed once an action and kept in a small file.

A prompt is 77 token embeddings: per body part a few free context rows, then the first tokens of a word (FinePOSE, Xu
et al. 2024, section 3.2; graphdiffu_d3dp 2.4, grap2eq 2.5). `python -m common.models.prompts --actions Walking ...
--out FILE` writes the answers, so that a machine without CLIP can train and run on them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from common.errors import UserError
from common.models.clip import CONTEXT, WIDTH, TextTower, load_tower, random_tower, tokenize

CTX_SEED = 0  # of the context rows of every fresh run: features in a file hold for all of them
NEUTRAL = "a person"  # stands for the action where none is told
ALLOW_RANDOM = "ALLOW_RANDOM_PROMPTS"  # environment variable that the tests set

# fmt: off
H36M_ACTIONS = [
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases", "Sitting",
    "SittingDown", "Smoking", "Waiting", "WalkDog", "Walking", "WalkTogether",
]
# fmt: on

# The words of the parts; the verb's word is the action.
WORDS = {"subject": "a person", "speed": "speed", "head": "head", "body": "body", "arm": "arm", "leg": "leg"}


@dataclass(frozen=True)
class Layout:
    """Parts of a prompt as (name, context rows, tokens of the word), and where the action's vector e is read.

    `e_at_word_end`: at the end-of-text index of the action's own word; otherwise at the last position.
    """

    name: str
    parts: tuple[tuple[str, int, int], ...]
    e_at_word_end: bool

    @property
    def has_verb(self) -> bool:
        return any(name == "verb" for name, _, _ in self.parts)

    @property
    def ctx_rows(self) -> dict[str, int]:
        return {name: rows for name, rows, _ in self.parts if rows}


def _layout(name: str, table: str, e_at_word_end: bool) -> Layout:
    """From 'part rows+tokens part rows+tokens ...'; the parts fill CLIP's 77 positions exactly."""
    words = table.split()
    parts = tuple((part, *map(int, size.split("+"))) for part, size in zip(words[::2], words[1::2], strict=True))
    if sum(rows + tokens for _, rows, tokens in parts) != CONTEXT:
        raise ValueError(f"layout {name} does not fill {CONTEXT} positions")
    return Layout(name, parts, e_at_word_end)


# FinePOSE's two serve Grap2Eq too. GraphDiffu's 3DHP layout fills 66 positions as published and cannot run; this is
# the smallest repair: the word of a part without context rows takes 7 or 12 tokens, as in its Human3.6M layout.
LAYOUTS = {
    layout.name: layout
    for layout in (
        _layout("finepose_h36m", "subject 3+4 verb 8+4 speed 6+4 head 6+4 body 6+4 arm 10+4 leg 10+4", True),
        _layout("finepose_3dhp", "subject 5+4 speed 8+4 head 8+4 body 8+4 arm 12+4 leg 12+4", False),
        _layout("graphdiffu_h36m", "subject 0+7 verb 0+12 speed 6+4 head 6+4 body 6+4 arm 10+4 leg 10+4", True),
        _layout("graphdiffu_3dhp", "subject 2+7 speed 0+12 head 8+4 body 8+4 arm 12+4 leg 12+4", False),
    )
}


def initial_ctx(layout: Layout, width: int = WIDTH) -> dict[str, Tensor]:
    """The context rows of a fresh run, {part: (rows, W)}: N(0, 0.02^2), always the same."""
    generator = torch.Generator().manual_seed(CTX_SEED)
    draws = {part: torch.randn(n, width, generator=generator, device="cpu") for part, n in layout.ctx_rows.items()}
    return {part: 0.02 * rows for part, rows in draws.items()}


def action_tokens(layout: Layout, actions: Sequence[str]) -> Tensor:
    """Token ids (1 + A, 77) of the neutral word and the actions; a layout without a verb has the neutral row only."""
    return tokenize([NEUTRAL, *(actions if layout.has_verb else ())])


def compose(layout: Layout, ctx: dict[str, Tensor], embed, action_ids: Tensor, word_ids: Tensor) -> Tensor:
    """The prompts' embeddings (A, 77, W) from token ids of the actions (A, 77) and of WORDS, in order (6, 77)."""
    parts, rows = [], len(action_ids)
    for part, n, tokens in layout.parts:
        if n:
            parts.append(ctx[part].expand(rows, -1, -1))  # (A, n, W)
        ids = action_ids if part == "verb" else word_ids[list(WORDS).index(part)].expand(rows, -1)
        parts.append(embed(ids[:, :tokens]))  # (A, tokens, W)
    return torch.cat(parts, 1)


def e_positions(layout: Layout, action_ids: Tensor) -> Tensor:
    """(A,): where each prompt's vector e is read. The end-of-text token has the largest id."""
    ends = action_ids.argmax(-1)
    return ends if layout.e_at_word_end else torch.full_like(ends, CONTEXT - 1)


def prompt_features(tower: TextTower, layout: Layout, ctx: dict[str, Tensor], action_ids: Tensor) -> Tensor:
    """CLIP's answer (A, 77, W) to each prompt; differentiable in ctx."""
    device = tower.positional_embedding.device
    word_ids = tokenize(list(WORDS.values())).to(device)
    return tower(compose(layout, ctx, tower.embed, action_ids.to(device), word_ids))


@torch.no_grad()
def published_prompts(
    state: dict[str, Tensor], layout: Layout, actions: Sequence[str], heads: int | None = None
) -> dict[str, Tensor]:
    """The prompt buffers of a published checkpoint, by its own context rows and its own CLIP weights."""
    clip = {name.removeprefix("clip_text."): v for name, v in state.items() if name.startswith("clip_text.")}
    missing = [f"ctx_{part}" for part in layout.ctx_rows if f"ctx_{part}" not in state]
    if missing or not clip:
        raise UserError(f"the published file lacks {', '.join(missing) or 'CLIP'}, which its prompts need")
    tower = TextTower.from_state(clip, heads)
    ids = action_tokens(layout, actions)
    features = prompt_features(tower, layout, {part: state[f"ctx_{part}"] for part in layout.ctx_rows}, ids)
    return {"prompt_features": features, "prompt_positions": e_positions(layout, ids)}


def write_prompts(path: Path, layout: Layout, actions: Sequence[str], tower: TextTower) -> None:
    """Compute a fresh run's features of some actions and write them; a random tower leaves its mark."""
    from safetensors.torch import save_file

    ids = action_tokens(layout, actions)
    with torch.no_grad():
        features = prompt_features(tower, layout, initial_ctx(layout, tower.width), ids)
    card = {"layout": layout.name, "actions": list(actions) if layout.has_verb else [], "ctx_seed": CTX_SEED}
    card["random"] = tower.random
    tensors = {"features": features.contiguous(), "positions": e_positions(layout, ids)}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    save_file(tensors, temporary, metadata={"prompts": json.dumps(card)})
    temporary.replace(path)


def read_prompts(path: Path, layout: Layout) -> tuple[list[str], Tensor, Tensor]:
    """(actions, features (1 + A, 77, W), positions (1 + A,)) of a file; its first row is the neutral prompt.

    Raises UserError for a file of another layout and, unless the environment variable ALLOW_RANDOM_PROMPTS is set,
    for one from a random tower.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UserError(f"{path}: no such prompt file; `python -m common.models.prompts --out {path}` makes it")
    try:
        with safe_open(path, "pt") as file:
            card = json.loads((file.metadata() or {}).get("prompts", "null"))
            # cloned: get_tensor maps the file, which may be written anew
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path}: not a readable prompt file ({error})") from None
    if not isinstance(card, dict) or set(tensors) != {"features", "positions"}:
        raise UserError(f"{path}: not a prompt file; `python -m common.models.prompts` makes one")
    if card["layout"] != layout.name or card["ctx_seed"] != CTX_SEED:
        raise UserError(f"{path}: prompts of layout {card['layout']}, this model reads {layout.name}")
    if card["random"] and not os.environ.get(ALLOW_RANDOM):
        raise UserError(f"{path}: made from a random tower for tests; make it again without --random")
    return card["actions"], tensors["features"], tensors["positions"]


def cached_file(layout: Layout) -> Path:
    """Where a computed prompt file is kept: beside CLIP's own weights."""
    return Path.home() / ".cache" / "clip" / f"prompts_{layout.name}.safetensors"


def find_prompts(
    layout: Layout, actions: Sequence[str], file: Path | None = None, clip_weights: Path | None = None
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
            write_prompts(cache, layout, sorted({*wanted, *(stored[0] if stored else ())}), load_tower(clip_weights))
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
    parser.add_argument("--random", action="store_true", help="from a tiny random tower, for tests; marked and refused")
    options = parser.parse_args(arguments)
    try:
        tower = random_tower() if options.random else load_tower(options.clip_weights)
        write_prompts(options.out, LAYOUTS[options.layout], options.actions, tower)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
