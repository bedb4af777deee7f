"""Every input format holds the same people; each must be read back as them."""

import json

import numpy as np
import pytest

from common.errors import UserError
from common.geometry.skeleton import BLAZEPOSE_33, BODY_25, COCO_17, H36M_17, HALPE_26, OPENPOSE_18, joint_map
from common.settings.wild import InputSettings
from common.wild.inputs import read_source
from common.wild.keypoint_file import frame_numbers
from common.wild.keypoints import read_keypoints, recognise

RNG = np.random.default_rng(0)
T = 6


def person(joints):
    points = RNG.uniform(10, 500, (T, joints, 3)).astype(np.float32)
    points[..., 2] = RNG.uniform(0.5, 1, (T, joints))
    return points


def write_json(path, data):
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def check(found, people, layout):
    assert found.layout is layout
    assert len(found.frames) == T
    for t, frame in enumerate(found.frames):
        np.testing.assert_allclose(frame, np.stack([p[t] for p in people])[:, : len(layout)], rtol=1e-5)


@pytest.mark.parametrize(("joints", "layout"), [(17, COCO_17), (26, HALPE_26), (136, HALPE_26)])
def test_alphapose(tmp_path, joints, layout):
    people = [person(joints), person(joints)]
    rows = [
        {"image_id": f"{t}.jpg", "category_id": 1, "keypoints": p[t].ravel().tolist(), "score": 2.5, "idx": [[n]]}
        for t in range(T)
        for n, p in enumerate(people)
    ]
    found = read_keypoints(write_json(tmp_path / "alphapose-results.json", rows))
    check(found, people, layout)
    assert [i.tolist() for i in found.ids] == [[0, 1]] * T


def test_alphapose_keeps_empty_frames(tmp_path):
    p = person(17)
    rows = [{"image_id": f"{t}.jpg", "keypoints": p[t].ravel().tolist()} for t in (2, 5)]
    found = read_keypoints(write_json(tmp_path / "a.json", rows))
    assert [len(f) for f in found.frames] == [0, 0, 1, 0, 0, 1]


def test_openpose_folder_and_file(tmp_path):
    people = [person(25), person(25)]
    frames = [
        {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": p[t].ravel().tolist()} for p in people]}
        for t in range(T)
    ]
    folder = tmp_path / "json"
    folder.mkdir()
    for t, frame in enumerate(frames):
        write_json(folder / f"video_{t:012d}_keypoints.json", frame)
    check(read_keypoints(folder), people, BODY_25)
    check(read_keypoints(write_json(tmp_path / "all.json", frames)), people, BODY_25)
    assert len(read_keypoints(folder / "video_000000000003_keypoints.json").frames) == 1


def test_coco_results_and_annotations(tmp_path):
    p = person(17)
    rows = [{"image_id": 40000 + t, "category_id": 1, "keypoints": p[t].ravel().tolist()} for t in range(T)]
    check(read_keypoints(write_json(tmp_path / "results.json", rows)), [p], COCO_17)
    images = [{"id": 40000 + t, "file_name": f"frame_{t + 1:04d}.png", "width": 640, "height": 480} for t in range(T)]
    found = read_keypoints(write_json(tmp_path / "ann.json", {"annotations": rows, "images": images}))
    check(found, [p], COCO_17)
    assert found.size == (640, 480)


@pytest.mark.parametrize("wrapped", [True, False])
def test_mmpose(tmp_path, wrapped):
    people = [person(17), person(17)]
    rows = [
        {
            "frame_id": t + 1,
            "instances": [
                {"keypoints": p[t, :, :2].tolist(), "keypoint_scores": p[t, :, 2].tolist(), "bbox": [[0, 0, 1, 1]]}
                for p in people
            ],
        }
        for t in range(T)
    ]
    data = {"meta_info": {"dataset_name": "coco"}, "instance_info": rows} if wrapped else rows
    check(read_keypoints(write_json(tmp_path / "rtm.json", data)), people, COCO_17)


def test_names_win_over_count_and_order(tmp_path):
    p = person(17)
    names = ["root", "right_hip", "right_knee", "right_foot", "left_hip", "left_knee", "left_foot", "spine", "thorax"]
    names += ["nose", "head", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow"]
    names += ["right_wrist"]
    shuffled = RNG.permutation(17)
    meta = {"dataset_name": "mine", "keypoint_id2name": {str(n): names[j] for n, j in enumerate(shuffled)}}
    rows = [
        {"frame_id": t, "instances": [{"keypoints": p[t, shuffled, :2].tolist(), "keypoint_scores": [1.0] * 17}]}
        for t in range(T)
    ]
    found = read_keypoints(write_json(tmp_path / "mm.json", {"meta_info": meta, "instance_info": rows}))
    assert found.layout is H36M_17
    np.testing.assert_allclose(np.stack(found.frames)[:, 0, :, :2], p[..., :2], rtol=1e-5)


def test_detectron2(tmp_path):
    people = [person(17), person(17)]
    keypoints, boxes = np.empty((T, 2), object), np.empty((T, 2), object)
    for t in range(T):
        rows = [[p[t, :, 0], p[t, :, 1], p[t, :, 2] * 9, p[t, :, 2]] for p in people]
        stacked = np.array(rows)  # (2, 4, 17): x, y, logit, probability
        keypoints[t, 0], keypoints[t, 1] = [], stacked
        boxes[t, 0], boxes[t, 1] = [], np.array([[0, 0, 9, 9, 0.9], [0, 0, 9, 9, 0.8]], np.float32)
    keypoints[3, 1], boxes[3, 1] = [], []
    path = tmp_path / "video.mp4.npz"
    np.savez_compressed(path, boxes=boxes, segments=None, keypoints=keypoints, metadata={"w": 1280, "h": 720})
    found = read_keypoints(path)
    assert (found.layout, found.size, len(found.frames[3])) == (COCO_17, (1280, 720), 0)
    np.testing.assert_allclose(found.frames[1], np.stack([p[1] for p in people]), rtol=1e-5)


def test_videopose3d_custom(tmp_path):
    a, b = person(17), person(17)
    meta = {
        "layout_name": "coco",
        "num_joints": 17,
        "keypoints_symmetry": [[1], [2]],
        "video_metadata": {"b.mp4": {"w": 100, "h": 50, "fps": 25}},
    }
    path = tmp_path / "data_2d_custom_mine.npz"
    positions = {"a.mp4": {"custom": [a[..., :2]]}, "b.mp4": {"custom": [b[..., :2]]}}
    np.savez_compressed(path, positions_2d=positions, metadata=meta)
    with pytest.raises(UserError, match="holds 2 clips.*a.mp4/custom/0"):
        read_keypoints(path)
    found = read_keypoints(path, clip="b.mp4")
    assert (found.layout, found.size, found.fps) == (COCO_17, (100, 50), 25.0)
    np.testing.assert_allclose(np.stack(found.frames)[:, 0, :, :2], b[..., :2], rtol=1e-6)


def test_plain_array(tmp_path):
    people = np.stack([person(17), person(17)])
    np.save(tmp_path / "dance_coco.npy", people)
    check(read_keypoints(tmp_path / "dance_coco.npy"), people, COCO_17)
    np.save(tmp_path / "dance.npy", people[0, ..., :2])
    with pytest.raises(UserError, match="--layout"):
        read_keypoints(tmp_path / "dance.npy")
    assert read_keypoints(tmp_path / "dance.npy", layout="h36m").layout is H36M_17


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.json", "{", "not a readable JSON"),
        ("a.json", '{"x": 1}', "unknown keypoint format"),
        ("a.json", '[{"image_id": "0.jpg", "keypoints": [1, 2]}]', "x, y, confidence"),
        ("a.json", '[{"frame_id": 0, "instances": [{}]}]', "not a readable file of keypoints"),
        ("a.json", '[{"frame_id": 0, "instances": []}]', "nobody"),
        ("a.json", '[{"image_id": "0.jpg", "keypoints": [1, 2, 1, 4, 5, 1]}]', "2 joints fit no known layout"),
        ("a.txt", "", "no keypoint file"),
        ("a.npz", "", "not a readable .npz"),
    ],
)
def test_bad_files_say_so_in_one_line(tmp_path, name, text, line):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=line) as caught:
        read_keypoints(path)
    assert "\n" not in str(caught.value)


def test_missing_file_and_wrong_layout(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_keypoints(tmp_path / "none.json")
    with pytest.raises(UserError, match="--layout halpe has 26"):
        recognise(17, None, None, "halpe", "file")
    with pytest.raises(UserError, match="unknown; there are"):
        recognise(17, None, None, "smpl", "file")


def test_published_maps():
    """The formulas of MotionBERT's table, written out by hand."""
    halpe = RNG.normal(size=(26, 2)).astype(np.float32)
    h36m = joint_map(HALPE_26, H36M_17) @ halpe
    np.testing.assert_allclose(h36m[[0, 8, 9, 10]], halpe[[19, 18, 0, 17]], rtol=1e-6)
    np.testing.assert_allclose(h36m[7], (halpe[18] + halpe[19]) / 2, rtol=1e-6)
    limbs = [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16]
    np.testing.assert_allclose(h36m[limbs], halpe[[12, 14, 16, 11, 13, 15, 5, 7, 9, 6, 8, 10]], rtol=1e-6)
    body = RNG.normal(size=(25, 2)).astype(np.float32)
    h36m = joint_map(BODY_25, H36M_17) @ body
    np.testing.assert_allclose(h36m[[0, 8, 9]], body[[8, 1, 0]], rtol=1e-6)
    np.testing.assert_allclose(h36m[10], (body[15] + body[16]) / 2, rtol=1e-6)
    np.testing.assert_allclose(h36m[limbs], body[[9, 10, 11, 12, 13, 14, 5, 6, 7, 2, 3, 4]], rtol=1e-6)


def test_openposes_two_layouts_of_25_joints_are_told_apart(tmp_path):
    from common.geometry.skeleton import BODY_25, BODY_25B

    place = {"Nose": (0, 0), "LEye": (3, -3), "REye": (-3, -3), "LEar": (6, -2), "REar": (-6, -2), "Neck": (0, 20)}
    place |= {"LShoulder": (18, 22), "RShoulder": (-18, 22), "LElbow": (24, 50), "RElbow": (-24, 50), "Hip": (0, 75)}
    place |= {"LWrist": (26, 75), "RWrist": (-26, 75), "LHip": (10, 75), "RHip": (-10, 75), "HeadTop": (0, -14)}
    place |= {"LKnee": (11, 115), "RKnee": (-11, 115), "LAnkle": (12, 150), "RAnkle": (-12, 150)}
    place |= {f"{s}{part}": (x, 158) for s, x in (("L", 14), ("R", -14)) for part in ("BigToe", "SmallToe", "Heel")}
    for skeleton in (BODY_25, BODY_25B):
        flat = np.array([[*np.array(place[joint]) * 3 + 500, 0.8] for joint in skeleton.joints]).ravel().tolist()
        path = tmp_path / f"{skeleton.name.replace('_', '')}.json"
        path.write_text(json.dumps({"people": [{"pose_keypoints_2d": flat}]}))
        assert read_keypoints(path).layout is skeleton


def flat(points):
    return points.ravel().tolist()


def test_alphapose_by_image(tmp_path):
    """Its forms 'cmu' and 'open': one record an image, OpenPose's oldest layout."""
    people = [person(18), person(18)]
    for form, key in (("bodies", "joints"), ("people", "pose_keypoints_2d")):
        data = {f"{t}.jpg": {"version": "AlphaPose v0.3", form: [{key: flat(p[t])} for p in people]} for t in range(T)}
        data = dict(sorted(data.items(), reverse=True))
        check(read_keypoints(write_json(tmp_path / f"{form}.json", data)), people, OPENPOSE_18)
    h36m = joint_map(OPENPOSE_18, H36M_17) @ people[0][0, :, :2]
    np.testing.assert_allclose(h36m[8], people[0][0, 1, :2], rtol=1e-6)  # the neck
    np.testing.assert_allclose(h36m[0], (people[0][0, 8, :2] + people[0][0, 11, :2]) / 2, rtol=1e-6)


def test_pose2sims_folder_and_two_clips_in_one(tmp_path):
    people = [person(26), person(26)]
    for name, p in zip(("cam01", "cam02"), people, strict=True):
        for t in range(T):
            write_json(
                tmp_path / f"{name}_{t:06d}.json", {"version": 1.3, "people": [{"pose_keypoints_2d": flat(p[t])}]}
            )
    with pytest.raises(UserError, match="files of 2 clips; choose one with --clip: cam01, cam02"):
        read_keypoints(tmp_path)
    check(read_keypoints(tmp_path, clip="cam02"), people[1:], HALPE_26)
    write_json(tmp_path / "cam01_000003.json", {"version": 1.3, "people": []})
    assert [len(f) for f in read_keypoints(tmp_path, clip="cam01").frames] == [1, 1, 1, 0, 1, 1]


def test_lists_by_frame(tmp_path):
    """`frame_id` in place of an image; a third number that is 0 everywhere is no confidence."""
    p = person(17)
    p[..., 2] = 0
    rows = [{"frame_id": t, "keypoints": flat(p[t])} for t in range(T)]
    p[..., 2] = 1
    for data in (rows, {"annotations": rows}, {"frames": [{"frame": r["frame_id"], "people": [r]} for r in rows]}):
        check(read_keypoints(write_json(tmp_path / "list.json", data)), [p], COCO_17)


@pytest.mark.parametrize("form", ["frames of people", "people with a frame", "frames with detections"])
def test_yolo(tmp_path, form):
    people = [person(17), person(17)]

    def row(p, t, n):
        keypoints = {"x": p[t, :, 0].tolist(), "y": p[t, :, 1].tolist(), "visible": p[t, :, 2].tolist()}
        box = {"x1": 0.0, "y1": 0.0, "x2": 9.0, "y2": 9.0}
        return {"name": "person", "class": 0, "confidence": 0.9, "box": box, "track_id": n, "keypoints": keypoints}

    data = [[row(p, t, n) for n, p in enumerate(people, 3)] for t in range(T)]
    if form == "people with a frame":
        data = [record | {"frame": t} for t, frame in enumerate(data) for record in frame]
    elif form == "frames with detections":
        data = {"width": 640, "height": 480, "fps": 25, "frames": [{"detections": frame} for frame in data]}
    found = read_keypoints(write_json(tmp_path / "yolo.json", data))
    check(found, people, COCO_17)
    assert [i.tolist() for i in found.ids] == [[3, 4]] * T
    if form == "frames with detections":
        assert found.size == (640, 480) and found.fps == 25
    if form == "frames of people":
        one = read_keypoints(write_json(tmp_path / "one.json", data[0]))
        assert len(one.frames) == 1 and len(one.frames[0]) == 2
        data[2] = []
        assert len(read_keypoints(write_json(tmp_path / "gap.json", data)).frames[2]) == 0


def test_named_points_of_one_picture(tmp_path):
    """Roboflow's way: points with names, in any order."""
    p = person(17)
    order = RNG.permutation(17)
    points = [
        {"x": float(p[0, j, 0]), "y": float(p[0, j, 1]), "confidence": float(p[0, j, 2]), "class": COCO_17.joints[j]}
        for j in order
    ]
    data = {"image": {"width": 640, "height": 480}, "predictions": [{"class": "person", "keypoints": points}]}
    found = read_keypoints(write_json(tmp_path / "r.json", data))
    assert found.layout is COCO_17 and found.size == (640, 480)
    np.testing.assert_allclose(found.frames[0][0], p[0], rtol=1e-6)


@pytest.mark.parametrize("form", ["landmarks", "pose_landmarks", "bare", "several"])
def test_mediapipes_landmarks(tmp_path, form):
    p = person(33)
    points = [[{"x": x, "y": y, "z": -0.3, "visibility": c} for x, y, c in frame.tolist()] for frame in p]
    data = points if form == "bare" else [{form: frame} for frame in points]
    if form == "several":
        data = [{"pose_landmarks": [frame, frame]} for frame in points]
    found = read_keypoints(write_json(tmp_path / "mp.json", data))
    check(found, [p, p] if form == "several" else [p], BLAZEPOSE_33)
    h36m = joint_map(BLAZEPOSE_33, H36M_17) @ p[0, :, :2]
    np.testing.assert_allclose(h36m[[3, 6, 13, 16]], p[0, [28, 27, 15, 16], :2], rtol=1e-6)  # ankles, wrists


def test_mediapipes_arrays(tmp_path):
    p = person(33)
    depth = RNG.normal(size=(T, 33, 1)).astype(np.float32)
    for values in (p, np.concatenate([p[..., :2], depth, p[..., 2:]], -1)):
        np.save(tmp_path / "mp.npy", values)
        check(read_keypoints(tmp_path / "mp.npy"), [p], BLAZEPOSE_33)
    np.save(tmp_path / "mp.npy", np.concatenate([p[..., :2], depth], -1))
    p[..., 2] = 1
    check(read_keypoints(tmp_path / "mp.npy"), [p], BLAZEPOSE_33)


def test_shares_of_the_image_become_pixels(tmp_path):
    p = person(33)
    shares = p * np.array([1 / 640, 1 / 480, 1], np.float32)
    shares[0, 0, :2] = 1.7, -0.4  # outside of the picture
    np.save(tmp_path / "mp.npy", shares)
    source = read_source(InputSettings(input=str(tmp_path / "mp.npy"), size=(640, 480), fps=25.0))
    np.testing.assert_allclose(np.stack(source.detections.frames)[1:, 0], p[1:], rtol=1e-5)
    np.save(tmp_path / "px.npy", p)
    source = read_source(InputSettings(input=str(tmp_path / "px.npy"), size=(640, 480), fps=25.0))
    np.testing.assert_allclose(np.stack(source.detections.frames)[:, 0], p)


@pytest.mark.parametrize(
    "text", ['[{"frame": 0, "keypoints": [1, 2, 3]}, 5]', '{"a": {"b": []}}', '[[{"x": 1}]]', "[[]]"]
)
def test_what_is_not_known_lists_what_is(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match="unknown keypoint format.*AlphaPose.*MediaPipe.*YOLO"):
        read_keypoints(tmp_path / "a.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="no .json files.*AlphaPose.*MediaPipe"):
        read_keypoints(tmp_path / "folder")


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        ([f"frame_{n:04d}_cam2.jpg" for n in (3, 4, 7)], [0, 1, 4]),
        ([f"walk_mp4-{n:04d}_jpg.rf.{code}.jpg" for n, code in ((5, "9f3"), (6, "12ab96533"), (7, "0c"))], [0, 1, 2]),
        ([f"cam2_{n}.png" for n in (9, 10, 11)], [0, 1, 2]),
        (["2024-11-05_1730_0001.png", "2024-11-05_1731_0002.png"], [0, 1]),
        (["10_a.png", "10_b.png", "10_c.png"], [0, 1, 2]),  # no number tells them apart: sorted
        (["0.jpg", "2.jpg"], [0, 2]),
        ([7, 8], [7, 8]),
    ],
)
def test_the_number_in_a_name_that_tells_frames_apart(names, numbers):
    found, count = frame_numbers([*names, names[0]], "x.json")
    assert found == [*numbers, numbers[0]] and count == max(numbers) + 1


@pytest.mark.parametrize(
    "empty",
    [None, [], {"frame": 2, "pose_landmarks": None}, {"frame": 2, "pose_landmarks": []}, {"pose_landmarks": []}],
)
def test_mediapipe_where_nobody_is(tmp_path, empty):
    points = person(33)
    rows = [{"pose_landmarks": [{"x": float(x), "y": float(y), "visibility": float(c)} for x, y, c in frame]}
            for frame in points]  # fmt: skip
    if isinstance(empty, dict) and "frame" in empty:
        rows = [row | {"frame": n} for n, row in enumerate(rows)]
    for data in (rows, {"frames": rows}):
        data = data[:2] + [empty] + data[3:] if isinstance(data, list) else {"frames": rows[:2] + [empty] + rows[3:]}
        found = read_keypoints(write_json(tmp_path / "mediapipe.json", data))
        assert [len(frame) for frame in found.frames] == [1, 1, 0, 1, 1, 1] and found.layout is BLAZEPOSE_33
        np.testing.assert_allclose(found.frames[5][0], points[5], rtol=1e-5)


def test_an_array_says_what_is_wrong_with_it(tmp_path, capsys):
    np.save(tmp_path / "words_coco.npy", np.full((4, 17, 3), "a"))
    with pytest.raises(UserError, match="an array of <U1, not of numbers"):
        read_keypoints(tmp_path / "words_coco.npy")
    np.save(tmp_path / "turned_coco.npy", np.stack([person(17), person(17)], 1).repeat(2, 0))  # (12, 2, 17, 3)
    assert len(read_keypoints(tmp_path / "turned_coco.npy").frames) == 2
    assert "12 people in 2 frames: the first axis is the people's" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["320x180", "100x100"])
def test_a_picture_of_another_size_is_told(tmp_path, size):
    points = person(17)
    points[..., :2] += 1000
    np.save(tmp_path / "far_coco.npy", points)
    width, height = map(int, size.split("x"))
    with pytest.raises(UserError, match=f"outside the {width} x {height} picture"):
        read_source(InputSettings(input=str(tmp_path / "far_coco.npy"), size=(width, height), fps=25))
