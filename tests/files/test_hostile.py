"""Files made to run code, to crash, or to fill the memory; each is refused with one line, in little memory and time."""

import io
import json
import pickle
import struct
import time
import zipfile
import zlib

import numpy as np
import pytest
import scipy.io
import torch

from common.errors import UserError, visible
from common.files import reading
from common.files.names import file_name, inside
from common.programs.doctor import PROBLEM, check_file


def refused(read, path, words=""):
    start = time.process_time()
    with pytest.raises(UserError, match=words or None) as caught:
        read(path)
    assert len(str(caught.value).splitlines()) == 1 and path.name in str(caught.value)
    assert time.process_time() - start < 5


class Writes(torch.nn.Module):
    """A TorchScript module with a program of its own."""

    def forward(self, x):
        return x + 1


@pytest.mark.parametrize("name", ["a.bin", "a.pt"])
def test_a_torchscript_program_is_refused_by_every_door(tmp_path, name, capsys):
    from common.adaptation import lifter
    from common.binocular import checkpoint as two_view
    from common.engine import checkpoint
    from common.programs import export, import_checkpoint

    path = tmp_path / name
    torch.jit.save(torch.jit.script(Writes()), str(path))
    for read in (reading.load_torch, checkpoint.load, lifter.read, two_view.load):
        refused(read, path, "TorchScript")
    assert check_file(path).state == PROBLEM
    assert import_checkpoint.main([str(path), "-o", str(tmp_path / "out.bin")]) == 2
    assert export.main([str(path), "--safetensors", str(tmp_path / "out.safetensors")]) == 2
    assert "TorchScript" in capsys.readouterr().err


def npy(pickled: bytes) -> bytes:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + pickled


OBJECT = b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
STATES = {
    "a field of objects": b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR(I3\nS'|'\nN(S'a'\nt(dS'a'\n("
    + OBJECT
    + b"I0\ntsI8\nI1\nI16\ntb.",
    "fields of a plain dtype": b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nN(S'a'\nt(dI8\nI1\nI0\ntb.",
    "no plain dtype": b"cnumpy\ndtype\n(S'M8[s]'\nI0\nI1\ntR.",
    "a list that is too short": ARRAY + b"(I1\n(I9\nt" + OBJECT + b"(I3\nS'|'\nNNNI-1\nI-1\nI63\ntbI0\n(ltb.",
    "a large memo": b"\x80\x02]r\xff\xff\xff\x7f.",
    "a long text that is not there": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"x.",
}


@pytest.mark.parametrize("name", STATES)
def test_pickles_that_crash_or_fill_the_memory(tmp_path, name):
    path = tmp_path / "a.npy"
    path.write_bytes(npy(STATES[name]))
    if name == "a large memo":
        assert reading.load_array(path) == []  # harmless: the memo is a dictionary here
    else:
        refused(reading.load_array, path, "pickle")


def test_lists_within_lists_that_unfold_without_end(tmp_path):
    value = [0.0] * 10
    for _ in range(30):
        value = [value] * 10
    (tmp_path / "a.npy").write_bytes(npy(pickle.dumps(value)))
    refused(reading.load_array, tmp_path / "a.npy", "claims")


def test_bombs_of_every_kind(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(200 * 2**20))
    refused(reading.load_archive, tmp_path / "a.npz", "claims 200 MB")

    shape = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000,), }".ljust(117).encode() + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(shape)) + shape)
    refused(reading.load_array, tmp_path / "a.npy", "cut off")

    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("unstored", (400, 1000, 1000), "f8", chunks=(1, 1000, 1000))
        file["elsewhere"] = h5py.ExternalLink("b.h5", "x")
    with reading.open_hdf5(tmp_path / "a.h5") as file:
        with pytest.raises(UserError, match="claims"):
            file.array("unstored")
        with pytest.raises(UserError, match="link"):
            file.array("elsewhere")

    (tmp_path / "a.json").write_text("[" * 100_000)
    refused(reading.read_json, tmp_path / "a.json", "deep")
    for text, words in (("[" * 1000, "deep"), ("a: &a [1]\nb: {<<: *a}", "merge")):
        (tmp_path / "a.yml").write_text(text)
        refused(reading.read_yaml, tmp_path / "a.yml", words)
    names = "abcdefghi"
    lines = ["a: &a [" + "x," * 9 + "]"]
    lines += [f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip(names, names[1:], strict=False)]
    (tmp_path / "a.yml").write_text("\n".join(lines))
    refused(reading.read_yaml, tmp_path / "a.yml", "claims")

    stream = io.BytesIO()
    torch.save({"w": torch.zeros(1).expand(10**9)}, stream)
    (tmp_path / "a.bin").write_bytes(stream.getvalue())
    refused(reading.load_torch, tmp_path / "a.bin", "claims")


def mat(element: bytes) -> bytes:
    return b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 14, len(element)) + element


FLAGS = struct.pack("<IIII", 6, 8, 6, 0)
MATRICES = {
    "dimensions beyond its bytes": FLAGS + struct.pack("<IIii", 5, 8, 1 << 20, 1 << 20) + struct.pack("<II", 1, 0),
    "negative dimensions": FLAGS + struct.pack("<IIii", 5, 8, -1, 3) + struct.pack("<II", 1, 0),
    "fewer numbers than it says": FLAGS + struct.pack("<IIii", 5, 8, 2, 2) + struct.pack("<IIII", 1, 0, 9, 0),
    "a sparse matrix in a cell": struct.pack("<IIII", 6, 8, 1, 0)
    + struct.pack("<IIii", 5, 8, 1, 1)
    + struct.pack("<II", 1, 0)
    + struct.pack("<II", 14, 16)
    + struct.pack("<IIII", 6, 8, 5, 0),
    "an element of no type": struct.pack("<IIII", 99, 8, 6, 0),
}


@pytest.mark.parametrize("name", MATRICES)
def test_mat_files_are_checked_before_scipy_sees_them(tmp_path, name, monkeypatch):
    monkeypatch.setattr(scipy.io, "loadmat", lambda *a, **k: pytest.fail("SciPy saw it"))
    (tmp_path / "a.mat").write_bytes(mat(MATRICES[name]))
    refused(reading.load_mat, tmp_path / "a.mat")


def test_a_packed_variable_that_unfolds_without_end(tmp_path):
    packed = zlib.compress(bytes(200 * 2**20))
    content = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(packed)) + packed
    (tmp_path / "a.mat").write_bytes(content)
    refused(reading.load_mat, tmp_path / "a.mat", "claims|does not end")


@pytest.mark.parametrize("packed", [True, False])
def test_what_scipy_writes_comes_back(tmp_path, packed):
    cells = np.empty((2, 1), object)
    cells[0, 0], cells[1, 0] = np.eye(3), "text"
    arrays = {
        "f": np.ones((2, 3, 4), "f4"),
        "i": np.arange(6, dtype="i2").reshape(2, 3),
        "c": np.array([[1 + 2j]]),
        "s": {"a": 1.5, "b": "x"},
        "cells": cells,
        "empty": np.zeros((0, 3)),
        "b": np.array([[True]]),
    }
    scipy.io.savemat(tmp_path / "a.mat", arrays, do_compression=packed)
    read, expected = reading.load_mat(tmp_path / "a.mat"), scipy.io.loadmat(tmp_path / "a.mat")
    for name in arrays:
        assert repr(read[name]) == repr(expected[name])


def test_every_flipped_bit_of_a_checkpoints_storage_is_noticed(tmp_path):
    torch.save({"w": torch.arange(100.0)}, tmp_path / "a.bin")
    data = bytearray((tmp_path / "a.bin").read_bytes())
    start = data.index(struct.pack("<f", 50.0))
    for at in range(start - 80, start + 80, 7):
        broken = bytearray(data)
        broken[at] ^= 4
        (tmp_path / "b.bin").write_bytes(broken)
        refused(reading.load_torch, tmp_path / "b.bin", "CRC")


WRONG = {
    "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n": "git lfs pull",
    "<!DOCTYPE html><html>Sign in</html>": "web page",
    "": "empty file",
    "\x1f\x8b\x08\x00": "unpack it first",
}


@pytest.mark.parametrize("content", WRONG, ids=WRONG.values())
def test_what_a_file_really_is(tmp_path, content):
    for name in (
        "a.npz",
        "a.npy",
        "a.bin",
        "a.safetensors",
        "a.mat",
        "a.json",
        "a.yml",
        "a.bvh",
        "a.webm",
        "a.h5",
        "a.onnx",
    ):
        (tmp_path / name).write_bytes(content.encode("latin1"))
        finding = check_file(tmp_path / name)
        assert finding.state == PROBLEM and WRONG[content] in finding.text, finding
        assert not {"hostile", "attack", "malicious"} & set(finding.text.lower().split())


def test_words_stay_in_their_folder_and_off_the_terminal(tmp_path):
    for word in ("../../x", "/etc/passwd", "..", "", "a\x00b", "a\udcff", "CON", "x" * 500, "a/../../b", ".ssh"):
        assert tmp_path.resolve() in inside(tmp_path, word).resolve().parents
        assert len(file_name(word).encode()) < 256 and "/" not in file_name(word)
    assert inside(tmp_path, "Train/S1", "Walking 1") == tmp_path / "Train" / "S1" / "Walking 1"
    assert file_name("a/b") != file_name("a_b")
    assert visible("a\x1b[2J\nb\u202ec\udcff é") == "a\\x1b[2J\\nb\\u202ec\\udcff é"
    assert str(UserError("x\x1b]0;title\x07")) == "x\\x1b]0;title\\x07"


def test_a_pages_text_and_addresses_are_escaped(tmp_path):
    from common.geometry.skeleton import H36M_17
    from common.viz.viewer import write_viewer

    video = tmp_path / "a #1 %?.mp4"
    video.write_bytes(b"x")
    person = {"id": 1, "label": "</script>\x1b", "positions": np.random.default_rng(0).normal(size=(3, 17, 3))}
    write_viewer(tmp_path / "v.html", [person], 25, H36M_17, video=video, title="<img>\n\udcff")
    text = (tmp_path / "v.html").read_text("utf-8")
    assert "a%20%231%20%25%3F.mp4" in text and "\x1b" not in text and "</script>\\" not in text
    assert json.dumps("<img>\\n\\udcff")[1:-1].replace("<", "\\u003c") in text
