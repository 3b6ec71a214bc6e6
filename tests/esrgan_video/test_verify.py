"""`verify_video`: good outputs pass, and each clause of the contract, broken on purpose, is reported by its name."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from break_tools import Change, rewrite
from clip_tools import Clip, Tags, small_png, video_options, write_clip
from esrgan_video import OutputSize, upscale_video
from esrgan_video.cli.main import main
from esrgan_video.container import EncoderOptions
from esrgan_video.verify import VerifyOptions, verify_video

LOSSLESS = EncoderOptions(preset="ultrafast", extra={"qp": "0"})
QUARTER_TURN = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
UPSIDE_DOWN = (-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30)
ALL = Clip(
    times=[40 * time for time in range(25)],
    time_base=Fraction(1, 1000),
    tags=Tags(matrix=1, color_range=1, primaries=1, transfer=1, location=3),
    sar=Fraction(4, 3),
    matrix=QUARTER_TURN,
    audio=["aac", "libopus"],
    subtitles=[(100, 400, "Hallo <i>Welt</i>"), (500, 900, "Zweite\nZeile")],
    attachments={
        "font.ttf": ("application/x-truetype-font", b"\0\1\0\0" + bytes(range(200))),
        "cover.png": ("image/png", small_png()),
    },
    metadata={"title": "Ein Titel", "artist": "Wer"},
    chapters=[(0, 400, "Eins"), (400, 1000, "Zwei")],
)
"""A clip with something for every check."""


def upscale(source, target, upscaler, encoder=LOSSLESS, **given):
    options = video_options(encoder=encoder, **given)
    upscale_video(source, target, upscaler=upscaler, options=options, progress="none")
    return target


def verify(source, target, **given):
    return verify_video(source, target, options=VerifyOptions(**given), progress="none")


def failed(source, target, **given):
    return {(check.subject, check.name) for check in verify(source, target, **given).failed}


@pytest.fixture(scope="module")
def everything(clips):
    """The source of the table below: Matroska made from `ALL`."""
    return write_clip(clips / "everything.mkv", ALL)


@pytest.fixture(scope="module")
def good(everything, clips, make_upscaler):
    """Its upscaled version, in Matroska."""
    return upscale(everything, clips / "everything x2.mkv", make_upscaler())


def test_a_good_output_passes_every_check(everything, good):
    report = verify(everything, good)
    assert not report.failed, report.table()
    passed = {check.name for check in report.checks if check.status == "ok"}
    assert passed >= {
        "frames", "times", "end", "picture", "colour values", "size", "aspect ratio", "rotation", "matrix", "range",
        "primaries", "transfer", "chroma location", "depth", "chroma sampling", "streams", "packets", "start times",
        "end times", "language", "title", "disposition", "content", "chapters", "chapter times", "tags",
    }  # fmt: skip


def test_a_rewritten_output_without_a_change_passes(everything, good, tmp_path):
    """What the table below does to files is not what makes them fail."""
    assert not failed(everything, rewrite(good, tmp_path / "same.mkv", Change()))
    again = Change(frames=lambda frames: frames)
    assert not failed(everything, rewrite(good, tmp_path / "again.mkv", again))


def swapped(frames):
    pictures = [frame for _, frame in frames]
    pictures[10], pictures[11] = pictures[11], pictures[10]
    return [(time, picture) for (time, _), picture in zip(frames, pictures, strict=True)]


def repeated(frames):
    return [*frames[:12], (frames[12][0], frames[11][1]), *frames[13:]]


def blackened(frames):
    black = av.VideoFrame.from_ndarray(
        np.concatenate([np.full((96, 128), 16, np.uint8), np.full((48, 128), 128, np.uint8)]), format="yuv420p"
    )
    return [*frames[:7], (frames[7][0], black), *frames[8:]]


def moved_down(frames):
    """The picture is 12 lines further down, as a wrong height of the decoder makes it."""
    return [(time, _with_luma(frame, lambda luma: np.roll(luma, 12, 0))) for time, frame in frames]


def squeezed(frames):
    """Limited range mistaken for full and written as limited again."""
    return [(time, _with_luma(frame, lambda luma: (16 + luma.astype(float) * 219 / 255).astype(np.uint8)))
            for time, frame in frames]  # fmt: skip


def _with_luma(frame, change):
    array = frame.to_ndarray()
    array[: frame.height] = change(array[: frame.height])
    return av.VideoFrame.from_ndarray(array, format="yuv420p")


def through_another_matrix(frames):
    """Taken to RGB by BT.709 and back by BT.601, the tag left as it was."""
    rgb = [frame.reformat(format="rgb24", src_colorspace=1, dst_colorspace=1, threads=1) for _, frame in frames]
    return [(time, picture.reformat(format="yuv420p", src_colorspace=1, dst_colorspace=5, threads=1))
            for (time, _), picture in zip(frames, rgb, strict=True)]  # fmt: skip


def later(index, seconds):
    def change(packet):
        if packet.stream_index == index:
            ticks = round(Fraction(seconds) / Fraction(packet.time_base.numerator, packet.time_base.denominator))
            packet.pts += ticks
            packet.dts += ticks
        return packet

    return change


class Missing:
    """Leaves out the fifth packet of a stream."""

    def __init__(self, index):
        self.index = index
        self.seen = 0

    def __call__(self, packet):
        if packet.stream_index == self.index:
            self.seen += 1
            if self.seen == 5:
                return None
        return packet


def altered(packet):
    if packet.stream_index != 1 or not packet.pts:
        return packet
    other = av.Packet(bytes(packet)[:-1] + b"\x55")
    other.pts, other.dts, other.time_base, other.duration = packet.pts, packet.dts, packet.time_base, packet.duration
    return other


def with_tags(index, **tags):
    def change(stream):
        if stream.index == index:
            stream.metadata.update(tags)

    return change


def without_disposition(stream):
    stream.disposition = 0


def renamed(chapters):
    return [{**chapter, "metadata": {"title": "Drei"}} for chapter in chapters]


def shortened(chapters):
    return [{**chapter, "start": chapter["start"] + chapter["end"] // 10} for chapter in chapters]


def without_frame(number):
    return lambda frames: frames[:number] + frames[number + 1 :]


def with_a_frame_between(frames):
    return [*frames[:9], (frames[9][0] - 20, frames[9][1]), *frames[9:]]


def closed_up(frames):
    return [(40 * number, frame) for number, (_, frame) in enumerate(frames[:9] + frames[10:])]


def one_late(frames):
    return [(time + 5 * (number == 9), frame) for number, (time, frame) in enumerate(frames)]


def all_late(frames):
    return [(time + 200, frame) for time, frame in frames]


def drifting(frames):
    return [(time + time // 50, frame) for time, frame in frames]


def nothing(_):
    return []


def artist_changed(tags):
    return {**tags, "artist": "Niemand"}


def artist_alone(tags):
    return {"artist": tags["ARTIST"]}


PLAIN = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
BREAKS = {
    "a frame is missing": (Change(frames=without_frame(9)), {"frames", "times"}),
    "the last frame is missing": (Change(frames=without_frame(24)), {"frames", "times", "end"}),
    "a frame too many": (Change(frames=with_a_frame_between), {"frames", "times"}),
    "a missing frame closed up": (Change(frames=closed_up), {"frames", "times", "end", "picture"}),
    "a frame 5 ms late": (Change(frames=one_late), {"times"}),
    "all frames 200 ms late": (Change(frames=all_late), {"times", "start times", "end times", "chapter times"}),
    "frames that drift": (Change(frames=drifting), {"times", "end"}),
    "two frames swapped": (Change(frames=swapped), {"picture"}),
    "a frame shown twice in place of the next": (Change(frames=repeated), {"picture"}),
    "a black frame": (Change(frames=blackened), {"picture"}),
    "a picture out of place": (Change(frames=moved_down), {"picture"}),
    "contrast of a wrong range": (Change(frames=squeezed), {"colour values"}),
    "colours of a wrong matrix": (Change(frames=through_another_matrix), {"colour values"}),
    "another matrix in the tag": (Change(video={"colorspace": 6}), {"matrix", "colour values"}),
    "no matrix in the tag": (Change(video={"colorspace": 2}), {"matrix", "colour values"}),
    "another range in the tag": (Change(video={"color_range": 2}), {"range", "colour values"}),
    "other primaries": (Change(video={"color_primaries": 9}), {"primaries"}),
    "another transfer": (Change(video={"color_trc": 16}), {"transfer"}),
    "another chroma location": (Change(video={"chroma_sample_location": 1}), {"chroma location"}),
    "square pixels": (Change(sar=Fraction(1)), {"aspect ratio"}),
    "another rotation": (Change(turn=UPSIDE_DOWN), {"rotation"}),
    "no rotation": (Change(turn=PLAIN), {"rotation"}),
    "no audio": (Change(without=[1]), {"streams"}),
    "no subtitles": (Change(without=[3]), {"streams"}),
    "no attachments": (Change(without=[4, 5]), {"streams"}),
    "audio 40 ms late": (Change(packet=later(1, "0.04")), {"#1 audio: start times"}),
    "subtitles early": (Change(packet=later(3, "-0.05")), {"#3 subtitle: start times", "#3 subtitle: end times"}),
    "a packet of sound is missing": (Change(packet=Missing(1)), {"#1 audio: packets"}),
    "sound that was encoded again": (Change(packet=altered), {"#1 audio: packets"}),
    "another language": (Change(stream=with_tags(1, language="swe")), {"#1 audio: language"}),
    "another title": (Change(stream=with_tags(3, title="x")), {"#3 subtitle: title"}),
    "no disposition": (Change(stream=without_disposition), {"disposition"}),
    "no chapters": (Change(chapters=nothing), {"chapters"}),
    "chapters of other names": (Change(chapters=renamed), {"chapters"}),
    "chapters at other times": (Change(chapters=shortened), {"chapter times"}),
    "a tag is missing": (Change(tags=artist_alone), {"tags"}),
    "another tag": (Change(tags=artist_changed), {"tags"}),
}
"""What is done to a good output, and the checks that must fail."""


@pytest.mark.parametrize("name", BREAKS)
def test_each_breach_is_reported_by_its_name_and_nothing_else_is(name, everything, good, tmp_path):
    change, expected = BREAKS[name]
    report = verify(everything, rewrite(good, tmp_path / "broken.mkv", change))
    assert {check.name for check in report.failed} == {label.split(": ")[-1] for label in expected}, report.table()
    named = {label.split(": ")[0] for label in expected if ": " in label}
    assert not named or {check.subject for check in report.failed} == named, report.table()


# Inputs of their own for what the table cannot show


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm"])
def test_other_containers_pass(suffix, everything, tmp_path, nearest):
    encoder = EncoderOptions(extra={"cpu-used": "8", "deadline": "realtime"}) if suffix == ".webm" else LOSSLESS
    target = upscale(everything, tmp_path / f"out{suffix}", nearest, encoder, drop_unsupported=True)
    report = verify(everything, target, drop_unsupported=True)
    assert not report.failed, report.table()


def test_what_was_left_out_is_a_breach_unless_it_was_asked_for(everything, tmp_path, nearest):
    target = upscale(everything, tmp_path / "out.mp4", nearest, drop_unsupported=True)
    report = verify(everything, target)
    assert [(check.name, check.found) for check in report.failed] == [
        ("streams", "4 of 5; missing: #4 (attachment, unknown)")
    ]
    assert not failed(everything, target, drop_unsupported=True)


def test_what_the_container_could_hold_must_not_be_left_out(everything, good, tmp_path):
    broken = rewrite(good, tmp_path / "broken.mkv", Change(without=[1]))
    assert failed(everything, broken, drop_unsupported=True) == {("file", "streams")}


def test_fewer_bits_and_coarser_chroma_are_found(tmp_path, nearest):
    clip = Clip(codec="ffv1", pix_fmt="yuv422p10le", options={}, times=range(5), tags=Tags(matrix=1, color_range=1))
    source = write_clip(tmp_path / "in.mkv", clip)
    target = upscale(source, tmp_path / "out.mkv", nearest, EncoderOptions(codec="ffv1"))
    assert not failed(source, target)
    for pix_fmt, expected in (
        ("yuv422p", {("video", "depth")}),
        ("yuv420p10le", {("video", "chroma sampling")}),
        ("yuv420p", {("video", "depth"), ("video", "chroma sampling")}),
        ("yuv444p12le", set()),
    ):
        again = rewrite(target, tmp_path / f"{pix_fmt}.mkv", Change(codec="ffv1", pix_fmt=pix_fmt))
        assert failed(source, again) == expected


def test_lost_or_other_hdr_metadata_is_found(tmp_path, nearest):
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    tags = Tags(matrix=9, color_range=1, primaries=9, transfer=16)

    def clip(name, display, light):
        given = f"log-level=error:master-display={display}:max-cll={light}" if display else "log-level=error"
        options = {"x265-params": f"{given}:qp=4"}
        return write_clip(
            tmp_path / name,
            Clip(codec="libx265", pix_fmt="yuv420p10le", tags=tags, times=range(3), options=options, size=(128, 96)),
        )

    source = clip("in.mkv", display, "1000,400")
    target = upscale(source, tmp_path / "out.mp4", nearest, EncoderOptions(codec="hevc", preset="ultrafast"))
    assert not failed(source, target)
    both = {("video", "mastering display"), ("video", "light level")}
    assert failed(source, clip("none.mkv", None, None)) == both
    assert failed(source, clip("dimmer.mkv", display.replace("10000000", "6000000"), "600,400")) == both
    assert failed(source, clip("level.mkv", display, "1000,300")) == {("video", "light level")}


def test_other_sizes(plain, tmp_path, make_upscaler):
    wide = write_clip(tmp_path / "in.mp4", Clip(size=(72, 48), sar=Fraction(8, 9), times=range(5)))
    square = upscale(wide, tmp_path / "square.mp4", make_upscaler(), size=OutputSize(width=128, height=96))
    assert not failed(wide, square)  # the shape of pixels makes up for it
    assert not failed(
        plain, upscale(plain, tmp_path / "odd.mp4", make_upscaler(), size=OutputSize(width=82, height=62))
    )
    squeezed = rewrite(square, tmp_path / "squeezed.mp4", Change(sar=Fraction(3, 2)))
    assert failed(wide, squeezed) == {("video", "aspect ratio"), ("video", "size")}


@pytest.mark.parametrize(
    "trial", [{"start": Fraction(1)}, {"end": Fraction(3, 2)}, {"frames": 20}, {"start": Fraction(9, 10), "frames": 31},
              {"start": Fraction(3), "end": Fraction(17, 5)}],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_trial_is_verified_against_its_part(trial, suffix, tmp_path, nearest):
    clip = Clip(
        times=range(100), audio=["aac"], subtitles=[(100, 900, "a"), (1000, 2000, "b"), (3100, 3300, "c")],
        chapters=[(0, 1000, "A"), (1000, 4000, "B")], options={"preset": "ultrafast", "g": "25"},
    )  # fmt: skip
    source = write_clip(tmp_path / "in.mkv", clip)
    target = upscale(source, tmp_path / f"out{suffix}", nearest, **trial)
    report = verify(source, target, **trial)
    assert not report.failed, report.table()
    assert ("video", "frames") in failed(source, target)
    later = {**trial, "start": trial.get("start", 0) + Fraction(1, 5)}
    assert ("video", "picture") in failed(source, target, **later)


def test_damaged_input_counts_what_the_decoder_gives(plain, tmp_path, nearest):
    with av.open(str(plain)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(plain.read_bytes())
    position, size = places[10]
    content[position + 4 : position + size] = b"\xff" * (size - 4)
    source = tmp_path / "damaged.mp4"
    source.write_bytes(content)
    target = upscale(source, tmp_path / "out.mp4", nearest)
    report = verify(source, target)
    assert not report.failed, report.table()
    frames = next(check for check in report.checks if check.name == "frames")
    assert frames.expected == f"{frames.found} (1 damaged packet besides)"
    assert failed(plain, target) >= {("video", "frames"), ("video", "times")}


# The command


def test_the_command_prints_a_table_and_exits_with_the_verdict(everything, good, tmp_path, capsys):
    assert main(["verify", str(everything), str(good)]) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[0].split() == ["check", "expected", "found", "result"]
    assert table.rstrip().endswith("checks hold")
    broken = rewrite(good, tmp_path / "broken.mkv", Change(without=[1]))
    assert main(["verify", str(everything), str(broken), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert [check["name"] for check in report["checks"] if check["status"] == "failed"] == ["streams"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.mkv", "{good}"], 2, "no such file"),
        (["{source}", "missing.mkv"], 2, "no such file"),
        (["{source}", "{source}"], 2, "is the input itself"),
        (["{source}", "{folder}"], 2, "is a folder"),
        (["{source}", "{text}"], 1, "cannot read"),
        (["{source}", "{empty}"], 1, "cannot read"),
        (["{source}", "{good}", "--start", "100"], 2, "no frame after --start 100 s"),
        (["{source}", "{good}", "--start", "3", "--end", "2"], 2, "--end must be after --start"),
        (["{source}", "{good}", "--frames", "0"], 2, "--frames must be at least 1"),
    ],
)
def test_mistakes_are_one_line(arguments, code, message, everything, good, tmp_path, capsys):
    (tmp_path / "text.mkv").write_text("no video")
    (tmp_path / "empty.mkv").touch()
    names = {
        "source": everything, "good": good, "folder": tmp_path, "text": tmp_path / "text.mkv",
        "empty": tmp_path / "empty.mkv",
    }  # fmt: skip
    assert main(["verify", *(argument.format(**names) for argument in arguments)]) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 1
    assert message in output.err


def test_it_shares_no_code_with_what_reads_and_writes():
    """An error there must not hide itself: neither imports nor copies of the same modules."""
    code = """
import pkgutil, sys, importlib, esrgan_video.verify as package
for module in pkgutil.iter_modules(package.__path__):
    importlib.import_module(f"{package.__name__}.{module.name}")
import esrgan_video.cli.verify
print(sorted(name for name in sys.modules if name.startswith("esrgan_video.") and name.split(".")[1] != "verify"))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(json.loads(result.stdout.replace("'", '"'))) <= {
        "esrgan_video.cli",
        "esrgan_video.cli.verify",
        "esrgan_video.cli.times",
    }
    folder = Path(sys.modules["esrgan_video.verify"].__file__).parent
    for path in folder.glob("*.py"):
        imported = [line.split()[1] for line in path.read_text().splitlines() if line.strip().startswith("from esrgan")]
        own = ("esrgan_video.verify", "esrgan.errors", "esrgan.progress")
        assert all(name.startswith(own) for name in imported), path


def _disc(number: int) -> list[np.ndarray]:
    """A flat colour in a disc of opacity that moves, on black that cannot be seen."""
    y, x = np.mgrid[:96, :128]
    seen = np.hypot(x - 50 - number, y - 48) < 20
    luma, alpha = np.where(seen, 150, 16), np.where(seen, 255, 0)
    chroma = [np.where(seen, value, 128)[::2, ::2] for value in (90, 180)]
    return [plane.astype(np.uint8) for plane in (luma, *chroma, alpha)]


@pytest.mark.parametrize(
    ("suffix", "encoder"), [(".mkv", EncoderOptions(codec="ffv1")), (".mov", EncoderOptions()), (".webm", None)]
)
def test_colours_that_cannot_be_seen_may_be_anything(suffix, encoder, tmp_path, nearest):
    tags = Tags(matrix=1, color_range=1)
    clip = Clip(codec="ffv1", pix_fmt="yuva420p", size=(128, 96), times=range(6), options={}, tags=tags,
                planes=[_disc(number) for number in range(6)])  # fmt: skip
    source = write_clip(tmp_path / "in.mkv", clip)
    fast = EncoderOptions(extra={"deadline": "realtime", "cpu-used": "8"})
    assert not failed(source, upscale(source, tmp_path / f"out{suffix}", nearest, encoder or fast))
    other = write_clip(
        tmp_path / "other.mkv",
        Clip(
            **{**vars(clip), "planes": [[*_disc(number)[:3], np.full((96, 128), 255, np.uint8)] for number in range(6)]}
        ),
    )
    assert {
        name
        for _, name in failed(source, upscale(other, tmp_path / "opaque.mkv", nearest, EncoderOptions(codec="ffv1")))
    } >= {"alpha"}


# Interlaced input


@pytest.fixture(scope="module")
def interlaced(clips):
    """20 frames of H.264 in MP4 that are flagged as two fields, the upper one first."""
    options = {"preset": "ultrafast", "x264-params": "tff=1", "bf": "0"}
    return write_clip(clips / "interlaced.mp4", Clip(times=range(20), options=options))


@pytest.mark.parametrize("mode", ["frame", "field", "off"])
@pytest.mark.parametrize("trial", [{}, {"frames": 7}])
def test_interlaced_input_per_frame_per_field_or_as_it_is(mode, trial, interlaced, tmp_path, identity):
    with av.open(str(interlaced)) as container:
        assert all(frame.interlaced_frame for frame in container.decode(video=0))
    target = upscale(interlaced, tmp_path / "out.mkv", identity, deinterlace=mode, **trial)
    report = verify(interlaced, target, **trial)
    assert not report.failed, report.table()
    count = next(check.found for check in report.checks if check.name == "frames")
    assert int(count) == (7 if trial else 40 if mode == "field" else 20)


def test_a_missing_second_field_is_found(interlaced, tmp_path, identity):
    target = upscale(interlaced, tmp_path / "out.mkv", identity, deinterlace="field")
    assert failed(interlaced, rewrite(target, tmp_path / "second.mkv", Change(frames=without_frame(9)))) == {
        ("video", "frames")
    }
    assert failed(interlaced, rewrite(target, tmp_path / "first.mkv", Change(frames=without_frame(10)))) == {
        ("video", "frames"),
        ("video", "times"),
    }


def test_fields_that_appear_in_the_output_are_found(plain, tmp_path, identity):
    encoder = EncoderOptions(preset="ultrafast", extra={"qp": "0", "x264-params": "tff=1"})
    assert failed(plain, upscale(plain, tmp_path / "out.mp4", identity, encoder)) == {("video", "interlacing")}


def test_lost_transparency_is_found(tmp_path, nearest):
    clip = Clip(codec="ffv1", pix_fmt="yuva444p", options={}, times=range(5), tags=Tags(matrix=1, color_range=1))
    source = write_clip(tmp_path / "in.mkv", clip)
    target = upscale(source, tmp_path / "out.mkv", nearest, EncoderOptions(codec="ffv1"))
    assert not failed(source, target)
    opaque = rewrite(target, tmp_path / "opaque.mkv", Change(codec="ffv1", pix_fmt="yuv444p"))
    assert failed(source, opaque) == {("video", "alpha")}
    small = upscale(source, tmp_path / "h264.mkv", nearest, EncoderOptions(codec="h264", preset="ultrafast"))
    assert not failed(source, small)  # said before the work: H.264 cannot hold it
