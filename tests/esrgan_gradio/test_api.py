"""The named endpoints, called as other people's programs call them."""

from __future__ import annotations

import io
import json
import os
import pickle
import secrets
import socket
import time
import wave
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from clip_tools import Clip, streams, write_clip
from demo_server import demo
from esrgan_video.cli.main import main

gradio_client = pytest.importorskip("gradio_client")
handle_file = gradio_client.handle_file


@pytest.fixture(scope="module")
def client(app, tmp_path_factory) -> Any:
    client = gradio_client.Client(app, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))
    yield client
    client.close()


def by_command(source: Path, target: Path, *options: str) -> np.ndarray:
    """Pixels that `esrgan upscale` makes of an image."""
    assert main(["upscale", str(source), "-o", str(target), "--device", "cpu", "--progress", "none", *options]) == 0
    return np.asarray(Image.open(target))


def test_the_names_are_what_is_documented_and_nothing_else_is_public(client):
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {
        "/upscale_image",
        "/upscale_video",
        "/interpolate",
    }


def test_upscale_image_gives_the_pixels_of_the_command(client, photo, tiny, tmp_path):
    path = client.predict(handle_file(photo), model="tiny-a", scale=1.5, tile=32, api_name="/upscale_image")
    assert Path(path).name == "a_photo_x1.5.png"
    expected = by_command(photo, tmp_path / "out.png", "-n", str(tiny[0]), "-s", "1.5", "-t", "32")
    np.testing.assert_array_equal(np.asarray(Image.open(path)), expected)


def test_upscale_image_keeps_16_bits(client, tmp_path):
    source = tmp_path / "deep.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 65536, (9, 11), dtype=np.uint16)).save(source)
    path = client.predict(handle_file(source), model="tiny-a", api_name="/upscale_image")
    with Image.open(path) as large:
        assert large.mode.startswith("I;16")
        assert large.size == (22, 18)


def test_interpolate_gives_the_pixels_of_the_commands(client, photo, tiny, tmp_path):
    blend = tmp_path / "blend.safetensors"
    assert main(["interpolate", *map(str, tiny), "--alpha", "0.7", "-o", str(blend)]) == 0
    expected = by_command(photo, tmp_path / "out.png", "-n", str(blend))
    by_name = client.predict(handle_file(photo), 0.7, "tiny-a", "tiny-b", api_name="/interpolate")
    np.testing.assert_array_equal(np.asarray(Image.open(by_name)), expected)
    sent = client.predict(
        handle_file(photo), 0.7, "tiny-a", second_weights=handle_file(tiny[1]), api_name="/interpolate"
    )
    np.testing.assert_array_equal(np.asarray(Image.open(sent)), expected)


def test_upscale_video_reports_progress_and_keeps_frames_and_sound(client, tmp_path):
    clip = write_clip(
        tmp_path / "clip.mkv",
        Clip(times=[40 * time for time in range(30)], time_base=Fraction(1, 1000), audio=["libopus"]),
    )
    job = client.submit(handle_file(clip), model="tiny-a", api_name="/upscale_video")
    path, text = job.result(timeout=120)
    assert text.startswith("30 frames of 128 × 96")
    lines = [line for file, line in job.outputs()[:-1] if file is None]
    assert any("of 30 frames" in line for line in lines)
    assert [(kind, codec) for kind, codec, *_ in streams(Path(path))] == [("video", "h264"), ("audio", "opus")]
    with av.open(path) as result:
        assert sum(1 for _ in result.decode(video=0)) == 30


def test_a_cancelled_video_frees_the_device(client, clip, photo):
    job = client.submit(handle_file(clip), api_name="/upscale_video")
    while not job.outputs():
        assert not job.done()
    job.cancel()
    assert client.predict(handle_file(photo), model="tiny-a", api_name="/upscale_image").endswith(".png")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"model": "/etc/passwd"}, "There is no model '/etc/passwd' here; choose one of default, tiny-a, tiny-b."),
        ({"scale": 0}, "The output scale must be 1 to 8, got 0."),
        ({"scale": "large"}, "The output scale must be 1 to 8, got 'large'."),
        ({"faces": 2}, "The strength for faces must be 0 (leave them) to 1, got 2."),
        ({"faces": 0.5}, "Faces are not restored here: start the demo with --faces MODEL."),
        ({"tile": 3}, "The tile must be 0 (whole image) or 32 to 4096 pixels, got 3."),
    ],
)
def test_wrong_values_are_refused_with_the_value(client, photo, arguments, sentence):
    with pytest.raises(gradio_client.exceptions.AppError) as refusal:
        client.predict(handle_file(photo), api_name="/upscale_image", **arguments)
    assert str(refusal.value) == sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"codec": "libx264rgb"}, "The codec must be one of Automatic, H.264"),
        ({"container": "exe"}, "The container must be one of Automatic, mkv"),
        ({"trial_seconds": -1}, "The trial must be 0 (whole video) or a number of seconds, got -1."),
        ({"container": "webm"}, "left out"),
    ],
)
def test_wrong_choices_for_a_video_are_refused(client, clip, arguments, sentence):
    with pytest.raises(gradio_client.exceptions.AppError) as refusal:
        client.predict(handle_file(clip), api_name="/upscale_video", **arguments)
    message = str(refusal.value)
    assert sentence in message or "leave it out" in message
    assert "/tmp" not in message


def call(app: str, endpoint: str, data: list[Any]) -> str:
    """What the server answers to a request that no honest client would send."""
    event = httpx.post(f"{app}gradio_api/call/{endpoint}", json={"data": data}).json()["event_id"]
    return httpx.get(f"{app}gradio_api/call/{endpoint}/{event}", timeout=60).text


@pytest.mark.parametrize("meta", [{"meta": {"_type": "gradio.FileData"}}, {}])
@pytest.mark.parametrize("path", ["/etc/passwd", f"{os.sep}proc{os.sep}self{os.sep}environ"])
def test_a_path_from_elsewhere_is_refused(app, path, meta):
    answer = call(app, "upscale_image", [{"path": path, **meta}, "default", None, None, 0])
    assert answer.startswith("event: error")
    assert "was not uploaded by a user" in answer or "must be an uploaded file" in answer


def uploaded(app: str, path: Path) -> dict[str, Any]:
    """What the page would say of a file after it was sent."""
    with path.open("rb") as file:
        (place,) = httpx.post(f"{app}gradio_api/upload", files={"files": (path.name, file)}).json()
    return {"path": place, "meta": {"_type": "gradio.FileData"}}


def events_into(app: str, element: str) -> list[int]:
    """Numbers of the events that show something in the element of the page, hidden ones too."""
    config = httpx.get(f"{app}config").json()
    (number,) = (part["id"] for part in config["components"] if part["props"].get("elem_id") == element)
    return [event["id"] for event in config["dependencies"] if number in event["outputs"]]


def join(app: str, session: str, event: int, data: list[Any]) -> dict[str, Any]:
    """What the server answers to an event of the page with arguments that the page did not choose."""
    body = {"data": data, "fn_index": event, "session_hash": session}
    httpx.post(f"{app}gradio_api/queue/join", json=body).raise_for_status()
    with httpx.stream("GET", f"{app}gradio_api/queue/data?session_hash={session}", timeout=60) as answer:
        for line in answer.iter_lines():
            message = json.loads(line.removeprefix("data:")) if line else {}
            if message.get("msg") == "process_completed":
                return message
    raise AssertionError("the event did not end")


@pytest.mark.parametrize("kind", ["playlist", "video"])
def test_the_player_shows_the_result_and_no_file_that_a_request_names(app, tmp_path, kind):
    source = write_clip(tmp_path / "private.ts", Clip(size=(32, 32), times=range(5)))
    if kind == "playlist":
        source = tmp_path / "list.m3u8"
        source.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{tmp_path}/private.ts\n#EXT-X-ENDLIST\n")
    start, preview = events_into(app, "video-result")
    file, session = uploaded(app, source), secrets.token_hex(8)
    assert join(app, session, preview, [file])["output"]["data"] == [None]
    request = [file, "tiny-a", 2, "Automatic", "Visually lossless", "Automatic", 0, False, 0]
    assert join(app, session, start, request)["success"] is (kind == "video")
    (shown,) = join(app, session, preview, [file])["output"]["data"]
    assert shown is None if kind == "playlist" else shown["path"].endswith("private_x2_preview.mp4")
    assert join(app, secrets.token_hex(8), preview, [shown])["output"]["data"] == [None]


@pytest.mark.parametrize("address", ["http://example.com/a.png", "HTTPS://example.com/a.png"])
def test_an_address_in_place_of_a_file_is_not_fetched(app, address):
    file = {"path": address, "meta": {"_type": "gradio.FileData"}}
    answer = httpx.post(f"{app}gradio_api/call/upscale_image", json={"data": [file, "default", None, None, 0]})
    assert answer.status_code == 400
    assert answer.json()["detail"] == "files must be uploaded; addresses are not fetched here"


@pytest.mark.parametrize("kinds", [["multipart/form-data", "application/json"], ["application/json", "text/plain"]])
def test_a_request_with_two_content_types_is_refused(app, kinds):
    file = {"path": "http://example.com/a.png", "meta": {"_type": "gradio.FileData"}}
    body = json.dumps({"data": [file, "default", None, None, 0]})
    headers = [("content-type", kind) for kind in kinds]
    answer = httpx.post(f"{app}gradio_api/call/upscale_image", content=body, headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (400, "a request has one content type")


@pytest.mark.parametrize("route", ["process_recording", "component_server", "call/upscale_image", "upload/"])
def test_files_are_taken_as_uploads_only(app, clip, route):
    answer = httpx.post(f"{app}gradio_api/{route}", files={"video": ("a.mp4", clip.read_bytes())})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("files must be uploaded")


@pytest.mark.parametrize("path", ["file=http://example.com/a.png", "file/https://example.com/a.png"])
def test_what_is_behind_an_address_is_not_served(app, path):
    assert httpx.get(f"{app}gradio_api/{path}").json()["detail"].startswith("files must be uploaded")


def test_files_of_the_machine_are_not_served(app):
    assert httpx.get(f"{app}gradio_api/file=/etc/passwd").status_code in (403, 404)
    here = httpx.get(f"{app}gradio_api/file={Path(__file__).resolve()}")
    assert here.status_code in (403, 404)


def test_a_script_is_never_run(client, tmp_path):
    witness = tmp_path / "ran"
    script = tmp_path / "clip.vpy"
    script.write_text(f"from pathlib import Path\nPath({str(witness)!r}).touch()\n")
    with pytest.raises(gradio_client.exceptions.AppError, match=r"clip.vpy is not a video that is taken here"):
        client.predict(handle_file(script), api_name="/upscale_video")
    assert not witness.exists()


def sound_only() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(1600))
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"only words\n" * 9,
        b"#EXTM3U\n#EXTINF:1,\nother.mp4\n",
        b"ffconcat version 1.0\nfile other.mp4\n",
        sound_only(),
    ],
    ids=["empty", "text", "playlist", "list of files", "sound"],
)
def test_what_is_no_video_is_refused(client, tmp_path, content):
    file = tmp_path / "holiday.mp4"
    file.write_bytes(content)
    with pytest.raises((gradio_client.exceptions.AppError, ValueError)) as refusal:
        client.predict(handle_file(file), api_name="/upscale_video")
    assert "holiday.mp4" in str(refusal.value)
    assert "/tmp" not in str(refusal.value)


def test_a_video_that_is_too_large_or_too_long_is_refused_and_a_trial_of_it_is_not(client, tmp_path):
    large = write_clip(tmp_path / "large.mp4", Clip(size=(640, 480), times=range(2)))
    with pytest.raises(
        gradio_client.exceptions.AppError, match=r"large.mp4 has frames of 640x480 pixels; at most 0.25"
    ):
        client.predict(handle_file(large), model="tiny-a", api_name="/upscale_video")
    long = write_clip(tmp_path / "long.mp4", Clip(size=(32, 32), times=range(0, 25 * 20, 25)))
    with pytest.raises(gradio_client.exceptions.AppError, match=r"long.mp4 lasts 19 s; at most 12 s"):
        client.predict(handle_file(long), model="tiny-a", api_name="/upscale_video")
    path, _ = client.predict(handle_file(long), model="tiny-a", trial_seconds=3, api_name="/upscale_video")
    with av.open(path) as result:
        assert sum(1 for _ in result.decode(video=0)) == 3


class Hostile:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_weights_that_hold_code_are_refused(client, photo, tmp_path, save):
    file = tmp_path / "evil.pth"
    save({"params": Hostile()}, file)
    with pytest.raises(gradio_client.exceptions.AppError, match=r"evil.pth: .*refused"):
        client.predict(handle_file(photo), 0.5, "tiny-a", second_weights=handle_file(file), api_name="/interpolate")


def test_a_file_that_is_too_large_is_refused_while_it_is_sent(app):
    files = {"files": ("huge.png", bytes(21_000_000))}
    answer = httpx.post(f"{app}gradio_api/upload", files=files, timeout=60)
    assert answer.status_code == 413


def test_uploads_for_which_there_is_no_room_are_refused_or_broken_off(tiny, tmp_path):
    def piecewise(size: int) -> Iterator[bytes]:  # says nowhere how large it is
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="large.mp4"\r\n\r\n'
        for _ in range(0, size, 500_000):
            yield bytes(500_000)
        yield b"\r\n--x--\r\n"

    with demo(tmp_path, "-n", str(tiny[0]), "--max-total-mb", "30") as address:
        upload = partial(httpx.post, f"{address}gradio_api/upload", timeout=60)
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        assert upload(content=piecewise(1_000_000), headers=headers).status_code == 200
        announced = upload(files={"files": ("a.mp4", bytes(29_000_000))})
        assert announced.status_code == 507
        assert announced.json()["detail"].startswith("there is no room on the server, the 30 MB")
        assert taken(tmp_path) < 5_000_000
        assert upload(content=piecewise(60_000_000), headers=headers).status_code == 507
        assert taken(tmp_path) < 50_000_000
        assert upload(files={"files": ("a.mp4", b"x")}).status_code == 507


def taken(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_uploads_and_results_are_removed_after_their_time_and_at_the_end(photo, clip, tiny, tmp_path):
    with demo(tmp_path, "-n", str(tiny[0]), "--keep-minutes", "0.1") as address:
        client = gradio_client.Client(address, verbose=False, download_files=False)
        result = client.predict(handle_file(photo), api_name="/upscale_image")
        assert result["path"].startswith(str(tmp_path))
        assert [path.name for path in _files_of_jobs(tmp_path)] == [Path(result["path"]).name]
        left = Path(result["path"]).with_name("left.png")  # what Gradio knows nothing of
        left.touch()
        deadline = time.monotonic() + 60
        break_off_an_upload(address, tmp_path, deadline)
        assert httpx.get(f"{address}gradio_api/deep_link", params={"session_hash": client.session_hash}).json()
        assert list(tmp_path.rglob("state.json"))
        while _files_of_visitors(tmp_path) + _files_of_jobs(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert _files_of_visitors(tmp_path) + _files_of_jobs(tmp_path) == []
        examples = sorted(tmp_path.rglob("examples/*"))
        assert [path.name for path in examples] == ["emblem.png", "harbour.mp4", "harbour.png"]
        job = client.submit(handle_file(clip), api_name="/upscale_video")
        while not job.outputs():
            assert not job.done()
        client.close()  # and the demo ends in the middle of a video


def _files_of_visitors(folder: Path) -> list[Path]:
    return [path for name in ("*photo*", "tmp*", "state.json") for path in folder.rglob(name) if path.is_file()]


def break_off_an_upload(app: str, folder: Path, deadline: float) -> None:
    """Leave in the middle of a file, of which the server has a part."""
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="photo.png"\r\n\r\n' + bytes(200_000)
    kind = "multipart/form-data; boundary=x"
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\nContent-Type: {kind}\r\n\r\n"
    url = httpx.URL(app)
    with socket.create_connection((url.host, url.port)) as connection:
        connection.sendall(head.encode() + part)
        while not list(folder.rglob("tmp*")):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _files_of_jobs(folder: Path) -> list[Path]:
    return sorted(folder.rglob("job-*/*"))
