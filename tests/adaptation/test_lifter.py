"""Files of adapted lifters: ours and the published layout, read strictly."""

import pytest
import torch

from common.adaptation.lifter import (
    contents,
    count_adapted,
    for_evaluation,
    load_adapted,
    load_source_only,
    make_adapted,
    read,
)
from common.datasets.windows import Windows
from common.engine import checkpoint
from common.errors import UserError
from common.geometry.skeleton import H36M_17, MPI_INF_3DHP_17


@pytest.fixture
def adapted(source_content, settings):
    """A lifter whose additions and refiner do something."""
    torch.manual_seed(1)
    lifter = make_adapted(source_content, settings)
    for parameter in lifter.adapted().values():
        torch.nn.init.normal_(parameter, std=0.1)
    return lifter.eval()


def sampled(lifter, clips):
    batch = Windows(clips["target"], H36M_17, 9).batch([0, 1])
    noise = torch.randn(2, 2, 9, 17, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return lifter.sample(batch, 2, 1, lambda hypotheses: lambda k: noise[:, list(hypotheses)])


def test_a_stored_lifter_comes_back(adapted, source_content, settings, clips, tmp_path):
    card = source_content["card"] | {"adaptation": settings}
    checkpoint.save(tmp_path / "best_epoch.bin", {"card": card, **contents(adapted)})
    content = read(tmp_path / "best_epoch.bin")
    assert torch.equal(sampled(load_adapted(content).eval(), clips), sampled(adapted, clips))


def test_the_same_file_holds_the_lifter_before_adaptation(adapted, source_content, settings, source_lifter, clips):
    content = {"card": source_content["card"] | {"adaptation": settings}, **contents(adapted)}
    before = load_source_only(content).eval()
    expected = sampled(source_lifter, clips)
    torch.testing.assert_close(sampled(before, clips)[..., 1:, :], expected[..., 1:, :], atol=1e-6, rtol=0)
    assert (sampled(adapted, clips) - sampled(before, clips)).abs().max() > 1e-2


def test_merging_changes_nothing_but_the_work(adapted, clips):
    merged = for_evaluation(adapted)
    torch.testing.assert_close(sampled(merged, clips), sampled(adapted, clips), atol=1e-5, rtol=0)
    assert not any(".lora_" in name for name in merged.state_dict())
    assert any(".lora_" in name for name in adapted.state_dict())


@pytest.mark.parametrize("part", ["weights", "refiner"])
def test_damaged_files_are_refused(adapted, source_content, settings, part):
    for damage, message in ((lambda w, k: w.pop(k), "missing"), (lambda w, k: w.update({k: torch.zeros(1)}), "shape"),
                            (lambda w, k: w.update(other=torch.zeros(1)), "unknown")):  # fmt: skip
        content = {"card": source_content["card"] | {"adaptation": settings}, **contents(adapted)}
        damage(content[part], next(k for k in content[part] if "lora_up" in k or "decoder" in k))
        with pytest.raises(UserError, match=message):
            load_adapted(content)


def test_counts(adapted):
    low_rank, refiner = count_adapted(adapted)
    assert low_rank == 2 * 2 * ((16 + 48) + (16 + 16)) and low_rank + refiner == sum(
        p.numel() for p in adapted.adapted().values()
    )


def test_published_file_with_its_refiner(vectors, tmp_path):
    """The published layout: prefixes, schedule buffers, a position table; 3DHP's joint order; the recorded numbers."""
    v = vectors("posynda_parity.npz")
    state = {"module." + k.removeprefix("sd/"): x for k, x in v.items() if k.startswith("sd/pose_estimator.")}
    state |= {"module.betas": torch.zeros(1000), "module.alphas_cumprod": torch.zeros(1000)}
    weight = {"module." + k.removeprefix("sd/weight."): x for k, x in v.items() if k.startswith("sd/weight.")}
    weight["module.pos_encoder.pe"] = torch.zeros(50000, 1, 32)
    torch.save(
        {"epoch": 7, "lr": 1e-4, "optimizer": {}, "model_pos": state, "model_weight": weight}, tmp_path / "old.bin"
    )
    content = read(tmp_path / "old.bin")
    assert content["card"]["skeleton"] == MPI_INF_3DHP_17.name and content["card"]["epoch"] == 7
    assert content["card"]["adaptation"]["rank"] == 4
    assert content["card"]["adaptation"]["targets"] == ["attn.proj", "attn.qkv"]
    lifter = load_adapted(content).eval()
    with torch.no_grad():
        out = lifter.denoiser(v["in/denoiser_x2d"], v["in/denoiser_x3d"], v["in/denoiser_t"])
        refined = 1000 * lifter.refiner(v["in/weight_x"] / 1000)
    torch.testing.assert_close(out, v["out/denoiser"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(refined, v["out/weight_y"], atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        base = load_source_only(content).denoiser.eval()(v["in/denoiser_x2d"], v["in/denoiser_x3d"], v["in/denoiser_t"])
    torch.testing.assert_close(base, v["out/denoiser_lora_up_zeroed"], atol=1e-5, rtol=1e-4)
    del state["module.pose_estimator.head.1.bias"]
    torch.save({"model_pos": state, "model_weight": weight}, tmp_path / "cut.bin")
    with pytest.raises(UserError, match="missing"):
        read(tmp_path / "cut.bin")
