"""What a file is, in one line: its kind, what it holds, and which program takes it. For the doctor.

Every kind that a program here reads is known, by its ending and its content, and read with that program's own reader.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files.limits import is_folder, recognise
from common.files.reading import (
    Unread,
    load_archive,
    load_array,
    load_clip_weights,
    load_mat,
    load_safetensors,
    load_torch,
    open_hdf5,
    read_json,
    read_text,
    require,
    understanding,
)

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".gif", ".m4v")
TAKES = "main.py --evaluate, main_wild.py -c, python -m common.export"
TWO_VIEW = "main_diffpose_2view_frame.py"
WILD = "main_wild.py"
_CLIP = {"token_embedding.weight", "ln_final.weight"}  # of its text tower


def tell(path: Path) -> str:
    """One line about a file, or OpenPose's folder of files. Raises UserError for what is broken or unknown."""
    if is_folder(path):
        if list(path.glob("*.json")):
            return _keypoints(path)
        raise UserError("a folder without .json files of keypoints; --data-root takes folders of data sets")
    require(path)
    reader = KINDS.get(path.suffix.lower())
    if reader is None and path.suffix.lower() in VIDEOS:
        reader = _video
    if reader is None:
        kind, sentence = recognise(path)
        raise UserError(f"{path}: {sentence or 'of no kind that the programs read'}")
    with understanding(path, f"{path.suffix} file"):
        return reader(path)


def _checkpoint(path: Path) -> str:
    from common.adaptation import lifter as adapted
    from common.binocular import checkpoint as two_view
    from common.engine import checkpoint

    try:
        raw = load_torch(path)
    except UserError as error:
        if "TorchScript" not in str(error):
            raise
        return _clip(load_clip_weights(path), path)
    if isinstance(raw, dict) and set(raw.get("state_dict") or raw) >= _CLIP:
        return _clip(load_clip_weights(path), path)
    if isinstance(raw, list | tuple) or two_view.is_own(raw):
        return _two_view_checkpoint(path)
    content = adapted.read(path)
    if "adaptation" in content["card"]:
        adapted.load_adapted(content, str(path))
        return _card(content["card"], content["weights"], path, "adapted; h36m_transfer.py --evaluate")
    checkpoint.make_lifter(content["card"], content["weights"])  # the weights fit the network
    return _card(content["card"], content["weights"], path, TAKES)


def _clip(tensors: dict, path: Path) -> str:
    if not set(tensors) >= _CLIP:
        raise UserError(f"{path}: a TorchScript program, not weights that are read here; it was not run")
    return f"CLIP's weights, {len(tensors)} tensors; for --clip-weights"


def _two_view_checkpoint(path: Path) -> str:
    from common.binocular import checkpoint as two_view
    from common.engine.checkpoint import file_hash

    content = two_view.load(path)
    count = sum(tensor.numel() for tensor in content["weights"].values())
    card = content["card"]
    source = "published" if card.get("source") == "published" else f"epoch {card.get('epoch')}"
    about = f"two-view network ({source}), {count / 1e6:.2f} M parameters; hash {file_hash(path)}"
    return f"{about}; {TWO_VIEW} --model_diff_path"


def _safetensors(path: Path) -> str:
    from common.engine import checkpoint
    from common.models.prompt_layouts import LAYOUTS
    from common.models.prompts import read_prompts
    from common.programs.export import read_safetensors

    tensors, metadata = load_safetensors(path)
    if "prompts" in metadata:
        for layout in LAYOUTS.values():
            if f'"{layout.name}"' in metadata["prompts"]:
                actions, features, _ = read_prompts(path, layout)
                return f"prompt features of {len(actions)} actions, layout {layout.name}; for --prompts"
        raise UserError(f"{path}: prompts of a layout that is unknown here")
    if set(tensors) >= _CLIP:
        return _clip(tensors, path)
    content = read_safetensors(path)
    if content["card"].get("model") == "dual_diffusion":
        return f"two-view network as safetensors, {len(content['weights'])} tensors; for other programs"
    checkpoint.make_lifter(content["card"], content["weights"])
    return _card(content["card"], content["weights"], path, "for other programs; the .bin beside it is for these")


def _card(card: dict, weights: dict, path: Path, program: str) -> str:
    from common.engine.checkpoint import file_hash

    count = sum(tensor.numel() for tensor in weights.values())
    source = "published" if card.get("source") == "published" else f"epoch {card.get('epoch')}, seed {card.get('seed')}"
    named = card["skeleton"] if isinstance(card["skeleton"], str) else card["skeleton"]["name"]
    told = [
        f"{card['model']} ({card.get('variant', 'default')} variant, {source}), {count / 1e6:.2f} M parameters",
        f"{card['frames']} frames, {card['joints']} joints ({named})",
        f"2D from {card.get('keypoints') or 'an unnamed source'}",
        *([f"labels {card['labels']}"] if card.get("labels") else []),
        f"{card.get('fps'):g} fps" if card.get("fps") else "frame rate not told",
        f"hash {file_hash(path)}",
        program,
    ]
    return "; ".join(told)


def _archive(path: Path) -> str:
    data = load_archive(path)
    if "ids" in data and "model" in data:
        from common.files.poses import read_poses

        people, fps, joints, card = read_poses(path)
        frames = ", ".join(str(len(person["positions"])) for person in people)
        return f"poses of {len(people)} people ({frames} frames), {len(joints)} joints, {fps:g} fps, metres; {card}"
    if "positions_3d" in data or isinstance(data.get("data"), dict):
        with understanding(path, "file of a data set"):
            about = _data_set(data, path)
        return f"a data set file ({', '.join(data)}): {about}; --data-root {path.parent} checks it with its 2D"
    if isinstance(data.get("positions_2d"), dict):
        clips = [np.shape(v) for actions in data["positions_2d"].values() for views in actions.values() for v in views]
        frames, joints = sum(shape[0] for shape in clips), sorted({shape[1] for shape in clips})
        layout = (data.get("metadata") or {}).get("layout_name", "not named")
        about = (
            f"2D: {len(clips)} clips, {frames} frames, {', '.join(map(str, joints))} joints, layout {layout}, pixels"
        )
        return f"{about}; -k of main.py, or {WILD} --clip"
    if {"keypoints", "subject", "action", "frame"} <= set(data):
        if data["keypoints"].dtype.kind not in "fiu" or data["keypoints"].ndim != 3:
            raise UserError(f"{path}: keypoints of shape {data['keypoints'].shape}, {data['keypoints'].dtype}")
        return f"recorded poses {np.shape(data['keypoints'])}, millimetres; data/prepare_stereo.py mhad --poses"
    return _keypoints(path)


def _data_set(data: dict, path: Path) -> str:
    """The 3D of a data set, read as its loader reads it."""
    from common.datasets import custom, h36m, humaneva, threedhp
    from common.datasets.threedhp_layout import FILE_ENDINGS

    if "positions_3d" not in data:
        split = (
            "test" if any(isinstance(entry, dict) and "valid" in entry for entry in data["data"].values()) else "train"
        )
        named = next(labels for labels, end in FILE_ENDINGS.items() if path.stem.endswith(end))
        clips = threedhp.read_clips(data, path, split, named)
        return f"MPI-INF-3DHP {split}, labels {named}, {sum(map(len, clips))} frames"
    if {"joints", "parents"} <= set(data):
        return f"{custom.check_3d(data, path.name)} frames"
    name, read = ("HumanEva", humaneva.read_world) if "humaneva" in path.name else ("Human3.6M", h36m.read_world)
    takes = [read(subject, action, world) for subject, actions in data["positions_3d"].items()
             for action, world in actions.items()]  # fmt: skip
    if not takes:
        raise UserError(f"{path}: no take in it")
    return f"{name}'s layout, {len(takes)} takes, {sum(map(len, takes))} frames"


def _array(path: Path) -> str:
    from common.binocular.noise import load_noise

    value = load_array(path)
    if isinstance(value, dict) and "table" in value:
        return _labels(path)
    if isinstance(value, dict):
        return _estimates(path)
    shape = np.shape(value)
    if len(shape) == 3 and shape[1:] == (17, 4):
        noise = load_noise(path, shape[0])
        return f"detector statistics, {shape[0]} views, mean deviation {noise.eta:.3g}; {TWO_VIEW}"
    if path.stem == "index" or path.stem.startswith("keypoints_"):
        return f"an array {shape} of an evaluation; {TWO_VIEW} --rescore {path.parent}"
    return _keypoints(path)


def _labels(path: Path) -> str:
    from common.datasets.stereo import load_split

    data = load_split(path)
    lost = f", {data.dropped} without both views left out" if data.dropped else ""
    frames = f"{len(data)} frames x {data.projections.shape[1]} views{lost}; {data.keypoints_3d.shape[1]} joints"
    about = f"two views ({data.kind}): subjects {', '.join(data.subjects)}; {frames}; world millimetres"
    return f"{about}; {TWO_VIEW}"


def _estimates(path: Path) -> str:
    from common.datasets.stereo import load_detections

    found = load_detections(path)["keypoints_2d_pred"]
    return f"2D estimates of {found.shape[0]} frames x {found.shape[1]} views; {TWO_VIEW}"


def _json(path: Path) -> str:
    data = read_json(path)
    keys = set(data) if isinstance(data, dict) else set()
    if keys == {"params"}:
        from common.settings.config_files import read_config

        return f"settings of Diff3DHPE, {len(read_config(path))} flags; --config"
    if keys and all(isinstance(c, dict) and {"K", "R", "t"} <= set(c) for c in data.values()):
        return f"calibration of {len(keys)} cameras ({', '.join(list(data)[:6])}); data/prepare_stereo.py --calibration"
    if {"results", "columns"} <= keys or {"per_pose_error"} <= keys:
        return "scores of an evaluation; nothing here reads them but people"
    if {"model", "sizes", "weights"} <= keys:
        return f"the card of {data['weights']}; for other programs"
    if {"subjects", "frames", "left_out_damaged"} <= keys:
        return "where detector statistics come from; read with the .npy of its name"
    return _keypoints(path)


def _keypoints(path: Path) -> str:
    """2D keypoints. What the file does not tell, main_wild.py must be told."""
    from common.wild.keypoints import read_keypoints

    needs = []
    try:
        found = read_keypoints(path)
    except UserError as error:
        if "say --layout" in str(error):
            found = read_keypoints(path, layout="coco")
            needs = ["--layout coco or --layout h36m"]
        elif "--clip" in str(error):
            return f"{str(error).removeprefix(f'{path}: ')} ({WILD})"
        else:
            raise
    needs += [] if found.size else ["--size WIDTHxHEIGHT (its image size is not told)"]
    needs += [] if found.fps else ["--fps (its frame rate is not told)"]
    size = f"{found.size[0]} x {found.size[1]} pixels; " if found.size else ""
    fps = f"{found.fps:g} fps; " if found.fps else ""
    empty = sum(not len(frame) for frame in found.frames)
    gaps = f" ({empty} without anybody)" if empty else ""
    layout = "17 joints" if needs and "--layout" in needs[0] else found.layout.name
    asks = f", which needs {', '.join(needs)}" if needs else ""
    people = f"up to {found.people} people, {layout}; {size}{fps}{WILD}{asks}"
    return f"2D keypoints: {len(found.frames)} frames{gaps}, {people}"


def _yaml(path: Path) -> str:
    from common.files.calibration import read_calibration
    from common.settings import two_view_files as two_view

    if path.name in ("intri.yml", "extri.yml"):
        return f"calibration of {len(read_calibration(path))} cameras; data/convert_multiview.py"
    file = two_view.read_config(path)
    two_view.resolve(file, {}, str(path))
    return f"settings, {len(file)} keys; {TWO_VIEW} --config"


def _toml(path: Path) -> str:
    from common.files.calibration import read_calibration

    return f"calibration of {len(read_calibration(path))} cameras; data/convert_multiview.py"


def _mat(path: Path) -> str:
    from common.datasets.threedhp_annotations import read_training_annotation

    if recognise(path)[0] == "hdf5":
        return _hdf5(path)
    content = load_mat(path)
    if any(name.startswith("TS") for name in content):
        from common.scoring.export import read_predictions

        found = read_predictions(path)
        about = ", ".join(f"{name} {poses.shape[2]} frames" for name, poses in found.items())
        return f"predictions for MPI-INF-3DHP: {about}; python -m common.scoring.threedhp"
    shapes = ", ".join(f"{n} {v.matlab_class if isinstance(v, Unread) else v.shape}" for n, v in content.items())
    if {"annot2", "annot3"} <= set(content):
        frames = len(read_training_annotation(path)["annot3"]["0"]["data_2d"])
        return f"a training annotation of MPI-INF-3DHP, {frames} frames of each camera ({shapes}); data/convert_3dhp.py"
    return f"MATLAB's arrays ({shapes or 'none'}); data/convert_h36m.py or data/convert_humaneva.py take such folders"


def _hdf5(path: Path) -> str:
    from common.datasets.threedhp_annotations import read_test_annotation

    with open_hdf5(path) as file:
        names = file.names()
        arrays = {name: file.array(name).shape for name in names if name != "#refs#" and file.is_array(name)}
    shapes = ", ".join(f"{name} {shape}" for name, shape in arrays.items()) or "no arrays"
    if "valid_frame" in arrays:
        read_test_annotation(path)
        return f"a test annotation of MPI-INF-3DHP ({shapes}); --annotations of main_3dhp.py, data/convert_3dhp.py"
    if arrays.get("3D_positions", (96, 1))[:1] != (96,):
        raise UserError(f"{path}: 3D_positions of shape {arrays['3D_positions']}, expected (96, frames)")
    program = "data/convert_h36m.py" if "3D_positions" in arrays else "data/convert_humaneva.py takes such folders"
    return f"HDF5 ({shapes}); {program}"


def _bvh(path: Path) -> str:
    from common.files.bvh_reader import read_bvh

    motion = read_bvh(path)
    about = f"BVH: {len(motion.positions)} frames, {len(motion.names)} joints and ends, {motion.fps:g} fps"
    return f"{about}; data/convert_cmu.py takes folders of CMU's"


def _asf(path: Path) -> str:
    from common.files.asf import read_asf

    skeleton = read_asf(read_text(path), str(path))
    return f"Acclaim skeleton: {len(skeleton.bones)} bones, {skeleton.scale:.6f} m a unit; data/convert_cmu.py reads it"


def _amc(path: Path) -> str:
    lines = read_text(path).splitlines()
    frames = sum(line.strip().isdigit() for line in lines)
    if not frames:
        raise UserError(f"{path}: no frames of a motion in it")
    return f"Acclaim motion, {frames} frames; data/convert_cmu.py reads it with its .asf"


def _c3d(path: Path) -> str:
    from common.files.c3d import read_c3d

    points = read_c3d(path)
    frames, count, _ = points.positions.shape
    about = f"C3D: {frames} frames, {count} points, {points.rate:g} Hz, unit {points.units or 'not told'}"
    return f"{about}; data/convert_aspset.py"


def _cdf(path: Path) -> str:
    from common.files.cdf import read_cdf_variable

    return f"poses {read_cdf_variable(path, 'Pose').shape} of Human3.6M; data/convert_h36m.py"


def _calibration(path: Path) -> str:
    from common.datasets.threedhp_cameras import read_calibration

    cameras = len(read_calibration(path))
    return f"MPI-INF-3DHP's calibration, {cameras} cameras of it in use; data/convert_3dhp.py reads it beside annot.mat"


def _onnx(path: Path) -> str:
    kind, sentence = recognise(path)
    if kind:
        raise UserError(f"{path}: not an ONNX network but {sentence}")
    from common.files.onnx import input_shape

    return f"ONNX network with inputs {input_shape(path)}; --detector-weights of {WILD}, or made by common.export"


def _video(path: Path) -> str:
    from common.files.video import video_info

    info = video_info(path)
    return f"video: {info.width} x {info.height}, {info.fps:g} fps; {WILD}"


KINDS: dict[str, Callable[[Path], str]] = {
    ".bin": _checkpoint, ".pt": _checkpoint, ".pth": _checkpoint, ".safetensors": _safetensors, ".npz": _archive,
    ".npy": _array, ".pkl": _estimates, ".json": _json, ".yml": _yaml, ".yaml": _yaml, ".toml": _toml, ".mat": _mat,
    ".h5": _hdf5, ".bvh": _bvh, ".asf": _asf, ".amc": _amc, ".c3d": _c3d, ".cdf": _cdf, ".calibration": _calibration,
    ".onnx": _onnx,
}  # fmt: skip
