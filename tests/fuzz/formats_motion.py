"""Motion capture's own formats, and ONNX. What needs a package that is not installed is left out."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from tests.data import acclaim
from tests.fuzz.formats import Format, _rng


def _told(folder: Path, name: str) -> None:
    """As the doctor reads it."""
    from common.programs.what_file import tell

    tell(folder / name)


def _acclaim(folder: Path) -> None:
    (folder / "01.asf").write_text(acclaim.asf())
    (folder / "01_01.amc").write_text(acclaim.amc(1, 4))


def _read_acclaim(target: str):
    def read(folder: Path) -> None:
        from common.datasets.cmu import amc_joints
        from common.files.asf import read_asf
        from common.files.reading import read_text

        _told(folder, target)
        skeleton = read_asf(read_text(folder / "01.asf"), "01.asf")
        amc_joints(read_text(folder / "01_01.amc"), skeleton, "01_01.amc")

    return read


def _cmu_bvh(folder: Path) -> None:
    (folder / "01_01.bvh").write_text(acclaim.bvh(1, 4))


def _read_cmu_bvh(folder: Path) -> None:
    from common.datasets.cmu import bvh_joints
    from common.files.reading import read_text

    bvh_joints(read_text(folder / "01_01.bvh"), None, "01_01.bvh")


def _c3d(folder: Path) -> None:
    from tests.data.test_convert_aspset import LABELS, c3d

    (folder / "a.c3d").write_bytes(c3d(1000 * _rng().normal(size=(5, len(LABELS), 3))))


def _cdf(folder: Path) -> None:
    from cdflib.cdfwrite import CDF

    (folder / "Walking.cdf").unlink(missing_ok=True)
    file = CDF(folder / "Walking.cdf", cdf_spec={"Compressed": 0})
    about = {"Variable": "Pose", "Data_Type": 44, "Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": [3, 96]}
    file.write_var(about | {"Compress": 0}, var_data=_rng().normal(size=(1, 3, 96)).astype(np.float32))
    file.close()


def _read_cdf(folder: Path) -> None:
    from tests.fuzz.formats import _program

    _program("convert_h36m").read_cdf(folder / "Walking.cdf")


def _onnx(folder: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "T", 3]) for name in "xy")
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3, 3], np.eye(3).ravel().tolist())
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), folder / "a.onnx")


MOTION = {
    "asf:01.asf": Format(_acclaim, "01.asf", _read_acclaim("01.asf")),
    "amc:01_01.amc": Format(_acclaim, "01_01.amc", _read_acclaim("01_01.amc")),
    "cmu_bvh:01_01.bvh": Format(_cmu_bvh, "01_01.bvh", _read_cmu_bvh),
    "c3d:a.c3d": Format(_c3d, "a.c3d", lambda folder: _told(folder, "a.c3d")),
}
if importlib.util.find_spec("cdflib"):
    MOTION["cdf:Walking.cdf"] = Format(_cdf, "Walking.cdf", _read_cdf)
if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime"):
    MOTION["onnx:a.onnx"] = Format(_onnx, "a.onnx", lambda folder: _told(folder, "a.onnx"))
