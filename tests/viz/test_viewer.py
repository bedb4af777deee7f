"""The viewer page in a real browser: it loads, plays, seeks, draws, obeys the keyboard, and the console is silent.

Needs Playwright and Debian's Chromium (`apt-get install chromium`, `pip install playwright`); CHROMIUM names another.
"""

import json
import os
import re
import shutil

import numpy as np
import pytest

from common.errors import UserError
from common.geometry.skeleton import H36M_17
from common.viz.viewer import pack, write_viewer
from tests.people import in_camera, pixels, walker

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


def make_person(id=1, frames=60, first=0, hypotheses=5, place=(0.0, 0.0)):
    camera = in_camera(walker(frames, place=place))
    rng = np.random.default_rng(id)
    mask = np.ones((frames, 17), bool)
    mask[5:15, 16] = False
    person = {"id": id, "first": first, "positions": camera, "keypoints_2d": pixels(camera), "mask": mask}
    if hypotheses:
        person["hypotheses"] = camera + rng.normal(0, 0.03, (hypotheses, 1, 17, 3)) * np.linspace(0, 1, 17)[:, None]
    return person


def data_of(path):
    return json.loads(re.search(r'type="application/json">(.*?)</script>', path.read_text("utf-8"), re.S).group(1))


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if not CHROMIUM:
        pytest.skip("Chromium is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens a viewer file; afterwards the console must have been silent and no request left the page's folder."""
    pages, said, asked = [], [], []

    def open_it(path, width=1280, height=800, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        page = context.new_page()
        page.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda r: asked.append(r.url))
        page.goto(path.as_uri())
        page.wait_for_function("window.viewer !== undefined")
        page.wait_for_timeout(150)
        pages.append(context)
        return page

    yield open_it
    for context in pages:
        context.close()
    said = [line for line in said if "willReadFrequently" not in line]  # the tests read pixels, the page does not
    assert said == []
    assert all(url.startswith(("file:", "data:")) for url in asked)


COLOURFUL = """id => {
  const c = document.getElementById(id), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  let n = 0;
  for (let i = 0; i < d.length; i += 4)
    if (d[i + 3] > 200 && Math.max(d[i], d[i + 1], d[i + 2]) - Math.min(d[i], d[i + 1], d[i + 2]) > 60) n++;
  return n;
}"""
SUM = """id => {
  const c = document.getElementById(id), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  let h = 0;
  for (let i = 0; i < d.length; i++) h = (h * 31 + d[i]) | 0;
  return h;
}"""


@pytest.fixture
def page(tmp_path, open_page):
    path = tmp_path / "viewer.html"
    people = [make_person(1), make_person(2, frames=30, first=20, place=(1.0, 0.5))]
    write_viewer(path, people, 50, H36M_17, size=(1280, 720), title="walk", note="trained on nothing: a test")
    return open_page(path)


def test_loads_and_draws(page):
    assert page.title() == "walk" and "trained on nothing" in page.inner_text("#note")
    assert page.evaluate(COLOURFUL, "scene") > 1500
    assert page.evaluate(COLOURFUL, "overlay") > 300
    assert page.locator("#people button").count() == 2


def test_plays_to_the_end_and_stops(page):
    before = page.evaluate(SUM, "scene")
    page.click("#play")
    page.wait_for_timeout(300)
    assert 2 < page.evaluate("viewer.state.t") < 59
    assert page.evaluate(SUM, "scene") != before
    page.wait_for_function("!viewer.state.playing", timeout=10000)
    assert page.evaluate("viewer.state.t") == 59 and "59 / 59" in page.inner_text("#clock")


def test_seeks_by_slider_and_shows_who_is_there(page):
    page.evaluate(
        "() => { const s = document.getElementById('seek'); s.value = 40; s.dispatchEvent(new Event('input')); }"
    )
    page.wait_for_timeout(100)
    assert page.evaluate("viewer.state.t") == 40
    both = page.evaluate(COLOURFUL, "scene")
    page.evaluate("viewer.seek(55)")
    page.wait_for_timeout(100)
    assert page.evaluate(COLOURFUL, "scene") < 0.8 * both  # the second person is gone


def test_keyboard(page):
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate("viewer.state.t") == 11
    page.keyboard.press("End")
    assert page.evaluate("viewer.state.t") == 59
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("viewer.state.t") == 0
    page.keyboard.press("-")
    assert page.evaluate("viewer.state.speed") == 0.5
    page.keyboard.press("Space")
    page.wait_for_timeout(250)
    assert page.evaluate("viewer.state.playing") and page.evaluate("viewer.state.t") > 0
    page.keyboard.press("Space")
    assert not page.evaluate("viewer.state.playing")
    page.keyboard.press("2")
    assert page.evaluate("viewer.state.chosen") == 1
    for key, layer in {"h": "hypotheses", "s": "spread", "k": "keypoints", "g": "floor", "f": "follow"}.items():
        before = page.evaluate(f"viewer.state.layers.{layer}")
        page.keyboard.press(key)
        assert page.evaluate(f"viewer.state.layers.{layer}") is not before
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()


def test_hypotheses_and_spread_change_the_picture(page):
    for key in "hs":
        before = page.evaluate(SUM, "scene")
        page.keyboard.press(key)
        page.wait_for_timeout(100)
        assert page.evaluate(SUM, "scene") != before


def test_a_radius_is_told_in_words(tmp_path, open_page):
    person = make_person()
    person["radius"] = np.full((60, 17), 0.123)
    write_viewer(tmp_path / "viewer.html", [person], 25, H36M_17)
    page = open_page(tmp_path / "viewer.html")
    assert "9 times of 10 within 0" in page.locator("#legend").inner_text()
    assert page.locator("#layer-spread").inner_text() == "Odds"
    assert (
        page.evaluate("told(0.123)") == "9 times of 10 within 123 mm" and page.evaluate("told(0)") == "seen from here"
    )
    assert abs(data_of(tmp_path / "viewer.html")["people"][0]["spread"]["offset"][0] - 0.123) < 1e-6


def test_orbit_zoom_and_reset(page):
    start = page.evaluate("[viewer.state.camera.yaw, viewer.state.camera.distance]")
    page.mouse.move(400, 400)
    page.mouse.down()
    page.mouse.move(500, 420, steps=4)
    page.mouse.up()
    page.mouse.wheel(0, 300)
    page.wait_for_timeout(100)
    turned = page.evaluate("[viewer.state.camera.yaw, viewer.state.camera.distance]")
    assert abs(turned[0] - start[0]) > 0.3 and turned[1] > 1.2 * start[1]
    page.keyboard.press("r")
    assert page.evaluate("[viewer.state.camera.yaw, viewer.state.camera.distance]") == start


def test_phone(tmp_path, open_page):
    write_viewer(tmp_path / "v.html", [make_person(1), make_person(2)], 50, H36M_17, size=(1280, 720))
    page = open_page(tmp_path / "v.html", 390, 844, device_scale_factor=2, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390  # nothing sticks out
    assert page.evaluate(COLOURFUL, "scene") > 1000
    for name in ("scene", "overlay", "play", "seek", "speed"):
        box = page.locator(f"#{name}").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["y"] + box["height"] <= 844, name
    page.tap("#play")
    page.wait_for_timeout(200)
    assert page.evaluate("viewer.state.t") > 0


def test_the_video_follows_the_slider(tmp_path, open_page):
    video = pytest.importorskip("common.files.video")
    frames = [np.full((64, 96, 3), 4 * n, np.uint8) for n in range(50)]
    video.write_video(tmp_path / "in.mp4", frames, 25)
    for embed in (False, True):
        path = tmp_path / f"v{embed}.html"
        write_viewer(
            path, [make_person(1, 50)], 25, H36M_17, size=(96, 64), video=tmp_path / "in.mp4", embed_video=embed
        )
        assert (data_of(path)["video"] == "in.mp4") is not embed
        page = open_page(path)
        page.wait_for_function("document.getElementById('video').readyState >= 2")
        page.evaluate("viewer.seek(25)")
        page.wait_for_function("Math.abs(document.getElementById('video').currentTime - 1) < 0.05", timeout=5000)


def test_no_keypoints_no_picture_no_hypotheses(tmp_path, open_page):
    person = {"id": 3, "positions": walker(1)}
    write_viewer(tmp_path / "v.html", [person], 50, H36M_17, frame="world")
    page = open_page(tmp_path / "v.html")
    assert page.locator("#picture").is_hidden() and page.locator("#layer-spread").count() == 0
    assert page.evaluate(COLOURFUL, "scene") > 800
    page.click("#play")
    assert not page.evaluate("viewer.state.playing")


def test_packing_is_exact_to_the_step():
    values = np.random.default_rng(0).uniform(-5, 5, (40, 17, 3))
    part = pack(values)
    import base64

    ints = np.frombuffer(base64.b64decode(part["data"]), "<i2").reshape(values.shape)
    np.testing.assert_allclose(ints * part["scale"] + part["offset"], values, atol=0.51 * part["scale"])
    assert part["scale"] < 2e-4 and pack(None) is None


def test_names_cannot_break_out_of_the_page(tmp_path, open_page):
    title = "</script><script>window.hacked = 1</script><!--"
    write_viewer(tmp_path / "v.html", [make_person(1, 5)], 50, H36M_17, title=title)
    page = open_page(tmp_path / "v.html")
    assert page.evaluate("window.hacked") is None and page.inner_text("#title") == title


def test_errors(tmp_path):
    with pytest.raises(UserError, match="nobody"):
        write_viewer(tmp_path / "v.html", [], 50, H36M_17)
    with pytest.raises(UserError, match="no such file"):
        write_viewer(tmp_path / "v.html", [make_person()], 50, H36M_17, video=tmp_path / "none.mp4")
    with pytest.raises(UserError, match="needs positions"):
        write_viewer(tmp_path / "v.html", [{"id": 1, "positions": np.full((2, 17, 3), np.nan)}], 50, H36M_17)


NAMES = """() => {
  const boxes = [], context = document.getElementById('scene').getContext('2d'), write = context.fillText;
  context.fillText = (text, x, y) => {
    const half = context.measureText(text).width / 2;
    boxes.push([text, x - half, y - 11, x + half, y]);
    write.call(context, text, x, y);
  };
  drawScene(viewer.state.t, viewer.state.layers, viewer.state.chosen);
  delete context.fillText;
  return boxes;
}"""


@pytest.mark.parametrize("width", [1280, 390])
def test_a_crowd_stays_legible(tmp_path, open_page, width):
    """24 people: short names that lie on no other, a row or two of buttons, one singled out by key and clearly so."""
    people = [make_person(n, 40, place=(1.1 * (n % 6), 1.3 * (n // 6))) for n in range(24)]
    write_viewer(tmp_path / "crowd.html", people, 50, H36M_17, size=(1280, 720), most_hypotheses=3)
    page = open_page(tmp_path / "crowd.html", width, 800)
    assert page.locator("#people button").all_inner_texts() == [str(n) for n in range(24)]
    assert page.locator("#people").bounding_box()["height"] < 100
    boxes = page.evaluate(NAMES)
    assert len(boxes) >= (24 if width > 1000 else 12)
    for n, (_, left, top, right, bottom) in enumerate(boxes):
        for _, other_left, other_top, other_right, other_bottom in boxes[:n]:
            assert right < other_left or left > other_right or bottom < other_top + 1 or top > other_bottom - 1
    everybody = page.evaluate(COLOURFUL, "scene")
    page.keyboard.press("]")
    page.keyboard.press("]")
    page.wait_for_timeout(200)
    assert page.evaluate("viewer.state.chosen") == 1 and page.evaluate(NAMES)[0][0] == "1"
    assert page.locator('#people button[aria-pressed="true"]').inner_text() == "1"
    assert page.evaluate(COLOURFUL, "scene") < 0.4 * everybody
    page.keyboard.press("[")
    assert page.evaluate("viewer.state.chosen") == 0
