"""CDF is read by a process of its own: here with a stand-in for cdflib that does what damaged files make it do."""

import os
import time

import numpy as np
import pytest

from common.errors import UserError
from common.files import cdf

STAND_IN = """
import types, numpy

class CDF:
    def __init__(self, path):
        self.text = open(path).read()

    def varinq(self, name):
        sizes, last = ([10**6, 10**6], 10**6) if "claims" in self.text else ([3, 96], 0)
        return types.SimpleNamespace(Dim_Sizes=sizes, Last_Rec=last)

    def varget(self, name):
        while "circles" in self.text:
            pass
        if "grows" in self.text:
            bytearray(1 << 40)
        if "breaks" in self.text:
            raise KeyError("no such record")
        return numpy.ones((1, 3, 96)) if "objects" not in self.text else numpy.array([None])
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    (tmp_path / "cdflib.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(cdf, "SECONDS", 1.0)
    return tmp_path


def test_numbers_come_back(stand_in):
    (stand_in / "a.cdf").write_text("sound")
    np.testing.assert_array_equal(cdf.read_cdf_variable(stand_in / "a.cdf", "Pose"), np.ones((1, 3, 96)))


@pytest.mark.parametrize("damage", ["circles", "grows", "breaks", "claims", "objects"])
def test_damage_is_one_line_in_little_time(stand_in, damage):
    (stand_in / "a.cdf").write_text(damage)
    start = time.monotonic()
    with pytest.raises(UserError, match="not a readable CDF file with a variable Pose") as caught:
        cdf.read_cdf_variable(stand_in / "a.cdf", "Pose")
    assert len(str(caught.value).splitlines()) == 1 and time.monotonic() - start < 30


def test_without_the_package_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(cdf.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install cdflib"):
        cdf.read_cdf_variable(tmp_path / "a.cdf", "Pose")
