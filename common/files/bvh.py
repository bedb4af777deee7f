"""Motion as BVH, with root motion: what Blender, MotionBuilder and their like read.

The file's frame is y up, x to the body's left in its rest pose, z to its front; metres, so that Blender's importer
shows a person of true size (`unit="cm"` for programs that expect centimetres). Angles are degrees, channels Z X Y.

BVH knows one rotation a joint and bones of one length. So the bone lengths are the means over the sequence, and what
the file shows is `retarget(positions)`: every bone keeps its direction, and its child joint sits at the mean length.
Positions of constant bone lengths come back to within rounding. Where a joint has several children, whose directions
one rotation cannot serve, each gets a helper joint of no length ("Hip_LHip") that carries its own rotation.
Positions do not tell how a limb turns about itself; each rotation is the smallest one, and twist follows the parent.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from common.errors import UserError
from common.files.writing import save_text
from common.geometry.skeleton import Skeleton

UNITS = {"m": 1.0, "cm": 100.0}
# Rows: the y-up frame's axes in the source frame. Camera: x right, y down, z forward. World: z up.
FRAMES = {
    "camera": np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]]),
    "world": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
}


@dataclass
class Node:
    """A joint of a file with a hierarchy, at rest in a T; a helper carries the rotation of one of several bones."""

    name: str
    joint: int  # of the skeleton
    offset: np.ndarray  # (3,), metres, y up, from the parent node
    helper: bool = False
    children: list[Node] = field(default_factory=list)
    end: np.ndarray | None = None  # (3,), the end site of a leaf


def retarget(positions: np.ndarray, skeleton: Skeleton, lengths: np.ndarray | None = None) -> np.ndarray:
    """Positions (T, J, 3) with every bone at one length, its direction and the root kept.

    lengths: one a bone, in the order of `skeleton.edges`; None takes the means over the sequence.
    """
    positions = np.asarray(positions, np.float64)
    out = positions.copy()
    wanted = {} if lengths is None else dict(zip((child for child, _ in skeleton.edges), lengths, strict=True))
    for joint in _order(skeleton):
        parent = skeleton.parents[joint]
        bone = positions[:, joint] - positions[:, parent]
        length = wanted[joint] if wanted else np.linalg.norm(bone, axis=-1).mean()
        out[:, joint] = out[:, parent] + _unit(bone) * length
    return out


def write_bvh(
    path: Path | str, positions: np.ndarray, skeleton: Skeleton, fps: float, *, frame: str = "camera", unit: str = "m"
) -> None:
    """Write absolute joint positions (T, J, 3), metres, of one person.

    frame: 'camera' (x right, y down, z forward) or 'world' (z up); it is turned to y up.
    """
    positions = np.asarray(positions, np.float64)
    if positions.ndim != 3 or positions.shape[1:] != (len(skeleton), 3) or not np.isfinite(positions).all():
        raise UserError(f"{path}: BVH needs finite positions (frames, {len(skeleton)}, 3), got {positions.shape}")
    turned = positions @ FRAMES[frame].T  # (T, J, 3), y up
    tree = motion_tree(skeleton, turned)
    rotations = node_rotations(tree, turned)  # one (T, 3, 3) a node, in file order, relative to its parent
    scale = UNITS[unit]
    lines = ["HIERARCHY", *_hierarchy(tree, scale), "MOTION", f"Frames: {len(turned)}", f"Frame Time: {1 / fps:.8f}"]
    columns = [turned[:, skeleton.root] * scale, *(euler_zxy(r) for r in rotations)]
    table = np.concatenate(columns, 1)  # (T, 3 + 3 * nodes)
    lines += [" ".join(f"{value:.6f}" for value in row) for row in table]
    save_text(path, "\n".join(lines) + "\n")


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _order(skeleton: Skeleton) -> list[int]:
    """Joints below the root, parents before children."""
    order, ring = [], [skeleton.root]
    while ring:
        ring = [j for j, p in skeleton.edges if p in ring]
        order += ring
    return order


def rest_direction(skeleton: Skeleton, joint: int) -> np.ndarray:
    """Direction (3,) of a joint from its parent in the rest pose: standing, arms out (a T), facing +z, left is +x."""
    name = skeleton.joints[joint].lower()
    side = 1.0 if joint in skeleton.left else -1.0 if joint in skeleton.right else 0.0
    if any(word in name for word in ("knee", "ankle", "foot", "heel")):
        return np.array([0.0, -1.0, 0.0])
    if "toe" in name:
        return np.array([0.0, 0.0, 1.0])
    return np.array([side, 0.0, 0.0]) if side else np.array([0.0, 1.0, 0.0])


def motion_tree(skeleton: Skeleton, positions: np.ndarray) -> Node:
    """The nodes of the file with their rest offsets; positions (T, J, 3), y up, give the bones' mean lengths."""

    def build(joint: int, offset: np.ndarray) -> Node:
        node = Node(skeleton.joints[joint], joint, offset)
        children = [c for c, p in skeleton.edges if p == joint]
        for child in children:
            length = np.linalg.norm(positions[:, child] - positions[:, joint], axis=-1).mean()
            bone = build(child, rest_direction(skeleton, child) * length)
            if len(children) > 1:
                helper = Node(f"{node.name}_{bone.name}", joint, np.zeros(3), helper=True, children=[bone])
                node.children.append(helper)
            else:
                node.children.append(bone)
        if not children:
            node.end = 0.3 * offset if offset.any() else np.array([0, 0.1, 0])
        return node

    return build(skeleton.root, np.zeros(3))


def node_rotations(root: Node, positions: np.ndarray) -> list[np.ndarray]:
    """Rotations (T, 3, 3) of every node relative to its parent, in file order, by following the bones' directions."""
    frames = len(positions)
    identity = np.broadcast_to(np.eye(3), (frames, 3, 3))
    out: list[np.ndarray] = []

    def bones(node: Node) -> list[Node]:
        return [c.children[0] if c.helper else c for c in node.children]

    def visit(node: Node, above: np.ndarray) -> None:
        below = bones(node)
        if not below:
            turn = above
        else:
            rest = _unit(np.stack([b.offset for b in below]))  # (C, 3)
            actual = _unit(positions[:, [b.joint for b in below]] - positions[:, [node.joint]])  # (T, C, 3)
            if len(below) > 1:
                turn = best_rotation(rest, actual)
            else:
                turn = smallest_rotation(above @ rest[0], actual[:, 0]) @ above
        out.append(above.swapaxes(1, 2) @ turn)
        for child in node.children:
            visit(child, turn)

    visit(root, identity)
    return out


def smallest_rotation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The smallest rotations (T, 3, 3) that turn unit vectors a (T, 3) into b (T, 3)."""
    v, c = np.cross(a, b), (a * b).sum(-1)
    zero = np.zeros(len(a))
    cross = np.stack([zero, -v[:, 2], v[:, 1], v[:, 2], zero, -v[:, 0], -v[:, 1], v[:, 0], zero], -1).reshape(-1, 3, 3)
    out = np.eye(3) + cross + cross @ cross / np.maximum(1 + c, 1e-9)[:, None, None]
    opposite = c < -1 + 1e-7  # half a turn about any axis across a
    if opposite.any():
        a = a[opposite]
        axis = _unit(np.cross(a, np.eye(3)[np.abs(a).argmin(-1)]))
        out[opposite] = 2 * axis[:, :, None] * axis[:, None, :] - np.eye(3)
    return out


def best_rotation(rest: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """The rotations (T, 3, 3) that turn directions rest (C, 3) nearest to actual (T, C, 3) (Kabsch 1976)."""
    u, _, vt = np.linalg.svd(np.einsum("tci,cj->tij", actual, rest))
    sign = np.linalg.det(u @ vt)
    u[:, :, 2] *= sign[:, None]
    return u @ vt


def euler_zxy(rotations: np.ndarray) -> np.ndarray:
    """Rotations (T, 3, 3) to degrees (T, 3) of Rz Rx Ry, each angle without jumps of a full turn in time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Gimbal lock")  # only z + y or z - y is told there: all goes to z
        angles = Rotation.from_matrix(rotations).as_euler("ZXY")
    return np.degrees(np.unwrap(angles, axis=0))


def _hierarchy(root: Node, scale: float) -> list[str]:
    lines: list[str] = []

    def visit(node: Node, depth: int) -> None:
        pad = "\t" * depth
        lines.append(f"{pad}{'JOINT' if depth else 'ROOT'} {node.name}")
        lines.append(f"{pad}{{")
        lines.append(f"{pad}\tOFFSET {_numbers(node.offset * scale)}")
        position = "" if depth else "Xposition Yposition Zposition "
        lines.append(f"{pad}\tCHANNELS {3 if depth else 6} {position}Zrotation Xrotation Yrotation")
        for child in node.children:
            visit(child, depth + 1)
        if node.end is not None:
            lines.extend(
                [f"{pad}\tEnd Site", f"{pad}\t{{", f"{pad}\t\tOFFSET {_numbers(node.end * scale)}", f"{pad}\t}}"]
            )
        lines.append(f"{pad}}}")

    visit(root, 0)
    return lines


def _numbers(vector: np.ndarray) -> str:
    return " ".join(f"{value:.6f}" for value in vector)
