"""The door of the one room that reads what strangers hand in. Nothing else in the project opens their formats.

    load_archive     .npz                           load_mat      MAT v5
    load_array       .npy                           open_hdf5     HDF5, MAT v7.3
    load_pickle      a pickle of plain data         read_json     read_yaml     read_toml     read_text
    load_torch       torch.save, both forms         read_bvh      (common.files.bvh_reader)
    load_torchscript TorchScript's tensors          video         (common.files.video)
    load_safetensors .safetensors                   read_cdf      NASA's CDF

All of them: no code from a file is run, what a file claims is bounded before memory is taken (`limits`), and whatever
is wrong with it is one UserError. `understanding` does the same for the code that takes the content apart.
"""

from common.files.archives import load_archive, load_array
from common.files.hdf5 import open_hdf5
from common.files.limits import Budget, reading, require, understanding
from common.files.mat import Unread, load_mat
from common.files.pickle_names import Inert
from common.files.pickles import load_pickle
from common.files.texts import parse_json, parse_yaml, read_json, read_text, read_toml, read_yaml
from common.files.torch_files import (
    load_clip_weights,
    load_safetensors,
    load_torch,
    load_torchscript,
    safetensors_card,
)

__all__ = [
    "Budget", "Inert", "Unread", "load_archive", "load_array", "load_clip_weights", "load_mat", "load_pickle",
    "load_safetensors", "load_torch", "load_torchscript", "open_hdf5", "parse_json", "parse_yaml", "read_json",
    "read_text", "read_toml", "read_yaml", "reading", "require", "safetensors_card", "understanding",
]  # fmt: skip
