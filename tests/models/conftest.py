"""The recorded GraphDiffu, put together from its files: each is one part of the published network's vectors."""

import pytest
import torch

from common.models.clip import TextTower
from common.models.graphdiffu import GraphDiffu
from common.models.prompt_layouts import LAYOUTS, compose, e_positions


@pytest.fixture
def graphdiffu_vectors(vectors):
    """All arrays of the recording, nothing left out; split by size into network, sub-cases and two halves of text."""
    parts = (vectors(f"graphdiffu_parity_{part}.npz") for part in ("net", "sub", "text_0", "text_1"))
    return {key: value for part in parts for key, value in part.items()}


@pytest.fixture
def recorded_graphdiffu():
    """Build the tiny recorded network, its prompts computed by the recording's own tiny CLIP.

    `case` is '' or a prefix as 'f1/', whose tensors replace the general ones. Actions are called a, b, c.
    """

    def build(v: dict, case: str = "", variant: str = "published") -> GraphDiffu:
        state = {key[3:]: x for key, x in v.items() if key.startswith("sd/")}
        state |= {key.removeprefix(f"{case}sd/"): x for key, x in v.items() if case and key.startswith(f"{case}sd/")}
        told = f"{case}in/text" in v
        skeleton = "h36m_17" if told else "mpi_inf_3dhp_17"
        model = GraphDiffu(
            frames=v[f"{case}in/x_2d"].shape[1],
            joints=17,
            channels=32,
            depth=3,
            skeleton=skeleton,
            variant="published",  # its edge list; the recordings per frame use it too
            actions=["a", "b", "c"] if told else [],
            text_width=32,
            text_hidden=2048,
        )
        model.published = variant == "published"
        layout = LAYOUTS["graphdiffu_h36m" if told else "graphdiffu_3dhp"]
        clip = {key.removeprefix("clip_text."): x for key, x in state.items() if key.startswith("clip_text.")}
        tower, words = TextTower.from_state(clip, heads=4), v[f"{case}in/pre_text"][0]
        texts = v[f"{case}in/text"] if told else words[:0]
        ids = torch.cat([words[:1], texts])
        with torch.no_grad():
            prompts = compose(layout, {part: state[f"ctx_{part}"] for part in layout.ctx_rows}, tower.embed, ids, words)
            state |= {"prompt_features": tower(prompts), "prompt_positions": e_positions(layout, ids)}
        model.load_state_dict({key: state[key] for key in model.state_dict()})
        return model.eval()

    return build
