"""Text beside the poses: prompts to an action's vector e and its tokens, and the attention of poses to the tokens.

FinePOSE (Xu et al. 2024, section 3.2 and 3.3); shared by FinePOSE, GraphDiffu and Grap2Eq. Names of parameters are the
published ones. The encoder runs once per distinct action of a batch, never per window, frame, step or hypothesis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.models.condition import Condition
from common.models.prompt_layouts import LAYOUTS, action_tokens, e_positions, initial_ctx, prompt_features

LEARNED_TOKENS = 8  # rows of a learned prompt; the first one gives e


if TYPE_CHECKING:
    from common.models.clip import TextTower

    _Module = nn.Module  # into which the mixin is mixed
else:
    _Module = object


@dataclass(frozen=True)
class TextCondition(Condition):
    """The distinct actions of a batch and which window has which."""

    e: Tensor | None = None  # (A, C)
    tokens: Tensor | None = None  # (A, T, C)
    index: Tensor | None = None  # (B,), a row of e and tokens

    def doubled(self) -> Self:
        return replace(super().doubled(), index=torch.cat([self.index, self.index]))


class Stylization(nn.Module):
    """Shift and scale by the time code: out(SiLU(LN(m) (1 + s) + g)), zero at first (MotionDiffuse, 2022)."""

    def __init__(self, channels: int):
        super().__init__()
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(channels, 2 * channels))
        self.norm = nn.LayerNorm(channels)
        self.out_layers = output_layers(channels)

    def forward(self, m: Tensor, code: Tensor) -> Tensor:
        """m (B, N, C), code (B, C)."""
        scale, shift = self.emb_layers(code).unsqueeze(1).chunk(2, -1)  # (B, 1, C) each
        return self.out_layers(self.norm(m) * (1 + scale) + shift)


def output_layers(channels: int) -> nn.Sequential:
    """SiLU and a linear layer that starts at zero; it is number 2, as published."""
    linear = nn.Linear(channels, channels)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.SiLU(), nn.Identity(), linear)


class TextAttention(nn.Module):
    """Every joint of every frame attends to the tokens of its window's action: x (B, ..., C) to an update of x.

    The caller adds the update to its own residual. Without `stylized` the update is not shaped by a time code, and
    the query's norm serves twice (Grap2Eq's single-pass network).
    """

    def __init__(self, channels: int, heads: int = 8, stylized: bool = True):
        super().__init__()
        self.heads, self.stylized = heads, stylized
        self.norm, self.text_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query, self.key, self.value = (nn.Linear(channels, channels) for _ in range(3))
        if stylized:
            self.proj_out = Stylization(channels)
        else:
            self.out_layers = output_layers(channels)

    def split(self, x: Tensor) -> Tensor:
        """(B, N, C) to (B, heads, N, C / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, code: Tensor | None, condition: TextCondition) -> Tensor:
        text = self.text_norm(condition.tokens)  # (A, T, C)
        key, value = self.key(text)[condition.index], self.value(text)[condition.index]  # (B, T, C)
        query = self.query(self.norm(x.flatten(1, -2)))  # (B, N, C), N = H F J: no window is tiled
        m = nn.functional.scaled_dot_product_attention(self.split(query), self.split(key), self.split(value))
        m = m.transpose(1, 2).flatten(2)  # (B, N, C)
        if self.stylized:
            return self.proj_out(m, code).view(x.shape)
        return self.out_layers(self.norm(m)).view(x.shape)


class PublishedPairing(TextAttention):
    """The published cross-attention: the texts of a mixed batch stand beside other windows' poses.

    The published programs repeat the B texts of a call in turn, while its rows of poses (windows x hypotheses x
    joints) are sorted by windows: row r meets text r mod B. Without a mixture there is no difference.
    Parameters are TextAttention's.
    """

    def forward(self, x: Tensor, code: Tensor | None, condition: TextCondition) -> Tensor:
        hypotheses, joints = x.shape[1], x.shape[3]
        windows = torch.arange(len(x) // condition.calls, device=x.device)
        whole = condition.hypotheses or hypotheses  # of the call that these are a part of
        heads = condition.first_hypothesis + torch.arange(hypotheses, device=x.device)
        first = (windows[:, None] * whole + heads) * joints  # (B, H)
        row = first[..., None] + torch.arange(joints, device=x.device)  # (B, H, J)
        text = (row % len(windows)).flatten().repeat(condition.calls)  # every call begins anew, and has the same texts
        paired = replace(condition, index=condition.index[text])
        rows = x.transpose(2, 3)  # (B, H, J, F, C)
        code = None if code is None else code.repeat_interleave(hypotheses * joints, 0)
        return super().forward(rows.flatten(0, 2), code, paired).view(rows.shape).transpose(2, 3)


class TextConditioned(_Module):
    """Mixin of a denoiser: `build_text` in its constructor, then `condition(batch)` and `TextCondition.e[index]`.

    A prompt table has one row an action; row 0 is the neutral prompt. `text`:
    - 'clip': constant features of CLIP, kept as buffers. A fresh network gets them by `load_prompts`, one with weights
      has them in its weights.
    - 'learned': embeddings trained with the network. An action it does not know is neutral.
    - 'none': the neutral row of 'learned' for all.
    """

    prompt_features: Tensor
    prompt_positions: Tensor

    def build_text(
        self,
        channels: int,
        *,
        text: str = "clip",
        actions=(),
        layout: str = "graphdiffu_h36m",
        learn_prompts: bool = False,
        text_width: int = 512,
        text_hidden: int | None = None,
        attention: str = "sequence",
    ) -> None:
        """`attention` 'sequence': tokens of a prompt attend to each other; 'per_token': the published Grap2Eq's slip,
        rows of a batch attend to each other, each position by itself. `text_hidden` defaults to 4 C (published 2048).
        """
        if text not in ("clip", "learned", "none"):
            raise UserError(f"--text {text}: unknown; there are clip, learned, none")
        if learn_prompts and text != "clip":
            raise UserError(f"--learn-prompts trains CLIP's context rows; it needs --text clip, not {text}")
        self.text, self.layout, self.learn_prompts = text, LAYOUTS[layout], learn_prompts
        self._filled = False  # whether the prompt features are known to be there
        named = text == "learned" or (text == "clip" and self.layout.has_verb)
        self.actions = list(actions) if named else []
        rows = 1 + len(self.actions)
        if text == "clip":
            for part, ctx in initial_ctx(self.layout, text_width).items():
                setattr(self, f"ctx_{part}", nn.Parameter(ctx, requires_grad=learn_prompts))
            self.register_buffer("prompt_features", torch.zeros(rows, 77, text_width))
            self.register_buffer("prompt_positions", torch.full((rows,), -1))
            self._tower: list[TextTower] = []  # in a list: no part of the weights
            self._made_from: list[Tensor] | None = None  # the context rows of the stored features; None: unknown
            if learn_prompts:
                self.register_state_dict_pre_hook(lambda module, *_: module.refresh_prompts())
        else:
            text_width = channels
            self.prompt_embedding = nn.Parameter(0.02 * torch.randn(rows, LEARNED_TOKENS, channels))
        self.widens = text_width != channels
        if self.widens:
            self.text_in = nn.Linear(text_width, channels)
        # Not batch_first: with it, evaluation takes a fused path that reads our mask of numbers as one of booleans.
        layer = nn.TransformerEncoderLayer(channels, 8, text_hidden or 4 * channels, 0.0, "gelu")
        self.textTransEncoder = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.text_ln = nn.LayerNorm(channels)
        self.text_proj = nn.Sequential(nn.Linear(channels, channels))
        self.text_attention = attention

    # --- the prompt table -------------------------------------------------------------------------------------------

    @property
    def ctx(self) -> dict[str, Tensor]:
        return {part: getattr(self, f"ctx_{part}") for part in self.layout.ctx_rows}

    @torch.no_grad()
    def load_prompts(self, prompts=None, clip_weights=None, offline=False) -> None:
        """Make the network ready to train: a fresh 'clip' one gets its features from a prompt file, the cache or CLIP,
        one that learns its prompts gets CLIP's tower; others need nothing. Raises UserError where none can be had.
        """
        from common.models.prompts import find_prompts  # here: that module is also a program

        if self.learn_prompts:
            self.attach_tower(clip_weights, offline=offline)
        if self.text != "clip" or (self.prompt_positions >= 0).all():
            return
        features, positions = find_prompts(
            self.layout, self.actions, file=prompts, clip_weights=clip_weights, offline=offline
        )
        if features.shape[1:] != self.prompt_features.shape[1:]:
            wanted, given = self.prompt_features.shape[-1], features.shape[-1]
            raise UserError(f"--prompts: features of width {given}, the network takes {wanted}")
        self.prompt_features.copy_(features)
        self.prompt_positions.copy_(positions)

    def attach_tower(self, clip_weights=None, tower: nn.Module | None = None, offline=False) -> None:
        """Keep CLIP's tower at hand, frozen, so that the context rows can be trained through it."""
        from common.models.clip import load_tower

        self._tower[:] = [tower or load_tower(clip_weights, offline)]
        self.prompt_positions.copy_(e_positions(self.layout, action_tokens(self.layout, self.actions)))
        self._made_from = None
        self.refresh_prompts()

    @torch.no_grad()
    def refresh_prompts(self) -> None:
        """Bring the stored features up to the context rows as they are now, whoever changed them."""
        if self.text != "clip" or not self._tower:
            return
        rows = list(self.ctx.values())
        if self._made_from is None or not all(map(torch.equal, rows, self._made_from)):
            self.prompt_features.copy_(self._through_tower(torch.arange(1 + len(self.actions))))
            self._made_from = [row.detach().clone() for row in rows]

    def _through_tower(self, rows: Tensor) -> Tensor:
        tower = self._tower[0].to(self.prompt_features.device)
        ids = action_tokens(self.layout, self.actions)[rows.cpu()]
        return prompt_features(tower, self.layout, self.ctx, ids)

    def train(self, mode: bool = True):
        super().train(mode)
        if not mode and self.learn_prompts:
            self.refresh_prompts()
        return self

    def prompt_rows(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (A, T, W) and e's positions (A,) of some rows of the table."""
        if self.text != "clip":
            return self.prompt_embedding[rows], torch.zeros_like(rows)
        positions = self.prompt_positions[rows]
        if not self._filled:  # asked once: the answer waits for the device
            if (self.prompt_positions < 0).any():
                raise UserError("the network has no prompt features: load_prompts, or --text learned")
            self._filled = True
        if not (self.learn_prompts and self.training):
            return self.prompt_features[rows], positions
        if not self._tower:
            raise UserError("--learn-prompts trains through CLIP: its weights are needed (--clip-weights)")
        return self._through_tower(rows), positions

    # --- the encoder ------------------------------------------------------------------------------------------------

    def encode_text(self, rows: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """e (A, C) and tokens (A, T, C) of distinct rows (A,) that stand `counts` (A,) times in the batch."""
        y, positions = self.prompt_rows(rows)
        if self.widens:
            y = self.text_in(y)
        if self.text_attention == "sequence":
            y = self.textTransEncoder(y.transpose(0, 1)).transpose(0, 1)
        else:  # a row that stands n times in a softmax is one row whose logit is log n higher
            mask = counts.to(y.dtype).log().expand(len(rows), -1)  # (A, A)
            y = self.textTransEncoder(y, mask=mask)
        y = self.text_ln(y)
        return self.text_proj(y[torch.arange(len(rows), device=rows.device), positions]), y

    def table_rows(self, batch) -> Tensor:
        """(B,): the table's row of every window. Action -1 is neutral; for 'clip' an unknown action is an error."""
        if not self.actions:
            return torch.zeros_like(batch.action)
        names = [*batch.action_names]
        missing = -1 if self.text == "clip" else 0
        lookup = [1 + self.actions.index(name) if name in self.actions else missing for name in names] + [0]
        rows = torch.tensor(lookup, device=batch.action.device)[batch.action]  # index -1 is the last: neutral
        if missing in lookup and missing < 0 and (rows < 0).any():
            unknown = ", ".join(name for name, row in zip(names, lookup, strict=False) if row < 0)
            raise UserError(f"the network has no prompt for {unknown}: use --eval-text neutral, or train with it")
        return rows

    def condition(self, batch) -> TextCondition:
        """The batch's text. batch.action (B,) indexes batch.action_names; -1 asks for the neutral prompt."""
        rows, index, counts = torch.unique(self.table_rows(batch), return_inverse=True, return_counts=True)
        e, tokens = self.encode_text(rows, counts)
        return TextCondition(e=e, tokens=tokens, index=index)


def load_prompts(
    network: TextConditioned, prompts: str | None = None, clip_weights: str | None = None, offline: bool = False
) -> None:
    """`TextConditioned.load_prompts`, as the registry calls it before training."""
    network.load_prompts(prompts, clip_weights, offline)
