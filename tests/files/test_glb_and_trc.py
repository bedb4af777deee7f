"""GLB and TRC written and read back, by a reader of the plain format and by another library: the poses return."""

import json
import struct

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from common.errors import UserError
from common.files.glb import write_glb
from common.files.trc import marker_names, write_trc
from common.geometry.skeleton import H36M_17, HUMANEVA_15, SKELETONS, joint_map
from tests.people import in_camera

TYPES = {5126: np.float32, 5123: np.uint16, 5125: np.uint32}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def read_glb(path):
    """(content, data): the JSON part as a dictionary, and the binary part."""
    raw = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", raw)
    assert (magic, version, length) == (b"glTF", 2, len(raw)) and length % 4 == 0
    size, kind = struct.unpack_from("<I4s", raw, 12)
    assert kind == b"JSON" and size % 4 == 0
    rest, kind = struct.unpack_from("<I4s", raw, 20 + size)
    assert kind == b"BIN\0" and 28 + size + rest == len(raw)
    return json.loads(raw[20 : 20 + size]), raw[28 + size :]


def by_pygltflib(path):
    """The same through pygltflib."""
    library = pytest.importorskip("pygltflib")
    file = library.GLTF2().load(str(path))
    return json.loads(file.to_json()), file.binary_blob()


def array(content, data, number):
    accessor = content["accessors"][number]
    view = content["bufferViews"][accessor["bufferView"]]
    kind, width = TYPES[accessor["componentType"]], WIDTHS[accessor["type"]]
    return np.frombuffer(data, kind, accessor["count"] * width, view["byteOffset"]).reshape(-1, width)


def played(content, data):
    """Times (T,) and {node: matrices (T, 4, 4)} in the world, by glTF's rules."""
    nodes, local = content["nodes"], {}
    animation = content["animations"][0]
    samplers = animation["samplers"]
    times = array(content, data, samplers[0]["input"])[:, 0]
    for n, node in enumerate(nodes):
        local[n] = np.tile(np.eye(4), (len(times), 1, 1))
        local[n][:, :3, 3] = node.get("translation") or [0, 0, 0]
    for channel in animation["channels"]:
        values = array(content, data, samplers[channel["sampler"]]["output"]).astype(float)
        node = channel["target"]["node"]
        if channel["target"]["path"] == "translation":
            local[node][:, :3, 3] = values
        else:
            np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-6)
            local[node][:, :3, :3] = Rotation.from_quat(values).as_matrix()
    world = {}

    def visit(n, above):
        world[n] = above @ local[n]
        for child in nodes[n].get("children") or []:
            visit(child, world[n])

    for root in content["scenes"][0]["nodes"]:
        visit(root, np.eye(4))
    return times, world


@pytest.mark.parametrize("read", [read_glb, by_pygltflib])
@pytest.mark.parametrize("frame", ["camera", "world"])
def test_the_skeleton_moves_as_the_poses_do(tmp_path, walk, read, frame):
    poses = in_camera(walk) if frame == "camera" else walk
    write_glb(tmp_path / "a.glb", poses, H36M_17, 25, frame=frame, first=50)
    content, data = read(tmp_path / "a.glb")
    times, world = played(content, data)
    np.testing.assert_allclose(times, (50 + np.arange(len(walk))) / 25, rtol=1e-6)
    names = [node["name"] for node in content["nodes"]]
    y_up = poses * [1, -1, -1] if frame == "camera" else poses[..., [0, 2, 1]] * [1, 1, -1]
    for j, joint in enumerate(H36M_17.joints):
        apart = np.linalg.norm(world[names.index(joint)][:, :3, 3] - y_up[:, j], axis=-1)
        assert apart.max() < 2e-5, joint  # metres


@pytest.mark.parametrize("read", [read_glb, by_pygltflib])
def test_the_mesh_hangs_on_the_joints(tmp_path, walk, read):
    """Skinned by glTF's rule, the picture's points lie along the bones of every frame, the colours on their sides."""
    write_glb(tmp_path / "a.glb", walk, H36M_17, 25, frame="world")
    content, data = read(tmp_path / "a.glb")
    _, world = played(content, data)
    skin = content["skins"][0]
    inverse = array(content, data, skin["inverseBindMatrices"]).reshape(-1, 4, 4).swapaxes(1, 2)
    attributes = content["meshes"][0]["primitives"][0]["attributes"]
    points, normals, colours, joints, weights = (
        array(content, data, attributes[name]) for name in ("POSITION", "NORMAL", "COLOR_0", "JOINTS_0", "WEIGHTS_0")
    )
    accessor = content["accessors"][attributes["POSITION"]]
    np.testing.assert_allclose(accessor["min"], points.min(0))
    np.testing.assert_allclose(accessor["max"], points.max(0))
    assert (weights[:, 0] == 1).all() and (weights[:, 1:] == 0).all() and len(points) % 3 == 0
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, rtol=1e-5)
    placed = np.concatenate([points, np.ones((len(points), 1))], 1)
    names, y_up = [node["name"] for node in content["nodes"]], walk[..., [0, 2, 1]] * [1, 1, -1]
    for t in (0, 60):
        now = np.stack(
            [world[skin["joints"][j]][t] @ inverse[j] @ p for j, p in zip(joints[:, 0], placed, strict=True)]
        )
        ends = np.array([[y_up[t, child], y_up[t, parent]] for child, parent in H36M_17.edges])  # (B, 2, 3)
        along = ends[:, 1] - ends[:, 0]
        share = ((now[:, None, :3] - ends[:, 0]) * along).sum(-1) / (along**2).sum(-1)
        foot = ends[:, 0] + share.clip(0, 1)[..., None] * along
        assert np.linalg.norm(now[:, None, :3] - foot, axis=-1).min(1).max() < 0.05
    for node, tone in (("LKnee", 2), ("RKnee", 0)):
        mine = colours[joints[:, 0] == names.index(node)]
        assert len(mine) and (mine[:, :3].argmax(1) == tone).all()


def test_other_skeletons_and_bad_positions(tmp_path, walk):
    write_glb(tmp_path / "a.glb", joint_map(H36M_17, HUMANEVA_15) @ walk, HUMANEVA_15, 25, frame="world")
    assert len(read_glb(tmp_path / "a.glb")[0]["skins"][0]["joints"]) >= 15
    for write in (write_glb, write_trc):
        with pytest.raises(UserError, match="needs"):
            write(tmp_path / "b", walk[:, :5], H36M_17, 25)
    with pytest.raises(UserError, match="finite"):
        write_glb(tmp_path / "b", walk * np.nan, H36M_17, 25)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("unit", ["m", "mm"])
def test_trc_is_the_table_that_opensim_reads(tmp_path, walk, unit):
    poses = walk.copy()
    poses[3, 5] = poses[4, -1] = np.nan
    write_trc(tmp_path / "a.trc", poses, H36M_17, 25, frame="world", first=50, unit=unit)
    lines = (tmp_path / "a.trc").read_text().splitlines()
    assert lines[0] == "PathFileType\t4\t(X/Y/Z)\ta.trc"
    facts = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True))
    assert facts["NumMarkers"] == "17" and facts["NumFrames"] == str(len(walk)) and facts["Units"] == unit
    assert facts["DataRate"] == facts["CameraRate"] == "25" and facts["OrigDataStartFrame"] == "51"
    names = [name for name in lines[3].split("\t")[2:] if name]
    assert names[:7] == ["Hip", "RHip", "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle"] and names[8] == "Neck"
    assert lines[4].split("\t")[2:6] == ["X1", "Y1", "Z1", "X2"] and all(line.count("\t") == 52 for line in lines[3:])
    assert all(all(line.split("\t")) for line in lines[5:])  # OpenSim 4.6 refuses an empty field at a line's end
    table = np.genfromtxt(tmp_path / "a.trc", delimiter="\t", skip_header=5)
    np.testing.assert_allclose(table[:, 0], 51 + np.arange(len(walk)))
    np.testing.assert_allclose(table[:, 1], (50 + np.arange(len(walk))) / 25, atol=1e-6)
    back = table[:, 2:].reshape(len(walk), 17, 3) / (1000 if unit == "mm" else 1)
    np.testing.assert_allclose(back, poses[..., [0, 2, 1]] * [1, 1, -1], atol=1e-6)  # NaN where it was NaN


def test_no_two_markers_share_a_name():
    for skeleton in SKELETONS.values():
        assert len(set(marker_names(skeleton))) == len(skeleton)
