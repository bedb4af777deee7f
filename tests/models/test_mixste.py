import pytest
import torch

from common.models import build
from common.models.blocks import choose_attention


@pytest.fixture
def published(vectors):
    v = vectors("d3dp_parity.npz")
    model = build("mixste", frames=9, joints=17, channels=32, depth=3)
    model.load_state_dict({key[3:]: value for key, value in v.items() if key.startswith("sd/")})
    return v, model.eval()


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("time", ["a", "b"])
@torch.no_grad()
def test_network_matches_the_vectors(published, time, fused):
    v, model = published
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused
    t = v[f"in/t_{time}"]
    single = model(v["in/x_2d"], v["in/x_3d_train"][:, None], t)[:, 0]
    torch.testing.assert_close(single, v[f"out/train_style_t_{time}"], atol=1e-5, rtol=0)
    many = model(v["in/x_2d"], v["in/x_3d_eval"], t)
    torch.testing.assert_close(many, v[f"out/eval_style_t_{time}"], atol=1e-5, rtol=0)


@torch.no_grad()
def test_parts_match_the_vectors(published):
    v, model = published
    torch.testing.assert_close(model.time_mlp(v["in/t_a"]), v["out/time_mlp_t_a"], atol=1e-5, rtol=0)
    torch.testing.assert_close(model.STEblocks[1](v["in/ste_block_x"]), v["out/ste_block1"], atol=1e-5, rtol=0)
    torch.testing.assert_close(model.TTEblocks[2](v["in/tte_block_x"]), v["out/tte_block2"], atol=1e-5, rtol=0)


def test_full_size_has_the_published_parameter_count():
    with torch.device("meta"):
        assert sum(p.numel() for p in build("mixste").parameters()) == 34_835_459


def test_attention_kernels_are_set_per_axis():
    model = build("mixste", frames=243, channels=16, depth=2)
    choose_attention(model, torch.device("cuda"), 243, 17)
    assert all(b.attn.fused_attn for b in [*model.STEblocks, *model.TTEblocks])
    for amp, expected in ((False, True), (True, False)):  # on a CPU: long sequences in fp32 only
        choose_attention(model, torch.device("cpu"), 243, 17, amp=amp)
        assert not any(b.attn.fused_attn for b in model.STEblocks)
        assert all(b.attn.fused_attn is expected for b in model.TTEblocks)
