"""The parts of the demo that need no server."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from clip_tools import Clip, Tags, decode, planes, streams, times, write_clip
from esrgan.errors import EngineError, MediaError, UsageError, WeightsError
from esrgan_gradio.blending import contact_sheet
from esrgan_gradio.catalogue import Catalogue
from esrgan_gradio.device import Device
from esrgan_gradio.errors import naming, sentence
from esrgan_gradio.examples import example_clip, example_pictures
from esrgan_gradio.html import duration, status, table
from esrgan_gradio.options import AppOptions
from esrgan_gradio.pictures import resized, upscale_picture
from esrgan_gradio.preview import browser_copy
from esrgan_gradio.runs import run_blend, run_picture
from esrgan_gradio.services import Services
from esrgan_gradio.still import quarter_turns
from esrgan_gradio.video_input import AUTOMATIC, VideoRequest, choose
from esrgan_gradio.video_job import Limits, VideoJob
from esrgan_gradio.video_plan import plan_page
from esrgan_gradio.workspace import Workspace
from esrgan_video import FaceOptions, upscale_image
from esrgan_video.cli.main import main
from esrgan_video.images import StillImage
from face_tools import BrightDetector, face_folder, face_picture, stand_in, write_restorer
from network_tools import small_rrdb


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    root = tmp_path / "work"
    root.mkdir()
    return Workspace(root, max_bytes=1_000_000, keep_seconds=3600)


def sent(workspace, path) -> dict[str, str]:
    """What the server is told of a file that was uploaded."""
    target = workspace.root / "upload" / path.name
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(path.read_bytes())
    return {"path": str(target)}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"port": 0}, "--port must be 1 to 65535, got 0"),
        ({"queue_size": 0}, "--queue-size must be at least 1"),
        ({"max_upload_mb": 0}, "--max-upload-mb must be a positive number, got 0"),
        ({"max_total_mb": 0}, "--max-total-mb must be a positive number, got 0"),
        ({"max_seconds": float("nan")}, "--max-seconds must be a positive number, got nan"),
        ({"backend": "caffe"}, "backend must be one of usual, torch, .*, got 'caffe'"),
        ({"keep_minutes": -1}, "--keep-minutes must be a positive number, got -1"),
    ],
)
def test_options_out_of_range_are_refused_with_the_value(given, words):
    with pytest.raises(UsageError, match=words):
        AppOptions(**given)


def test_by_default_only_this_machine_is_served():
    assert AppOptions().host == "127.0.0.1"
    assert not AppOptions().share


def test_the_catalogue_offers_names_and_files_and_nothing_else(tiny):
    catalogue = Catalogue.of([str(tiny[0]), "DEFAULT", str(tiny[1])])
    assert catalogue.names == ["tiny-a", "default", "tiny-b"]
    assert dict(catalogue.scales) == {"tiny-a": 2, "default": 4, "tiny-b": 2}
    assert catalogue.source("tiny-b") == str(tiny[1])
    for name in ("RealESRGAN_x4plus", str(tiny[0]), None, 3):
        with pytest.raises(UsageError, match="choose one of tiny-a, default, tiny-b"):
            catalogue.source(name)


def test_the_catalogue_refuses_what_it_cannot_offer(tiny, tmp_path):
    with pytest.raises(UsageError, match="neither a weights file nor a known model"):
        Catalogue.of(["nothing"])
    other = tmp_path / "tiny-a.pth"
    other.write_bytes(tiny[1].read_bytes())
    with pytest.raises(UsageError, match="two models are called tiny-a"):
        Catalogue.of([str(tiny[0]), str(other)])
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"PK")
    with pytest.raises(WeightsError, match=r"broken.pth"):
        Catalogue.of([str(broken)])


def test_the_first_pair_to_interpolate_needs_no_download_and_is_of_one_scale(tiny):
    assert Catalogue.of([]).pair() == ("default", "rrdb-lite-x4-gan")
    assert Catalogue.of(["RealESRGAN_x4plus", "default"]).pair() == ("default", "default")
    assert Catalogue.of(["default", *map(str, tiny)]).pair() == ("default", "default")
    assert Catalogue.of(list(map(str, tiny))).pair() == ("tiny-a", "tiny-b")


@pytest.mark.parametrize("outside", ["/etc/passwd", "../secret.png", "work-other/secret.png", "link.png"])
def test_only_files_in_the_workspace_are_admitted(workspace, tmp_path, outside):
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "work-other").mkdir()
    (tmp_path / "work-other" / "secret.png").write_bytes(b"x")
    (workspace.root / "link.png").symlink_to(tmp_path / "secret.png")
    path = outside if outside.startswith("/") else str((tmp_path if "other" in outside else workspace.root) / outside)
    with pytest.raises(UsageError, match="must be an uploaded file"):
        workspace.admit({"path": path}, "an image")


@pytest.mark.parametrize(
    ("given", "words"),
    [(None, "choose an image first"), ("name.png", "must be sent as a file"), ({"path": 3}, "must be sent as a file")],
)
def test_what_is_no_upload_is_not_admitted(workspace, given, words):
    with pytest.raises(UsageError, match=words):
        workspace.admit(given, "an image")


def test_a_file_that_is_gone_or_too_large_is_not_admitted(workspace):
    path = workspace.root / "a.png"
    with pytest.raises(UsageError, match=r"the upload a.png is gone"):
        workspace.admit({"path": str(path)}, "an image")
    path.write_bytes(bytes(1_000_001))
    with pytest.raises(UsageError, match=r"a.png is larger than the 1 MB that are taken here"):
        workspace.admit({"path": str(path)}, "an image")


def test_no_job_begins_where_all_files_together_take_what_they_may(tmp_path):
    workspace = Workspace(tmp_path, max_bytes=1_000_000, keep_seconds=3600, max_total_bytes=2_000_000)
    upload = tmp_path / "upload.bin"
    upload.write_bytes(bytes(1_500_000))
    (workspace.job() / "input.bin").hardlink_to(upload)
    workspace.require_room(500_000)
    with pytest.raises(UsageError, match=r"the 2 MB for all visitors' files are taken: .* removed after 60 min"):
        workspace.require_room(500_001)
    (workspace.job() / "result.bin").write_bytes(bytes(500_001))
    with pytest.raises(UsageError, match="no room on the server"):
        workspace.job()


def test_a_video_whose_result_has_no_room_ends_and_leaves_nothing(tmp_path, tiny):
    clip = write_clip(tmp_path / "a.mp4", Clip(times=range(50)))
    root = tmp_path / "work"
    root.mkdir()
    workspace = Workspace(root, max_bytes=1_000_000, keep_seconds=3600, max_total_bytes=clip.stat().st_size)
    job = make_job(workspace, Device("cpu"), clip, tiny)
    (root / "of-others.bin").write_bytes(b"x")
    job.start()
    while job.is_running:
        job.wait(1)
    with pytest.raises(UsageError, match="no room on the server"):
        raise job.error
    assert sorted(path.name for path in root.iterdir()) == ["of-others.bin", "upload"]


def test_folders_of_old_jobs_are_removed_and_those_at_work_are_not(workspace):
    old, busy, fresh = (workspace.job() for _ in range(3))
    past = time.time() - 7200
    for folder in (old, busy):
        os.utime(folder, (past, past))
    (busy / "result.part").write_bytes(b"x")
    workspace.job()
    assert not old.exists()
    assert busy.exists()
    assert fresh.exists()


def test_folders_of_old_jobs_are_removed_without_a_request_and_those_at_work_are_not(tmp_path):
    workspace = Workspace(tmp_path, max_bytes=1, keep_seconds=0.2)
    old, busy = workspace.job(), workspace.job()
    with workspace.pruned():
        with workspace.at_work(busy):
            _wait_until(lambda: not old.exists())
            time.sleep(0.5)
            assert busy.exists()
        _wait_until(lambda: not busy.exists())
    assert "remove old files" not in {thread.name for thread in threading.enumerate()}


def _wait_until(happened) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_job_that_waits_for_longer_than_files_are_kept_goes_on(tmp_path, tiny):
    clip, device = write_clip(tmp_path / "a.mp4", Clip(times=range(5))), Device("cpu")
    root = tmp_path / "work"
    root.mkdir()
    workspace = Workspace(root, max_bytes=1_000_000, keep_seconds=0.2)
    with workspace.pruned():
        with device.taken():
            job = make_job(workspace, device, clip, tiny)
            job.start()
            time.sleep(1)
        while job.is_running:
            job.wait(1)
    assert job.error is None
    assert job.result.frames == 5


def test_what_nobody_looks_at_is_not_written(workspace, tmp_path, tiny):
    services = services_for(workspace, tiny)
    source = tmp_path / "wide.png"
    Image.new("RGB", (1500, 6), "red").save(source)
    picture, name = sent(workspace, source), services.catalogue.default
    for show, names in ((True, ["after.png", "before.png"]), (False, [])):
        for done in (
            run_picture(services, picture, name, None, None, show=show),
            run_blend(services, picture, (name, name), (None, None), 0.5, show=show),
        ):
            assert sorted(path.name for path in done.file.parent.iterdir()) == [*names, done.file.name]


def test_messages_speak_of_files_by_the_names_that_visitors_gave(tmp_path):
    with pytest.raises(UsageError) as caught, naming({tmp_path / "input.mp4": "holiday.mp4"}):
        raise UsageError(f"cannot read {tmp_path / 'input.mp4'}: it is empty")
    assert sentence(caught.value) == "Cannot read holiday.mp4: it is empty."
    assert sentence(UsageError("holiday.mp4 is empty")) == "holiday.mp4 is empty."


def test_errors_that_nobody_foresaw_are_logged_and_not_shown(caplog):
    assert "secret" not in sentence(ValueError("secret"))
    assert "secret" in caplog.text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (42.4, "42 s"),
        (60, "1 min"),
        (185, "3 min 05 s"),
        (3600, "1 h"),
        (4200, "1 h 10 min"),
    ],
)
def test_durations_are_written_as_people_read_them(seconds, text):
    assert duration(seconds) == text


def test_nothing_that_visitors_send_becomes_html():
    assert "<b>" not in status("<b>", "error") + table([("<b>", "<b>")], ("<b>",), "<b>")


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_rotation_for_display_is_read_as_ffmpeg_means_it(tmp_path, degrees):
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", 10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.set_display_rotation(degrees)
        output.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        output.mux(stream.encode(None))
    matrix = choose(path, ".mp4", VideoRequest()).info.display_matrix
    rotation = decode(path)[0].rotation  # FFmpeg's: degrees counter-clockwise
    assert quarter_turns(matrix) == rotation / 90 % 4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_resizing_for_the_page_is_pillows_bicubic(dtype):
    peak = np.iinfo(dtype).max
    pixels = np.random.default_rng(0).integers(0, peak + 1, (11, 14, 1), dtype=dtype)
    expected = Image.fromarray(pixels[:, :, 0].astype(np.float32)).resize((40, 30), Image.Resampling.BICUBIC)
    result = resized(pixels, 30, 40)
    assert result.dtype == dtype
    np.testing.assert_allclose(
        result[:, :, 0].astype(float), np.asarray(expected).clip(0, peak), atol=0.5 + peak * 2e-5
    )


class Nearest:
    """Repeats pixels."""

    scale, dtype = 2, torch.float32
    device = torch.device("cpu")

    def __call__(self, batch):
        return F.interpolate(batch, scale_factor=2.0, mode="nearest")


def test_a_picture_too_large_for_the_page_is_shown_smaller_and_kept_whole(tmp_path):
    pixels = np.random.default_rng(0).integers(1, 256, (6, 1500, 4), dtype=np.uint8)
    done = upscale_picture(StillImage(pixels), Nearest(), scale=None, folder=tmp_path, stem="wide")
    with Image.open(done.file) as whole, Image.open(done.before) as before, Image.open(done.after) as after:
        np.testing.assert_array_equal(np.asarray(whole), pixels.repeat(2, 0).repeat(2, 1))
        assert before.size == after.size == (2048, 8)
        assert before.mode == after.mode == "RGBA"


@pytest.mark.parametrize(
    ("clip", "codecs"),
    [
        (Clip(size=(63, 47), pix_fmt="yuv444p", audio=["flac"]), ["h264", "aac"]),
        (Clip(codec="ffv1", pix_fmt="bgr0", options={}), ["h264"]),
        (Clip(codec="libx265", pix_fmt="yuv420p10le", options={"x265-params": "log-level=error"}), ["h264"]),
        (Clip(times=[1, 2, 5, 40, 41, 90], options={"preset": "ultrafast"}, audio=["libopus"]), ["h264", "aac"]),
    ],
    ids=["4:4:4, odd size", "RGB", "10 bit", "irregular times"],
)
def test_a_preview_is_what_browsers_play_with_every_frame_at_its_time(tmp_path, clip, codecs):
    source = write_clip(tmp_path / "result.mkv", clip)
    copy = browser_copy(source, tmp_path)
    assert [codec for _, codec, *_ in streams(copy)] == codecs
    frames = decode(copy)
    assert {frame.format.name for frame in frames} <= {"yuv420p", "yuvj420p"}
    shown, expected = ([float(time - every[0]) for time in every] for every in (times(copy), times(source)))
    assert shown == pytest.approx(expected, abs=0.002)


def test_a_preview_keeps_its_colours(tmp_path):
    pixels = np.zeros((48, 64, 3), np.uint8) + np.array([200, 40, 90], np.uint8)
    source = tmp_path / "rgb.mkv"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("libx264rgb", 10, {"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        for _ in range(3):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        output.mux(stream.encode(None))
    frame = decode(browser_copy(source, tmp_path))[1]
    assert int(frame.colorspace) == 1  # BT.709, which is what it says and what it is
    red, green, blue = 200, 40, 90
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    expected = [
        16 + 219 * luma / 255,
        128 + 224 * (blue - luma) / 1.8556 / 255,
        128 + 224 * (red - luma) / 1.5748 / 255,
    ]
    assert [plane[12, 16] for plane in planes(frame)] == pytest.approx(expected, abs=2)


def test_a_video_that_browsers_play_is_its_own_preview(tmp_path):
    source = write_clip(tmp_path / "result.mp4", Clip(audio=["aac"], tags=Tags(matrix=6)))
    assert browser_copy(source, tmp_path) == source


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4"])
def test_no_preview_is_made_of_what_names_other_files(tmp_path, name):
    other = write_clip(tmp_path / "other.ts", Clip(times=range(5)))
    source = tmp_path / name
    source.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n")
    with pytest.raises(MediaError, match=f"no preview of {name}"):
        browser_copy(source, tmp_path)


@pytest.mark.parametrize(
    ("name", "clip", "request_", "suffix"),
    [
        ("a.mp4", Clip(), {}, ".mp4"),
        ("a.avi", Clip(options={"preset": "ultrafast", "bf": "0"}), {}, ".mkv"),
        ("a.mp4", Clip(), {"codec": "FFV1 (lossless)"}, ".mkv"),
        ("a.mp4", Clip(), {"container": "mov"}, ".mov"),
        ("a.mp4", Clip(), {"codec": "AV1"}, ".mkv"),
        ("a.mkv", Clip(attachments={"font.ttf": ("application/x-truetype-font", bytes(9))}), {}, ".mkv"),
    ],
)
def test_the_container_is_the_one_asked_for_or_one_that_holds_everything(tmp_path, name, clip, request_, suffix):
    source = write_clip(tmp_path / name, clip)
    choice = choose(source, source.suffix, VideoRequest(**request_))
    assert choice.suffix == suffix
    assert choice.refused == ()


def test_what_does_not_fit_is_named_before_the_work(tmp_path):
    source = write_clip(tmp_path / "a.mp4", Clip(audio=["aac"]))
    assert choose(source, ".mp4", VideoRequest(container="webm")).refused == ("#1 (audio, aac, eng)",)
    assert VideoRequest(codec=AUTOMATIC, trial_seconds=2).time_range.end == 2


def test_networks_run_in_the_library_that_the_app_was_started_with():
    pytest.importorskip("onnxruntime")
    upscaler = Device("cpu", backend="onnxruntime").place(small_rrdb())
    assert upscaler.backend == "onnxruntime"
    assert Device("cpu").place(small_rrdb()).backend == "torch"


def test_one_job_at_a_time_has_the_device():
    device, inside, most = Device("cpu"), [], []

    def work():
        with device.taken():
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


def test_a_wait_for_the_device_can_be_given_up():
    device = Device("cpu")
    with device.taken() as first, device.taken(lambda: False) as second:
        assert first
        assert not second
    with device.taken() as again:
        assert again


def test_a_device_that_closes_waits_for_the_job_at_work_and_lends_no_more():
    device, ended = Device("cpu"), []

    def work():
        with device.lent():
            started.set()
            while not device.is_closing:
                time.sleep(0.001)
            ended.append(True)

    started = threading.Event()
    thread = threading.Thread(target=work)
    thread.start()
    started.wait(10)
    device.close()
    assert ended == [True]
    thread.join()
    with pytest.raises(EngineError, match="about to close"), device.lent():
        pass


def make_job(workspace, device, clip, tiny, **request) -> VideoJob:
    return VideoJob(
        workspace,
        device,
        Limits(max_pixels=1_000_000, max_seconds=60),
        sent=sent(workspace, clip),
        source=str(tiny[0]),
        request=VideoRequest(**request),
    )


def test_a_stopped_job_leaves_the_device_free_and_no_files(workspace, tmp_path, tiny):
    clip, device = write_clip(tmp_path / "a.mp4", Clip(times=range(200))), Device("cpu")
    job = make_job(workspace, device, clip, tiny)
    job.start()
    while job.snapshot.stage != "running":
        assert job.wait(1)
    job.stop()
    while job.is_running:
        job.wait(1)
    assert job.result is None
    assert job.error is None
    assert job.snapshot.frames < 200
    assert not job.folder.exists()
    with device.taken(lambda: False) as free:
        assert free


def test_a_job_that_is_stopped_while_it_waits_never_starts(workspace, tmp_path, tiny):
    clip, device = write_clip(tmp_path / "a.mp4", Clip()), Device("cpu")
    job = make_job(workspace, device, clip, tiny)
    with device.taken():
        job.start()
        job.stop()
        while job.is_running:
            job.wait(1)
    assert (job.result, job.error, job.snapshot.stage) == (None, None, "waiting")


def test_a_job_outlives_the_removal_of_its_upload(workspace, tmp_path, tiny):
    clip, device = write_clip(tmp_path / "a.mp4", Clip()), Device("cpu")
    job = make_job(workspace, device, clip, tiny)
    (workspace.root / "upload" / "a.mp4").unlink()
    job.start()
    while job.is_running:
        job.wait(1)
    assert job.error is None
    assert len(decode(job.result.path)) == 30
    before, after = job.snapshot.stills
    with Image.open(before) as first, Image.open(after) as second:
        assert first.size == second.size == (128, 96)


def test_a_contact_sheet_shows_the_ends_as_the_two_networks_do(tmp_path, tiny):
    device = Device("cpu")
    networks = device.network(str(tiny[0])), device.network(str(tiny[1]))
    image = StillImage(np.full((10, 10, 3), 128, np.uint8))
    contact_sheet(device, image, networks, tmp_path / "same.png")
    contact_sheet(device, image, (networks[0], networks[0]), tmp_path / "a.png")
    with Image.open(tmp_path / "same.png") as mixed, Image.open(tmp_path / "a.png") as first:
        assert mixed.size == first.size
        width, middle = mixed.width // 3, mixed.height // 2
        first_cell = (0, 150, width, middle)
        last_cell = (2 * width, middle + 100, mixed.width, mixed.height)
        assert np.array_equal(np.asarray(mixed.crop(first_cell)), np.asarray(first.crop(first_cell)))
        assert not np.array_equal(np.asarray(mixed.crop(last_cell)), np.asarray(first.crop(last_cell)))


def test_the_examples_are_drawn_the_same_every_time(tmp_path):
    first, second = example_pictures(tmp_path / "1"), example_pictures(tmp_path / "2")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    with Image.open(first[1]) as emblem:
        assert emblem.mode == "RGBA"
        assert emblem.getextrema()[3] == (0, 255)
    clip = example_clip(tmp_path)
    assert [codec for _, codec, *_ in streams(clip)] == ["h264", "aac"]
    assert len(decode(clip)) == 48


def test_without_gradio_the_command_says_what_to_install():
    code = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "gradio":
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
from esrgan_video.cli.main import main
sys.exit(main(["app"]))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.strip() == 'esrgan: the browser demo needs an optional package: pip install "esrgan[gradio]"'


def test_precisions_that_the_demo_does_not_offer_are_refused_in_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["app", "--backend", "openvino", "--dtype", "int8"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[1:] == ["esrgan: error: unrecognized arguments: --dtype int8"]


def services_for(workspace, tiny) -> Services:
    return Services(
        options=AppOptions(device="cpu"),
        workspace=workspace,
        device=Device("cpu"),
        catalogue=Catalogue.of([str(tiny[0])]),
    )


def test_a_plan_says_what_is_kept_converted_and_left_out(workspace, tmp_path, tiny):
    clip = write_clip(
        tmp_path / "a <b>.mkv",
        Clip(
            times=[40 * time for time in range(50)],
            time_base=Fraction(1, 1000),
            audio=["flac"],
            subtitles=[(100, 600, "Hallo")],
            attachments={"font.ttf": ("application/x-truetype-font", bytes(99))},
        ),
    )
    services, upload = services_for(workspace, tiny), sent(workspace, clip)
    whole = plan_page(services, upload, 2, VideoRequest())
    assert "128 × 96 in MKV" in whole
    assert whole.count("kept as it is") == 3
    assert "<b>" not in whole
    mp4 = plan_page(services, upload, 2, VideoRequest(container="mp4", trial_seconds=1))
    assert "kept, converted to mov_text" in mp4
    assert "left out: .mp4 cannot hold it" in mp4
    assert "choose Automatic or MKV" in mp4
    assert "25 frames, 1.0 s" in mp4
    assert [path.name for path in workspace.root.iterdir()] == ["upload"]


@pytest.mark.parametrize(("container", "fate"), [("webm", "is kept"), ("mp4", "is left out")])
def test_a_plan_says_what_becomes_of_transparency(workspace, tmp_path, tiny, container, fate):
    clip = write_clip(tmp_path / "a.mov", Clip(codec="prores_ks", pix_fmt="yuva444p10le", options={}, times=range(2)))
    page = plan_page(services_for(workspace, tiny), sent(workspace, clip), 2, VideoRequest(container=container))
    assert f"Its transparency {fate}" in page


def test_faces_are_those_of_the_command_and_strength_is_the_visitors(workspace, tmp_path, tiny, monkeypatch):
    model = write_restorer(tmp_path / "darker.pth", scale=4, added=-0.3)
    options = FaceOptions(model=str(model), folder=face_folder(tmp_path / "faces"))
    monkeypatch.setattr("esrgan_video.faces.restorer.FaceDetector", lambda *_: BrightDetector())
    services = replace(services_for(workspace, tiny), device=Device("cpu", faces=options))
    source, expected = tmp_path / "face.png", tmp_path / "expected.png"
    Image.fromarray(face_picture(60, 80, (20, 10, 60, 50))).save(source)
    upload, name = sent(workspace, source), services.catalogue.default
    results = {}
    for strength in (0, 0.5, 1):
        done = run_picture(services, upload, name, None, None, strength)
        results[strength] = np.asarray(Image.open(done.file)).astype(int)
        faces = stand_in(model, tmp_path / "faces", strength=strength)
        upscale_image(source, expected, upscaler=services.device.upscaler(str(tiny[0])), faces=faces)
        assert np.array_equal(results[strength], np.asarray(Image.open(expected)))
    assert np.abs(results[1] - results[0]).max() > np.abs(results[0.5] - results[0]).max() > 10

    clip = write_clip(tmp_path / "a.mkv", Clip(codec="ffv1", options={}, pix_fmt="yuv444p", times=range(3)))
    job = make_job(workspace, services.device, clip, tiny, faces=0.5, codec="FFV1 (lossless)", container="mkv")
    job.start()
    while job.wait(1):
        pass
    assert job.error is None
    assert job.result.frames == 3
