"""The CMU motion capture database: its takes as Human3.6M's 17 joints, and who trains and who tests.

Each joint is what a 2D detector calls by that name: the hips and the shoulders are the joints, not the markers' bones'
first ends; the thorax is the middle of the shoulders, the hip the middle of the hips (the recorded root lies 10 cm
above it); the wrist is the end of the forearm, which the files divide into radius and wrist. Facts of the formats and
what was measured: docs/cmu.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.datasets.checks import check_metres, check_pose_array, require_file
from common.datasets.h36m import FPS
from common.datasets.h36m_cameras import H36M_SUBJECTS
from common.datasets.making import bone_lengths, check_bones
from common.errors import UserError
from common.files.asf import INCH, Asf, joint_positions, read_amc
from common.files.bvh_reader import Bvh, parse_bvh
from common.files.reading import load_archive, read_json, understanding
from common.geometry.skeleton import H36M_17

UNIT = INCH / 0.45  # metres a unit of the BVH files, whose hierarchy does not say it
RATES = (120.0, 60.0)
SOURCE = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. "
    "The database was created with funding from NSF EIA-0196217."
)


@dataclass
class CmuTake:
    """positions (T, 17, 3), metres, z up, 50 Hz; `word` says what is done, `name` is the database's: 05_01."""

    performer: int
    name: str
    positions: np.ndarray
    word: str = "Motion"

    @property
    def action(self) -> str:
        return f"{self.word} {self.name}"


# Joint of H36M_17: the bones of an .asf whose ends it is the middle of, the joints of a BVH file likewise.
JOINTS = {
    "Hip": (("lhipjoint", "rhipjoint"), ("LeftUpLeg", "RightUpLeg")),
    "RHip": (("rhipjoint",), ("RightUpLeg",)),
    "RKnee": (("rfemur",), ("RightLeg",)),
    "RFoot": (("rtibia",), ("RightFoot",)),
    "LHip": (("lhipjoint",), ("LeftUpLeg",)),
    "LKnee": (("lfemur",), ("LeftLeg",)),
    "LFoot": (("ltibia",), ("LeftFoot",)),
    "Spine": (("lowerback",), ("Spine",)),
    "Thorax": (("lclavicle", "rclavicle"), ("LeftArm", "RightArm")),
    "Nose": (("upperneck",), ("Head",)),
    "Head": (("head",), ("Head_end",)),
    "LShoulder": (("lclavicle",), ("LeftArm",)),
    "LElbow": (("lhumerus",), ("LeftForeArm",)),
    "LWrist": (("lwrist",), ("LeftFingerBase",)),
    "RShoulder": (("rclavicle",), ("RightArm",)),
    "RElbow": (("rhumerus",), ("RightForeArm",)),
    "RWrist": (("rwrist",), ("RightFingerBase",)),
}
THORAX, SHOULDERS = H36M_17.index("Thorax"), [H36M_17.index("LShoulder"), H36M_17.index("RShoulder")]
# What the BVH conversion lost: (joint whose frame the bone turns with, bone of the .asf, joints that it carried).
_LOST = (
    ("Spine1", "thorax", ("Neck", "LeftShoulder", "RightShoulder")),
    ("LeftHand", "lwrist", ("LeftFingerBase", "LThumb")),
    ("RightHand", "rwrist", ("RightFingerBase", "RThumb")),
)

# Performers, by their number. Human3.6M's test subjects stand for these, whatever part of the database is at hand.
TEST_PERFORMERS = {2: "S9", 12: "S9", 27: "S9", 135: "S9", 7: "S11", 8: "S11", 29: "S11", 32: "S11", 131: "S11"}
TRAINING_SUBJECTS = tuple(s for s in H36M_SUBJECTS if s not in TEST_PERFORMERS.values())


def subject_of(performer: int) -> str:
    """Human3.6M's subject whose name and cameras a performer gets: a matter of the number alone."""
    return TEST_PERFORMERS.get(performer) or TRAINING_SUBJECTS[performer % len(TRAINING_SUBJECTS)]


def split_of(performer: int) -> str:
    return "test" if performer in TEST_PERFORMERS else "train"


def amc_joints(text: str, asf: Asf, source: str) -> np.ndarray:
    """Positions (T, 17, 3) of an .amc file's text: metres, z up, at the recorded rate."""
    ends = joint_positions(asf, read_amc(text, asf, source))
    if missing := [bone for bones, _ in JOINTS.values() for bone in bones if bone not in ends]:
        raise UserError(f"{source}: its skeleton has no bone {missing[0]}; this is none of the database's")
    return z_up(np.stack([np.mean([ends[bone] for bone in JOINTS[joint][0]], 0) for joint in H36M_17.joints], 1))


def bvh_joints(text: str, asf: Asf | None, source: str) -> tuple[np.ndarray, float]:
    """Positions (T, 17, 3) of a BVH file's text, metres, z up, and its rate in Hz.

    The added T-pose is dropped and the lost bones are put back: with the performer's skeleton where it is known, else
    as long as the bones beside them.
    """
    bvh = parse_bvh(text, source)
    if missing := [j for _, joints in JOINTS.values() for j in joints if j not in bvh.names]:
        raise UserError(
            f"{source}: no joint {missing[0]}; of the BVH conversions the one for MotionBuilder is read, with the "
            "database's own joints (the one for 3ds Max renames them)"
        )
    rate = next((rate for rate in RATES if abs(bvh.fps - rate) < 0.01 * rate), None)
    if rate is None:
        raise UserError(f"{source}: {bvh.fps:.2f} frames a second; the database has 120 and 60")
    positions = without_t_pose(with_lost_bones(bvh, asf, source), source).positions() * (asf.scale if asf else UNIT)
    if not np.isfinite(positions).all():
        raise UserError(f"{source}: NaN or infinite values")
    index = [[bvh.names.index(j) for j in JOINTS[joint][1]] for joint in H36M_17.joints]
    return z_up(np.stack([positions[:, parts].mean(1) for parts in index], 1)), rate


def z_up(points: np.ndarray) -> np.ndarray:
    """Points (..., 3) of a frame with y up in one with z up."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1)


def with_lost_bones(bvh: Bvh, asf: Asf | None, source: str) -> Bvh:
    """The file with its thorax and wrists, to which the conversion gave no length.

    Without the skeleton the thorax is taken to be as long as the bone below it (`Spine1`'s offset) and straight up,
    the wrist half as long as the radius, as it is in every skeleton of the database. Files that have them stay.
    """
    offsets = bvh.offsets.copy()
    for turning, bone, carried in _LOST:
        joints = [bvh.names.index(name) for name in carried if name in bvh.names]
        if turning not in bvh.names or offsets[joints].any():
            continue
        beside = offsets[bvh.names.index(turning)]
        if asf is not None and bone in asf.bones:
            below = asf.bones[asf.parents[bone]].vector if bone in asf.parents else beside
            if np.linalg.norm(below - beside) > 0.01 + 0.01 * np.linalg.norm(beside):
                raise UserError(f"{source}: {turning} is {beside} long, its skeleton's bone {below}: not one performer")
            offsets[joints] = asf.bones[bone].vector
        else:
            offsets[joints] = (0, np.linalg.norm(beside), 0) if bone == "thorax" else beside / 2
    return replace(bvh, offsets=offsets)


def without_t_pose(bvh: Bvh, source: str) -> Bvh:
    """The file without the T-pose that the conversion put before the first recorded frame, where there is one.

    It is told by its angles: none at the root, and hardly any elsewhere. A recorded frame has one in every joint.
    """
    if len(bvh.table) < 2:
        raise UserError(f"{source}: {len(bvh.table)} frames; no motion")
    angles = bvh.table[0, 3:]
    added = not angles[:3].any() and (angles != 0).mean() < 0.25
    return replace(bvh, table=bvh.table[1:]) if added else bvh


def action_words(index: str) -> dict[str, str]:
    """{take: first word of its description} from the index text that goes with the BVH conversion: {'05_01': 'Walk'}.

    Its lines are a take's name, a tab and a description.
    """
    found = re.findall(r"^\s*(\d+_\w+)\t+\s*(?:[^A-Za-z\n]*)([A-Za-z]+)", index, re.MULTILINE)
    return {name: word.capitalize() for name, word in found}


def converted_takes(path: Path, there: set[int]) -> list[CmuTake]:
    """Takes of an archive of converted performers, without the performers that are there already.

    The archive has an array (T, 17, 3) for each 'S07/01_walk'; NAME_meta.json beside it says joints, fps and units.
    """
    clips = load_archive(path)
    about = require_file(path.with_name(f"{path.stem}_meta.json"), "It says the joints, fps and units of the other")
    meta = read_json(about)
    with understanding(about, "description with fps, units, up and parents"):
        told = meta["fps"], meta["units"], meta["up"], tuple(meta["parents"])
    if told != (FPS, "m", "z", H36M_17.parents):
        raise UserError(f"{about}: {told}; {FPS:g} Hz, metres, z up and Human3.6M's 17 joints are taken")
    takes = []
    for key, array in clips.items():
        match = re.fullmatch(r"S(\d+)/([0-9]+[A-Za-z]?)_?(\w*)", key)
        if not match:
            raise UserError(f"{path}: {key!r} is no 'S07/01_walk', performer, take and what is done")
        if int(match[1]) not in there:
            array = check_pose_array(f"{path.name} {key}", array, len(H36M_17), 3)
            check_metres(f"{path.name} {key}", array)
            check_bones(f"{path.name} {key}", bone_lengths(array, H36M_17), H36M_17, 0.25)
            array = array.astype(np.float64)
            array[:, THORAX] = array[:, SHOULDERS].mean(1)  # as in `JOINTS`; some archives have the bone's end there
            word = match[3].split("_")[0].capitalize() or "Motion"
            takes.append(CmuTake(int(match[1]), f"{int(match[1]):02}_{match[2]}", array, word))
    return takes
