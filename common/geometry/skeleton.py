"""Skeleton layouts of the data sets, and the maps between them. Joint indices appear nowhere else as bare numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Skeleton:
    """A tree of named joints. `parents[root]` is -1; `left` and `right` list mirrored joints in matching order."""

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    root: int

    def __len__(self) -> int:
        return len(self.joints)

    def index(self, joint: str) -> int:
        return self.joints.index(joint)

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(child, parent) pairs, one a bone."""
        return tuple((j, p) for j, p in enumerate(self.parents) if p >= 0)

    @property
    def chain(self) -> tuple[tuple[int, int], ...]:
        """(child, parent) of every bone, those nearer to the root first."""
        order, ring = [], [self.root]
        while ring:
            found = [(j, p) for j, p in self.edges if p in ring]
            order += found
            ring = [j for j, _ in found]
        return tuple(order)

    @property
    def mirror(self) -> list[int]:
        """The joint order of the mirrored body: joint j of a flipped pose is joint mirror[j] of the original."""
        order = list(range(len(self)))
        for a, b in zip(self.left, self.right, strict=True):
            order[a], order[b] = b, a
        return order


def _skeleton(name: str, bones: str, root: str) -> Skeleton:
    """Build a layout from 'joint<parent joint<parent ...' in index order; sides are told by the prefixes L and R."""
    pairs = [bone.split("<") for bone in bones.split()]
    joints = tuple(joint for joint, _ in pairs)
    parents = tuple(joints.index(parent) if parent else -1 for _, parent in pairs)
    left = tuple(j for j, joint in enumerate(joints) if joint.startswith("L"))
    right = tuple(joints.index("R" + joints[j][1:]) for j in left)
    return Skeleton(name, joints, parents, left, right, joints.index(root))


def part_of(skeleton: Skeleton, joints: Iterable[int]) -> tuple[Skeleton, list[int]]:
    """The smallest tree with these joints and the root in it, and its joints' indices in the whole one."""
    kept = {skeleton.root}
    for joint in joints:
        while joint not in kept:
            kept.add(joint)
            joint = skeleton.parents[joint]
    order = sorted(kept)
    new = {old: n for n, old in enumerate(order)}
    sides = [(a, b) for a, b in zip(skeleton.left, skeleton.right, strict=True) if a in new and b in new]
    parents = tuple(new.get(skeleton.parents[old], -1) for old in order)
    names = tuple(skeleton.joints[old] for old in order)
    left, right = (tuple(new[pair[side]] for pair in sides) for side in (0, 1))
    return Skeleton(f"part of {skeleton.name}", names, parents, left, right, new[skeleton.root]), order


H36M_17 = _skeleton(
    "h36m_17",
    "Hip< RHip<Hip RKnee<RHip RFoot<RKnee LHip<Hip LKnee<LHip LFoot<LKnee Spine<Hip Thorax<Spine Nose<Thorax "
    "Head<Nose LShoulder<Thorax LElbow<LShoulder LWrist<LElbow RShoulder<Thorax RElbow<RShoulder RWrist<RElbow",
    "Hip",
)

MPI_INF_3DHP_17 = _skeleton(
    "mpi_inf_3dhp_17",
    "HeadTop<Head Neck<Spine RShoulder<Neck RElbow<RShoulder RWrist<RElbow LShoulder<Neck LElbow<LShoulder "
    "LWrist<LElbow RHip<Pelvis RKnee<RHip RAnkle<RKnee LHip<Pelvis LKnee<LHip LAnkle<LKnee Pelvis< "
    "Spine<Pelvis Head<Neck",
    "Pelvis",
)

HUMANEVA_15 = _skeleton(
    "humaneva_15",
    "Pelvis< Thorax<Pelvis LShoulder<Thorax LElbow<LShoulder LWrist<LElbow RShoulder<Thorax RElbow<RShoulder "
    "RWrist<RElbow LHip<Pelvis LKnee<LHip LAnkle<LKnee RHip<Pelvis RKnee<RHip RAnkle<RKnee Head<Thorax",
    "Pelvis",
)

# COCO has no pelvis; the nose serves as the root of its tree, which is used for drawing only.
COCO_17 = _skeleton(
    "coco_17",
    "Nose< LEye<Nose REye<Nose LEar<LEye REar<REye LShoulder<Nose RShoulder<Nose LElbow<LShoulder RElbow<RShoulder "
    "LWrist<LElbow RWrist<RElbow LHip<LShoulder RHip<RShoulder LKnee<LHip RKnee<RHip LAnkle<LKnee RAnkle<RKnee",
    "Nose",
)

# The two-view labels of Human3.6M and Berkeley MHAD (Dual-Diffusion). Its tree is the published graph network's: the
# shoulders hang on the spine, where Human3.6M's thorax would be anatomical; published weights ask for it.
STEREO_17 = _skeleton(
    "stereo_17",
    "RAnkle<RKnee RKnee<RHip RHip<Hip LHip<Hip LKnee<LHip LAnkle<LKnee Hip< Spine<Hip Thorax<Spine Head<Nose "
    "RWrist<RElbow RElbow<RShoulder RShoulder<Spine LShoulder<Spine LElbow<LShoulder LWrist<LElbow Nose<Thorax",
    "Hip",
)

# AlphaPose's layout: COCO's 17 joints, then head top, neck, hip and the feet.
HALPE_26 = _skeleton(
    "halpe_26",
    "Nose<Neck LEye<Nose REye<Nose LEar<LEye REar<REye LShoulder<Neck RShoulder<Neck LElbow<LShoulder "
    "RElbow<RShoulder LWrist<LElbow RWrist<RElbow LHip<Hip RHip<Hip LKnee<LHip RKnee<RHip LAnkle<LKnee RAnkle<RKnee "
    "Head<Nose Neck<Hip Hip< LBigToe<LAnkle RBigToe<RAnkle LSmallToe<LAnkle RSmallToe<RAnkle LHeel<LAnkle "
    "RHeel<RAnkle",
    "Hip",
)

# OpenPose's layout.
BODY_25 = _skeleton(
    "body_25",
    "Nose<Neck Neck<Hip RShoulder<Neck RElbow<RShoulder RWrist<RElbow LShoulder<Neck LElbow<LShoulder LWrist<LElbow "
    "Hip< RHip<Hip RKnee<RHip RAnkle<RKnee LHip<Hip LKnee<LHip LAnkle<LKnee REye<Nose LEye<Nose REar<REye LEar<LEye "
    "LBigToe<LAnkle LSmallToe<LAnkle LHeel<LAnkle RBigToe<RAnkle RSmallToe<RAnkle RHeel<RAnkle",
    "Hip",
)

# OpenPose's newer layout: COCO's 17 joints, then neck, head top and the feet.
BODY_25B = _skeleton(
    "body_25b",
    "Nose<Neck LEye<Nose REye<Nose LEar<LEye REar<REye LShoulder<Neck RShoulder<Neck LElbow<LShoulder "
    "RElbow<RShoulder LWrist<LElbow RWrist<RElbow LHip<Neck RHip<Neck LKnee<LHip RKnee<RHip LAnkle<LKnee RAnkle<RKnee "
    "Neck< HeadTop<Nose LBigToe<LAnkle LSmallToe<LAnkle LHeel<LAnkle RBigToe<RAnkle RSmallToe<RAnkle RHeel<RAnkle",
    "Neck",
)

# OpenPose's oldest layout, of COCO's 17 joints and a neck.
OPENPOSE_18 = _skeleton(
    "openpose_18",
    "Nose<Neck Neck< RShoulder<Neck RElbow<RShoulder RWrist<RElbow LShoulder<Neck LElbow<LShoulder LWrist<LElbow "
    "RHip<Neck RKnee<RHip RAnkle<RKnee LHip<Neck LKnee<LHip LAnkle<LKnee REye<Nose LEye<Nose REar<REye LEar<LEye",
    "Neck",
)

# MediaPipe's landmarks; its foot index is the tip of the big toe.
BLAZEPOSE_33 = _skeleton(
    "blazepose_33",
    "Nose< LEyeInner<Nose LEye<LEyeInner LEyeOuter<LEye REyeInner<Nose REye<REyeInner REyeOuter<REye LEar<LEyeOuter "
    "REar<REyeOuter LMouth<Nose RMouth<Nose LShoulder<Nose RShoulder<Nose LElbow<LShoulder RElbow<RShoulder "
    "LWrist<LElbow RWrist<RElbow LPinky<LWrist RPinky<RWrist LIndex<LWrist RIndex<RWrist LThumb<LWrist RThumb<RWrist "
    "LHip<LShoulder RHip<RShoulder LKnee<LHip RKnee<RHip LAnkle<LKnee RAnkle<RKnee LHeel<LAnkle RHeel<RAnkle "
    "LBigToe<LAnkle RBigToe<RAnkle",
    "Nose",
)

# COCO's 17 joints, then the feet as far as BlazePose knows them: what common/wild/blazepose finds.
COCO_FEET_21 = _skeleton(
    "coco_feet_21",
    "Nose< LEye<Nose REye<Nose LEar<LEye REar<REye LShoulder<Nose RShoulder<Nose LElbow<LShoulder RElbow<RShoulder "
    "LWrist<LElbow RWrist<RElbow LHip<LShoulder RHip<RShoulder LKnee<LHip RKnee<RHip LAnkle<LKnee RAnkle<RKnee "
    "LBigToe<LAnkle LHeel<LAnkle RBigToe<RAnkle RHeel<RAnkle",
    "Nose",
)

# ASPset-510's recorded joints.
ASPSET_17 = _skeleton(
    "aspset_17",
    "RAnkle<RKnee RKnee<RHip RHip<Pelvis RWrist<RElbow RElbow<RShoulder RShoulder<Neck LAnkle<LKnee LKnee<LHip "
    "LHip<Pelvis LWrist<LElbow LElbow<LShoulder LShoulder<Neck HeadTop<Head Head<Neck Neck<Spine Spine<Pelvis Pelvis<",
    "Pelvis",
)

_ALL = (H36M_17, MPI_INF_3DHP_17, HUMANEVA_15, COCO_17, STEREO_17, HALPE_26, BODY_25, BODY_25B, ASPSET_17,
        OPENPOSE_18, BLAZEPOSE_33, COCO_FEET_21)  # fmt: skip
SKELETONS = {skeleton.name: skeleton for skeleton in _ALL}


def describe(skeleton: Skeleton) -> str | dict:
    """What a checkpoint's card says of a skeleton: its name if it is one of `SKELETONS`, else all of it."""
    if SKELETONS.get(skeleton.name) == skeleton:
        return skeleton.name
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(skeleton).items()}


def skeleton_of(described: str | dict) -> Skeleton:
    """The skeleton that `describe` described. Raises KeyError for an unknown name."""
    if isinstance(described, str):
        return SKELETONS[described]
    values: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in described.items()}
    return Skeleton(**values)


# The 17 of Human3.6M's 32 recorded joints that move and are used, in the order of H36M_17.
H36M_17_OF_32 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
# The two-view layout among Human3.6M's 32 joints, and among the 35 of MHAD's BVH skeleton.
STEREO_17_OF_32 = (3, 2, 1, 6, 7, 8, 0, 12, 13, 15, 27, 26, 25, 17, 18, 19, 14)
STEREO_17_OF_MHAD_35 = (25, 23, 21, 28, 30, 32, 0, 3, 4, 6, 13, 10, 8, 15, 17, 19, 5)
# The 17 of MPI-INF-3DHP's 28 annotated joints, in the order of MPI_INF_3DHP_17.
MPI_INF_3DHP_17_OF_28 = (7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6)

_H36M_LIMBS = {
    f"{side}{joint}": {f"{side}{joint if joint != 'Foot' else 'Ankle'}": 1.0}
    for side in "LR"
    for joint in ("Hip", "Knee", "Foot", "Shoulder", "Elbow", "Wrist")
}
_HUMANEVA_LIMBS = {
    f"{side}{joint}": {f"{side}{joint}": 1.0}
    for side in "LR"
    for joint in ("Hip", "Knee", "Ankle", "Shoulder", "Elbow", "Wrist")
}
_MID_HIPS = {"LHip": 0.5, "RHip": 0.5}
_MID_SHOULDERS = {"LShoulder": 0.5, "RShoulder": 0.5}
_TRUNK = {"Hip": {"Hip": 1.0}, "Thorax": {"Neck": 1.0}, "Spine": {"Hip": 0.5, "Neck": 0.5}, "Nose": {"Nose": 1.0}}
_H36M_OF_3DHP = {"Hip": "Pelvis", "Spine": "Spine", "Thorax": "Neck", "Nose": "Head", "Head": "HeadTop"}

# The midpoint rule of MotionBERT and Grap2Eq, for layouts that hold COCO's joints.
_H36M_OF_COCO = _H36M_LIMBS | {
    "Hip": _MID_HIPS,
    "Thorax": _MID_SHOULDERS,
    "Spine": {j: w / 2 for j, w in (_MID_HIPS | _MID_SHOULDERS).items()},
    "Nose": {"Nose": 1.0},
    "Head": {"LEye": 0.5, "REye": 0.5},
}
_HUMANEVA_OF_COCO = _HUMANEVA_LIMBS | {"Pelvis": _MID_HIPS, "Thorax": _MID_SHOULDERS, "Head": {"Nose": 1.0}}

_MAPS: dict[tuple[str, str], dict[str, dict[str, float]]] = {
    **{(name, "h36m_17"): _H36M_OF_COCO for name in ("coco_17", "coco_feet_21", "blazepose_33")},
    **{(name, "humaneva_15"): _HUMANEVA_OF_COCO for name in ("coco_17", "coco_feet_21", "blazepose_33")},
    ("openpose_18", "h36m_17"): _H36M_OF_COCO
    | {"Thorax": {"Neck": 1.0}, "Spine": {"Neck": 0.5} | {j: w / 2 for j, w in _MID_HIPS.items()}},
    # AlphaPose to Human3.6M as MotionBERT has it; BODY_25 has a neck and a hip too, but no head top.
    ("halpe_26", "h36m_17"): _H36M_LIMBS | _TRUNK | {"Head": {"Head": 1.0}},
    ("body_25", "h36m_17"): _H36M_LIMBS | _TRUNK | {"Head": {"LEye": 0.5, "REye": 0.5}},
    ("body_25b", "h36m_17"): _H36M_LIMBS
    | {
        "Hip": _MID_HIPS,
        "Thorax": {"Neck": 1.0},
        "Spine": {"Neck": 0.5} | {j: w / 2 for j, w in _MID_HIPS.items()},
        "Nose": {"Nose": 1.0},
        "Head": {"HeadTop": 1.0},
    },
    ("h36m_17", "humaneva_15"): {j: {j.replace("Ankle", "Foot"): 1.0} for j in _HUMANEVA_LIMBS}
    | {"Pelvis": {"Hip": 1.0}, "Thorax": {"Thorax": 1.0}, "Head": {"Nose": 1.0}},
    ("mpi_inf_3dhp_17", "h36m_17"): _H36M_LIMBS | {a: {b: 1.0} for a, b in _H36M_OF_3DHP.items()},
    ("h36m_17", "mpi_inf_3dhp_17"): {j: {j.replace("Ankle", "Foot"): 1.0} for j in _HUMANEVA_LIMBS}
    | {b: {a: 1.0} for a, b in _H36M_OF_3DHP.items()},
    ("h36m_17", "stereo_17"): {j: {j.replace("Ankle", "Foot"): 1.0} for j in STEREO_17.joints},
    # ASPset's pelvis lies 10 cm from the middle of its hips, its neck 9 cm above the middle of its shoulders (one
    # pose). Human3.6M's joints are nearer to these middles; its nose and head lie between neck, head and head top.
    ("aspset_17", "h36m_17"): _H36M_LIMBS
    | {
        "Hip": _MID_HIPS,
        "Spine": {"Spine": 1.0},
        "Thorax": _MID_SHOULDERS,
        "Nose": {"Head": 0.5, "Neck": 0.5},
        "Head": {"Head": 0.6, "HeadTop": 0.4},
    },
    ("stereo_17", "h36m_17"): {j: {j.replace("Foot", "Ankle"): 1.0} for j in H36M_17.joints},
}


def joint_map(source: Skeleton, target: Skeleton) -> np.ndarray:
    """The linear map M (target joints, source joints), float32, that turns a pose of one layout into another.

    `M @ pose` maps (..., J_source, D) to (..., J_target, D). Raises KeyError where no map is known.
    """
    if source == target:
        return np.eye(len(source), dtype=np.float32)
    rule = _MAPS[source.name, target.name]
    matrix = np.zeros((len(target), len(source)), dtype=np.float32)
    for joint, parts in rule.items():
        for part, weight in parts.items():
            matrix[target.index(joint), source.index(part)] += weight
    return matrix
