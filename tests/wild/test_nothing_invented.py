"""Nothing invented: gaps, absences, unseen limbs, numbers that mean something else, other people, other clocks."""

from fractions import Fraction

import numpy as np
import pytest

from common.errors import UserError
from common.files.video import frames_on_screen, is_steady, read_frames, write_video
from common.geometry.skeleton import COCO_17, H36M_17, HALPE_26, joint_map
from common.settings.wild import InputSettings
from common.wild.cleaning import clean, fill_gaps, find_head
from common.wild.inputs import read_source
from common.wild.keypoints import Detections, read_keypoints
from common.wild.people import unseen_limbs
from common.wild.scores import on_one_scale, refuse_depth
from common.wild.tracking import Track, track
from tests.people import in_camera, pixels, walker

FPS = 25.0


def coco(frames=50, focal=1100.0, **where):
    """A walker as COCO's joints (T, 17, 3): pixels and confidence 0.9. Eyes and ears lie about the head."""
    h36m = pixels(in_camera(walker(frames, FPS, **where)), focal=focal)
    out = np.full((frames, 17, 3), 0.9, np.float32)
    for j, name in enumerate(COCO_17.joints):
        source = name.replace("Ankle", "Foot")
        out[:, j, :2] = h36m[:, H36M_17.index(source if source in H36M_17.joints else "Head")]
    for name, aside in (("LEye", 6), ("REye", -6), ("LEar", 13), ("REar", -13)):
        out[:, COCO_17.index(name), 0] += aside
    return out


@pytest.mark.parametrize("layout", [COCO_17, HALPE_26], ids=lambda s: s.name)
def test_a_hidden_wrist_moves_with_the_body(layout):
    truth = np.zeros((40, len(layout), 2), np.float32)
    truth += np.random.default_rng(0).uniform(0, 200, (1, len(layout), 2))
    truth += np.stack([400 * np.sin(np.arange(40) / 8), np.zeros(40)], -1)[:, None]  # everybody goes to and fro
    seen = np.ones((40, len(layout)), bool)
    wrist, elbow = layout.index("LWrist"), layout.index("LElbow")
    seen[10:30, wrist] = False
    seen[5:20, elbow] = False
    seen[:8, layout.index("RAnkle")] = False
    filled = fill_gaps(np.where(seen[..., None], truth, -999), seen, layout)
    np.testing.assert_allclose(filled, truth, atol=1e-3)


def test_a_head_is_found_from_what_is_seen_of_it():
    points = coco()
    whole = clean(Track(0, 0, points), COCO_17, fps=FPS)
    head = H36M_17.index("Head")
    for hidden in (["LEye"], ["LEye", "LEar"], ["LEye", "REye"], ["LEye", "REye", "LEar", "REar"], ["Nose"],
                   ["Nose", "LEye", "REye"]):  # fmt: skip
        part = points.copy()
        part[10:, [COCO_17.index(j) for j in hidden], 2] = 0.05
        found = clean(Track(0, 0, part), COCO_17, fps=FPS)
        assert found.mask[:, head].all() and found.known.all(), hidden
        assert np.abs(found.keypoints - whole.keypoints)[:, head].max() < 16, (
            hidden
        )  # pixels; the person is 500 tall and comes nearer
    points[..., :5, 2] = 0.05
    assert not clean(Track(0, 0, points), COCO_17, fps=FPS).mask[:, head].any()
    same = find_head(points[..., :2], points[..., 2] > 0.3, points[..., 2], H36M_17)  # a layout without eyes
    assert same[0] is not None and same[1].sum() == (points[..., 2] > 0.3).sum()


def test_short_gaps_are_known_and_long_ones_are_not():
    points = coco(100)
    wrist = COCO_17.index("LWrist")
    points[20:40, wrist, 2] = 0  # 0.8 s
    points[50:90, wrist, 2] = 0  # 1.6 s
    found = clean(Track(0, 0, points), COCO_17, fps=FPS)
    column = found.known[:, H36M_17.index("LWrist")]
    assert column[:50].all() and not column[50:90].any() and column[90:].all()
    assert found.mask[:, H36M_17.index("LWrist")].sum() == 40 and found.present.all()
    assert unseen_limbs(found.known, found.present, H36M_17, FPS) == ["left hand unseen for 1.6 s"]


def test_a_long_absence_is_an_absence():
    points = coco(100)
    points[20:36] = 0
    points[50:90] = 0
    found = clean(Track(0, 0, points), COCO_17, fps=FPS)
    assert found.present[:50].all() and not found.present[50:90].any() and not found.known[50:90].any()
    (line,) = unseen_limbs(found.known, found.present, H36M_17, FPS)
    assert line == "away for 1.6 s: no poses there"


def test_legs_that_no_frame_shows_stand_under_the_body_and_are_said_once():
    whole = coco(30)
    half = whole.copy()
    legs = [COCO_17.index(s + j) for s in "LR" for j in ("Knee", "Ankle")]
    half[:, legs] = 0
    found = clean(Track(0, 0, half), COCO_17, fps=FPS)
    truth = joint_map(COCO_17, H36M_17) @ whole[..., :2]
    unseen = [H36M_17.index(s + j) for s in "LR" for j in ("Knee", "Foot")]
    height = np.ptp(truth[..., 1], axis=1).mean()
    assert np.linalg.norm(found.keypoints - truth, axis=-1)[:, unseen].mean() < 0.15 * height  # once: at the hips
    assert not found.known[:, unseen].any() and found.known.sum() == 30 * 13
    assert unseen_limbs(found.known, found.present, H36M_17, FPS) == ["legs never seen"]
    half[:, [COCO_17.index("LWrist"), COCO_17.index("LElbow")], 2] = 0.1
    found = clean(Track(0, 0, half), COCO_17, fps=FPS)
    assert unseen_limbs(found.known, found.present, H36M_17, FPS) == ["legs, left arm never seen"]


def test_who_moves_too_fast_is_somebody_else_and_may_come_back():
    points = coco(60)
    points[20:30, :, 0] += 450  # 1.4 m and more aside within a frame
    found = Detections(COCO_17, [p[None] for p in points], [np.zeros(1, int)] * 60)
    said = []
    tracks = track(found, FPS, say=said.append)
    assert {t.id: int(t.seen.sum()) for t in tracks} == {0: 50, 1: 10} and len(said) == 1 and "m/s" in said[0]
    calm = Detections(COCO_17, [p[None] for p in coco(60)], [np.zeros(1, int)] * 60)
    assert [t.id for t in track(calm, FPS)] == [0]
    swapped = coco(60)
    swapped[30:] = swapped[30:][:, COCO_17.mirror]  # a detector that takes left for right is no jump
    assert len(track(Detections(COCO_17, [p[None] for p in swapped], [np.zeros(1, int)] * 60), FPS)) == 1


def test_scores_of_other_scales(tmp_path):
    frames = [coco(1)]
    assert on_one_scale(frames) == (frames, "")
    nothing = [np.concatenate([f[..., :2], np.zeros_like(f[..., :1])], -1) for f in frames]
    nothing[0][0, 3] = 0  # a joint without a place
    given, said = on_one_scale(nothing)
    assert "not given" in said and given[0][0, :, 2].sum() == 16
    wide = [f * [1, 1, 3] for f in frames] + [f * [1, 1, 0.06] for f in frames]
    scaled, said = on_one_scale(wide)
    assert "Detectron2" in said and 0.9 < scaled[0][..., 2].max() < 1 and scaled[1][..., 2].min() > 0.3
    percent, said = on_one_scale([f * [1, 1, 100] for f in frames])
    assert "percent" in said and np.allclose(percent[0], frames[0])
    path = tmp_path / "x_coco.npy"
    np.save(path, nothing[0])
    assert (read_keypoints(path).frames[0][..., 2] == 1).sum() == 16


@pytest.mark.parametrize("scale, shift", [(1, 0), (1, 4), (1000, 0), (1000, 5000)])
def test_3d_handed_in_as_2d_is_named(tmp_path, scale, shift):
    poses = walker(20) - [0, 0, 1]
    poses = (poses - poses[:, :1] if not shift else poses) * scale + [0, 0, shift]
    path = tmp_path / "x_h36m.npy"
    np.save(path, poses.astype(np.float32))
    with pytest.raises(UserError, match="3D joints already"):
        read_keypoints(path)
    refuse_depth(coco(5), "2D")
    refuse_depth(np.concatenate([coco(5)[..., :2] / 1000, coco(5)[..., 2:]], -1), "shares of the picture")


def vary(path, seconds):
    """A video whose frames are shown at these times, each of its own grey."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for n, time in enumerate(seconds):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * n + 20, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_a_rate_that_varies_keeps_its_times(tmp_path, capsys):
    times = np.cumsum([0, *[0.04] * 20, *[0.08] * 20])
    vary(tmp_path / "v.mp4", times)
    assert not is_steady(tmp_path / "v.mp4")
    points = np.zeros((41, 17, 3), np.float32)
    points[..., 0] = 10 * times[:, None] + 20  # 10 pixels a second
    points[..., 1:] = [30, 0.9]
    np.save(tmp_path / "v_coco.npy", points)
    asked = InputSettings(input=str(tmp_path / "v_coco.npy"), video=str(tmp_path / "v.mp4"), layout="coco")
    source = read_source(asked)
    got = np.array([frame[0, 0, 0] for frame in source.detections.frames])
    wanted = 20 + 10 * np.arange(len(got)) / source.fps
    assert np.abs(got - wanted).max() < 0.9 and "varies" in capsys.readouterr().err
    shown = [image.mean() for image in read_frames(tmp_path / "v.mp4", fps=source.fps)]
    assert np.abs(np.array(shown) - 20 - 5 * np.array(frames_on_screen(tmp_path / "v.mp4", source.fps))).max() < 8
    write_video(tmp_path / "even.mp4", (np.full((48, 64, 3), n, np.uint8) for n in range(12)), 25)
    assert is_steady(tmp_path / "even.mp4") and frames_on_screen(tmp_path / "even.mp4", 25) == list(range(12))
