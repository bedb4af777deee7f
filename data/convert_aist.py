"""Make `-d custom` files from AIST++: 30 dancers, 60 Hz, nine cameras, detected 2D and 3D. No form to fill in.

    python data/convert_aist.py --root DIR [--out data/aist] [--split pose]

DIR holds the annotations' full set (google/aistplusplus_dataset, v1.0): keypoints3d/, keypoints2d/, cameras/, splits/
and ignore_list.txt, unpacked or still in their .zip; motions and videos are not needed.

Written are data_3d_custom_aist.npz and data_2d_custom_aist.npz: the detections as they are (COCO's 17 joints), and the
3D that was triangulated from them and smoothed, as Human3.6M's 17 joints, metres, z up. Subjects are called by the
official split and the dancer: train/d04, val/d04, test/d10. docs/open_data.md says more. It was tested on a tree in the
official layout, not on the official files.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import common  # noqa: F401 (first of all: it tells in one line which package is missing)

# isort: split
import numpy as np
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from common.datasets import making
from common.datasets.custom import camera_row, read_cameras, write_custom_2d, write_custom_3d
from common.door import guarded
from common.errors import UserError
from common.files.folders import Member, files_below
from common.files.reading import load_pickle, parse_json, understanding
from common.files.writing import try_writing
from common.geometry.camera import Camera
from common.geometry.skeleton import COCO_17, H36M_17

NAME, FPS, VIEWS = "aist", 60.0, 9
EVERY = [f"c{n:02}" for n in range(1, VIEWS + 1)]  # cameras
SOURCE = "AIST++ (google/aistplusplus_dataset; annotations CC BY 4.0)"
KEYPOINTS = ("keypoints3d", "keypoints2d")
SPLITS = ("train", "val", "test")
TO_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # the files have y up
# Known bad views: one is not synchronised, one is of another size.
BAD_VIEWS = {("gBR_sBM_cAll_d04_mBR0_ch01", "c05"), ("gJB_sBM_cAll_d07_mJB3_ch05", "c07")}
SEQUENCE = re.compile(r"g(\w\w)_s(BM|FM)_cAll_(d\d+)_(m\w+)_(ch\d+)")
GENRES = {
    **{"BR": "Break", "PO": "Pop", "LO": "Lock", "MH": "MiddleHiphop", "LH": "LAHiphop", "HO": "House"},
    **{"WA": "Waack", "KR": "Krump", "JS": "StreetJazz", "JB": "BalletJazz"},
}
MOST_PIXELS = 30.0  # median distance between 3D and detections from which a view is taken to be wrong
SPREAD = 0.25  # of a bone's length, that it may change within a sequence


@dataclass
class Layout:
    """What a folder holds beside the keypoints; `paths` of these by folder and sequence."""

    settings: dict[str, list[dict]] = field(default_factory=dict)  # nine cameras each
    mapping: dict[str, str] = field(default_factory=dict)  # the setting of a sequence
    splits: dict[str, list[str]] = field(default_factory=dict)  # {"pose_train": [sequence, ...]}
    ignored: set[str] | None = None
    paths: dict[tuple[str, str], str] = field(default_factory=dict)


def look_through(root: Path) -> Layout:
    found = Layout()
    for member in tqdm(files_below(root, (".pkl", ".json", ".txt"), "video"), desc="looking", unit="file"):
        folder = member.parts[-2] if len(member.parts) > 1 else ""
        stem, _, ending = member.name.rpartition(".")
        if member.name == "ignore_list.txt":
            found.ignored = set(member.text().split())
        elif (folder, member.name) == ("cameras", "mapping.txt"):
            found.mapping = dict(read_pairs(member))
        elif (folder, ending) == ("cameras", "json"):
            found.settings[stem] = read_setting(member)
        elif (folder, ending) == ("splits", "txt"):
            found.splits[stem] = member.text().split()
        elif folder in KEYPOINTS and ending == "pkl":
            found.paths.setdefault((folder, stem), member.path)
    there = {folder for folder, _ in found.paths}
    for what, good in {
        "cameras/mapping.txt": found.mapping,
        "cameras/setting*.json": found.settings,
        "splits/*.txt": found.splits,
        **{f"{folder}/*.pkl": folder in there for folder in KEYPOINTS},
    }.items():
        if not good:
            raise UserError(f"{root}: no {what}; --root is the folder of AIST++'s full set of annotations")
    return found


def read_pairs(member: Member) -> list[list[str]]:
    """(sequence, setting) of each line."""
    rows = [line.split() for line in member.text().splitlines() if line.strip()]
    if any(len(row) != 2 for row in rows):
        raise UserError(f"{member.path}: expected a sequence and a setting in each line")
    return rows


def read_setting(member: Member) -> list[dict]:
    """The cameras of a setting in the order of their names, as the custom files hold them."""
    content = parse_json(member.text(), member.path)
    with understanding(member.path, "list of cameras with name, size, matrix, rotation, translation and distortions"):
        rows = sorted(content, key=lambda camera: camera["name"])
        if [row["name"] for row in rows] != [f"c{n:02}" for n in range(1, VIEWS + 1)]:
            raise ValueError(f"{len(rows)} cameras, expected c01 to c0{VIEWS}")
        return [camera_of(row) for row in rows]


def camera_of(row: dict) -> dict:
    turn = Rotation.from_rotvec(np.array(row["rotation"], float).reshape(3)).as_matrix()
    k1, k2, p1, p2, k3 = np.array(row["distortions"], float).reshape(5).tolist()
    if p1 or p2:
        raise ValueError(f"{row['name']} has tangential distortion, which AIST++'s cameras have not")
    matrix, shift = np.array(row["matrix"], float).reshape(3, 3), np.array(row["translation"], float).reshape(3)
    if not np.isfinite([*turn.ravel(), *matrix.ravel(), *shift, k1, k2, k3]).all() or abs(matrix[0, 1]) > 1e-6:
        raise ValueError(f"the numbers of {row['name']} are of no plain camera")
    return camera_row(row["name"], row["size"], matrix, turn @ TO_Z_UP.T, shift / 100, radial=(k1, k2, k3))


def unpickled(member: Member, key: str) -> np.ndarray:
    content = load_pickle(io.BytesIO(member.read()), member.path)
    with understanding(member.path, f"dictionary with an array {key}"):
        return np.array(content[key], np.float32)


def read_3d(member: Member) -> np.ndarray:
    """The smoothed positions (T, 17, 3), centimetres, y up; NaN where there are none."""
    array = unpickled(member, "keypoints3d_optim")
    if array.ndim != 3 or array.shape[1:] != (len(COCO_17), 3) or not len(array):
        raise UserError(f"{member.path}: keypoints3d_optim is {array.shape}, expected (frames, 17, 3)")
    return array


def read_2d(member: Member, frames: int) -> np.ndarray:
    """Detections (9, T, 17, 2), pixels; NaN where nothing was found."""
    array = unpickled(member, "keypoints2d")
    if array.ndim != 4 or array.shape[:1] + array.shape[2:] != (VIEWS, len(COCO_17), 3):
        raise UserError(f"{member.path}: keypoints2d is {array.shape}, expected (9 cameras, frames, 17, 3)")
    if array.shape[1] != frames:
        raise UserError(f"{member.path}: {array.shape[1]} frames of 2D, {frames} of 3D; --leave-out passes it over")
    return array[..., :2]


def choose(found: Layout, options: argparse.Namespace) -> dict[str, str]:
    """{sequence: split} of the official lists, without those to be ignored; with --part, without those missing."""
    chosen: dict[str, str] = {}
    for part in SPLITS:
        name = f"{options.split}_{part}"
        if name not in found.splits:
            raise UserError(f"{options.root}: no splits/{name}.txt; the full set of annotations has it")
        for sequence in found.splits[name]:
            if not SEQUENCE.fullmatch(sequence):
                raise UserError(f"splits/{name}.txt: {sequence!r} is no name of a sequence")
            chosen[sequence] = part
    ignored = [name for name in chosen if name in (found.ignored or ())]
    missing = [name for name in chosen if any((folder, name) not in found.paths for folder in KEYPOINTS)]
    missing = [name for name in missing if name not in ignored and name not in options.leave_out]
    if missing and not options.part:
        raise UserError(
            f"{options.root}: {missing[0]} and {len(missing) - 1} others of the lists have no keypoints3d or no "
            "keypoints2d; --part takes what is there"
        )
    dropped = {*ignored, *missing, *options.leave_out}
    chosen = {name: part for name, part in chosen.items() if name not in dropped}
    unknown = [name for name in chosen if found.mapping.get(name) not in found.settings]
    if unknown:
        raise UserError(f"cameras/mapping.txt: no known setting for {unknown[0]}")
    if not chosen:
        raise UserError(f"{options.root}: no sequence of splits/{options.split}_*.txt is there")
    listed = "no ignore_list.txt: none ignored" if found.ignored is None else f"{len(ignored)} ignored by its list"
    print(f"{len(chosen)} sequences; {listed}; {len(missing)} missing; {len(options.leave_out)} left out")
    return chosen


def read_keypoints(root: Path, found: Layout, folder: str, names: dict[str, str], what: str) -> Iterator:
    """(sequence, member) of each file of a folder that is wanted."""
    wanted = {found.paths[folder, name]: name for name in names}
    members = (m for m in files_below(root, (".pkl",), "video") if m.path in wanted)
    for member in tqdm(members, desc=what, unit="sequence", total=len(wanted)):
        yield wanted[member.path], member


def good_views(name: str, cameras: list[Camera], two: np.ndarray, world: np.ndarray, say: list[str]) -> list[int]:
    """The views whose detections (9, T, 17, 2) lie where the 3D (T, 17, 3), world metres, COCO's joints, is seen."""
    good = []
    for view, camera in enumerate(cameras):
        error = making.reprojection(world, two[view], camera)  # (T, 17)
        median = float(np.nanmedian(error)) if np.isfinite(error).any() else np.inf
        if not np.isfinite(error).all(1).any():
            say.append(f"{name} {camera.name}: no frame with all joints in 2D and 3D")
        elif (name, camera.name) in BAD_VIEWS:
            say.append(f"{name} {camera.name}: known to be bad")
        elif median > MOST_PIXELS:
            say.append(f"{name} {camera.name}: the 3D is {median:.0f} px from the detections")
        else:
            good.append(view)
    if not good:
        raise UserError(f"{name}: no view's detections are within {MOST_PIXELS:g} px of its 3D; wrong cameras or units")
    return good


def convert(options: argparse.Namespace) -> None:
    """Write the two files. Raises UserError with one line where it cannot."""
    if unknown := [name for name in options.cameras if name not in EVERY]:
        raise UserError(f"--cameras {unknown[0]}: the cameras are {', '.join(EVERY)}")
    found = look_through(options.root)
    names = choose(found, options)
    try_writing(options.out)
    three = {}
    for name, member in read_keypoints(options.root, found, KEYPOINTS[0], names, "3D"):
        three[name] = read_3d(member)
    positions, cameras, two, say, errors = {}, {}, {}, [], []
    for name, member in read_keypoints(options.root, found, KEYPOINTS[1], names, "2D"):
        genre, _, dancer, music, choreography = SEQUENCE.fullmatch(name).groups()
        key = f"{names[name]}/{dancer}"
        action = f"{GENRES.get(genre, genre)} {name.split('_')[1]} {music} {choreography}"
        coco = three.pop(name) @ TO_Z_UP.T.astype(np.float32) / 100  # (T, 17, 3), metres
        pixels = read_2d(member, len(coco))  # (9, T, 17, 2)
        rows = found.settings[found.mapping[name]]
        seen_by = read_cameras({"*": rows}, name, "", f"cameras/{found.mapping[name]}.json")
        world = making.mapped(coco, COCO_17, H36M_17)  # (T, 17, 3)
        making.check_bones(f"keypoints3d/{name}.pkl", making.bone_lengths(world, H36M_17), H36M_17, SPREAD)
        good = [v for v in good_views(name, seen_by, pixels, coco, say) if seen_by[v].name in options.cameras]
        if not good:
            continue
        errors += [np.nanmedian(making.reprojection(coco, pixels[v], seen_by[v])) for v in good]
        positions.setdefault(key, {})[action] = world
        cameras.setdefault(key, {})[action] = [rows[v] for v in good]
        two.setdefault(key, {})[action] = [pixels[v] for v in good]
    order = sorted(positions, key=lambda key: (SPLITS.index(key.split("/")[0]), key))
    positions, cameras, two = ({k: dict(sorted(d[k].items())) for k in order} for d in (positions, cameras, two))
    about = {"data": SOURCE, "split": options.split}
    paths = [
        write_custom_3d(options.out / f"data_3d_custom_{NAME}.npz", positions, cameras, FPS, H36M_17, about=about),
        write_custom_2d(options.out / f"data_2d_custom_{NAME}.npz", two, COCO_17, "coco", about=about),
    ]
    for line in say:
        print(f"view left out: {line}")
    print(making.split_table(positions, cameras, FPS))
    print(
        f"3D to detections: {np.median(errors):.1f} px in the median of the views' medians, {max(errors):.1f} at most"
    )
    print(f"written: {', '.join(map(str, paths))}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of the annotations")
    parser.add_argument("--out", type=Path, default=Path(f"data/{NAME}"), help=f"where to (default: data/{NAME})")
    parser.add_argument(
        "--split", choices=("pose", "crossmodal"), default="pose", help="official split (default: pose)"
    )
    parser.add_argument("--cameras", type=words, default=EVERY, metavar="LIST", help="of c01 to c09 (default: all)")
    parser.add_argument("--part", action="store_true", help="take what is there; other sequences may be missing")
    parser.add_argument("--leave-out", type=words, default=[], metavar="LIST", help="sequences that are not read")
    return guarded(convert, parser.parse_args(argv))


def words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


if __name__ == "__main__":
    sys.exit(main())
