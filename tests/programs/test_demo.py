"""The demo's own parts; the whole of it runs when a newcomer types the README's first line."""

import json

import pytest

from common.programs import demo as demo_program
from common.programs.demo import TEST_WINDOWS, demo
from common.programs.main import read_settings
from common.settings.presets import DEMO, DEMO_OF
from tests.tiny import CPU


def settings_of(preset, tmp_path, more=""):
    where = f"--data-root {tmp_path / 'data'} -c {tmp_path / 'c'} --annotations {tmp_path / 'ts'} --debug -e 1 -gpu -1"
    return read_settings(preset, ["--demo", *where.split(), *more.split()])[0]


@pytest.mark.parametrize("preset", ["h36m", "h36m_gt", "3dhp", "humaneva"])
def test_a_demo_leaves_report_figure_and_animation(preset, tmp_path, capsys):
    settings = settings_of(preset, tmp_path, "--channels 16 --depth 1 -num_proposals 2 -sampling_timesteps 2")
    demo(settings, CPU)
    report = json.loads((tmp_path / "c" / "report.json").read_text(encoding="utf-8"))
    assert report["synthetic"] and report["mean_pose"]["protocol_1"]["action_wise"] > 50
    for name in ("poses.png", "animation.mp4", "best_epoch_1_1.bin"):
        assert (tmp_path / "c" / name).stat().st_size > 1000
    assert "SYNTHETIC" in capsys.readouterr().out
    assert "SYNTHETIC" in (tmp_path / "c").glob("*_test_log_*.txt").__next__().read_text(encoding="utf-8")


def test_the_demo_never_touches_real_files():
    for changes in DEMO_OF.values():
        merged = DEMO | changes
        assert merged["data_root"].startswith("data/demo") and merged["checkpoint"].startswith("checkpoint/demo")


def test_the_demo_scores_each_action_of_each_test_person(tmp_path):
    from tests.tiny import h36m_folder

    settings = settings_of("h36m", tmp_path, f"--data-root {h36m_folder()}")
    clips = demo_program.test_clips(settings)
    assert {c.subject for c in clips} == {"S9", "S11"} and len({c.action_name for c in clips}) == 10
    assert len({c.camera.name for c in clips}) == 4
    assert sum(-(-len(c) // settings.model.number_of_frames) for c in clips) <= TEST_WINDOWS
