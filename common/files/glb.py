"""Motion as GLB (glTF 2.0, one binary file): a skinned, animated skeleton for Blender, browsers and Windows' viewer.

The joints are `bvh.motion_tree`'s, y up, metres, at rest in a T; each turns by a quaternion a frame, the root moves. A
mesh of slim bones and small joints hangs on them, so that there is something to see: left blue, right orange. As in
BVH, bones have one length each: positions of constant bone lengths come back to within rounding.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from common.errors import UserError
from common.files.bvh import FRAMES, Node, motion_tree, node_rotations
from common.files.writing import whole_file
from common.geometry.skeleton import Skeleton

FLOAT, SHORT, INT = 5126, 5123, 5125  # glTF's numbers for float32, uint16, uint32
KINDS = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
LEFT, RIGHT, MIDDLE = (0.02, 0.18, 0.62, 1), (0.75, 0.16, 0.02, 1), (0.20, 0.22, 0.26, 1)  # linear colours
THICK = 0.09  # of a bone, as a share of its length
SMALL = 0.022  # of a joint, metres


class _Buffer:
    """The file's binary part and the table of what lies in it."""

    def __init__(self):
        self.data, self.views, self.accessors = bytearray(), [], []

    def add(self, array: np.ndarray, *, bounds: bool = False, target: int | None = None) -> int:
        """Append an array (N,) or (N, C); returns its accessor's number. bounds: say its smallest and largest."""
        array = np.ascontiguousarray(array)
        kind = {"f": FLOAT, "u": SHORT if array.dtype.itemsize == 2 else INT}[array.dtype.kind]
        self.data += b"\0" * (-len(self.data) % 4)
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes}
        self.views.append(view | ({"target": target} if target else {}))
        self.data += array.tobytes()
        flat = array.reshape(len(array), -1)
        accessor = {"bufferView": len(self.views) - 1, "componentType": kind, "count": len(array)}
        accessor["type"] = KINDS[flat.shape[1]]
        if bounds:
            accessor |= {"min": flat.min(0).tolist(), "max": flat.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def write_glb(
    path: Path | str,
    positions: np.ndarray,
    skeleton: Skeleton,
    fps: float,
    *,
    frame: str = "camera",
    first: int = 0,
    name: str = "person",
) -> None:
    """Write absolute joint positions (T, J, 3), metres, of one person.

    frame: 'camera' (x right, y down, z forward) or 'world' (z up), turned to y up; first: the video frame of row 0, so
    that the animations of several people run together.
    """
    positions = np.asarray(positions, np.float64)
    if positions.ndim != 3 or positions.shape[1:] != (len(skeleton), 3) or not np.isfinite(positions).all():
        raise UserError(f"{path}: GLB needs finite positions (frames, {len(skeleton)}, 3), got {positions.shape}")
    turned = positions @ FRAMES[frame].T  # (T, J, 3), y up
    tree = motion_tree(skeleton, turned)
    turns = [Rotation.from_matrix(turn).as_quat() for turn in node_rotations(tree, turned)]  # each (T, 4)
    nodes, rests = _nodes(tree)
    buffer, count = _Buffer(), len(nodes)
    times = buffer.add(((np.arange(len(turned)) + first) / fps).astype(np.float32), bounds=True)
    outputs = [
        (0, "translation", turned[:, skeleton.root]),
        *((n, "rotation", _steady(q)) for n, q in enumerate(turns)),
    ]
    samplers = [{"input": times, "output": buffer.add(values.astype(np.float32))} for _, _, values in outputs]
    channels = [{"sampler": n, "target": {"node": node, "path": what}} for n, (node, what, _) in enumerate(outputs)]
    for node, quaternion in zip(nodes, turns, strict=True):
        node["rotation"] = quaternion[0].tolist()
    nodes[0]["translation"] = turned[0, skeleton.root].tolist()
    inverse = np.tile(np.eye(4, dtype=np.float32), (count, 1, 1))
    inverse[:, 3, :3] = -rests  # column-major: the translation stands last
    content = {
        "asset": {"version": "2.0", "generator": "main_wild.py"},
        "scene": 0,
        "scenes": [{"nodes": [0, count]}],
        "nodes": [*nodes, {"name": name, "mesh": 0, "skin": 0}],
        "skins": [
            {"joints": list(range(count)), "skeleton": 0, "inverseBindMatrices": buffer.add(inverse.reshape(-1, 16))}
        ],
        "meshes": [{"name": name, "primitives": [_mesh(tree, rests, skeleton, buffer)]}],
        "materials": [{"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.8}, "doubleSided": True}],
        "animations": [{"name": "motion", "samplers": samplers, "channels": channels}],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    data = bytes(buffer.data) + b"\0" * (-len(buffer.data) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(data))
    with whole_file(path) as temporary:
        parts = (head, struct.pack("<I4s", len(text), b"JSON"), text, struct.pack("<I4s", len(data), b"BIN\0"), data)
        temporary.write_bytes(b"".join(parts))


def _steady(quaternions: np.ndarray) -> np.ndarray:
    """Quaternions (T, 4) without changes of sign: what lies between two frames is the short way."""
    flips = np.where((quaternions[1:] * quaternions[:-1]).sum(-1) < 0, -1.0, 1.0)
    return quaternions * np.concatenate([[1.0], np.cumprod(flips)])[:, None]


def _nodes(tree: Node) -> tuple[list[dict], np.ndarray]:
    """glTF's nodes in the order of `node_rotations`, and where each lies at rest (N, 3)."""
    nodes, rests = [], []

    def visit(node: Node, place: np.ndarray) -> int:
        number = len(nodes)
        nodes.append({"name": node.name, "translation": node.offset.tolist()})
        rests.append(place + node.offset)
        children = [visit(child, rests[number]) for child in node.children]
        if children:
            nodes[number]["children"] = children
        return number

    visit(tree, np.zeros(3))
    return nodes, np.array(rests)


def _mesh(tree: Node, rests: np.ndarray, skeleton: Skeleton, buffer: _Buffer) -> dict:
    """A primitive: an octahedron along every bone and at every joint at rest, each bound to the node that turns it."""
    points, owners, colours = [], [], []  # triangles' corners (3 a triangle), nodes, colours
    numbers = iter(range(len(rests)))

    def put(start: np.ndarray, end: np.ndarray, waist: float, thick: float, number: int, colour: tuple) -> None:
        corners = _octahedron(start, end, waist, thick)
        points.append(corners)
        owners.extend([number] * len(corners))
        colours.extend([colour] * len(corners))

    def visit(node: Node) -> None:
        number = next(numbers)
        here, side = rests[number], LEFT if node.joint in skeleton.left else MIDDLE
        side = RIGHT if node.joint in skeleton.right else side
        if not node.helper:
            up = np.array([0, SMALL, 0])
            put(here - up, here + up, 0.5, SMALL, number, side)
        for child in node.children:
            if not child.helper and child.offset.any():
                length = float(np.linalg.norm(child.offset))
                tone = LEFT if child.joint in skeleton.left else RIGHT if child.joint in skeleton.right else MIDDLE
                put(here, here + child.offset, 0.2, THICK * length, number, tone)
            visit(child)

    visit(tree)
    corners = np.concatenate(points).astype(np.float32)  # (V, 3)
    a, b, c = corners.reshape(-1, 3, 3).swapaxes(0, 1)
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    joints, weights = np.zeros((len(corners), 4), np.uint16), np.zeros((len(corners), 4), np.float32)
    joints[:, 0], weights[:, 0] = owners, 1
    return {
        "mode": 4,
        "material": 0,
        "attributes": {
            "POSITION": buffer.add(corners, bounds=True, target=34962),
            "NORMAL": buffer.add(np.repeat(normals, 3, 0).astype(np.float32), target=34962),
            "COLOR_0": buffer.add(np.array(colours, np.float32), target=34962),
            "JOINTS_0": buffer.add(joints, target=34962),
            "WEIGHTS_0": buffer.add(weights, target=34962),
        },
    }


def _octahedron(start: np.ndarray, end: np.ndarray, waist: float, thick: float) -> np.ndarray:
    """Corners (24, 3) of eight triangles, outside counter-clockwise: a spindle, thickest at the share `waist`."""
    axis = end - start
    across = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    across *= thick / np.linalg.norm(across)
    along = np.cross(axis, across)
    along *= thick / np.linalg.norm(along)
    middle = start + waist * axis
    ring = [middle + across, middle + along, middle - across, middle - along]
    triangles = []
    for n in range(4):
        triangles += [start, ring[(n + 1) % 4], ring[n], end, ring[n], ring[(n + 1) % 4]]
    return np.array(triangles)
