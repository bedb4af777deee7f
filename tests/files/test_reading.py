import io
import os
import pickle
import time
from collections import defaultdict

import numpy as np
import pytest
import torch

from common.errors import UserError
from common.files.calibration import read_calibration
from common.files.reading import load_archive, load_array, load_pickle, load_torch, read_yaml, require


class Hostile:
    """Pickles to a call of os.system that leaves a file behind."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"echo ran > {self.trace}",)


def test_an_archive_of_plain_data_is_read(tmp_path):
    positions = {"S1": {"Walking 1": [np.arange(6, dtype="f4").reshape(2, 3), np.float64(2.5)]}}
    ragged = np.array([{"a": 1}, [1, 2]], dtype=object)
    np.savez_compressed(tmp_path / "a.npz", positions=positions, plain=np.asfortranarray(np.eye(3)), ragged=ragged)
    read = load_archive(tmp_path / "a.npz")
    np.testing.assert_array_equal(read["positions"]["S1"]["Walking 1"][0], positions["S1"]["Walking 1"][0])
    assert read["positions"]["S1"]["Walking 1"][1] == 2.5
    np.testing.assert_array_equal(read["plain"], np.eye(3))
    assert read["ragged"][0] == {"a": 1}


def test_a_hostile_archive_is_refused_by_name_and_not_run(tmp_path):
    trace = tmp_path / "trace"
    np.savez(tmp_path / "a.npz", positions_3d=np.array({"S1": Hostile(trace)}, dtype=object))
    np.save(tmp_path / "a.npy", np.array(Hostile(trace), dtype=object))
    for read, name in ((load_archive, "a.npz"), (load_array, "a.npy")):
        with pytest.raises(UserError, match="system"):
            read(tmp_path / name)
    assert not trace.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_checkpoint_is_refused_by_name_and_not_run(tmp_path, zipped):
    trace = tmp_path / "trace"
    content = {"model_pos": {"w": torch.zeros(2)}, "extra": Hostile(trace)}
    torch.save(content, tmp_path / "a.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="system"):
        load_torch(tmp_path / "a.bin")
    assert not trace.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_published_checkpoint_opens_with_its_random_state_inert(tmp_path, zipped):
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    content = {
        "epoch": 3,
        "lr": np.float64(1e-4),
        "random_state": np.random.RandomState(1234),
        "optimizer": optimizer.state_dict(),
        "model_pos": model.state_dict(),
    }
    torch.save(content, tmp_path / "a.bin", _use_new_zipfile_serialization=zipped)
    read = load_torch(tmp_path / "a.bin")
    assert torch.equal(read["model_pos"]["weight"], model.weight)
    assert read["epoch"] == 3 and read["lr"] == 1e-4
    assert not isinstance(read["random_state"], np.random.RandomState)


def test_damaged_and_missing_files_say_so(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"not a zip file")
    (tmp_path / "a.bin").write_bytes(b"not a checkpoint")
    torch.save({"w": torch.zeros(100)}, tmp_path / "cut.bin")
    (tmp_path / "cut.bin").write_bytes((tmp_path / "cut.bin").read_bytes()[:400])
    for read, name in ((load_archive, "a.npz"), (load_torch, "a.bin"), (load_torch, "cut.bin"), (load_torch, "none")):
        with pytest.raises(UserError, match=name):
            read(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["builtins.eval", "posix.system", "numpy.load", "torch.load", "common.errors.UserError"]
)
def test_no_other_global_passes(name):
    module, attribute = name.rsplit(".", 1)
    stream = io.BytesIO(b"c" + f"{module}\n{attribute}\n".encode() + b".")
    with pytest.raises(UserError, match=attribute):
        load_pickle(stream)


def test_object_arrays_cannot_be_subclassed():
    class Sub(np.ndarray):
        pass

    with pytest.raises((UserError, AttributeError, pickle.PicklingError)):
        load_pickle(io.BytesIO(pickle.dumps(np.zeros(3).view(Sub))))


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_defaultdict_becomes_a_dict(protocol):
    """As Dual-Diffusion's 2D estimates are pickled; the factory that the file names is not kept."""
    results = defaultdict(list)
    results["keypoints_2d_pred"].append(np.ones((3, 2, 17, 2)))
    results["indexes"] = np.arange(3)
    read = load_pickle(io.BytesIO(pickle.dumps(results, protocol)))
    assert type(read) is dict and set(read) == {"keypoints_2d_pred", "indexes"}
    np.testing.assert_array_equal(read["keypoints_2d_pred"][0], np.ones((3, 2, 17, 2)))
    assert "missing" not in read


def test_the_factory_of_a_defaultdict_cannot_be_called():
    call = b"\x80\x02cbuiltins\nlist\n)R."  # list()
    with pytest.raises(UserError, match="damaged pickle"):
        load_pickle(io.BytesIO(call))
    with pytest.raises(UserError, match="system"):
        load_pickle(io.BytesIO(pickle.dumps(defaultdict(os.system))))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_what_is_no_file_is_told_as_what_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    told = {
        "pipe": "a pipe or a device",
        "zeros": "a pipe or a device",
        "nowhere": "a link that leads nowhere",
        "circle": "a link that leads nowhere",
        ".": "a folder",
        "n" * 5000: "no usable name",
        "gone": "no such file",
    }
    for name, part in told.items():
        with pytest.raises(UserError, match=part) as caught:
            require(tmp_path / name)
        assert len(str(caught.value)) < 600


def test_yaml_has_one_limit_wherever_it_comes_from(tmp_path):
    (tmp_path / "intri.yml").write_text("names:\n" + "  - a\n" * 20000)
    (tmp_path / "extri.yml").write_text("names: [a]")
    start = time.process_time()
    for read in (lambda: read_yaml(tmp_path / "intri.yml"), lambda: read_calibration(tmp_path)):
        with pytest.raises(UserError, match="too long"):
            read()
    assert time.process_time() - start < 2
