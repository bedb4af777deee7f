"""Acclaim's motion capture files as Vicon writes them: a skeleton (.asf) and its motions (.amc), both plain text.

Composition, for column vectors (measured against an independent conversion of the same motion, docs/cmu.md): the root
turns by E(RX, RY, RZ) and sits at (TX, TY, TZ); below it each bone turns by G = G_parent C M C^-1, with C = E(axis) of
the skeleton and M = E(degrees of freedom) of the motion, and ends at end_parent + G (length * direction). E(x, y, z) is
Rz Ry Rx. Y is up; the rest pose looks along z, its left side is x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.errors import UserError

INCH = 0.0254  # metres; lengths in the files are inches times the skeleton's `length`
ROOT = "root"
_ANGLES = ("rx", "ry", "rz")
_SECTIONS = ("version", "name", "units", "documentation", "root", "bonedata", "hierarchy")


@dataclass(frozen=True)
class Bone:
    """direction (3,), of unit length, in the rest pose's frame; length in file units; axis (3, 3), the turn C."""

    direction: np.ndarray
    length: float
    axis: np.ndarray
    dof: tuple[str, ...]  # of rx, ry, rz, in the order in which a motion gives them

    @property
    def vector(self) -> np.ndarray:
        return self.length * self.direction


@dataclass(frozen=True)
class Asf:
    """A skeleton. `parents` lists every bone after its parent; `scale` is metres a file unit."""

    scale: float
    order: tuple[str, ...]  # of the root's six values: tx ... rz
    bones: dict[str, Bone]
    parents: dict[str, str]


def read_asf(text: str, source: str) -> Asf:
    """The skeleton that an .asf file's text describes; `source` names it in errors. Raises UserError."""
    sections = _sections(text, source)
    try:
        units = dict(line.split()[:2] for line in sections["units"])
        root = {line.split()[0]: line.split()[1:] for line in sections["root"]}
        length = float(units["length"])
        order = tuple(word.lower() for word in root["order"])
        placed = np.array([*root["position"], *root["orientation"]], float)
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"{source}: no readable :units and :root ({error})") from None
    if units.get("angle", "deg") != "deg" or not 0 < length < 1e6:
        raise UserError(f"{source}: angles in {units.get('angle')} and length {length:g}; expected degrees, 0.45")
    if sorted(order) != ["rx", "ry", "rz", "tx", "ty", "tz"] or root.get("axis", ["XYZ"]) != ["XYZ"] or placed.any():
        raise UserError(f"{source}: a root of another form: order TX TY TZ RX RY RZ, axis XYZ, placed at 0 is read")
    bones = _bones(sections["bonedata"], source)
    return Asf(INCH / length, order, bones, _parents(sections["hierarchy"], bones, source))


def _sections(text: str, source: str) -> dict[str, list[str]]:
    """Lines of each ':section', without comments and empty lines."""
    sections: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith(":"):
            name = line[1:].split()[0].lower() if line[1:].split() else ""
            sections[name] = []
        elif line and not line.startswith("#") and name:
            sections[name].append(line)
    missing = [name for name in _SECTIONS if name not in sections and name not in ("version", "name", "documentation")]
    if missing:
        raise UserError(f"{source}: not an Acclaim skeleton (.asf), it has no :{missing[0]}")
    return sections


def _bones(lines: list[str], source: str) -> dict[str, Bone]:
    bones: dict[str, Bone] = {}
    fields: dict[str, list[str]] = {}
    for line in lines:
        key, *values = line.split()
        if key == "begin":
            fields = {}
        elif key == "end":
            name = (fields.get("name") or ["without a name"])[0]
            try:
                bones[name] = _bone(fields)
            except (KeyError, ValueError, IndexError) as error:
                raise UserError(f"{source}: bone {name} cannot be read ({error})") from None
        else:
            fields.setdefault(key, values)  # limits go on over lines that begin with a bracket
    if not bones:
        raise UserError(f"{source}: no bones")
    return bones


def _bone(fields: dict[str, list[str]]) -> Bone:
    direction, length = np.array(fields["direction"], float), float(fields["length"][0])
    *angles, order = fields["axis"]
    dof = tuple(word.lower() for word in fields.get("dof", []))
    if direction.shape != (3,) or not abs(np.linalg.norm(direction) - 1) < 0.01 or not 0 <= length < 1e6:
        raise ValueError("its direction is no unit vector, or its length none")
    if order != "XYZ" or len(angles) != 3 or not np.isfinite(np.array(angles, float)).all():
        raise ValueError("its axis is not three angles and XYZ")
    if not set(dof) <= set(_ANGLES) or len(set(dof)) != len(dof):
        raise ValueError(f"degrees of freedom {' '.join(dof)}; rx, ry and rz are known")
    return Bone(direction, length, euler_xyz(np.array([angles], float))[0], dof)


def _parents(lines: list[str], bones: dict[str, Bone], source: str) -> dict[str, str]:
    parents: dict[str, str] = {}
    for parent, *children in (line.split() for line in lines if line not in ("begin", "end")):
        if parent != ROOT and parent not in parents:
            raise UserError(f"{source}: hierarchy names {parent} before it hangs on anything")
        for child in children:
            if child not in bones or child in parents:
                raise UserError(f"{source}: hierarchy names {child} {'twice' if child in parents else 'without data'}")
            parents[child] = parent
    if loose := [name for name in bones if name not in parents]:
        raise UserError(f"{source}: bone {loose[0]} is not in the hierarchy")
    return parents


def read_amc(text: str, asf: Asf, source: str) -> dict[str, np.ndarray]:
    """The motion of an .amc file's text: {bone or 'root': (T, its degrees of freedom)}, file units and degrees.

    Raises UserError where it is none, or not of this skeleton.
    """
    width = {name: len(bone.dof) for name, bone in asf.bones.items() if bone.dof} | {ROOT: len(asf.order)}
    lines = [words for words in map(str.split, text.splitlines()) if words and words[0][0] not in "#"]
    if [":DEGREES"] not in lines[:8]:
        raise UserError(f"{source}: not an Acclaim motion (.amc) in degrees")
    rows: dict[str, list[list[str]]] = {name: [] for name in width}
    frames, found = 0, len(width)
    for words in lines:
        name = words[0]
        if len(words) == 1 and name.isdecimal():
            if int(name) != frames + 1 or found != len(width):
                raise UserError(f"{source}: frame {frames} has {found} of {len(width)} bones, then comes frame {name}")
            frames, found = frames + 1, 0
        elif name[0] != ":":
            if len(words) - 1 != width.get(name) or len(rows[name]) != frames - 1:
                raise UserError(f"{source}: frame {frames}: '{' '.join(words)[:60]}' does not fit the skeleton")
            rows[name].append(words[1:])
            found += 1
    if not frames or found != len(width):
        raise UserError(f"{source}: frame {frames} has {found} of {len(width)} bones; the file is cut short")
    try:
        motion = {name: np.array(values, float) for name, values in rows.items()}
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None
    if wrong := [
        name for name, values in motion.items() if not np.isfinite(values).all() or np.abs(values).max() > 1e6
    ]:
        raise UserError(f"{source}: {wrong[0]} has values that are no angles")
    return motion


def joint_positions(asf: Asf, motion: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Where the root and each bone's end are: {name: (T, 3)}, metres, y up."""
    root = dict(zip(asf.order, motion[ROOT].T, strict=True))
    turns = {ROOT: euler_xyz(np.stack([root[angle] for angle in _ANGLES], 1))}
    ends = {ROOT: np.stack([root[way] for way in ("tx", "ty", "tz")], 1)}
    for name, parent in asf.parents.items():
        bone = asf.bones[name]
        turn = turns[parent]
        if bone.dof:
            angles = np.zeros((len(turn), 3))
            angles[:, [_ANGLES.index(angle) for angle in bone.dof]] = motion[name]
            turn = turn @ (bone.axis @ euler_xyz(angles) @ bone.axis.T)
        turns[name], ends[name] = turn, ends[parent] + turn @ bone.vector
    return {name: end * asf.scale for name, end in ends.items()}


def euler_xyz(degrees: np.ndarray) -> np.ndarray:
    """Rz Ry Rx (T, 3, 3) of angles (T, 3) about x, y and z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.radians(degrees)).T, np.sin(np.radians(degrees)).T
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return np.stack([np.stack(row, -1) for row in rows], 1)
