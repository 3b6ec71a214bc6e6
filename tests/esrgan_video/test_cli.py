"""The `esrgan` command as a user types it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from clip_tools import Clip, write_clip
from esrgan.archs.rrdbnet import RRDBNet
from esrgan.weights.download import fetch
from esrgan_video.cli.main import main
from esrgan_video.cli.times import parse_time
from esrgan_video.faces.options import FaceOptions
from esrgan_video.faces.restorer import FaceRestorer
from face_tools import BrightDetector

COMMAND = [sys.executable, "-m", "esrgan_video.cli.main"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A tiny random x2 network in BasicSR's layout."""
    torch.manual_seed(0)
    network = RRDBNet(num_feat=4, num_grow_ch=2, num_block=1, scale=2, unshuffle=1)
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.save({"params": network.state_dict()}, path)
    return path


@pytest.fixture
def photo(tmp_path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    path = tmp_path / "a photo, 100 %.png"
    Image.fromarray(pixels).save(path)
    return path


def make_clip(path: Path, frames: int = 6, size: tuple[int, int] = (32, 24)) -> Path:
    """A clip of `frames` noisy pictures at 10 a second, in H.264."""
    generator = np.random.default_rng(1)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for _ in range(frames):
            pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def count_frames(path: Path) -> int:
    with av.open(path) as container:
        return sum(1 for _ in container.decode(video=0))


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def run(*arguments, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False, **options
    )


def check_one_line_error(capsys, code: int, expected_code: int, *parts: str) -> None:
    output = capsys.readouterr()
    assert code == expected_code, output.err
    assert output.out == ""
    assert len(output.err.splitlines()) == 1, output.err
    assert output.err.startswith("esrgan: ")
    for part in parts:
        assert part in output.err


def test_an_image_is_upscaled_to_the_name_given(photo, weights, tmp_path, capsys):
    target = tmp_path / "large one.png"
    assert main(["upscale", str(photo), "-o", str(target), "-n", str(weights)]) == 0
    assert size_of(target) == (26, 18)
    assert capsys.readouterr().out == f"{target}\n"


def test_names_of_real_esrgan_work(photo, weights, tmp_path):
    arguments = ["upscale", "-i", str(photo), "-o", str(tmp_path / "results"), "-n", str(weights), "-s", "3.5"]
    arguments += ["-t", "8", "--tile_pad", "4", "--fp32", "--suffix", "big", "--ext", "webp"]
    assert main(arguments) == 0
    assert size_of(tmp_path / "results" / "a photo, 100 %_big.webp") == (46, 32)


def test_a_folder_goes_to_a_folder(weights, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("one.png", "two.jpg"):
        Image.new("RGB", (8, 6), "teal").save(source / name)
    make_clip(source / "clip.mp4")
    assert main(["upscale", str(source), "-o", str(tmp_path / "out"), "-n", str(weights)]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clip_out.mp4", "one_out.png", "two_out.jpg"]
    assert count_frames(tmp_path / "out" / "clip_out.mp4") == 6


LONG = "n" * 300


@pytest.mark.parametrize(
    "words",
    [
        ["upscale", f"{LONG}.png", "-o", "out.png"],
        ["upscale", "{photo}", "-o", f"{LONG}.png"],
        ["upscale", "{photo}", "-o", f"{LONG}/"],
        ["verify", f"{LONG}.mkv", "out.mkv"],
    ],
)
def test_a_name_that_no_file_can_have_is_one_line(words, photo, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [word.format(photo=photo) for word in words] + ["-n", str(weights)] * (words[0] == "upscale")
    check_one_line_error(capsys, main(words), 2, LONG, "File name too long")


@pytest.fixture
def locked(photo, weights, tmp_path):
    """A folder with a picture in it that this user may not look into."""
    assert main(["upscale", str(photo), "-o", str(tmp_path / "o.png"), "-n", str(weights)]) == 0  # all is imported
    folder = tmp_path / "locked"
    folder.mkdir()
    shutil.copy(photo, folder / "in.png")
    folder.chmod(0)
    was_root = os.geteuid() == 0
    if was_root:  # whom nothing is locked to
        tmp_path.chmod(0o777)
        os.seteuid(65534)
    yield folder
    if was_root:
        os.seteuid(0)
    folder.chmod(0o700)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions are of POSIX")
def test_a_folder_that_may_not_be_looked_into_is_one_line(locked, photo, weights, capsys):
    capsys.readouterr()
    for source, target in ((locked / "in.png", "o.png"), (locked, "out/"), (photo, locked / "o.png")):
        code = main(["upscale", str(source), "-o", str(target), "-n", str(weights)])
        check_one_line_error(capsys, code, 2, "Permission denied")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_standard_output_is_a_failure_and_no_mistake(weights):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, "info", str(weights)], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "esrgan: No space left on device\n")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_unicode_is_printed_as_it_is(photo, weights, tmp_path):
    name, target = os.fsencode(tmp_path) + b"/caf\xe9.png", os.fsencode(tmp_path) + b"/gr\xfcn.png"
    Path(os.fsdecode(name)).write_bytes(photo.read_bytes())
    done = subprocess.run([*COMMAND, "upscale", name, "-o", target, "-n", str(weights)], capture_output=True)
    assert (done.returncode, done.stdout) == (0, target + b"\n"), done.stderr
    assert size_of(os.fsdecode(target)) == (26, 18)


@pytest.mark.parametrize(
    ("name", "codec", "muxer"),
    [
        ("MOVIE.VOB", "mpeg2video", "vob"),
        ("m.mxf", "mpeg2video", "mxf"),
        ("m.asf", "msmpeg4v2", "asf"),
        ("movie", "h264", "mp4"),
    ],
)
def test_a_video_of_any_name_is_upscaled(name, codec, muxer, weights, tmp_path):
    clip = Clip(codec=codec, muxer=muxer, times=range(8), options={}, size=(32, 32))
    source, target = write_clip(tmp_path / name, clip), tmp_path / "out.mkv"
    assert main(["upscale", str(source), "-o", str(target), "-n", str(weights), "--progress", "none"]) == 0
    assert count_frames(target) == count_frames(source) == 8


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_named_pipe_is_refused_with_what_works(dry, weights, tmp_path, capsys):
    os.mkfifo(tmp_path / "in.y4m")
    call = ["upscale", str(tmp_path / "in.y4m"), "-o", str(tmp_path / "out.mkv"), "-n", str(weights), *dry]
    check_one_line_error(capsys, main(call), 2, f"esrgan upscale - < {tmp_path / 'in.y4m'}")


def test_one_broken_input_does_not_stop_the_others(photo, weights, tmp_path, capsys):
    broken = tmp_path / "broken.png"
    broken.write_bytes(photo.read_bytes()[:60])
    assert main(["upscale", str(broken), str(photo), "-o", str(tmp_path / "out"), "-n", str(weights)]) == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a photo, 100 %_out.png"]
    error = capsys.readouterr().err
    assert "broken.png" in error
    assert "1 of 2 inputs failed" in error


def test_a_broken_image_does_not_stop_a_video(weights, tmp_path, capsys):
    source = tmp_path / "in"
    source.mkdir()
    (source / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    make_clip(source / "clip.mp4")
    assert main(["upscale", str(source), "-o", str(tmp_path / "out"), "-n", str(weights)]) == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip_out.mp4"]
    assert "1 of 2 inputs failed" in capsys.readouterr().err


def test_a_video_is_upscaled_with_its_range_and_options(weights, tmp_path):
    clip = make_clip(tmp_path / "clip 50 %.mp4")
    target = tmp_path / "large.mkv"
    arguments = ["upscale", str(clip), "-o", str(target), "-n", str(weights), "--start", "0.2", "--frames", "3"]
    arguments += ["--codec", "ffv1", "--encoder-option", "slices=4", "--width", "50", "--height", "40"]
    assert main(arguments) == 0
    with av.open(target) as container:
        frames = list(container.decode(video=0))
    assert [frame.pts * frame.time_base for frame in frames] == [0, Fraction(1, 10), Fraction(1, 5)]
    assert (frames[0].width, frames[0].height) == (50, 40)


def test_progress_in_json_lines(weights, tmp_path):
    clip = make_clip(tmp_path / "clip.mp4")
    result = run("upscale", clip, "-o", tmp_path / "out.mp4", "-n", weights, "--progress", "json")
    assert result.returncode == 0, result.stderr
    last = json.loads(result.stderr.splitlines()[-1])
    assert (last["event"], last["done"], last["unit"]) == ("done", 6, "frame")


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["nowhere.png"], 2, ["nowhere.png"]),
        (["{photo}", "-o", "{tmp}/out.xyz", "-s", "2"], 2, [".xyz"]),
        (["{photo}", "-o", "{photo}"], 2, ["replace the input"]),
        (["{photo}", "-o", "{tmp}/missing/out.png"], 2, ["missing"]),
        (["{photo}", "-o", "{tmp}/o.png", "-s", "0"], 2, ["scale", "0"]),
        (["{photo}", "-o", "{tmp}/o.png", "-s", "nan"], 2, ["scale", "nan"]),
        (["{photo}", "-o", "{tmp}/o.png", "--width", "0"], 2, ["width", "0"]),
        (["{photo}", "-o", "{tmp}/o.png", "-s", "2", "--width", "20"], 2, ["width", "scale"]),
        (["{photo}", "-o", "{tmp}/o.png", "-n", "RealESRGAN_x4pluss"], 2, ["RealESRGAN_x4plus"]),
        (["{photo}", "-o", "{tmp}/o.png", "--tile", "-1"], 2, ["tile", "-1"]),
        (["{photo}", "-o", "{tmp}/o.png", "--batch", "0"], 2, ["batch", "0"]),
        (["{photo}", "-o", "{tmp}/o.png", "-g", "7"], 2, ["cuda:7"]),
        (["{photo}", "-o", "{tmp}/o.png", "-g", "0", "--device", "cpu"], 2, ["--device cpu"]),
        (["{photo}", "-o", "{tmp}/o.png", "--fp32", "--dtype", "bfloat16"], 2, ["bfloat16"]),
        (["{photo}", "-o", "{tmp}/o.png", "--exact", "--dtype", "float16"], 2, ["--exact", "float16"]),
        (["{photo}", "-o", "{tmp}/o.png", "--quality", "0"], 2, ["--quality", "0"]),
        (["{photo}", "-o", "{tmp}/o.png", "--alpha", "0.5"], 2, ["has no GAN partner"]),
        (["{photo}", "-o", "{tmp}/o.png", "--alpha", "2", "--interpolate", "{weights}"], 2, ["0 to 1", "2.0"]),
        (["{photo}", "-o", "{tmp}/o.png", "--interpolate", "{weights}"], 2, ["wants --alpha"]),
        (["{photo}", "-o", "{tmp}/o.png", "--encoder-option", "fast"], 2, ["KEY=VALUE", "fast"]),
        ([], 2, ["no input"]),
        (["{text}", "-o", "{tmp}/o.mp4"], 1, ["text.mp4"]),
        (["{empty}", "-o", "{tmp}/o.mp4"], 1, ["empty.mp4"]),
        (["{photo}", "-o", "{tmp}/o.png", "-n", "{pickle}"], 1, ["wants to run code"]),
        (["{clip}", "-o", "{tmp}/o.mp4", "--codec", "h265x"], 2, ["h265x"]),
        (["{clip}", "-o", "{tmp}/o.mp4", "--pix-fmt", "pal8"], 2, ["pal8"]),
        (["{clip}", "-o", "{tmp}/o.mp4", "--encoder-option", "no_such=1"], 2, ["no_such"]),
        (["{clip}", "-o", "{tmp}/o.avi"], 2, [".avi"]),
        (["{clip}", "-o", "{tmp}/o.mp4", "--start", "100"], 2, ["100"]),
        (["{clip}", "-o", "{tmp}/o.mp4", "--frames", "0"], 2, ["0"]),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(arguments, code, parts, photo, weights, tmp_path, capsys):
    class Malicious:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "harm"),))

    files = {"tmp": tmp_path, "photo": photo, "text": tmp_path / "text.mp4", "empty": tmp_path / "empty.mp4"}
    files |= {"pickle": tmp_path / "evil.pth", "clip": make_clip(tmp_path / "clip.mp4"), "weights": weights}
    files["text"].write_text("not a video")
    files["empty"].write_bytes(b"")
    torch.save({"params": Malicious()}, files["pickle"])
    given = [argument.format(**files) for argument in arguments]
    if "-n" not in given:
        given += ["-n", str(weights)]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    returned = main(["upscale", *given])
    check_one_line_error(capsys, returned, code, *parts)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "harm").exists()


def test_a_failure_leaves_the_file_that_was_there(weights, tmp_path, capsys):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"precious")
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"\0" * 1000)
    check_one_line_error(capsys, main(["upscale", str(damaged), "-o", str(target), "-n", str(weights)]), 1)
    assert target.read_bytes() == b"precious"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_at_once_and_leaves_nothing(number, weights, tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", frames=200, size=(320, 240))
    target = tmp_path / "out.mp4"
    arguments = ["upscale", clip, "-o", target, "-n", weights, "--progress", "json", "--segment-frames", "200"]
    process = subprocess.Popen([*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    process.stderr.readline()  # the first report: frames are on their way
    time.sleep(0.2)
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert error.splitlines()[-1] == "esrgan: interrupted, nothing was left under the output's name"
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == [clip]


def test_an_interrupted_video_goes_on_with_the_same_command(weights, tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", frames=60, size=(64, 48))
    target = tmp_path / "out.mp4"
    arguments = ["upscale", clip, "-o", target, "-n", weights, "--progress", "json", "--segment-frames", "5"]
    process = subprocess.Popen([*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob(".out.mp4.esrgan/*.segment")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    said = re.fullmatch(
        r"esrgan: interrupted, (\d+) finished frames are kept in .*: the same command goes on from there",
        error.splitlines()[-1],
    )
    assert said
    assert not target.exists()
    done = run(*arguments, "-v")
    assert done.returncode == 0, done.stderr
    assert f"{said[1]} frames were done before" in done.stderr
    assert count_frames(target) == 60
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "out.mp4"}


@pytest.fixture
def downloads(weights, tmp_path, monkeypatch):
    """Lets every download give the tiny network, shown as it is shown from the net."""
    content = weights.read_bytes()

    def fetched(address, target, **given):
        answer = io.BytesIO(content)
        answer.headers = {}
        known = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        return fetch(address, target, **{**given, **known, "opener": lambda _: answer})

    monkeypatch.setenv("ESRGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("esrgan.weights.registry.fetch", fetched)


@pytest.mark.usefixtures("downloads")
@pytest.mark.parametrize("mode", ["json", "none"])
def test_downloads_are_shown_as_all_else_is(mode, photo, tmp_path, capsys):
    call = ["upscale", str(photo), "-o", str(tmp_path / "o.png"), "-n", "RealESRGAN_x2plus", "--progress", mode]
    assert main(call) == 0
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert any(record["task"].startswith("downloading") for record in records) == (mode == "json")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["RealESRGAN_x2plus.pth"]


@pytest.mark.usefixtures("downloads")
def test_downloads_of_faces_are_shown_as_all_else_is(capsys):
    FaceRestorer(FaceOptions(model="GFPGANv1.4"), detector=BrightDetector(), progress="none")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_a_dry_run_refuses_the_folder_that_a_run_refuses(dry, photo, weights, tmp_path, capsys):
    clip = make_clip(tmp_path / "clip.mp4")
    for source in (clip, photo):
        target = tmp_path / "missing" / source.name
        check_one_line_error(capsys, main(["upscale", str(source), "-o", str(target), "-n", str(weights), *dry]), 2)
    assert not (tmp_path / "missing").exists()


def test_a_dry_run_is_a_table_or_a_line_of_json(photo, weights, tmp_path, capsys):
    clip = make_clip(tmp_path / "clip 50 %.mp4", frames=12)
    before = sorted(tmp_path.rglob("*"))
    arguments = ["upscale", str(clip), str(photo), "-o", str(tmp_path / "new folder"), "-n", str(weights), "--dry-run"]
    assert main(arguments) == 0
    table = capsys.readouterr().out
    for part in ("64x48, yuv420p, 8 bits", "#0 (video, h264): upscaled", "about 12, 1 segment(s)", "GB free"):
        assert part in table
    assert main([*arguments, "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["output"]["path"] for record in records] == [
        str(tmp_path / "new folder" / name) for name in ("clip 50 %_out.mp4", "a photo, 100 %_out.png")
    ]
    assert records[0]["frames"] == 12
    assert records[0]["output"]["encoder"] == "libx264"
    assert sorted(tmp_path.rglob("*")) == before


def test_info_names_the_sizes_that_the_tensors_have(weights, capsys):
    assert main(["info", str(weights), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["architecture"], facts["scale"], facts["num_feat"]) == ("RRDBNet", "x2", "4")


def test_info_without_a_file_lists_the_models(capsys):
    assert main(["info"]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith("default ")
    assert "RealESRGAN_x4plus " in listed


def test_convert_and_interpolate_write_what_numpy_says(weights, tmp_path):
    other = tmp_path / "other.pth"
    state = torch.load(weights, weights_only=True)["params"]
    torch.save({"params": {key: value + 1 for key, value in state.items()}}, other)
    blend = tmp_path / "blend.pth"
    assert main(["interpolate", str(weights), str(other), "--alpha", "0.25", "-o", str(blend)]) == 0
    mixed = torch.load(blend, weights_only=True)["params"]
    for key, value in state.items():
        np.testing.assert_allclose(mixed[key].numpy(), value.numpy() + 0.25, rtol=0, atol=1e-6)
    carried = tmp_path / "carried.pth"
    networks = [str(blend), str(other), "--minus", str(weights)]
    assert main(["interpolate", *networks, "--alpha", "0.5", "-o", str(carried)]) == 0
    moved = torch.load(carried, weights_only=True)["params"]
    for key, value in state.items():
        np.testing.assert_allclose(moved[key].numpy(), value.numpy() + 0.75, rtol=0, atol=1e-6)
    half = tmp_path / "half.safetensors"
    assert main(["convert", str(blend), "-o", str(half), "--half"]) == 0
    assert half.stat().st_size < blend.stat().st_size


def test_alpha_blends_as_it_upscales(photo, weights, tmp_path):
    state = torch.load(weights, weights_only=True)["params"]
    other, between = tmp_path / "other.pth", tmp_path / "between.pth"
    torch.save({"params": {key: value * 1.5 for key, value in state.items()}}, other)
    torch.save({"params": {key: value * 1.25 for key, value in state.items()}}, between)
    wanted, blended, plain = (tmp_path / f"{name}.png" for name in ("wanted", "blended", "plain"))
    call = ["upscale", str(photo), "--fp32"]
    assert main([*call, "-n", str(between), "-o", str(wanted)]) == 0
    assert main([*call, "-n", str(weights), "--alpha", "0.5", "--interpolate", str(other), "-o", str(blended)]) == 0
    assert main([*call, "-n", str(weights), "-o", str(plain)]) == 0
    assert blended.read_bytes() == wanted.read_bytes() != plain.read_bytes()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1:30", 90), ("1:02:03.5", Fraction(7447, 2)), ("0.1", Fraction(1, 10))]
)
def test_times_are_exact(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "1:2:3:4", "-1", "1:-2", "1/0"])
def test_what_is_not_a_time_is_refused(text):
    import argparse

    with pytest.raises(argparse.ArgumentTypeError, match=r"time|before"):
        parse_time(text)


_INTERRUPTED_IMPORT = """
import sys
from esrgan_video.cli.main import main

class Interrupting:
    def find_spec(self, name, *_):
        if name == "numpy":
            sys.meta_path.remove(self)  # a signal comes once
            raise KeyboardInterrupt

assert not {"numpy", "torch"} & sys.modules.keys()
sys.meta_path.insert(0, Interrupting())
sys.exit(main(["info", "default"]))
"""


def test_ctrl_c_is_heard_while_modules_are_loaded():
    done = subprocess.run([sys.executable, "-c", _INTERRUPTED_IMPORT], capture_output=True, text=True, timeout=100)
    assert done.returncode == 130
    assert done.stderr.startswith("esrgan: interrupted")
