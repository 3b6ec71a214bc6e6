"""VapourSynth scripts as input: every frame, time and tag as the script's graph gives it."""

import itertools
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from clip_tools import decode, main_video, times
from esrgan.errors import MediaError, MissingExtraError, UsageError
from esrgan.weights import save_network
from esrgan_video import VideoOptions
from esrgan_video.cli.main import main
from esrgan_video.container import TimeRange
from esrgan_video.container.reader import VideoReader
from esrgan_video.container.script import ScriptReader
from esrgan_video.sampling import sample_video
from esrgan_video.sources import open_source
from network_tools import small_rrdb

vs = pytest.importorskip("vapoursynth")

HEAD = "import vapoursynth as vs\ncore = vs.core\n"
VARIABLE = (
    HEAD
    + """
made = []

def fill(n, f):
    made.append(n)
    frame = f.copy()
    frame.props["_DurationNum"], frame.props["_DurationDen"] = [(1001, 24000), (1, 25), (33, 1000), (1, 720)][n % 4]
    return frame

clip = core.std.BlankClip(format=vs.YUV420P8, width=16, height=8, length=11, fpsnum=1000, fpsden=1)
core.std.ModifyFrame(clip, clip, fill).set_output()
"""
)
DURATIONS = [Fraction(1001, 24000), Fraction(1, 25), Fraction(33, 1000), Fraction(1, 720)] * 3
STARTS = [sum(DURATIONS[:n], Fraction(0)) for n in range(12)]


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "a script of 100%.vpy") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def read(path, time_range=None):
    with ScriptReader(path, time_range) as reader:
        return list(reader.frames())


def test_times_are_the_sums_of_the_frames_own_durations(write):
    frames = read(write(VARIABLE))
    assert [frame.time for frame in frames] == STARTS[:11]
    assert [frame.duration * frame.time_base for frame in frames] == DURATIONS[:11]


def test_durations_that_fit_no_tick_do_not_add_up_their_rounding(write):
    odd = Fraction(7_777_777, 233_333_333)
    script = VARIABLE.replace("(33, 1000)", f"({odd.numerator}, {odd.denominator})")
    starts = [sum([odd if n % 4 == 2 else DURATIONS[n] for n in range(stop)], Fraction(0)) for stop in range(11)]
    frames = read(write(script))
    assert max(abs(frame.time - start) for frame, start in zip(frames, starts, strict=True)) <= frames[0].time_base / 2
    assert all(one.pts + one.duration == other.pts for one, other in itertools.pairwise(frames))


def test_samples_of_a_script_have_its_colours(write):
    script = (
        HEAD + "core.std.BlankClip(format=vs.RGB24, width=64, height=6, length=9, color=[51, 102, 255]).set_output()"
    )
    torch.set_warn_always(True)
    try:
        samples = list(sample_video(write(script), VideoOptions(), 3))
    finally:
        torch.set_warn_always(False)
    expected = torch.tensor([0.2, 0.4, 1]).view(1, 3, 1, 1).expand(1, 3, 6, 64)
    assert len(samples) == 3
    for sample in samples:
        torch.testing.assert_close(sample, expected)


def test_a_frame_without_duration_lasts_as_the_one_before_or_as_the_rate_says(write):
    bare = HEAD + (
        "clip = core.std.BlankClip(length=3, fpsnum=25).std.RemoveFrameProps(['_DurationNum', '_DurationDen'])\n"
        "(clip + clip.std.SetFrameProps(_DurationNum=1, _DurationDen=10) + clip).set_output()\n"
    )
    lengths = [frame.duration * frame.time_base for frame in read(write(bare))]
    assert lengths == [Fraction(1, 25)] * 3 + [Fraction(1, 10)] * 6


@pytest.mark.parametrize(
    ("time_range", "expected"),
    [
        (TimeRange(frames=3), range(3)),
        (TimeRange(start=STARTS[5]), range(5, 11)),
        (TimeRange(start=STARTS[5] - Fraction(1, 10**9), end=STARTS[8]), range(5, 8)),
        (TimeRange(start=STARTS[5] + Fraction(1, 10**9), frames=2), range(6, 8)),
        (TimeRange(end=STARTS[4] + Fraction(1, 10**9)), range(5)),
    ],
)
def test_a_range_has_the_frames_that_begin_in_it(write, time_range, expected):
    frames = read(write(VARIABLE), time_range)
    zero = STARTS[expected[0]] if time_range.start else 0
    assert [frame.time for frame in frames] == [STARTS[n] - zero for n in expected]


def test_each_frame_is_made_once_and_none_behind_a_trial(write):
    counted = VARIABLE + "\nimport builtins\nbuiltins.made_by_the_script = made\n"
    try:
        read(write(counted))
        assert sorted(__builtins__["made_by_the_script"]) == list(range(11))
        read(write(counted), TimeRange(frames=2))
        assert sorted(__builtins__["made_by_the_script"]) == [0, 1]
    finally:
        __builtins__.pop("made_by_the_script", None)


def test_colour_shape_and_hdr_come_from_the_properties(write):
    path = write(
        HEAD
        + """
core.std.BlankClip(format=vs.YUV420P10, width=16, height=8, length=2, fpsnum=24000, fpsden=1001).std.SetFrameProps(
    _Matrix=9, _Primaries=9, _Transfer=16, _Range=1, _ChromaLocation=2, _SARNum=4, _SARDen=3, _FieldBased=2,
    MasteringDisplayPrimariesX=[0.68, 0.265, 0.15], MasteringDisplayPrimariesY=[0.32, 0.69, 0.06],
    MasteringDisplayWhitePointX=0.3127, MasteringDisplayWhitePointY=0.329,
    MasteringDisplayMinLuminance=0.0001, MasteringDisplayMaxLuminance=1000.0,
    ContentLightLevelMax=900, ContentLightLevelAverage=300).set_output()
"""
    )
    with ScriptReader(path) as reader:
        info = reader.info
    assert (info.layout.pix_fmt, info.width, info.height) == ("yuv420p10le", 16, 8)
    assert (info.rate, info.frames_from_header, info.interlaced) == (Fraction(24000, 1001), 2, True)
    colour = info.colour
    assert (colour.matrix, colour.primaries, colour.transfer, colour.full_range) == (9, 9, 16, True)
    assert colour.chroma_location == 3  # FFmpeg's AVCHROMA_LOC_TOPLEFT
    assert info.sample_aspect_ratio == Fraction(4, 3)
    assert info.light_level is not None
    assert (info.light_level.maximum, info.light_level.frame_average) == (900, 300)
    assert info.mastering_display is not None
    assert info.mastering_display.for_x26x() == ("G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)")


@pytest.mark.parametrize(("name", "full_range"), [("RGB24", True), ("GRAY8", False), ("YUV444P8", False)])
def test_a_range_that_is_not_stated_is_read_as_vapoursynth_reads_it(write, name, full_range):
    path = write(HEAD + f"core.std.BlankClip(format=vs.{name}, width=4, height=4, length=1).set_output()")
    assert read(path)[0].colour.full_range is full_range


@pytest.mark.parametrize(
    ("name", "pix_fmt"),
    [
        ("GRAY8", "gray"),
        ("GRAY10", "gray10le"),
        ("GRAYS", "gray16le"),
        ("RGB24", "gbrp"),
        ("RGB30", "gbrp10le"),
        ("RGBH", "gbrp16le"),
        ("YUV420P8", "yuv420p"),
        ("YUV422P10", "yuv422p10le"),
        ("YUV440P8", "yuv440p"),
        ("YUV411P8", "yuv411p"),
        ("YUV410P8", "yuv410p"),
        ("YUV411P16", "yuv444p16le"),
        ("YUV444PS", "yuv444p16le"),
    ],
)
def test_formats_keep_their_values_or_take_the_nearest_that_ffmpeg_has(write, name, pix_fmt):
    path = write(
        HEAD
        + f"core.std.BlankClip(format=vs.{name}, width=8, height=8, length=1)"
        + ".std.SetFrameProps(_Range=1).set_output()\n"
        + "first = vs.get_output(0).clip\n"
        + "scale = (1 << first.format.bits_per_sample) - 1 if first.format.sample_type == vs.INTEGER else 1\n"
        + "levels = [0.2, 0.4, 0.6] if first.format.color_family == vs.RGB else [0.2, 0.5, 0.5]\n"
        + "if first.format.sample_type == vs.FLOAT and first.format.color_family == vs.YUV: levels = [0.2, 0.0, 0.0]\n"
        + "codes = [level * scale for level in levels][: first.format.num_planes]\n"
        + "core.std.BlankClip(first, color=codes).std.SetFrameProps(_Range=1).set_output()\n"
    )
    frame = read(path)[0]
    assert frame.layout.pix_fmt == pix_fmt
    expected = {"rgb": [0.4, 0.6, 0.2], "yuv": [0.2, 0.5, 0.5], "grey": [0.2]}[frame.layout.model]
    for plane, shape, level in zip(frame.planes, frame.layout.plane_shapes(8, 8), expected, strict=True):
        assert plane.shape == shape
        assert plane.dtype == frame.layout.dtype
        assert np.unique(plane).size == 1
        np.testing.assert_allclose(plane[0, 0] / frame.layout.peak, level, rtol=0, atol=0.005)


def test_a_script_runs_in_its_own_folder_and_leaves_nothing_behind(write, tmp_path):
    (tmp_path / "rate.txt").write_text("50")
    before = Path.cwd()
    path = write(
        HEAD
        + "import pathlib\ncore.std.BlankClip(length=1, fpsnum=int(pathlib.Path('rate.txt').read_text())).set_output()"
    )
    with ScriptReader(path) as reader:
        assert reader.info.rate == 50
    assert Path.cwd() == before
    assert not vs.get_outputs()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("x = 1\n", "has no video as output 0: end it with clip.set_output"),
        ("core.std.BlankAudio().set_output()\n", "has no video as output 0"),
        ("core.std.BlankClip().set_output(1)\n", "has no video as output 0"),
        ("\nraise ValueError('no such luck')\n", "failed in line 4: no such luck"),
        ("core.std.Crop(core.std.BlankClip(), left=5000)\n", "failed in line 3: Crop: "),
        ("def broken(:\n", "failed: "),
        ("raise SystemExit(3)\n", "failed in line 3: 3"),
        ("core.std.BlankClip(varsize=1).set_output()\n", "variable size or format"),
        ("core.std.BlankClip(varformat=1).set_output()\n", "variable size or format"),
        ("core.std.BlankClip(format=vs.GRAY32).set_output()\n", "Gray32 cannot be read: use at most 16 bits"),
        (
            "core.std.BlankClip(fpsnum=0, fpsden=1).set_output()\n",
            "a frame has no duration and the clip no frame rate: set one with std.AssumeFPS",
        ),
    ],
)
def test_a_script_that_fails_is_one_error_with_the_place(write, script, said):
    with pytest.raises(MediaError, match=said):
        read(write(HEAD + script))


def test_a_frame_that_fails_is_one_error_with_the_scripts_own_words(write):
    path = write(
        HEAD
        + "def fail(n, f):\n    if n == 2: raise RuntimeError('the dog ate frame 2')\n    return f\n"
        + "clip = core.std.BlankClip(length=4)\ncore.std.ModifyFrame(clip, clip, fail).set_output()\n"
    )
    with ScriptReader(path) as reader, pytest.raises(MediaError, match=r"RuntimeError: the dog ate frame 2$"):
        list(reader.frames())


def test_a_start_after_the_end_and_a_missing_file_are_mistakes_of_the_call(write, tmp_path):
    with pytest.raises(UsageError, match="has no frame after --start 60 s"):
        ScriptReader(write(VARIABLE), TimeRange(start=Fraction(60)))
    with pytest.raises(UsageError, match=r"no such file: .*nowhere\.vpy"):
        ScriptReader(tmp_path / "nowhere.vpy")


def test_without_vapoursynth_the_extra_is_named(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "vapoursynth", None)
    with pytest.raises(MissingExtraError, match=r'pip install "esrgan\[vapoursynth\]"'):
        ScriptReader(write(VARIABLE))


def test_the_suffix_decides_who_reads(write, plain):
    with open_source(write(VARIABLE), VideoOptions()) as script, open_source(plain, VideoOptions()) as file:
        assert isinstance(script, ScriptReader)
        assert isinstance(file, VideoReader)


def test_the_command_upscales_a_script(write, tmp_path):
    path = write(
        VARIABLE.replace(
            "fill).set_output()",
            "fill).std.SetFrameProps(_Matrix=9, _Primaries=9, _Range=1, _ChromaLocation=1, _SARNum=4, _SARDen=3)"
            ".set_output()",
        )
    )
    weights = save_network(small_rrdb(), tmp_path / "tiny.safetensors")
    target = tmp_path / "out.mp4"
    command = ["upscale", path, "-o", target, "--model", weights, "--progress", "none", "--device", "cpu"]
    assert main([str(word) for word in command]) == 0
    assert times(target) == STARTS[:11]
    frame = decode(target)[0]
    assert (frame.width, frame.height) == (64, 32)
    assert (int(frame.colorspace), int(frame.color_range), int(frame.color_primaries)) == (9, 2, 9)
    assert int(frame.chroma_location) == 2
    import av

    with av.open(target) as container:
        assert main_video(container).sample_aspect_ratio == Fraction(4, 3)
