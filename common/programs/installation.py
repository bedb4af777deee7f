"""What is installed: Python, packages, devices. Needs nothing but Python itself."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass

from common.errors import why_unusable

OK, MISSING, PROBLEM = "ok", "missing", "PROBLEM"


@dataclass(frozen=True)
class Finding:
    state: str
    what: str
    text: str


# Distribution names, and what each is for.
REQUIRED = {
    "torch": "everything", "numpy": "everything",
    "scipy": "files, matching", "h5py": "converters", "matplotlib": "pictures",
    "pillow": "pictures", "tqdm": "progress", "filelock": "two runs in one folder", "PyYAML": "--config",
}  # fmt: skip
EXTRAS = {
    "ai-edge-litert": "people in videos (requirements-wild.txt)", "av": "reading and writing videos",
    "open_clip_torch": "text features of FinePOSE, GraphDiffu, Grap2Eq", "torchvision": "open_clip_torch",
    "safetensors": "export --safetensors",
    "onnx": "export --onnx", "onnxruntime": "export --onnx, --detector rtmlib", "onnxscript": "export --onnx",
    "rtmlib": "main_wild.py --detector rtmlib", "tensorboard": "logs; or use --nolog",
}  # fmt: skip
MODULES = {"pillow": "PIL", "PyYAML": "yaml"}  # where the module is not called like its distribution
OLDEST_TORCH = (2, 6)
INSTALL = "pip install -r requirements.txt"


def installation() -> list[Finding]:
    """Python, packages, torch's devices, optional extras. Needs none of them."""
    found = [Finding(OK, "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    for packages, state in ((REQUIRED, PROBLEM), (EXTRAS, MISSING)):
        for name, use in packages.items():
            version = _version(name)
            how = INSTALL if packages is REQUIRED else f"pip install {name}"
            text = f"{version} ({use})" if version else f"not installed, needed for {use}: {how}"
            found.append(Finding(OK if version else state, name, text))
    broken = _broken(finding.what for finding in found if finding.state == OK)
    found += broken
    if not _version("torch") or any(finding.what == "torch" for finding in broken):
        return found
    import torch

    version = tuple(int(n) for n in re.findall(r"\d+", torch.__version__)[:2])
    if version < OLDEST_TORCH:
        found.append(Finding(PROBLEM, "torch", f"{torch.__version__} is older than 2.6"))
    return [*found, *_devices(torch)]


def _broken(installed: Iterable[str]) -> list[Finding]:
    """Packages that are there and cannot be imported: made for another torch, or for libraries that are not here."""
    found = []
    for name in (set(REQUIRED) | {"torchvision"}) & set(installed):  # torchvision fits one release of torch only
        try:
            importlib.import_module(MODULES.get(name, name))
        except (ImportError, OSError, RuntimeError) as error:
            found.append(Finding(PROBLEM, name, why_unusable(error) or f"cannot be imported: {error}"))
    return found


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices(torch) -> list[Finding]:
    found = []
    if torch.cuda.is_available():
        for n in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(n)
            found.append(Finding(OK, f"GPU {n}", f"{about.name}, {about.total_memory / 2**30:.0f} GiB: -gpu {n}"))
    elif torch.version.cuda:
        found.append(Finding(MISSING, "GPU", "this torch knows CUDA, but finds no GPU or driver"))
    else:
        found.append(Finding(MISSING, "GPU", "this torch is built for the CPU; https://pytorch.org has others"))
    if torch.backends.mps.is_available():
        found.append(Finding(OK, "GPU mps", "Apple's: -gpu mps"))
    cores = os.cpu_count() or 1
    return [*found, Finding(OK, "CPU", f"{cores} cores, torch uses {torch.get_num_threads()} threads: -gpu -1")]
