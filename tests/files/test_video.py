import importlib.util
import subprocess

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


def test_mp4_is_h264_of_even_size_and_plays_at_its_rate(tmp_path):
    path = write_video(tmp_path / "sub" / "odd.mp4", numbered(7, 33, 47), 29.97)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (48, 34)
        assert stream.codec_context.name in ("h264", "libx264") and stream.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == pytest.approx(29.97, rel=1e-3)
        assert sum(1 for _ in container.decode(stream)) == 7
    assert list(path.parent.iterdir()) == [path]


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


def test_reading_without_pyav(ten, monkeypatch):
    pytest.importorskip("imageio_ffmpeg")
    find = importlib.util.find_spec
    monkeypatch.setattr(video.importlib.util, "find_spec", lambda name: None if name == "av" else find(name))
    assert numbers(ten, skip=3, limit=2) == [3, 4]
    assert video_info(ten).fps == 25
    with pytest.raises(UserError, match="pip install av"):
        write_video(ten.with_name("b.mp4"), numbered(1), 25)


def test_a_turned_picture_is_read_upright(ten, tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    plain = write_video(
        tmp_path / "plain.mp4", [np.vstack([np.full((32, 96, 3), 255), np.zeros((32, 96, 3))]).astype(np.uint8)] * 2, 25
    )
    turned = tmp_path / "turned.mp4"
    command = [ffmpeg, "-v", "error", "-display_rotation", "90", "-i", str(plain), "-c", "copy", str(turned)]
    subprocess.run(command, check=True)
    frame = next(read_frames(turned))
    assert frame.shape == (96, 64, 3)
    assert frame[:, :20].mean() > 240 and frame[:, -20:].mean() < 15  # turned left: the upper half is on the left


def test_what_cannot_be_read_or_written(tmp_path):
    with pytest.raises(UserError, match="video not found"):
        next(read_frames(tmp_path / "none.mp4"))
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"no video at all" * 100)
    with pytest.raises(UserError, match="as a video"):
        video_info(junk)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(UserError):
        video_info(tmp_path / "empty.mp4")
    with pytest.raises(UserError, match=r"ends in \.mp4 or \.gif"):
        write_video(tmp_path / "a.mkv", numbered(1), 25)
    with pytest.raises(UserError, match="no frames"):
        write_video(tmp_path / "a.mp4", iter(()), 25)
    with pytest.raises(UserError):
        write_video(junk / "a.mp4", numbered(1), 25)


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_a_broken_run_leaves_the_old_file_and_nothing_else(tmp_path, ending):
    path = write_video(tmp_path / f"a{ending}", numbered(2), 10)
    before = path.read_bytes()

    def broken():
        yield from numbered(2)
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        write_video(path, broken(), 10)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
