"""Each clause of the contract, broken on purpose in a good output: `verify_video` reports it by its name."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from break_tools import Change, rewrite
from verify_tools import failed, verify

UPSIDE_DOWN = (-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30)


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
