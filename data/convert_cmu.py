"""Make Human3.6M's three files, or `-d custom` files, from the CMU motion capture database. No form to fill in.

    python data/convert_cmu.py --root DIR [--out data/cmu] [--more FILE]
    python data/convert_cmu.py --root DIR --cameras random N [--out data/cmu]

DIR holds the database as it is downloaded, whole or in part, unpacked or not: the official archive (subjects/NN/NN.asf
and NN_TT.amc), the BVH conversion made for MotionBuilder (NN/NN_TT.bvh), or both. Where a take is in both, the
official one is taken and their agreement is shown.

The takes become Human3.6M's 17 joints at 50 Hz: metres, z up, bone lengths constant for each performer. Without
--cameras the four Human3.6M cameras see them and the files are data_3d_h36m.npz, data_2d_h36m_gt.npz (exact) and
data_2d_h36m_cpn_ft_h36m_dbb.npz (a made detector): they stand in for Human3.6M and are not it. With --cameras they are
data_3d_custom_cmu.npz, data_2d_custom_cmu_gt.npz and data_2d_custom_cmu.npz (the made detector), each piece of a take
before N cameras of its own. Performers 2, 7, 8, 12, 27, 29, 32, 131 and 135 test, all others train. docs/cmu.md.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import common  # noqa: F401 (first of all: it tells in one line which package is missing)

# isort: split
import numpy as np
from tqdm import tqdm

from common.datasets import cmu, making
from common.datasets.custom import row_of, write_custom_2d, write_custom_3d
from common.datasets.h36m import FPS, write_h36m_files
from common.datasets.h36m_cameras import H36M_SUBJECTS, h36m_cameras
from common.datasets.random_cameras import random_view
from common.datasets.synthetic.detector import DETECTORS
from common.datasets.synthetic.h36m import as_recorded, project_all
from common.door import guarded
from common.errors import UserError
from common.files.asf import Asf, read_asf
from common.files.bvh import retarget
from common.files.folders import files_below
from common.files.reading import load_archive
from common.files.writing import try_writing, whole_file
from common.geometry.skeleton import H36M_17
from common.settings.ranges import SEED

TAKE, SKELETON = re.compile(r"(\d+)_(\w+)\.(amc|bvh)", re.IGNORECASE), re.compile(r"(\d+)\.asf", re.IGNORECASE)
ENDINGS = (".asf", ".amc", ".bvh", "index-text.txt")
COMPARED = 50  # takes that are in both formats, at most: they are held until both are read
LOWER = H36M_17.joints[:8]  # below the thorax; there the two formats agree to 1 mm, above to 5 mm


@dataclass
class Found:
    """What a folder holds: skeletons by performer, takes and where each lies by its format, words of the index."""

    skeletons: dict[int, Asf] = field(default_factory=dict)
    takes: dict[str, dict[str, str]] = field(default_factory=dict)  # {"05_01": {"bvh": path}}
    words: dict[str, str] = field(default_factory=dict)


def performer_of(take: str) -> int:
    return int(take.split("_")[0])


def names(text: str) -> set[str]:
    """Performers and takes in a comma list, as `named` knows them: '5,75_03' is {'05', '75_03'}."""
    found = set()
    for word in filter(None, (word.strip() for word in text.split(","))):
        if not re.fullmatch(r"\d+(_\w+)?", word):
            raise argparse.ArgumentTypeError(f"{word!r} is no performer (60) and no take (75_03)")
        performer, *take = word.split("_", 1)
        found.add("_".join([f"{int(performer):02}", *take]))
    return found


def named(take: str, chosen: set[str]) -> bool:
    """Whether a take, or its performer, is among the chosen."""
    return take in chosen or take.split("_")[0] in chosen


def look_through(root: Path, left_out: set[str]) -> Found:
    """What there is. Reads skeletons and the index; of takes only the names."""
    found = Found()
    for member in tqdm(files_below(root, ENDINGS), desc="looking", unit="file"):
        if match := SKELETON.fullmatch(member.name):
            found.skeletons.setdefault(int(match[1]), read_asf(member.text(), member.path))
        elif match := TAKE.fullmatch(member.name):
            take = f"{int(match[1]):02}_{match[2]}"
            if not named(take, left_out):
                found.takes.setdefault(take, {}).setdefault(match[3].lower(), member.path)
        elif member.name.lower().endswith(ENDINGS[-1]):
            found.words |= cmu.action_words(member.text())
    if not found.takes:
        raise UserError(f"{root}: no NN_TT.amc and no NN_TT.bvh, neither in folders nor in .zip or .tar archives")
    for take, paths in found.takes.items():
        if "amc" in paths and performer_of(take) not in found.skeletons:
            if "bvh" not in paths:
                raise UserError(f"{paths['amc']}: no skeleton {take.split('_')[0]}.asf anywhere in {root}")
            del paths["amc"]
    for take in sorted(take for take, paths in found.takes.items() if len(paths) > 1)[COMPARED:]:
        del found.takes[take]["bvh"]
    return found


def read_takes(root: Path, found: Found, slow: set[str]) -> list[cmu.CmuTake]:
    """Every take, read once; those in both formats are compared."""
    wanted = {path for paths in found.takes.values() for path in paths.values()}
    takes, waiting, agreement = [], {}, Agreement()
    members = (member for member in files_below(root, (".amc", ".bvh")) if member.path in wanted)
    for member in tqdm(members, desc="takes", unit="take", total=len(wanted)):
        match = TAKE.fullmatch(member.name)
        take, form = f"{int(match[1]):02}_{match[2]}", match[3].lower()
        asf, text = found.skeletons.get(performer_of(take)), member.text()
        joints, rate = take_joints(text, form, asf, member.path)
        both = len(found.takes[take]) > 1
        if both:
            alone = [cmu.bvh_joints(text, None, member.path)[0]] if form == "bvh" else []
            waiting.setdefault(take, {})[form] = [joints, *alone]
            if len(waiting[take]) > 1:
                agreement.add(take, *waiting[take]["amc"], *waiting.pop(take)["bvh"])
        if form == "amc" or not both:
            if named(take, slow):
                rate = 60.0
            joints = making.resample(joints, rate, FPS)
            takes.append(cmu.CmuTake(performer_of(take), take, joints, found.words.get(take, "Motion")))
    agreement.show()
    return sorted(takes, key=lambda take: (take.performer, take.name))


def take_joints(text: str, form: str, asf: Asf | None, source: str) -> tuple[np.ndarray, float]:
    """Positions (T, 17, 3) at the recorded rate, and the rate in Hz."""
    joints, rate = cmu.bvh_joints(text, asf, source) if form == "bvh" else (cmu.amc_joints(text, asf, source), 120.0)
    making.check_bones(source, making.bone_lengths(joints, H36M_17), H36M_17, 0.25)
    return joints, rate


class Agreement:
    """Worst distances, metres, between the two formats of a take: the BVH mended with the skeleton, and without."""

    def __init__(self):
        self.takes, self.worst = 0, np.zeros((2, len(H36M_17)))

    def add(self, take: str, amc: np.ndarray, mended: np.ndarray, alone: np.ndarray) -> None:
        if len(amc) != len(mended):
            tqdm.write(
                f"{take}: {len(amc)} frames in the .amc, {len(mended)} in the .bvh without its T-pose; not compared"
            )
            return
        self.takes += 1
        for row, other in enumerate((mended, alone)):
            self.worst[row] = np.maximum(self.worst[row], np.linalg.norm(amc - other, axis=-1).max(0))

    def show(self) -> None:
        if not self.takes:
            return
        print(f"{self.takes} takes compared that are in both formats. Worst distance of any frame, mm:")
        print("  joint       BVH with the .asf   BVH alone")
        for joint, row in zip(H36M_17.joints, 1000 * self.worst.T, strict=True):
            most = 1 if joint in LOWER else 5
            print(f"  {joint:10} {row[0]:15.3f} {row[1]:15.3f}{'' if row.max() <= most else '   more than expected'}")


def hold_bones(takes: list[cmu.CmuTake]) -> tuple[list[cmu.CmuTake], dict[int, np.ndarray]]:
    """The takes with each performer's bones at their mean lengths, and these (16,), metres, by performer."""
    lengths = {}
    for performer in sorted({take.performer for take in takes}):
        bones = [making.bone_lengths(take.positions, H36M_17) for take in takes if take.performer == performer]
        lengths[performer] = np.concatenate(bones).mean(0)
    held = [replace(t, positions=retarget(t.positions, H36M_17, lengths[t.performer])) for t in takes]
    moved = np.concatenate(
        [np.linalg.norm(a.positions - b.positions, axis=-1) for a, b in zip(takes, held, strict=True)]
    )
    print(f"bones held at each performer's means: joints move by {1000 * moved.mean():.1f} mm on average, ", end="")
    print(f"{1000 * np.quantile(moved, 0.999):.0f} mm at most (in 999 of 1000)")
    return held, lengths


@dataclass
class Files:
    """What will be written, by subject and action. `frames`: by subject and performer; `left`: frames left out."""

    positions: dict[str, dict]
    exact: dict[str, dict]
    detected: dict[str, dict]
    cameras: dict[str, dict] = field(default_factory=dict)
    frames: dict[str, dict[int, int]] = field(default_factory=dict)
    left: int = 0
    worst: float = 0.0  # pixels between the stored 3D through the cameras and the stored exact 2D


def cut(takes: list[cmu.CmuTake], random: int, detector: str, seed: int) -> Files:
    """Pieces of the takes that the cameras see whole: before Human3.6M's cameras, or `random` ones of each piece."""
    subjects = () if random else H36M_SUBJECTS  # all of them, so that the published commands find their subjects
    files = Files(*({subject: {} for subject in subjects} for _ in range(3)))
    for take in tqdm(takes, desc="cameras", unit="take"):
        laboratory = h36m_cameras(cmu.subject_of(take.performer))
        found = making.pieces(take.positions, laboratory)
        for number, (start, end, shift) in enumerate(found):
            action = take.action if len(found) == 1 else f"{take.action} chunk{number}"
            world = (take.positions[start:end] + shift).astype(np.float32)
            add(files, take.performer, action, world, None if random else laboratory, random, detector, seed)
        files.left += len(take.positions) - sum(end - start for start, end, _ in found)
    if not files.frames:
        raise UserError("no piece of any take fits into the cameras' pictures")
    return files


def add(files: Files, performer: int, action: str, world: np.ndarray, cameras, random: int, detector: str, seed: int):
    """One piece (T, 17, 3), world metres, before its cameras; where these are None, before random ones."""
    subject = cmu.subject_of(performer) if cameras else f"{cmu.split_of(performer)}/{performer:02}"
    if cameras is None:
        rng = making.rng_of(seed, "cameras", subject, action)
        cameras = [replace(random_view(world.astype(np.float64), rng)[0], name=f"r{n}") for n in range(random)]
        files.cameras.setdefault(subject, {})[action] = [row_of(camera) for camera in cameras]
    exact, made = [], []
    for camera, pixels in zip(cameras, project_all(world, cameras), strict=True):
        rng = making.rng_of(seed, "detector", subject, action, camera.name)
        exact.append(pixels.astype(np.float32))
        made.append(making.made_keypoints(detector, pixels, H36M_17, camera, FPS, rng).astype(np.float32))
        files.worst = max(files.worst, float(making.reprojection(world, exact[-1], camera).max()))
    files.positions.setdefault(subject, {})[action] = world if random else as_recorded(world)
    files.exact.setdefault(subject, {})[action] = exact
    files.detected.setdefault(subject, {})[action] = made
    frames = files.frames.setdefault(subject, {})
    frames[performer] = frames.get(performer, 0) + len(world)


def convert(options: argparse.Namespace) -> None:
    """Write the three files and CMU.txt. Raises UserError with one line where it cannot."""
    out, random = options.out, cameras(options.cameras) if options.cameras else 0
    if not random:
        protect(out)
    found = look_through(options.root, options.leave_out)
    try_writing(out)
    more = cmu.converted_takes(options.more, set(map(performer_of, found.takes))) if options.more else []
    takes = read_takes(options.root, found, options.at_60) + more
    takes, lengths = hold_bones(takes)
    files = cut(takes, random, options.detector, options.seed)
    made = {"detector": options.detector, "seed": options.seed}
    about = {"data": "CMU motion capture, not Human3.6M", "frames": files.frames} | made
    if random:
        paths = [
            write_custom_3d(out / "data_3d_custom_cmu.npz", files.positions, files.cameras, FPS, H36M_17, about=about),
            write_custom_2d(out / "data_2d_custom_cmu_gt.npz", files.exact, H36M_17, "h36m", about=about),
            write_custom_2d(out / "data_2d_custom_cmu.npz", files.detected, H36M_17, "h36m", about=about),
        ]
    else:
        views = {"gt": files.exact, "cpn_ft_h36m_dbb": files.detected}
        paths = write_h36m_files(out, files.positions, views, about=about)
    text = describe(files, lengths, options, random)
    with whole_file(out / "CMU.txt") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)
    print(f"written: {', '.join(map(str, [*paths, out / 'CMU.txt']))}")


def protect(out: Path) -> None:
    """Refuse a folder that holds Human3.6M itself: its files have the same names."""
    for path in sorted(out.glob("data_?d_h36m*.npz")):
        if not load_archive(path, ("about",)):
            raise UserError(f"{path}: is there and not made by this converter; give another folder as --out")


def describe(files: Files, lengths: dict[int, np.ndarray], options: argparse.Namespace, random: int) -> str:
    """What the files hold and which performers stand behind them."""
    lines = ["CMU motion capture (mocap.cs.cmu.edu), not Human3.6M.", cmu.SOURCE, ""]
    for subject in sorted(files.frames, key=lambda s: (not s.startswith(("S", "train")), len(s), s)):
        performers = ", ".join(f"{number} ({count})" for number, count in sorted(files.frames[subject].items()))
        lines.append(f"{subject}: {sum(files.frames[subject].values())} frames; performers (frames) {performers}")
    for split in ("train", "test"):
        chosen = [(n, c) for frames in files.frames.values() for n, c in frames.items() if cmu.split_of(n) == split]
        lines.append(f"{split}: {sum(c for _, c in chosen)} frames of {len(chosen)} performers")
        if not chosen:
            numbers = ", ".join(map(str, sorted(cmu.TEST_PERFORMERS)))
            why = f"the test performers are {numbers}" if split == "test" else "all performers are test performers"
            lines.append(f"  nothing to {'evaluate on' if split == 'test' else 'train on'}: {why}; --more adds some")
    cameras = f"{random} random cameras a piece" if random else "the four Human3.6M cameras"
    lines += [
        f"{files.left} frames left out: no place brings them into all pictures, or the piece is below "
        f"{making.SHORTEST} frames",
        f"{cameras}; the stored 3D meets the exact 2D to {files.worst:.4f} px; 2D of the made detector "
        f"'{options.detector}', seed {options.seed}",
        "",
        "Bone lengths, mm, constant for each performer:",
        "performer  hip  thighs      shanks      trunk  head  shoulder  upper arms  forearms",
    ]
    index = {child: row for row, (child, _) in enumerate(H36M_17.edges)}
    for performer, row in lengths.items():
        mm = {H36M_17.joints[child]: round(1000 * row[at]) for child, at in index.items()}
        lines.append(
            f"{performer:9}  {mm['LHip']:3}  {mm['LKnee']:4} {mm['RKnee']:4}   {mm['LFoot']:4} {mm['RFoot']:4}   "
            f"{mm['Spine'] + mm['Thorax']:5}  {mm['Nose'] + mm['Head']:4}  {mm['LShoulder']:8}  "
            f"{mm['LElbow']:4} {mm['RElbow']:4}   {mm['LWrist']:4} {mm['RWrist']:4}"
        )
    return "\n".join(lines) + "\n"


def cameras(words: list[str]) -> int:
    """The N of '--cameras random N'."""
    if len(words) != 2 or words[0] != "random" or not words[1].isdecimal() or not 1 <= int(words[1]) <= 100:
        raise UserError(f"--cameras {' '.join(words)}: 'random N' is known, with N from 1 to 100")
    return int(words[1])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder (or archive) with the database's files")
    parser.add_argument("--out", type=Path, default=Path("data/cmu"), help="where the files go (default: data/cmu)")
    parser.add_argument("--cameras", nargs="+", default=[], metavar="random N", help="N random cameras a piece")
    parser.add_argument("--more", type=Path, help="archive of converted performers, to add those that DIR has not")
    parser.add_argument("--detector", choices=DETECTORS, default="fitted", help="the made 2D (default: fitted)")
    parser.add_argument("--seed", type=SEED, default=0, help="of the made 2D and the random cameras (default: 0)")
    parser.add_argument(
        "--at-60", type=names, default=set(), metavar="LIST", help="performers or takes at 60 Hz: 60,75_03"
    )
    parser.add_argument(
        "--leave-out", type=names, default=set(), metavar="LIST", help="performers or takes not to read"
    )
    return guarded(convert, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
