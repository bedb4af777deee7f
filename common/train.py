"""Training and evaluation from Python, the code behind main.py and its siblings: docs/api.md.

    from common.train import evaluate, train

    train(model="mixste", keypoints="gt", checkpoint="checkpoint/mine", epochs=40)
    report = evaluate(checkpoint="checkpoint/mine", keypoints="gt", hypotheses=20, sampling_timesteps=10)

Options are the program's flags by field (common/settings/lifting.py), read as if typed: the same ranges, the same
defaults, the same lines in a `UserError`.
"""

from __future__ import annotations

from common.engine.devices import join
from common.engine.log import say
from common.engine.training import BEST
from common.programs.main import read_settings, run
from common.settings.flags import words
from common.settings.lifting import FLAGS


def train(preset: str = "h36m", **options) -> dict | None:
    """Train and evaluate; returns the content of report.json, None with `no_eval=True`.

    preset: h36m (main.py), gt (main_gt.py), 3dhp (main_3dhp.py), ...: the keys of common.settings.presets.PRESETS.
    """
    settings = read_settings(preset, words(FLAGS, options))[0]
    return run(settings, join(settings.run.gpu, say))


def evaluate(file: str = BEST, preset: str = "h36m", **options) -> dict:
    """Evaluate a file of the folder `checkpoint`; returns the content of report.json."""
    return train(preset, **options, evaluate=file)
