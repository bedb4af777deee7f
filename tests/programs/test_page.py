"""--evaluate --viewer: one clip of the test set as a page."""

import json
import re

import numpy as np

from tests.tiny import command


def test_viewer_of_an_evaluation(tmp_path):
    command(tmp_path, "--no-eval -e 1")
    command(tmp_path, "--evaluate last.bin --viewer --debug -num_proposals 3")
    text = (tmp_path / "viewer.html").read_text("utf-8")
    data = json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.S).group(1))
    (person,) = data["people"]
    assert person["hypotheses_count"] == 3 and person["truth"] and person["keypoints"]
    assert data["note"].startswith("mixste, trained on") and "S9" in data["title"]
    assert np.isclose(data["fps"], 50)
