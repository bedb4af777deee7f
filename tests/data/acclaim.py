"""A small stand-in for the CMU database, written from the formats' description: ASF, AMC and the BVH conversion.

Nothing of the project's readers is used. The motion is made of sines, so positions are known at any moment.
"""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

METRES = 0.0254 / 0.45
RATE = 120.0
# bone: parent, direction, length in file units, axis in degrees, degrees of freedom
BONES = {
    "lhipjoint": ("root", (0.58, -0.74, 0.34), 2.4, (0, 0, 0), ""),
    "lfemur": ("lhipjoint", (0.342, -0.94, 0), 7.2, (0, 0, 20), "rx ry rz"),
    "ltibia": ("lfemur", (0.342, -0.94, 0), 7.5, (0, 0, 20), "rx"),
    "lfoot": ("ltibia", (0.06, -0.18, 0.98), 2.4, (-90, 7.6e-16, 20), "rx rz"),
    "ltoes": ("lfoot", (0, 0, 1), 1.2, (-90, 7.6e-16, 20), "rx"),
    "rhipjoint": ("root", (-0.55, -0.76, 0.35), 2.4, (0, 0, 0), ""),
    "rfemur": ("rhipjoint", (-0.342, -0.94, 0), 7.3, (0, 0, -20), "rx ry rz"),
    "rtibia": ("rfemur", (-0.342, -0.94, 0), 7.4, (0, 0, -20), "rx"),
    "rfoot": ("rtibia", (-0.06, -0.18, 0.98), 2.4, (-90, -7.6e-16, -20), "rx rz"),
    "rtoes": ("rfoot", (0, 0, 1), 1.2, (-90, -7.6e-16, -20), "rx"),
    "lowerback": ("root", (0.01, 0.995, -0.09), 2.05, (0, 0, 0), "rx ry rz"),
    "upperback": ("lowerback", (0.03, 0.999, -0.02), 2.06, (0, 0, 0), "rx ry rz"),
    "thorax": ("upperback", (0.02, 0.9995, 0.023), 2.07, (0, 0, 0), "rx ry rz"),
    "lowerneck": ("thorax", (-0.03, 0.995, 0.1), 1.76, (0, 0, 0), "rx ry rz"),
    "upperneck": ("lowerneck", (0.06, 0.996, -0.07), 1.77, (0, 0, 0), "rx ry rz"),
    "head": ("upperneck", (0.02, 0.999, -0.035), 1.78, (0, 0, 0), "rx ry rz"),
    "lclavicle": ("thorax", (0.938, 0.335, -0.087), 3.6, (0, 0, 0), "ry rz"),
    "lhumerus": ("lclavicle", (1, 0, 0), 5.0, (180, -30, -90), "rx ry rz"),
    "lradius": ("lhumerus", (1, 0, 0), 3.5, (180, -30, -90), "rx"),
    "lwrist": ("lradius", (1, 0, 0), 1.75, (9e-15, 90, 90), "ry"),
    "lhand": ("lwrist", (1, 0, 0), 0.7, (1.9e-14, 90, 90), "rx rz"),
    "lfingers": ("lhand", (1, 0, 0), 0.6, (3.8e-14, 90, 90), "rx"),
    "lthumb": ("lwrist", (0.7071, 0, 0.7071), 0.8, (-90, 45, 0), "rx rz"),
    "rclavicle": ("thorax", (-0.91, 0.4, -0.117), 3.5, (0, 0, 0), "ry rz"),
    "rhumerus": ("rclavicle", (-1, 0, 0), 5.1, (180, 30, 90), "rx ry rz"),
    "rradius": ("rhumerus", (-1, 0, 0), 3.4, (180, 30, 90), "rx"),
    "rwrist": ("rradius", (-1, 0, 0), 1.7, (9e-15, -90, -90), "ry"),
    "rhand": ("rwrist", (-1, 0, 0), 0.7, (1.9e-14, -90, -90), "rx rz"),
    "rfingers": ("rhand", (-1, 0, 0), 0.6, (3.8e-14, -90, -90), "rx"),
    "rthumb": ("rwrist", (-0.7071, 0, 0.7071), 0.8, (-90, -45, 0), "rx rz"),
}
# A BVH joint sits where its bone begins and turns with it: joint, bone.
JOINTS = {
    **{"LHipJoint": "lhipjoint", "LeftUpLeg": "lfemur", "LeftLeg": "ltibia", "LeftFoot": "lfoot"},
    **{"LeftToeBase": "ltoes", "RHipJoint": "rhipjoint", "RightUpLeg": "rfemur", "RightLeg": "rtibia"},
    **{"RightFoot": "rfoot", "RightToeBase": "rtoes", "LowerBack": "lowerback", "Spine": "upperback"},
    **{"Spine1": "thorax", "Neck": "lowerneck", "Neck1": "upperneck", "Head": "head", "LeftShoulder": "lclavicle"},
    **{"LeftArm": "lhumerus", "LeftForeArm": "lradius", "LeftHand": "lwrist", "LeftFingerBase": "lhand"},
    **{"LeftHandIndex1": "lfingers", "LThumb": "lthumb", "RightShoulder": "rclavicle", "RightArm": "rhumerus"},
    **{"RightForeArm": "rradius", "RightHand": "rwrist", "RightFingerBase": "rhand", "RightHandIndex1": "rfingers"},
    "RThumb": "rthumb",
}
LOST = ("thorax", "lwrist", "rwrist")  # bones to which the conversion gives no length
# Human3.6M's 17 joints in their order: the ends of these bones, or the middle of two.
H17 = (
    *("lhipjoint rhipjoint", "rhipjoint", "rfemur", "rtibia", "lhipjoint", "lfemur", "ltibia", "lowerback"),
    *("lclavicle rclavicle", "upperneck", "head", "lclavicle", "lhumerus", "lwrist", "rclavicle", "rhumerus", "rwrist"),
)


def angles(bone: str, seed: int, time: np.ndarray) -> np.ndarray:
    """(T, dof), degrees. The collar bones stay, so that every bone of the 17 joints keeps its length."""
    dof = BONES[bone][4].split()
    rng = np.random.RandomState(seed + 1000 + list(BONES).index(bone))
    if "clavicle" in bone:
        return np.full((len(time), 2), 1e-15)
    wide = {"femur": 25, "tibia": 20, "humerus": 30, "radius": 25}.get(bone[1:], 6)
    base = {"humerus": 10, "tibia": 25, "radius": 30}.get(bone[1:], 0)
    return base + np.stack(
        [wide * np.sin(time * rng.uniform(2, 7) + rng.uniform(0, 6)) + rng.uniform(-5, 5) for _ in dof], 1
    )


def root(seed: int, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place (T, 3), file units, and turn (T, 3), degrees: a stroll round a place that is not the origin."""
    a = 1.3 * time + seed
    place = np.stack([20 + 9 * np.sin(a), 17 + 0.5 * np.sin(3 * a), -30 + 9 * np.cos(a)], 1)
    return place, np.stack([4 * np.sin(2 * a), np.degrees(a), 3 * np.cos(2 * a)], 1)


def turn_of(bone: str, seed: int, time: np.ndarray) -> Rotation:
    """C M C^-1 of a bone, for column vectors; Euler angles are Rz Ry Rx."""
    axis = Rotation.from_euler("ZYX", list(reversed(BONES[bone][3])), degrees=True)
    turns = np.zeros((len(time), 3))
    for column, name in enumerate(BONES[bone][4].split()):
        turns[:, "xyz".index(name[1])] = angles(bone, seed, time)[:, column]
    return axis * Rotation.from_euler("ZYX", turns[:, ::-1], degrees=True) * axis.inv()


def unit(bone: str) -> np.ndarray:
    return np.array(BONES[bone][1]) / np.linalg.norm(BONES[bone][1])


def joints(seed: int, time: np.ndarray) -> np.ndarray:
    """Human3.6M's 17 joints (T, 17, 3), metres, z up, at moments (T,), seconds."""
    place, turn = root(seed, time)
    ends, turns = {"root": place}, {"root": Rotation.from_euler("ZYX", turn[:, ::-1], degrees=True)}
    for bone, (parent, _, length, _, _) in BONES.items():
        turns[bone] = turns[parent] * turn_of(bone, seed, time)
        ends[bone] = ends[parent] + turns[bone].apply(length * unit(bone))
    found = np.stack([np.mean([ends[bone] for bone in names.split()], 0) for names in H17], 1) * METRES
    return found[..., [0, 2, 1]] * [1, -1, 1]


def asf(name: str = "VICON") -> str:
    lines = ["# AST/ASF file generated using VICON BodyLanguage", ":version 1.10", f":name {name}", ":units"]
    lines += ["  mass 1.0", "  length 0.45", "  angle deg", ":documentation", "   made for a test", ":root"]
    lines += ["   order TX TY TZ RX RY RZ", "   axis XYZ", "   position 0 0 0  ", "   orientation 0 0 0 ", ":bonedata"]
    for number, (bone, (_, _, length, axis, dof)) in enumerate(BONES.items()):
        x, y, z = unit(bone)
        lines += ["  begin", f"     id {number + 1} ", f"     name {bone}", f"     direction {x:.9g} {y:.9g} {z:.9g}"]
        lines += [f"     length {length} ", f"     axis {axis[0]} {axis[1]} {axis[2]}   XYZ"]
        if dof:
            lines += [f"    dof {dof}", "    limits (-160.0 20.0)", *["           (-70.0 70.0)"] * dof.count(" ")]
        lines += ["  end"]
    lines += [":hierarchy", "  begin", "    root lhipjoint rhipjoint lowerback"]
    for parent in BONES:
        below = [bone for bone, row in BONES.items() if row[0] == parent]
        lines += [f"    {parent} {' '.join(below)}"] if below else []
    return "\r\n".join([*lines, "  end", ""])


def amc(seed: int, frames: int) -> str:
    time = np.arange(frames) / RATE
    place, turn = root(seed, time)
    rows = {"root": np.concatenate([place, turn], 1)}
    rows |= {bone: angles(bone, seed, time) for bone in BONES if BONES[bone][4]}
    lines = ["#!OML:ASF C:\\Somebody\\Somebody.ASF", ":FULLY-SPECIFIED", ":DEGREES"]
    for t in range(frames):
        lines.append(str(t + 1))
        lines += [f"{bone} {' '.join(f'{value:.9g}' for value in row[t])}" for bone, row in rows.items()]
    return "\r\n".join([*lines, ""])


def bvh(seed: int, frames: int, t_pose: bool = True) -> str:
    """The conversion: the same turns as Z Y X angles, a T-pose before the first frame, three bones without length."""
    time = np.arange(frames) / RATE
    lines, columns = ["HIERARCHY"], []
    joint_of = {bone: joint for joint, bone in JOINTS.items()}

    def offset(bone: str) -> str:
        vector = np.zeros(3) if bone in ("root", *LOST) else BONES[bone][2] * unit(bone)
        return "OFFSET " + " ".join(f"{value:.5f}" for value in vector)

    def visit(bone: str, depth: int) -> None:
        pad, parent = "\t" * depth, BONES[bone][0]
        lines.extend([f"{pad}JOINT {joint_of[bone]}", f"{pad}{{", f"{pad}\t{offset(parent)}"])
        lines.append(f"{pad}\tCHANNELS 3 Zrotation Yrotation Xrotation")
        columns.append(turn_of(bone, seed, time).as_euler("ZYX", degrees=True))
        children = [b for b, row in BONES.items() if row[0] == bone]
        for child in children:
            visit(child, depth + 1)
        if not children:
            lines.extend([f"{pad}\tEnd Site", f"{pad}\t{{", f"{pad}\t\t{offset(bone)}", f"{pad}\t}}"])
        lines.append(f"{pad}}}")

    lines += ["ROOT Hips", "{", "\tOFFSET 0 0 0"]
    lines += ["\tCHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation"]
    place, turn = root(seed, time)
    columns.append(np.concatenate([place, turn[:, ::-1]], 1))
    for bone in ("lhipjoint", "rhipjoint", "lowerback"):
        visit(bone, 1)
    table = np.concatenate(columns, 1)
    if t_pose:
        first = np.zeros_like(table[:1])
        first[0, :3] = table[0, :3]
        first[0, 9] = -21  # the arms and legs of the T-pose are turned a little
        table = np.concatenate([first, table])
    lines += ["}", "MOTION", f"Frames: {len(table)}", "Frame Time: .0083333"]
    return "\n".join([*lines, *(" ".join(f"{value:.5f}" for value in row) for row in table), ""])


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
