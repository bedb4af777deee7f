"""The benchmark runs, compares neighbours in time, and reports what it measured."""

import json

import pytest
import torch

from benchmarks import speed, timing
from benchmarks.work import MODES, STAGES
from common.errors import UserError

CPU = torch.device("cpu")


def test_variants_run_in_turn_and_medians_are_taken(monkeypatch):
    now, order = [0.0], []

    def clock() -> float:
        now[0] += 1e-6  # so that the probe takes time too
        return now[0]

    def work(name: str, seconds: list[float]):
        def call():
            order.append(name)
            now[0] += seconds.pop(0) if len(seconds) > 1 else seconds[0]

        return call

    monkeypatch.setitem(timing.CLOCKS, "fake", clock)
    variants = [
        timing.Variant("plain fp32", work("a", [9.0, 9.0, 0.06, 0.06, 0.30, 0.06])),  # one round is disturbed
        timing.Variant("fp32", work("b", [9.0, 9.0, 0.02, 0.02])),
    ]
    timings = timing.interleaved(variants, CPU, rounds=3, clock="fake")
    assert "".join(order) == "aaabbb" + "abb" * 3  # the short one is called twice, to fill SHORTEST
    assert timings["plain fp32"].seconds == pytest.approx([0.06, 0.30, 0.06], abs=1e-4)
    assert timings["plain fp32"].median == pytest.approx(0.06, abs=1e-4)
    assert timings["fp32"].ratio(timings["plain fp32"]) == pytest.approx(3, abs=1e-2)
    assert timings["fp32"].warm_up == pytest.approx(18, abs=1e-3)


def test_the_share_is_of_the_rate_around_the_call():
    taken = timing.Timing(seconds=[1.0, 2.0, 4.0], rates=[100.0, 50.0, 25.0])
    assert taken.share(50e9) == pytest.approx(0.5) and taken.median == 2.0


def test_the_matmul_rate_is_that_of_a_product():
    rate = timing.MatmulRate(CPU)
    rate.size = 128
    assert 0.01 < rate(torch.float32, False) < 1e5 and 0.001 < rate(torch.bfloat16, False) < 1e6


def test_the_program_writes_its_table_and_every_round(tmp_path, capsys):
    arguments = ["--size", "tiny", "--models", "mixste", "--modes", "fp32", "bf16", "--rounds", "2", "--device", "cpu"]
    assert speed.main([*arguments, "--json", str(tmp_path / "out" / "speed.json")]) == 0
    report = json.loads((tmp_path / "out" / "speed.json").read_text(encoding="utf-8"))
    assert [r["stage"] for r in report["rows"] if r["variant"] == "fp32"] == list(STAGES)
    for row in report["rows"]:
        assert row["seconds"] > 0 and len(row["rounds"]) == len(row["matmul_gflops"]) == 2
        assert (row["matmul_share"] is None) == (row["stage"] in ("batch assembly", "metrics"))
    forward = {r["variant"]: r for r in report["rows"] if r["stage"] == "forward"}
    assert set(forward) == {"plain fp32", "fp32", "bf16"} and forward["plain fp32"]["times_plain"] == 1
    # 2 windows x 2 hypotheses x 5 frames x 17 joints, 4 blocks of 16 C^2 products and more
    assert forward["fp32"]["gflop"] * 1e9 > 2 * 2 * 5 * 17 * 4 * 16 * 16**2
    text = capsys.readouterr().out
    assert "load average" in text and "told by --size paper" in text and "| mixste | metrics | fp32 |" in text


@pytest.mark.parametrize(("share", "words"), [(0.78, "a fair baseline"), (0.55, "NO fair baseline")])
def test_a_slow_plain_variant_is_called_no_baseline(share, words):
    row = {"model": "mixste", "stage": "forward", "variant": speed.PLAIN, "matmul_share": share}
    assert words in speed.baselines({"size": "paper", "rows": [row]})[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--models", "nothing"], "--models nothing: unknown"),
        (["--modes", "fp8"], "--modes fp8: unknown"),
        (["--modes", "TF32", "--device", "cpu"], "only CUDA"),
        (["--rounds", "0"], "must be 1 or more"),
        (["--clock", "cpu", "--threads", "2", "--device", "cpu"], "one thread"),
    ],
)
def test_what_cannot_be_measured_is_told_in_one_line(arguments, words, capsys):
    assert speed.main(["--size", "tiny", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_fp32_is_always_measured():
    assert [m.name for m in speed.choose_modes(["bf16"], CPU)] == ["fp32", "bf16"]
    assert "TF32" not in [m.name for m in speed.choose_modes(None, CPU)]
    assert [m.name for m in speed.choose_modes(None, torch.device("cuda"))] == list(MODES)
    with pytest.raises(UserError):
        speed.choose_modes(["nothing"], CPU)
