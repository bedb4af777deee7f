"""What a text model is told of a test clip: nothing, its action, or both; actions without a prompt included."""

import pytest

from common.errors import UserError
from common.models.prompts import ALLOW_RANDOM
from common.models.prompts import main as write_prompts
from tests.tiny import command

LINE = "--model {model} --text clip --prompts {prompts} -e 1"


@pytest.fixture(scope="module", params=["graphdiffu", "finepose"])
def trained(request, tmp_path_factory):
    """A folder with a lifter that was trained on Walking alone, from prompts of a random tower."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ALLOW_RANDOM, "1")
        made = ["--random", "--actions", "Walking", "--layout", f"{request.param}_h36m"]
        assert write_prompts([*made, "--out", str(folder / "prompts.safetensors")]) == 0
        line = LINE.format(model=request.param, prompts=folder / "prompts.safetensors")
        command(folder, f"{line} -a Walking")
    return folder, request.param


def test_an_action_without_a_prompt_is_scored_with_the_neutral_one(trained):
    """Every window that is looked at, those that only time the work included, hides its action."""
    folder, model = trained
    report = command(folder, f"--model {model} -a Phoning --evaluate last.bin --eval-text neutral")
    assert report["eval_text"] == "neutral" and report["frames"] > 0


@pytest.mark.parametrize("told", ["action", "both"])
def test_an_action_without_a_prompt_is_told_before_the_work(trained, told, monkeypatch):
    folder, model = trained
    monkeypatch.setattr("common.engine.evaluation.evaluate", lambda *a, **k: pytest.fail("work was begun"))
    with pytest.raises(UserError, match="no prompt for Phoning: use --eval-text neutral"):
        command(folder, f"--model {model} -a Walking,Phoning --evaluate last.bin --eval-text {told}")
