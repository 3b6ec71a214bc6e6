"""Names, paths and downloads: what a user types becomes one verified file, or one clear line."""

from __future__ import annotations

import hashlib
import re
import threading
import urllib.error
import urllib.request
from dataclasses import FrozenInstanceError, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from esrgan.errors import UsageError, WeightsError
from esrgan.weights import MODELS, ModelEntry, load_network, resolve
from esrgan.weights.download import _HttpsOnly, fetch, open_https
from esrgan.weights.registry import ALIASES, cache_folder, find_model, gan_of

CONTENT = bytes(range(256)) * 3000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    """A web server on 127.0.0.1: `address`, `answers` (path -> status, body, claimed length) and the paths `asked`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            status, body, length = answers.get(self.path, (404, b"not here", 8))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", body.decode())
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    answers, asked = {}, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.address = f"http://127.0.0.1:{http.server_address[1]}"
        http.answers, http.asked = answers, asked
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield http
        http.shutdown()
        thread.join()


def direct(address):
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=5)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ESRGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def registry(server):
    server.answers["/net.pth"] = (200, CONTENT, len(CONTENT))
    entry = ModelEntry(
        name="net",
        description="for tests",
        scale=4,
        file="net.pth",
        licence="none",
        address=f"{server.address}/net.pth",
        sha256=SHA256,
        size_bytes=len(CONTENT),
    )
    return {"net": entry}


def get(registry, name="net"):
    return resolve(name, models=registry, opener=direct, progress="none")


def refused(registry):
    with pytest.raises(WeightsError) as caught:
        get(registry)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_name_is_downloaded_once_and_verified(registry, server, cache):
    path = get(registry)
    assert path == cache / "net.pth"
    assert path.read_bytes() == CONTENT
    assert get(registry) == path
    assert server.asked == ["/net.pth"]
    assert list(cache.iterdir()) == [path]


@pytest.mark.parametrize("damage", [CONTENT[:-1], CONTENT[:-1] + b"x", b""])
def test_a_damaged_file_in_the_cache_is_downloaded_again(registry, server, damage):
    get(registry).write_bytes(damage)
    assert get(registry).read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_file_put_into_the_cache_by_hand_needs_no_connection(registry, server, cache):
    cache.mkdir()
    (cache / "net.pth").write_bytes(CONTENT)
    assert get(registry) == cache / "net.pth"
    assert server.asked == []


def test_the_wrong_content_is_refused_and_not_kept(registry, server, cache):
    wrong = CONTENT[:-1] + b"x"
    server.answers["/net.pth"] = (200, wrong, len(wrong))
    message = refused(registry)
    assert SHA256 in message
    assert hashlib.sha256(wrong).hexdigest() in message
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("size_known", [True, False])
def test_an_incomplete_answer_is_refused_and_not_kept(registry, server, cache, size_known):
    server.answers["/net.pth"] = (200, CONTENT[:1000], len(CONTENT))
    if not size_known:
        registry["net"] = replace(registry["net"], size_bytes=None)
    assert f"after 1000 of {len(CONTENT)} bytes" in refused(registry)
    assert list(cache.iterdir()) == []


def test_more_bytes_than_expected_are_not_read(registry, server, cache):
    server.answers["/net.pth"] = (200, CONTENT * 20, None)
    assert f"more than the {len(CONTENT)} bytes" in refused(registry)
    assert list(cache.iterdir()) == []


def test_without_any_size_the_checksum_decides(registry, server):
    server.answers["/net.pth"] = (200, CONTENT, None)
    registry["net"] = replace(registry["net"], size_bytes=None)
    assert get(registry).read_bytes() == CONTENT


def test_an_answer_of_404_names_the_address_and_the_way_by_hand(registry, server, cache):
    server.answers.clear()
    message = refused(registry)
    assert "404" in message
    assert f"{server.address}/net.pth" in message
    assert str(cache / "net.pth") in message
    assert list(cache.iterdir()) == []


def test_without_a_connection_one_line_says_what_to_do(registry, cache):
    http = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    address = f"http://127.0.0.1:{http.server_address[1]}/net.pth"
    http.server_close()
    registry["net"] = replace(registry["net"], address=address)
    message = refused(registry)
    assert "Connection refused" in message
    assert address in message
    assert str(cache / "net.pth") in message


def test_a_cache_that_cannot_be_written_is_named(registry, cache):
    cache.write_bytes(b"a file, not a folder")
    message = refused(registry)
    assert str(cache) in message
    assert "ESRGAN_CACHE" in message


@pytest.mark.parametrize("address", ["http://127.0.0.1/x", "file:///etc/hostname", "ftp://127.0.0.1/x", "x"])
def test_only_https_is_opened(tmp_path, address):
    with pytest.raises(urllib.error.URLError, match="only https"):
        open_https(address)
    with pytest.raises(WeightsError, match="only https"):
        fetch(address, tmp_path / "x", sha256=SHA256, progress="none")


def test_a_redirect_away_from_https_is_not_followed(registry, server):
    server.answers["/net.pth"] = (302, f"{server.address}/other".encode(), 0)
    opener = urllib.request.build_opener(_HttpsOnly, urllib.request.ProxyHandler({}))
    with pytest.raises(WeightsError, match="which is not https"):
        resolve("net", models=registry, opener=opener.open, progress="none")
    assert server.asked == ["/net.pth"]


def test_progress_is_counted_in_bytes(registry, capsys):
    resolve("net", models=registry, opener=direct, progress="json")
    assert f'"done": {len(CONTENT)}, "total": {len(CONTENT)}' in capsys.readouterr().err


def test_a_path_that_exists_wins_over_a_name(registry, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.pth").write_bytes(b"mine")
    Path("net").write_bytes(b"mine too")
    assert get(registry, "net.pth") == Path("net.pth")
    assert get(registry, "./net") == Path("net")
    assert get(registry, Path("net")) == Path("net")
    assert server.asked == []
    assert get(registry, "net").read_bytes() == CONTENT


def test_a_file_without_a_suffix_is_found(registry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my weights").write_bytes(b"mine")
    assert get(registry, "my weights") == Path("my weights")


@pytest.mark.parametrize("name", ["net", "NET", "net.pth", "Net.safetensors"])
def test_case_and_suffix_of_a_name_do_not_matter(registry, name):
    assert get(registry, name).name == "net.pth"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("RealESRGAN_x4pluss", "RealESRGAN_x4plus"),
        ("realesr-animevideo", "realesr-animevideov3"),
        ("defualt", "default"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, nearest):
    with pytest.raises(UsageError, match=rf"{re.escape(repr(name))} is neither .*{nearest}"):
        resolve(name)


@pytest.mark.parametrize("name", ["", "???", "a\0b", "x" * 10_000])
def test_a_name_like_no_other_is_answered_with_all(name):
    with pytest.raises(UsageError, match="known names: default"):
        resolve(name)


def test_a_path_that_does_not_exist_is_said_to_be_missing(tmp_path):
    for missing in (tmp_path / "RealESRGAN_x4plus.pth", f"{tmp_path}/x.pth"):
        with pytest.raises(UsageError, match="there is no such weights file"):
            resolve(missing)
        with pytest.raises(UsageError, match="there is no such weights file"):
            load_network(missing)


def test_the_registry_is_complete_and_read_only():
    assert next(iter(MODELS)) == "default"
    for name, entry in MODELS.items():
        assert entry.name == name
        assert entry.licence
        assert entry.scale in (2, 4)
        if entry.address is not None:
            assert entry.address.startswith("https://")
            assert re.fullmatch("[0-9a-f]{64}", entry.sha256)
    assert set(ALIASES.values()) <= set(MODELS)
    with pytest.raises(TypeError):
        MODELS["mine"] = MODELS["default"]
    with pytest.raises(FrozenInstanceError):
        MODELS["default"].scale = 3
    with pytest.raises(ValueError, match="no sha256"):
        replace(MODELS["RealESRGAN_x4plus"], sha256=None)


def test_a_pair_is_one_network_trained_twice():
    pairs = {name: entry.gan for name, entry in MODELS.items() if entry.gan}
    assert pairs["default"] == "rrdb-lite-x4-gan"
    for name, gan in pairs.items():
        assert gan_of(name) == gan
        assert MODELS[gan].gan is None
        assert load_network(name).facts == load_network(gan).facts


def test_a_network_without_a_partner_is_told_which_have_one(registry, tmp_path):
    models = {name: replace(entry, gan="mine") for name, entry in registry.items()}
    some = next(iter(models))
    assert gan_of(some, models) == "mine"
    for source in (tmp_path / "my.pth", "RealESRGAN_x4plus"):
        with pytest.raises(UsageError, match=f"no GAN partner .*: {some} \\(mine\\)"):
            gan_of(source, models)


def test_no_two_models_share_a_file_or_a_checksum():
    assert len({entry.file for entry in MODELS.values()}) == len(MODELS)
    checksums = [entry.sha256 for entry in MODELS.values() if entry.sha256]
    assert len(set(checksums)) == len(checksums)


def test_a_checksum_in_a_published_name_fits():
    entry = find_model("ESRGAN_x4")
    assert entry.sha256.startswith(entry.name.rpartition("-")[2])


def test_the_checksum_and_size_of_real_weights_fit(assets):
    path = assets / "weights" / "realesr-animevideov3.pth"
    entry = MODELS["realesr-animevideov3"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
    assert path.stat().st_size == entry.size_bytes


def test_real_weights_in_the_cache_are_loaded_by_name(assets, cache):
    cache.mkdir()
    data = (assets / "weights" / "realesr-animevideov3.pth").read_bytes()
    (cache / "realesr-animevideov3.pth").write_bytes(data)
    assert load_network("realesr-animevideov3").facts.scale == 4


def test_the_default_network_is_installed(cache):
    facts = load_network().facts
    assert (facts.architecture, facts.scale, facts.in_channels) == ("RRDBNet", MODELS["default"].scale, 3)
    assert not cache.exists()


def test_a_shipped_file_that_is_missing_is_said_to_be(monkeypatch, tmp_path):
    monkeypatch.setattr("esrgan.weights.registry._SHIPPED_FOLDER", tmp_path)
    with pytest.raises(WeightsError, match="missing from this installation"):
        resolve("default")


def test_the_cache_is_the_users_unless_the_variable_says_otherwise(cache, monkeypatch, tmp_path):
    assert cache_folder() == cache
    for unset in ("", None):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        monkeypatch.setenv("ESRGAN_CACHE", unset) if unset == "" else monkeypatch.delenv("ESRGAN_CACHE")
        assert cache_folder().name == "esrgan"
        assert cache_folder() != cache
