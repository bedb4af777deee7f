"""data/convert_multiview.py, run as a program on folders that this test writes from the formats' description.

The people, the cameras (OpenCV's textbook model) and the detections are made here, without the converter's code.
"""

import contextlib
import io
import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from common.datasets.actions import synthetic_motion
from common.datasets.custom import load_custom
from common.files.reading import load_archive
from common.geometry.skeleton import COCO_17, H36M_17

PROGRAM = Path(__file__).parents[2] / "data" / "convert_multiview.py"
FPS, FRAMES, SIZE = 30, 60, (1280, 960)
LENS = (-0.08, 0.05, 0.001, -0.002)


def coco(joints: np.ndarray) -> np.ndarray:
    """COCO's joints (T, 17, 3) of Human3.6M's (T, 17, 3): eyes and ears about the nose and the head."""
    put = {name.replace("Foot", "Ankle"): joints[:, i] for i, name in enumerate(H36M_17.joints)}
    across = put["LShoulder"] - put["RShoulder"]
    for side, sign in (("L", 1), ("R", -1)):
        put[f"{side}Eye"] = 0.7 * put["Nose"] + 0.3 * put["Head"] + 0.09 * sign * across
        put[f"{side}Ear"] = 0.6 * put["Nose"] + 0.4 * put["Head"] + 0.2 * sign * across
    return np.stack([put[name] for name in COCO_17.joints], 1)


def expected(points: np.ndarray) -> np.ndarray:
    """Human3.6M's joints of COCO's by the midpoint rule."""
    at = {name: points[:, i] for i, name in enumerate(COCO_17.joints)}
    at |= {"Hip": (at["LHip"] + at["RHip"]) / 2, "Thorax": (at["LShoulder"] + at["RShoulder"]) / 2}
    at |= {"Spine": (at["Hip"] + at["Thorax"]) / 2, "Head": (at["LEye"] + at["REye"]) / 2}
    return np.stack([at[name.replace("Foot", "Ankle")] for name in H36M_17.joints], 1)


def people(count: int = 2, frames: int = FRAMES) -> list[np.ndarray]:
    """COCO joints (T, 17, 3), world, metres, z up, of people who stand 1.2 m apart."""
    out = []
    for n in range(count):
        rng = np.random.default_rng([7, n])
        joints = synthetic_motion(("S6", "S9", "S1")[n], ("Discussion", "Greeting", "Posing")[n], frames, rng, fps=FPS)
        joints = joints - [*joints[:, 0, :2].mean(0), 0] + [1.2 * n - 0.6, 0.3 * n, 0]
        out.append(coco(joints))
    return out


def cameras(count: int = 4) -> list[dict]:
    """OpenCV's numbers of cameras around the origin: x_camera = R x + t."""
    out = []
    for n in range(count):
        angle = 2 * np.pi * (n + 0.2) / count
        centre = np.array([4.5 * np.cos(angle), 4.5 * np.sin(angle), 1.2 + 0.2 * n])
        forward = np.array([0, 0, 0.95]) - centre
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        turn = np.stack([right, np.cross(forward, right), forward])
        matrix = np.array([[950.0 + n, 0, 640], [0, 952.0 + n, 470], [0, 0, 1]])
        out.append({"name": f"cam_{n + 1:02}", "R": turn, "t": -turn @ centre, "K": matrix, "size": SIZE})
    return out


def pixels(camera: dict, points: np.ndarray) -> np.ndarray:
    local = points @ camera["R"].T + camera["t"]
    x, y = (local[..., :2] / local[..., 2:]).transpose(-1, *range(points.ndim - 1))
    k1, k2, p1, p2 = LENS
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2
    bent = np.stack(
        [x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y], -1
    )
    return bent * np.diag(camera["K"])[:2] + camera["K"][:2, 2]


def write_toml(path: Path, rig: list[dict], unit: float = 1.0, world: np.ndarray | None = None) -> None:
    """Pose2Sim's file; `unit` of its lengths in metres, `world` turns the world: x' = world x."""
    world = np.eye(3) if world is None else world
    text = ""
    for camera in rig:
        rotation = Rotation.from_matrix(camera["R"] @ world.T).as_rotvec()
        text += f'[{camera["name"]}]\nname = "{camera["name"]}"\nsize = {[float(v) for v in camera["size"]]}\n'
        text += f"matrix = {camera['K'].tolist()}\ndistortions = {list(LENS)}\nrotation = {rotation.tolist()}\n"
        text += f"translation = {(camera['t'] / unit).tolist()}\nfisheye = false\n\n"
    path.write_text(text + "[metadata]\nadjusted = false\nerror = 0.0\n", encoding="utf-8")


def write_yaml(folder: Path, rig: list[dict]) -> None:
    """EasyMocap's pair of files as cv::FileStorage writes them."""

    def matrix(name: str, array: np.ndarray) -> str:
        rows, cols = array.shape
        data = ", ".join(repr(float(v)) for v in array.ravel())
        return f"{name}: !!opencv-matrix\n   rows: {rows}\n   cols: {cols}\n   dt: d\n   data: [ {data} ]\n"

    head = "%YAML:1.0\n---\nnames:\n" + "".join(f'   - "{c["name"]}"\n' for c in rig)
    inner = head + "".join(
        matrix(f"K_{c['name']}", c["K"]) + matrix(f"dist_{c['name']}", np.array([[*LENS, 0.0]])) for c in rig
    )
    outer = head + "".join(
        matrix(f"R_{c['name']}", Rotation.from_matrix(c["R"]).as_rotvec()[:, None])
        + matrix(f"T_{c['name']}", c["t"][:, None])
        for c in rig
    )
    (folder / "intri.yml").write_text(inner, encoding="utf-8")
    (folder / "extri.yml").write_text(outer, encoding="utf-8")


def detect(rig: list[dict], world: list[np.ndarray], noise: float = 0.0, false: float = 0.0, seed: int = 0) -> list:
    """[camera][frame] list of (17, 3): people in a random order, with noise in pixels and false detections."""
    rng = np.random.default_rng(seed)
    views = []
    for camera in rig:
        exact = [pixels(camera, person) for person in world]
        frames = []
        for t in range(len(world[0])):
            found = [np.c_[e[t] + rng.normal(0, noise, (17, 2)), rng.uniform(0.5, 0.9, 17)] for e in exact]
            if rng.random() < false:
                wrong = exact[0][0] * rng.uniform(0.3, 0.7) + rng.uniform(0, 500, 2) + rng.normal(0, 40, (17, 2))
                found.append(np.c_[wrong, rng.uniform(0.1, 0.5, 17)])
            frames.append([found[n] for n in rng.permutation(len(found))])
        views.append(frames)
    return views


def write_openpose(folder: Path, name: str, frames: list, first: int = 0) -> None:
    """A folder of OpenPose's files, one a frame, in BODY_25B: COCO's joints, then neck, head top and the feet."""
    place = folder / f"{name}_json"
    place.mkdir(parents=True)
    for t, found in enumerate(frames):
        rows = []
        for person in found:
            neck = np.append(person[[5, 6], :2].mean(0), person[[5, 6], 2].min())
            top = np.append(person[[1, 2], :2].mean(0), person[[1, 2], 2].min())
            flat = np.concatenate([person, [neck, top], np.zeros((6, 3))]).ravel().tolist()
            rows.append({"person_id": [-1], "pose_keypoints_2d": flat, "face_keypoints_2d": []})
        text = json.dumps({"version": 1.3, "people": rows})
        (place / f"{name}_{t + first:012}_keypoints.json").write_text(text, encoding="utf-8")


def lab(root: Path, rig=None, world=None, views=None, calibration: bool = True) -> tuple[list[dict], list[np.ndarray]]:
    rig, world = rig or cameras(), world or people()
    views = views or detect(rig, world, noise=1.0, false=0.3)
    root.mkdir(parents=True, exist_ok=True)
    if calibration:
        write_toml(root / "Calib.toml", rig)
    for camera, frames in zip(rig, views, strict=True):
        write_openpose(root / "pose", camera["name"], frames)
    return rig, world


def run(*typed) -> tuple[int, str, str]:
    main = runpy.run_path(str(PROGRAM))["main"]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in typed])
    lines = [line for line in err.getvalue().replace("\r", "\n").splitlines() if line.strip() and "frame/s" not in line]
    return code, out.getvalue(), "\n".join(line for line in lines if "people across cameras" not in line)


def refused(*typed) -> str:
    """The one line of a run that must fail."""
    code, _, err = run(*typed)
    assert code == 2 and len(err.splitlines()) == 1, err
    return err


def written(folder: Path, name: str = "lab") -> tuple[dict, dict]:
    return load_archive(folder / f"data_3d_custom_{name}.npz"), load_archive(folder / f"data_2d_custom_{name}.npz")


def paired(data: dict, world: list[np.ndarray], take: str = "lab") -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(name, found, true joints) of every person, told by where they stand."""
    truth = [expected(person) for person in world]
    out = []
    for name, actions in data["positions_3d"].items():
        found = actions[take]
        away = [np.nanmedian(np.linalg.norm(found - true, axis=-1)) for true in truth]
        out.append((name, found, truth[int(np.argmin(away))]))
    return out


def test_people_are_found_where_they_are(tmp_path):
    rig, world = lab(tmp_path / "lab")
    code, out, err = run("--root", tmp_path / "lab", "--fps", FPS, "-o", tmp_path / "out")
    assert code == 0, err
    data, detections = written(tmp_path / "out")
    rows = paired(data, world)
    assert [name for name, *_ in rows] == ["P1", "P2"]
    for name, found, true in rows:
        error = np.linalg.norm(found - true, axis=-1)
        assert np.isfinite(found).all() and np.median(error) < 0.006 and error.max() < 0.06
        spread = data["spread"][name]["lab"]
        assert spread.shape == error.shape and 0.5 < np.median(spread) / np.median(error) < 4
    assert float(data["fps"]) == FPS and list(data["joints"]) == list(H36M_17.joints)
    assert detections["metadata"]["layout_name"] == "body_25b"
    # False detections are told, and none is kept: the 2D lies within a few pixels of the people.
    assert "detections that belong to nobody: cam_01 " in out and "cam_01 0 of" not in out
    clips, skeleton = load_custom(tmp_path / "out", "lab")
    assert skeleton == H36M_17 and len(clips) == 8 and all(clip.valid.all() for clip in clips)
    for clip in clips:
        camera = next(c for c in rig if c["name"] == clip.camera.name)
        true = next(t for _, found, t in rows if np.allclose(found, data["positions_3d"][clip.subject]["lab"]))
        seen = (clip.keypoints_2d + [1, SIZE[1] / SIZE[0]]) * SIZE[0] / 2
        assert np.abs(seen - pixels(camera, true))[:, [1, 2, 3, 4, 5, 6, 11, 12, 13]].max() < 6
        local = true @ camera["R"].T + camera["t"]
        assert np.median(np.linalg.norm(clip.positions_3d - local, axis=-1)) < 0.006
    page = (tmp_path / "out" / "multiview_lab.html").read_text(encoding="utf-8")
    shown = json.loads(page.split('id="data">')[1].split("</script>")[0])["takes"][0]
    assert [c["name"] for c in shown["cameras"]] == [c["name"] for c in rig] and len(shown["people"]) == 2
    true = rows[0][2] if shown["people"][0]["name"] == rows[0][0] else rows[1][2]
    drawn = np.array(shown["people"][0]["reprojected"][2][10])
    assert np.abs(drawn - pixels(rig[2], true[shown["shown"][10]])).max() < 12


def test_exact_detections_give_exact_joints(tmp_path):
    rig, world = cameras(3), people(1)
    lab(tmp_path / "lab", rig, world, detect(rig, world))
    assert run("--root", tmp_path / "lab", "--fps", FPS, "-o", tmp_path, "--cutoff", 0)[0] == 0
    [(_, found, true)] = paired(written(tmp_path)[0], world)
    own = [j for j, name in enumerate(H36M_17.joints) if name not in ("Spine", "Thorax", "Head")]
    np.testing.assert_allclose(
        found[:, own], true[:, own], atol=7e-4
    )  # OpenCV's lens is followed to a tenth of a pixel
    np.testing.assert_allclose(found, true, atol=5e-3)  # the neck and the head's top were averaged in the pictures


@pytest.mark.parametrize("unit", [0.001, 0.01])
def test_other_units_and_another_up(tmp_path, unit):
    rig, world = cameras(), people()
    down = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # y down, as where a camera is the world
    lab(tmp_path / "lab", rig, world, calibration=False)
    write_toml(tmp_path / "lab" / "Calib.toml", rig, unit, down)
    code, out, err = run("--root", tmp_path / "lab", "--fps", FPS, "-o", tmp_path)
    assert code == 0 and "taken as " + ("millimetres" if unit == 0.001 else "centimetres") in out and "turned" in out
    data, _ = written(tmp_path)
    for actions in data["positions_3d"].values():
        pose = actions["lab"]
        thigh = np.linalg.norm(pose[:, H36M_17.index("RHip")] - pose[:, H36M_17.index("RKnee")], axis=-1)
        assert 0.35 < np.median(thigh) < 0.5
        assert (pose[:, H36M_17.index("Head"), 2] > pose[:, H36M_17.index("RFoot"), 2] + 1).all()
    clip = load_custom(tmp_path, "lab")[0][0]
    assert np.median(clip.positions_3d[..., 2]) == pytest.approx(4.5, abs=1)


def test_opencv_yaml_is_read_as_the_toml_is(tmp_path):
    rig, world = lab(tmp_path / "lab", calibration=False)
    write_yaml(tmp_path / "lab", rig)
    (tmp_path / "other").mkdir()
    write_toml(tmp_path / "other" / "Calib.toml", rig)
    code, out, err = run("--root", tmp_path / "lab", "--fps", FPS, "-o", tmp_path / "a")
    assert code == 0 and "no picture size given; taken as twice the principal point, 1280 x 940" in out, err
    toml = tmp_path / "other" / "Calib.toml"
    assert run("--root", tmp_path / "lab", "--calibration", toml, "--fps", FPS, "-o", tmp_path / "b")[0] == 0
    for (_, a, _), (_, b, _) in zip(*(paired(written(tmp_path / s)[0], world) for s in "ab"), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)


def test_identities_of_the_files_are_not_trusted(tmp_path):
    """Every camera numbers people its own way and swaps them in the middle."""
    rig, world = cameras(), people()
    views = detect(rig, world, noise=1.0)
    root = tmp_path / "lab"
    root.mkdir()
    write_toml(root / "Calib.toml", rig)
    for v, (camera, frames) in enumerate(zip(rig, views, strict=True)):
        rows = []
        for t, found in enumerate(frames):
            for n, person in enumerate(found):
                row = {"image_id": f"{t}.jpg", "category_id": 1, "keypoints": person.ravel().tolist(), "score": 2.5}
                rows.append(row | {"idx": (n + v + (t > 30)) % 2})
        (root / camera["name"]).mkdir()
        (root / camera["name"] / "alphapose-results.json").write_text(json.dumps(rows), encoding="utf-8")
    code, out, err = run("--root", root, "--fps", FPS, "-o", tmp_path)
    assert code == 0, err
    rows = paired(written(tmp_path)[0], world)
    assert len(rows) == 2
    for _, found, true in rows:
        assert np.linalg.norm(found - true, axis=-1).max() < 0.06


def test_gaps_are_marked(tmp_path):
    """A wrist that one camera alone sees for half a second is a gap; for three frames it is bridged and told."""
    rig, world = cameras(), people(1)
    views = detect(rig, world, noise=0.5)
    wrist = COCO_17.index("LWrist")
    for v in range(3):
        for t in [*range(20, 35), *range(45, 48)]:
            views[v][t][0][wrist] = 0
    for t in range(50, 60):
        views[0][t] = []  # one camera does not find the person at all
    lab(tmp_path / "lab", rig, world, views)
    assert run("--root", tmp_path / "lab", "--fps", FPS, "-o", tmp_path)[0] == 0
    data, detections = written(tmp_path)
    found, measured = data["positions_3d"]["P1"]["lab"], data["measured"]["P1"]["lab"]
    joint = H36M_17.index("LWrist")
    gap = np.isnan(found[:, joint, 0])
    assert gap[20:35].all() and gap.sum() == 15 and np.isfinite(np.delete(found, joint, 1)).all()
    assert not measured[45:48, joint].any() and measured[48:, joint].all()
    first = detections["positions_2d"]["P1"]["lab"][0]
    assert np.isnan(first[50:]).all() and np.isfinite(first[:50]).all()
    assert (detections["confidence"]["P1"]["lab"][0][20:35, wrist] == 0).all()
    clips, _ = load_custom(tmp_path, "lab")
    assert [int(clip.valid.sum()) for clip in clips] == [35, 45, 45, 45]


def test_sides_that_a_detector_mistook_are_put_back(tmp_path):
    rig, world = cameras(), people(1)
    views = detect(rig, world, noise=0.5)
    left, right = ([COCO_17.index(s + j) for j in ("Hip", "Knee", "Ankle")] for s in "LR")
    for t in range(20, 30):
        person = views[1][t][0]
        person[left + right] = person[right + left]
    lab(tmp_path / "lab", rig, world, views)
    code, out, _ = run("--root", tmp_path / "lab", "--fps", FPS, "-o", tmp_path)
    told = int(out.split("limbs on the wrong side: ")[1].split()[0])
    assert code == 0 and 5 <= told <= 10  # where the legs stand one behind the other, either side fits
    [(_, found, true)] = paired(written(tmp_path)[0], world)
    assert np.linalg.norm(found - true, axis=-1).max() < 0.03


def test_takes_and_arrays(tmp_path):
    """Several takes below one calibration, 2D as arrays of one person, cameras paired in order."""
    rig, world = cameras(), people(1)
    root = tmp_path / "day"
    for take in ("jump", "walk"):
        (root / take).mkdir(parents=True)
        for number, camera in enumerate(rig, 11):
            array = np.concatenate([pixels(camera, world[0]), np.ones((FRAMES, 17, 1))], -1)
            np.save(root / take / f"coco_view{number}.npy", array.astype(np.float32))
    write_toml(root / "Calib.toml", rig)
    code, out, err = run("--root", root, "--fps", FPS, "-o", tmp_path, "--name", "mine")
    assert code == 0, err
    assert "names differ, so paired in order: coco_view11 = cam_01, coco_view12 = cam_02" in out
    data, _ = written(tmp_path, "mine")
    assert list(data["positions_3d"]) == ["jump-P1", "walk-P1"]
    clips, _ = load_custom(tmp_path, "mine", "walk-P1")
    assert len(clips) == 4 and clips[0].action == "walk"


def test_missing_cameras_and_frames(tmp_path):
    rig, world = cameras(), people(1)
    views = detect(rig, world)
    root = tmp_path / "lab"
    lab(root, rig, world, views)
    for path in (root / "pose" / "cam_03_json").iterdir():
        path.unlink()
    code, out, err = run("--root", root, "--fps", FPS, "-o", tmp_path)
    assert code == 0 and "no 2D for the calibrated cam_03; goes on with 3 cameras" in out, err
    (root / "pose" / "cam_02_json").rename(root / "pose" / "left")
    assert "2D of 3 cameras for 4 calibrated ones" in refused("--root", root, "--fps", FPS, "-o", tmp_path)
    (root / "pose" / "left").rename(root / "pose" / "cam_02_json")
    (root / "pose" / "cam_02_json" / "cam_02_000000000000_keypoints.json").unlink()
    told = refused("--root", root, "--fps", FPS, "-o", tmp_path)
    assert "frames differ: cam_01_json 0 to 59, cam_02_json 1 to 59" in told
    assert "frame rate; say --fps" in refused("--root", lab_again(tmp_path / "again"), "-o", tmp_path)


def test_a_wrong_camera_is_told(tmp_path):
    rig, world = cameras(5), people(1)
    views = detect(rig, world)
    views[4] = detect(rig[:1], people(2)[1:])[0]  # somebody else, from elsewhere
    lab(tmp_path / "lab", rig, world, views)
    code, out, _ = run("--root", tmp_path / "lab", "--fps", FPS, "-o", tmp_path)
    assert code == 0 and "cam_05: hardly any of its detections fits the other cameras" in out
    assert "cam_04: hardly" not in out


def lab_again(root: Path) -> Path:
    lab(root, world=people(1, 6), views=detect(cameras(), people(1, 6)))
    return root


def upside_down(root: Path) -> None:
    """Two cameras are left, and one's pictures are turned: rays that do not meet."""
    for number in (3, 4):
        shutil.rmtree(root / "pose" / f"cam_{number:02}_json")
    for path in (root / "pose" / "cam_02_json").iterdir():
        content = json.loads(path.read_text(encoding="utf-8"))
        for person in content["people"]:
            flat = np.array(person["pose_keypoints_2d"]).reshape(-1, 3)
            flat[:, 1] = SIZE[1] - flat[:, 1]
            person["pose_keypoints_2d"] = flat.ravel().tolist()
        path.write_text(json.dumps(content), encoding="utf-8")


def replace(text: str, by: str):
    def change(root: Path) -> None:
        path = root / "Calib.toml"
        content = path.read_text(encoding="utf-8")
        assert text in content
        path.write_text(content.replace(text, by), encoding="utf-8")

    return change


WRONG = {
    "no calibration": (lambda root: (root / "Calib.toml").unlink(), "no calibration"),
    "two calibrations": (lambda root: write_toml(root / "b.toml", cameras()), "several calibrations"),
    "damaged calibration": (lambda root: (root / "Calib.toml").write_text("[cam"), "not a readable TOML file"),
    "no camera": (lambda root: (root / "Calib.toml").write_text("[metadata]\n"), "no camera in it"),
    "lacks a matrix": (replace("matrix", "matrices"), "lacks matrix"),
    "a matrix of two rows": (replace(", [0.0, 0.0, 1.0]]", "]"), "6 numbers, 9 belong there"),
    "not a number": (replace("distortions = [-0.08", "distortions = [nan"), "not finite"),
    "strange distortions": (replace("0.05, 0.001, -0.002", "0.05"), "2 distortions; 4, 5 or 8 are read"),
    "fisheye": (replace("fisheye = false", "fisheye = true"), "fisheye lens is followed to"),
    "one name twice": (replace('name = "cam_02"', 'name = "cam_01"'), "two cameras with one name"),
    "an empty folder": (lambda root: [p.unlink() for p in root.glob("pose/*/*")], "no folder or file of 2D keypoints"),
    "damaged 2D": (lambda root: next(root.glob("pose/cam_02*/*")).write_text("{"), "not a readable"),
    "one camera upside down": (upside_down, "nobody whom two cameras agree on"),
    "another picture size": (replace("[1280.0, 960.0]", "[320.0, 240.0]"), "lie outside the 320 x 240 pictures"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_told_in_one_line(tmp_path, case):
    change, told = WRONG[case]
    change(lab_again(tmp_path / "lab"))
    assert told in refused("--root", tmp_path / "lab", "--fps", FPS, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()
