"""What CLIP reads about an action: 77 token embeddings, and how a system lays them out.

A prompt has, per body part, a few free context rows, then the first tokens of a word (FinePOSE, Xu et al. 2024,
section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.errors import UserError
from common.models.clip import CONTEXT, WIDTH, TextTower, tokenize

CTX_SEED = 0  # of the context rows of every fresh run: features in a file hold for all of them
NEUTRAL = "a person"  # stands for the action where none is told

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
    sizes = [size.split("+") for size in words[1::2]]
    parts = tuple((part, int(rows), int(tokens)) for part, (rows, tokens) in zip(words[::2], sizes, strict=True))
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
