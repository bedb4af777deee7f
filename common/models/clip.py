"""CLIP ViT-B/32's text tower (Radford et al. 2021), as OpenCLIP builds it, and where its weights are found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.files.download import Remote, fetch
from common.files.reading import load_clip_weights

WIDTH, CONTEXT = 512, 77
_HUB = ("timm/vit_base_patch32_clip_224.openai", ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"))
# OpenAI's own file; its address holds its hash.
_SHA256 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
WEIGHTS = Remote(
    "CLIP's weights",
    f"https://openaipublic.azureedge.net/clip/models/{_SHA256}/ViT-B-32.pt",
    "354 MB",
    _SHA256,
    "--text learned needs no CLIP, --prompts FILE reads features made elsewhere, --clip-weights FILE reads that file",
)


def _open_clip():
    try:
        import open_clip
    except ImportError:
        raise UserError("CLIP's prompts need open_clip: pip install open_clip_torch, or use --text learned") from None
    return open_clip


def tokenize(words: Sequence[str]) -> Tensor:
    """CLIP's byte-pair token ids (N, 77): start 49406, the word's tokens, end 49407, zeros."""
    return _open_clip().tokenize(list(words), CONTEXT)


class TextTower(nn.Module):
    """CLIP's text transformer up to `ln_final`: embeddings (N, 77, W) to features (N, 77, W). Never trained.

    It takes embeddings, not token ids, because prompts mix free context rows with words. Names are OpenAI's.
    """

    random = False  # not CLIP: made for tests

    def __init__(self, width: int = WIDTH, layers: int = 12, heads: int = 8, vocabulary: int = 49408):
        super().__init__()
        transformer = _open_clip().transformer
        self.width = width
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.zeros(CONTEXT, width))
        self.transformer = transformer.Transformer(width, layers, heads, act_layer=transformer.QuickGELU)
        self.ln_final = nn.LayerNorm(width)
        self.requires_grad_(False).eval()

    @classmethod
    def from_state(cls, state: dict[str, Tensor], heads: int | None = None) -> TextTower:
        """The tower of CLIP's state dict, in float32; its image half and its projection are not read."""
        names = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.")
        state = {name: value.float() for name, value in state.items() if name.startswith(names)}
        try:
            vocabulary, width = state["token_embedding.weight"].shape
            layers = 1 + max(int(n.split(".")[2]) for n in state if n.startswith("transformer.resblocks."))
            with torch.device("meta"):
                tower = cls(width, layers, heads or max(1, width // 64), vocabulary)
            tower.load_state_dict(state, assign=True)
        except (KeyError, ValueError, RuntimeError):
            raise UserError("these are not the weights of CLIP's text tower (ViT-B/32 is wanted)") from None
        return tower.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> TextTower:
        return super().train(False)

    def embed(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids)

    def forward(self, embeddings: Tensor) -> Tensor:
        x = embeddings + self.positional_embedding
        causal = torch.full((CONTEXT, CONTEXT), -torch.inf, device=x.device, dtype=x.dtype).triu(1)
        return self.ln_final(self.transformer(x, attn_mask=causal))


class _RandomTower(TextTower):
    random = True

    def embed(self, ids: Tensor) -> Tensor:
        return super().embed(ids % self.token_embedding.num_embeddings)


def random_tower(width: int = WIDTH, layers: int = 1, seed: int = 0) -> TextTower:
    """A tiny tower of random weights, for tests: what is made from it carries a mark."""
    tower = _RandomTower(width, layers, 8, vocabulary=251)
    generator = torch.Generator().manual_seed(seed)
    for name, value in tower.named_parameters():
        noise = torch.randn(value.shape, generator=generator)
        scale = value.shape[-1] ** -0.5 if "transformer" in name and value.dim() > 1 else 0.3
        value.copy_(noise * scale + (1 if "ln_" in name and name.endswith("weight") else 0))
    return tower


def _own_cache() -> Path:
    return Path.home() / ".cache" / "clip" / WEIGHTS.name


def _cached() -> Path | None:
    """CLIP's weights where OpenAI's package or OpenCLIP left them."""
    if _own_cache().is_file():
        return _own_cache()
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    found = (try_to_load_from_cache(_HUB[0], name) for name in _HUB[1])
    return next((Path(path) for path in found if isinstance(path, str)), None)


def load_tower(clip_weights: Path | None = None, offline: bool = False) -> TextTower:
    """The text tower from --clip-weights, else ~/.cache/clip/ViT-B-32.pt, else OpenCLIP's cache, else OpenAI's server.

    What is fetched is kept in ~/.cache/clip, where OpenAI's own package keeps it; `offline` forbids it.
    """
    _open_clip()  # before anything is fetched
    path = Path(clip_weights) if clip_weights is not None else (_cached() or fetch(WEIGHTS, _own_cache(), offline))
    if not path.is_file():
        raise UserError(f"{path}: no such CLIP weights")
    try:
        return TextTower.from_state(load_clip_weights(path))
    except UserError as error:
        message = str(error)
        raise UserError(message if message.startswith(str(path)) else f"{path}: {message}") from None
