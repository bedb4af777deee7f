"""What is fetched is told of, checked and kept whole; what cannot or must not be fetched leaves one line."""

import hashlib
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from common.errors import UserError
from common.files.download import Remote, fetch
from common.models import clip
from common.models.prompts import main as write_prompts
from tests.models.test_prompts import tower_state

DATA = bytes(range(256)) * 9000
REMOTE = Remote("some weights", "", "2 MB", hashlib.sha256(DATA).hexdigest(), "--text learned needs none")


@pytest.fixture
def server(monkeypatch, own_sockets):
    """A server on this machine that hands out `server.files`; names that end in .cut lose their second half."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            data = server.files.get(self.path)
            if data is None:
                self.send_error(404, "Not here")
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if self.path.endswith(".cut") else data)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.files = {"/w.pt": DATA, "/w.cut": DATA}
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_file_is_told_of_fetched_and_kept(server, tmp_path, capsys):
    remote = replace(REMOTE, url=f"{server.url}/w.pt")
    target = tmp_path / "cache" / "w.pt"
    assert fetch(remote, target) == target and target.read_bytes() == DATA
    line = capsys.readouterr().err.splitlines()[0]
    for part in ("some weights", "w.pt", "2 MB", remote.url, str(target), "--offline"):
        assert part in line
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("path", "digest", "told"),
    [
        ("/w.pt", "0" * 64, "its SHA-256 is"),
        ("/w.cut", None, "SHA-256|more expected"),
        ("/absent.pt", None, "Not"),
    ],
)
def test_what_is_not_the_file_is_not_kept(server, tmp_path, path, digest, told):
    remote = replace(REMOTE, url=server.url + path, sha256=digest or REMOTE.sha256)
    with pytest.raises(UserError, match=told) as caught:
        fetch(remote, tmp_path / "w.pt")
    assert remote.url in str(caught.value) and "--text learned" in str(caught.value)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_no_server_is_one_line(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"cannot be fetched \(.*refused.*\).*w\.pt.*http://.*--text learned"):
        fetch(replace(REMOTE, url=f"{server.url}/w.pt"), tmp_path / "w.pt")


def test_clip_is_fetched_once_and_never_offline(server, tmp_path, monkeypatch, capsys):
    """Through a program: offline there is one line; then the weights are fetched and kept where OpenAI keeps them."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *arguments: None)
    torch.save(tower_state(), tmp_path / "clip.pt")
    server.files["/ViT-B-32.pt"] = (tmp_path / "clip.pt").read_bytes()
    digest = hashlib.sha256(server.files["/ViT-B-32.pt"]).hexdigest()
    monkeypatch.setattr(clip, "WEIGHTS", replace(clip.WEIGHTS, url=f"{server.url}/ViT-B-32.pt", sha256=digest))
    line = ["--actions", "Walking", "--out", str(tmp_path / "p.safetensors")]
    assert write_prompts([*line, "--offline"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    for part in ("--offline", "ViT-B-32.pt", server.url, "--text learned", "--prompts", "--clip-weights"):
        assert part in told
    assert write_prompts(line) == 0
    assert "fetching CLIP's weights: ViT-B-32.pt, 354 MB" in capsys.readouterr().err
    assert (tmp_path / "home/.cache/clip/ViT-B-32.pt").is_file()
    server.files.clear()
    assert write_prompts([*line, "--offline"]) == 0  # it is there


def test_the_real_address_holds_its_own_hash():
    assert clip.WEIGHTS.sha256 in clip.WEIGHTS.url and len(clip.WEIGHTS.sha256) == 64
