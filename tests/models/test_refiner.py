"""The refiner: the published form against its vectors; ours starts as the identity and knows its joints."""

import pytest
import torch

from common.errors import UserError
from common.models.refiner import JointRefiner, PublishedRefiner, make_refiner, published_refiner, row_code


@pytest.fixture
def recorded(vectors):
    v = vectors("posynda_parity.npz")
    state = {"module." + k.removeprefix("sd/weight."): x for k, x in v.items() if k.startswith("sd/weight.")}
    state["module.pos_encoder.pe"] = torch.zeros(50000, 1, 32)
    sizes, weights = published_refiner(state)
    refiner = make_refiner(**sizes)
    refiner.load_state_dict(weights)
    return refiner.eval(), v


def test_published_refiner_matches_the_vectors(recorded):
    """In millimetres; the same pose alone, as row 0 of its batch, comes out otherwise."""
    refiner, v = recorded
    with torch.no_grad():
        out, alone = (1000 * refiner(x / 1000) for x in (v["in/weight_x"], v["in/weight_x"][3:4]))
    torch.testing.assert_close(out, v["out/weight_y"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone, v["out/weight_y_row3_alone"], rtol=1e-4, atol=1e-5)
    assert (out[3] - alone[0]).abs().max() > 1e-3


def test_position_code_matches_the_vectors(recorded):
    torch.testing.assert_close(row_code(8, 32), recorded[1]["out/weight_pe_first8"][:, 0], rtol=1e-4, atol=1e-6)


def test_more_rows_than_the_published_table_work(recorded):
    assert row_code(50_001, 4).isfinite().all()


def test_ours_is_the_identity_at_the_start_and_independent_of_the_batch():
    torch.manual_seed(0)
    refiner = JointRefiner(joints=17, channels=32, depth=2).eval()
    poses = torch.randn(2, 1, 3, 4, 17, 3)
    with torch.no_grad():
        assert torch.equal(refiner(poses), poses)
        torch.nn.init.normal_(refiner.decoder.weight)
        whole, part = refiner(poses), refiner(poses[1:])
    torch.testing.assert_close(whole[1:], part, atol=1e-5, rtol=1e-5)
    assert (whole - poses).abs().max() > 0.1


def test_ours_sees_all_joints_and_which_joint_it_is():
    torch.manual_seed(0)
    refiner = JointRefiner(joints=17, channels=32, depth=1).eval()
    torch.nn.init.normal_(refiner.decoder.weight)
    poses = torch.randn(1, 17, 3)
    moved = poses.clone()
    moved[0, 16] += 1
    same = torch.ones(1, 17, 3)
    with torch.no_grad():
        assert (refiner(moved)[0, 0] - refiner(poses)[0, 0]).abs().max() > 1e-4  # no causal mask
        assert (refiner(same)[0, 0] - refiner(same)[0, 5]).abs().max() > 1e-3


def test_published_size():
    with torch.device("meta"):
        assert sum(p.numel() for p in PublishedRefiner().parameters()) == 12_627_459


def test_what_does_not_fit_is_told():
    with pytest.raises(UserError, match="multiple of 8"):
        make_refiner("joint", joints=17, channels=20, depth=1, heads=8)
    with pytest.raises(UserError, match="not the published refiner"):
        published_refiner({"other": torch.zeros(1)})
    assert make_refiner("none") is None
