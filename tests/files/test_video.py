import importlib.util
import struct
import time as time_module

import av
import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from common.files import video
from common.files.video import read_frames, video_info, write_video


def numbered(count: int, height: int = 48, width: int = 64):
    """Frames that tell their own number by their grey."""
    for number in range(count):
        yield np.full((height, width, 3), 10 + 8 * number, np.uint8)


def numbers(path, **options) -> list[int]:
    return [round((float(frame.mean()) - 10) / 8) for frame in read_frames(path, **options)]


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "ten.mp4", numbered(10), 25, total=10)


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_a_video_is_vp9_of_even_size_and_plays_at_its_rate(tmp_path, ending):
    path = write_video(tmp_path / "sub" / f"odd{ending}", numbered(7, 33, 47), 29.97)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert container.format.name.count(ending[1:]) and (stream.width, stream.height) == (48, 34)
        assert stream.codec_context.name in ("vp9", "libvpx-vp9") and stream.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == pytest.approx(29.97, rel=2e-3)
        assert sum(1 for _ in container.decode(stream)) == 7
    assert numbers(path) == list(range(7)) and numbers(path, fps=29.97) == list(range(7))
    assert list(path.parent.iterdir()) == [path]


def test_no_encoder_under_the_gpl_is_used(monkeypatch, tmp_path):
    """The codec needs neither x264 nor x265; a PyAV without it is told of before the work, not after."""
    assert av.codec.Codec(video.CODEC, "w").name not in ("libx264", "libx264rgb", "libx265", "libxvid", "libx262")
    monkeypatch.setattr(av, "codecs_available", {"h264", "libx264"})
    with pytest.raises(UserError, match="VP9"):
        video.check_ending(tmp_path / "a.mp4")
    assert video.check_ending(tmp_path / "a.gif")


def test_gif_keeps_every_frame_and_the_time(tmp_path):
    path = write_video(tmp_path / "a.GIF", numbered(9), 30)
    with Image.open(path) as gif:
        assert gif.n_frames == 9
        delays = []
        for number in range(9):
            gif.seek(number)
            delays.append(gif.info["duration"])
            assert abs(np.asarray(gif.convert("RGB")).mean() - (10 + 8 * number)) < 5
    assert sum(delays) == 300 and set(delays) == {30, 40}


def test_white_stays_white_in_a_gif(tmp_path):
    frame = np.full((20, 20, 3), 255, np.uint8)
    frame[5:8] = np.random.default_rng(0).integers(0, 255, (3, 20, 3))
    with Image.open(write_video(tmp_path / "a.gif", [frame], 5)) as gif:
        assert (np.asarray(gif.convert("RGB"))[0] == 255).all()


def test_reading(ten):
    info = video_info(ten)
    assert (info.width, info.height, info.fps) == (64, 48, 25)
    frame = next(read_frames(ten))
    assert frame.shape == (48, 64, 3) and frame.dtype == np.uint8
    assert numbers(ten) == list(range(10))
    assert numbers(ten, skip=3, limit=2) == [3, 4]
    assert numbers(ten, skip=1, downsample=4) == [1, 5, 9]
    assert numbers(ten, limit=0) == []


def test_another_rate(ten):
    assert numbers(ten, fps=50) == [n // 2 for n in range(20)]
    assert numbers(ten, fps=12.5) == [0, 2, 4, 6, 8]
    assert numbers(ten, fps=25.1) == list(range(10))  # near enough: frame for frame
    assert numbers(ten, fps=50, skip=2, downsample=2, limit=3) == [1, 2, 3]


def test_without_pyav(ten, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(video.importlib.util, "find_spec", lambda name: None if name == "av" else find(name))
    with pytest.raises(UserError, match="pip install av"):
        next(read_frames(ten))
    with pytest.raises(UserError, match="pip install av"):
        write_video(ten.with_name("b.mp4"), numbered(1), 25)
    write_video(ten.with_name("b.gif"), numbered(1), 25)


def test_a_turned_picture_is_read_upright(tmp_path):
    """A phone held upright writes a matrix that turns the picture (in MP4's tkhd box, 16.16 and 2.30 fixed point)."""
    turned = write_video(
        tmp_path / "plain.mp4", [np.vstack([np.full((32, 96, 3), 255), np.zeros((32, 96, 3))]).astype(np.uint8)] * 2, 25
    )
    data = bytearray(turned.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    left = struct.pack(">9i", 0, -(1 << 16), 0, 1 << 16, 0, 0, 0, 96 << 16, 1 << 30)  # (x, y) -> (y, 96 - x)
    assert struct.unpack_from(">9i", data, matrix) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    data[matrix : matrix + len(left)] = left
    turned.write_bytes(data)
    frame = next(read_frames(turned))
    assert frame.shape == (96, 64, 3)
    assert frame[:, :20].mean() > 240 and frame[:, -20:].mean() < 15  # turned left: the upper half is on the left


def test_what_cannot_be_read_or_written(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        next(read_frames(tmp_path / "none.mp4"))
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"no video at all" * 100)
    with pytest.raises(UserError, match="not a readable video"):
        video_info(junk)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(UserError):
        video_info(tmp_path / "empty.mp4")
    with pytest.raises(UserError, match=r"ends in \.mp4, \.webm or \.gif"):
        write_video(tmp_path / "a.mkv", numbered(1), 25)
    with pytest.raises(UserError, match="no frames"):
        write_video(tmp_path / "a.mp4", iter(()), 25)
    with pytest.raises(UserError):
        write_video(junk / "a.mp4", numbered(1), 25)


@pytest.mark.parametrize("ending", [".mp4", ".webm", ".gif"])
def test_a_broken_run_leaves_the_old_file_and_nothing_else(tmp_path, ending):
    path = write_video(tmp_path / f"a{ending}", numbered(2), 10)
    before = path.read_bytes()

    def broken():
        yield from numbered(2)
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        write_video(path, broken(), 10)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_picture_and_a_folder_of_them_are_videos_too(tmp_path):
    """In the order of their numbers, upright as the camera says, never at another rate."""
    from PIL import Image

    for n in (10, 2, 1):
        Image.fromarray(np.full((24, 40, 3), 20 * n, np.uint8)).save(tmp_path / f"f{n}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    frames = list(read_frames(tmp_path, fps=60))
    assert [frame[0, 0, 0] for frame in frames] == [20, 40, 200] and video_info(tmp_path).width == 40
    assert len(list(read_frames(tmp_path / "f2.png", fps=7))) == 1
    image = np.zeros((40, 64, 3), np.uint8)
    image[:, 32:] = 255
    tag = Image.Exif()
    tag[0x112] = 6  # to be turned a quarter clockwise
    Image.fromarray(image).save(tmp_path / "phone.jpg", exif=tag, quality=95)
    (turned,) = read_frames(tmp_path / "phone.jpg")
    assert turned.shape == (64, 40, 3) and turned[:30].max() < 30 and turned[34:].min() > 225
    with pytest.raises(UserError, match="phone.jpg: 40 x 64 pixels, but the pictures before it have 40 x 24"):
        list(read_frames(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no picture"):
        list(read_frames(tmp_path / "empty"))
    (tmp_path / "empty" / "a.jpg").write_bytes(b"no picture at all")
    with pytest.raises(UserError, match="a.jpg"):
        list(read_frames(tmp_path / "empty"))


def test_time_stamps_that_jump_do_not_repeat_a_picture_for_ever():
    picture = np.zeros((2, 2, 3), np.uint8)
    frames = ((time, picture, 25.0) for time in (0.0, 0.04, 1e12))
    start = time_module.process_time()
    with pytest.raises(UserError, match="time stamps jump"):
        for _ in video._at_rate(frames, 50.0):
            assert time_module.process_time() - start < 5
    still = list(video._at_rate(iter([(0.0, picture, 1.0), (30.0, picture, 1.0)]), 10.0))
    assert 300 < len(still) <= 310  # a picture may stand


def test_a_text_is_no_video(tmp_path):
    """FFmpeg would draw it as pictures."""
    (tmp_path / "poses.txt").write_text("[" + "0.1, " * 3000 + "]")
    with pytest.raises(UserError, match="holds no video"):
        video_info(tmp_path / "poses.txt")
