"""ONNX networks from outside, opened with onnxruntime."""

from __future__ import annotations

from pathlib import Path

from common.errors import UserError
from common.files.limits import reading


def input_shape(path: Path | str) -> list:
    """The shape of a network's first input. Raises UserError for a missing or damaged file."""
    try:
        import onnxruntime
    except ImportError:
        raise UserError(f"{path}: reading it needs onnxruntime: pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors come as exceptions too
    with reading(path, "ONNX network", "") as path:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return list(session.get_inputs()[0].shape)
