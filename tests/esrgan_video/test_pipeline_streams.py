"""Everything in a file that is not its video: kept, converted, or refused before work starts."""

from __future__ import annotations

import itertools
import zlib
from collections import deque
from fractions import Fraction

import av
import pytest
from av.stream import Disposition

from break_tools import Change, rewrite, turn_time_bit
from clip_tools import Clip, decode, digest, increasing, packets, small_png, streams, times, video_options, write_clip
from esrgan.errors import MediaError, UsageError
from esrgan_video import upscale_video
from esrgan_video.container import EncoderOptions, VideoReader, format_of, plan_streams
from verify_tools import failed

FAST = EncoderOptions(preset="ultrafast")


def run(source, target, upscaler, encoder=FAST, **given):
    options = video_options(encoder=encoder, **given)
    return upscale_video(source, target, upscaler=upscaler, options=options, progress="none")


def payloads(path, index):
    return [payload for _, payload in packets(path, index)]


def chapter_times(container):
    units = [Fraction(1, chapter["time_base"].denominator) for chapter in container.chapters()]
    return [
        (chapter["metadata"]["title"], chapter["start"] * unit, chapter["end"] * unit)
        for chapter, unit in zip(container.chapters(), units, strict=True)
    ]


def test_matroska_keeps_everything(rich, tmp_path, nearest):
    target = tmp_path / "out.mkv"
    result = run(rich, target, nearest)
    assert streams(target) == streams(rich)
    assert [kind for kind, *_ in streams(target)] == ["video", "audio", "audio", "subtitle", "attachment", "video"]
    assert result.dropped_streams == ()
    for index in (1, 2, 3, 5):
        assert packets(target, index) == packets(rich, index)
        assert payloads(target, index)
    with av.open(str(rich)) as before, av.open(str(target)) as after:
        assert [s.disposition for s in after.streams] == [s.disposition for s in before.streams]
        assert after.streams[2].disposition & Disposition.comment
        assert after.streams[4].data == before.streams[4].data != b""
        assert (after.streams[4].name, after.streams[4].mimetype) == ("font.ttf", "application/x-truetype-font")
        assert bytes(next(after.demux(after.streams[5]))) == small_png()
        assert after.chapters() == before.chapters()
        assert [chapter["metadata"]["title"] for chapter in after.chapters()] == ["Eins", "Zwei"]
        ignored = {"ENCODER"}
        assert {k: v for k, v in after.metadata.items() if k not in ignored} == {
            k: v for k, v in before.metadata.items() if k not in ignored
        }
        assert after.metadata["MY_OWN_TAG"] == "xyz"


def test_mp4_takes_sound_chapters_cover_and_converts_plain_subtitles(rich, tmp_path, nearest, caplog):
    target = tmp_path / "out.mp4"
    result = run(rich, target, nearest, drop_unsupported=True)
    assert result.dropped_streams == ("#4 (attachment, unknown)",)
    assert "rich.mkv: stream #4 (attachment, unknown) is left out: .mp4 cannot hold it" in caplog.text
    kinds = streams(target)
    assert [entry[:3] for entry in kinds[:4]] == [
        ("video", "h264", "und"), ("audio", "aac", "eng"), ("audio", "opus", "fra"), ("subtitle", "mov_text", "ger"),
    ]  # fmt: skip
    assert payloads(target, 1) == payloads(rich, 1)
    assert payloads(target, 2) == payloads(rich, 2)
    with av.open(str(target)) as after:
        lines = []
        for packet in after.demux(after.streams[3]):
            if packet.size > 2:
                start = Fraction(packet.pts) * Fraction(1, after.streams[3].time_base.denominator)
                lines.append(
                    (
                        start,
                        packet.duration * Fraction(1, after.streams[3].time_base.denominator),
                        packet.decode()[0].dialogue,
                    )
                )
        assert [(start, length) for start, length, _ in lines] == [
            (Fraction(1, 10), Fraction(1, 2)), (Fraction(7, 10), Fraction(1, 2)), (Fraction(3, 2), Fraction(2, 5)),
        ]  # fmt: skip
        assert [line for *_, line in lines] == [b"Hallo {\\i1}Welt", b"Zweite\nZeile", b"Ende"]
        assert [chapter["metadata"]["title"] for chapter in after.chapters()] == ["Eins", "Zwei"]
        assert (after.metadata["title"], after.metadata["artist"]) == ("Ein Titel", "Wer")
        cover = [stream for stream in after.streams.video if stream.disposition & Disposition.attached_pic]
        assert len(cover) == 1
    run(target, tmp_path / "back.mkv", nearest)
    with av.open(str(tmp_path / "back.mkv")) as after:
        cover = next(stream for stream in after.streams.video if stream.disposition & Disposition.attached_pic)
        assert bytes(next(after.demux(cover))) == small_png()


@pytest.mark.parametrize(("suffix", "lines"), [(".mkv", [b"Hallo", b"Welt"]), (".webm", [b"Hallo", b"Welt"])])
def test_mp4_subtitles_convert_back(suffix, lines, tmp_path, nearest):
    text = [(0, 500, "Hallo"), (600, 900, "Welt")]
    source = write_clip(
        tmp_path / "in.mkv", Clip(subtitles=text, time_base=Fraction(1, 1000), times=[40 * n for n in range(25)])
    )
    run(source, tmp_path / "mid.mp4", nearest)
    assert streams(tmp_path / "mid.mp4")[1][1] == "mov_text"
    fast = EncoderOptions(extra={"cpu-used": "8", "deadline": "realtime"}) if suffix == ".webm" else FAST
    run(tmp_path / "mid.mp4", tmp_path / f"out{suffix}", nearest, fast)
    found = packets(tmp_path / f"out{suffix}", 1)
    assert [payload for _, payload in found] == lines
    assert [time for time, _ in found] == [0, Fraction(3, 5)]


def test_chapters_of_mp4_go_to_mp4_again(tmp_path, nearest):
    chapters = [(0, 400, "A"), (400, 1200, "B")]
    source = write_clip(tmp_path / "in.mp4", Clip(chapters=chapters, audio=["aac"], metadata={"title": "T"}))
    result = run(source, tmp_path / "out.mp4", nearest)
    with av.open(str(source)) as before, av.open(str(tmp_path / "out.mp4")) as after:
        assert (
            chapter_times(after)
            == chapter_times(before)
            == [("A", 0, Fraction(2, 5)), ("B", Fraction(2, 5), Fraction(6, 5))]
        )
        assert [stream.type for stream in after.streams] == [stream.type for stream in before.streams]
        assert after.metadata["title"] == "T"
    assert len(result.dropped_streams) == 1  # the text track that repeats the chapters is made anew


def test_tags_of_ones_own_survive_in_mp4(tmp_path, nearest):
    metadata = {"title": "T", "my_own": "value", "comment": "C"}
    source = write_clip(tmp_path / "in.mkv", Clip(metadata=metadata))
    run(source, tmp_path / "out.mp4", nearest)
    with av.open(str(tmp_path / "out.mp4")) as after:
        found = {key.lower(): value for key, value in after.metadata.items()}
    assert metadata.items() <= found.items()


def test_a_timecode_stays(tmp_path, nearest):
    source = write_clip(tmp_path / "in.mov", Clip(metadata={"timecode": "01:00:00:00"}))
    with av.open(str(source)) as before:
        assert [stream.type for stream in before.streams] == ["video", "data"]
    run(source, tmp_path / "out.mov", nearest)
    with av.open(str(tmp_path / "out.mov")) as after:
        assert after.streams.video[0].metadata["timecode"] == "01:00:00:00"


def test_false_statistics_are_not_copied(tmp_path, nearest):
    tags = {"BPS-eng": "1", "NUMBER_OF_FRAMES-eng": "2", "_STATISTICS_TAGS-eng": "x", "title": "kept", "encoder": "old"}
    source = write_clip(tmp_path / "in.mkv", Clip(video_metadata=tags))
    run(source, tmp_path / "out.mkv", nearest)
    with av.open(str(tmp_path / "out.mkv")) as after:
        assert set(after.streams[0].metadata) - {"DURATION"} == {"title"}


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("count", [1, 3])
def test_further_video_is_copied(count, suffix, tmp_path, nearest):
    source = tmp_path / "in.mkv"
    parts = [
        write_clip(tmp_path / f"part{number}.mp4", Clip(size=(64, 32 + 16 * number))) for number in range(count + 1)
    ]
    with av.open(str(source), "w") as output:
        opened = [av.open(str(part)) for part in parts]
        targets = [output.add_stream_from_template(part.streams[0], opaque=True) for part in opened]
        for part, stream in zip(opened, targets, strict=True):
            for packet in part.demux(0):
                if packet.size:
                    packet.stream = stream
                    output.mux(packet)
            part.close()
    target = tmp_path / f"out{suffix}"
    run(source, target, nearest)
    assert len(streams(target)) == count + 1
    for number in range(1, count + 1):
        assert digest(target, number) == digest(source, number)
    assert (decode(target)[0].width, len(decode(target))) == (128, 30)


def test_the_order_of_streams_is_kept(tmp_path, nearest):
    source = tmp_path / "in.mp4"
    inner = write_clip(tmp_path / "av.mp4", Clip(audio=["aac"]))
    with av.open(str(inner)) as before, av.open(str(source), "w") as output:
        targets = {index: output.add_stream_from_template(before.streams[index], opaque=True) for index in (1, 0)}
        for packet in before.demux():
            if packet.size:
                packet.stream = targets[packet.stream_index]
                output.mux(packet)
    assert [kind for kind, *_ in streams(source)] == ["audio", "video"]
    run(source, tmp_path / "out.mp4", nearest)
    assert [kind for kind, *_ in streams(tmp_path / "out.mp4")] == ["audio", "video"]
    assert times(tmp_path / "out.mp4") == times(source)


ASS = Clip(subtitles=[(0, 500, "0,,Default,,0,0,0,,x")], subtitle_codec="ass")


@pytest.mark.parametrize(
    ("clip", "suffix", "message"),
    [
        (ASS, ".mp4", r"cannot hold stream #1 \(subtitle, s?ssa?, ger\) of .*: write \.mkv instead, or leave it out"),
        (Clip(audio=["aac"]), ".webm", r"stream #1 \(audio, aac, eng\) of .*: write \.mkv or \.mp4 or \.mov"),
        (Clip(audio=["libopus", "flac"]), ".mov", r"#1 \(audio, opus, eng\).*: write \.mkv or \.mp4"),
        (Clip(attachments={"f.ttf": ("font/ttf", b"x" * 50)}), ".mp4", r"#1 \(attachment, unknown\) .*: write \.mkv"),
    ],
)
def test_what_a_container_cannot_hold_is_refused_before_work(clip, suffix, message, tmp_path, nearest):
    source = write_clip(tmp_path / "in.mkv", clip)
    with pytest.raises(UsageError, match=message):
        run(source, tmp_path / f"out{suffix}", nearest, EncoderOptions())
    assert nearest.batches == []
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_unsupported_streams_are_dropped_on_request(tmp_path, nearest, caplog):
    source = write_clip(tmp_path / "in.mkv", Clip(audio=["aac"]))
    options = EncoderOptions(extra={"cpu-used": "8", "deadline": "realtime"})
    result = run(source, tmp_path / "out.webm", nearest, options, drop_unsupported=True)
    assert result.dropped_streams == ("#1 (audio, aac, eng)",)
    assert "in.mkv: stream #1 (audio, aac, eng) is left out" in caplog.text
    assert [kind for kind, *_ in streams(tmp_path / "out.webm")] == ["video"]


def test_subtitles_at_the_same_time_do_not_stop_the_run(tmp_path, nearest, caplog):
    lines = [(0, 500, "eins"), (2000, 2500, "zwei"), (2000, 2500, "drei"), (2100, 2600, "vier")]
    clip = Clip(subtitles=lines, times=[40 * number for number in range(80)], time_base=Fraction(1, 1000))
    source = write_clip(tmp_path / "in.mkv", clip)
    for suffix in (".mkv", ".mp4"):
        run(source, tmp_path / f"out{suffix}", nearest)
        assert len([line for line in payloads(tmp_path / f"out{suffix}", 1) if len(line) > 2]) == 4
    assert payloads(tmp_path / "out.mkv", 1) == payloads(source, 1)
    assert "1 timestamp(s) of stream #1 did not increase" in caplog.text


@pytest.fixture
def with_damage(tmp_path):
    """Makes a Matroska file whose sound has damaged packets, and says what is left of them without those."""

    def make(codec, numbers):
        source = write_clip(tmp_path / "whole.mkv", Clip(audio=[codec], subtitles=[(100, 400, "eins")]))
        sound = payloads(source, 1)
        seen = []

        def broken(packet):
            if packet.stream_index == 1:
                seen.append(packet)
                if len(seen) - 1 in numbers:
                    made = av.Packet(b"\1" * packet.size)
                    made.pts, made.dts, made.time_base = packet.pts, packet.dts, packet.time_base
                    return made
            return packet

        target = rewrite(source, tmp_path / "damaged.mkv", Change(packet=broken))
        assert len(payloads(target, 1)) == len(sound) > max(numbers)
        return target, [payload for number, payload in enumerate(sound) if number not in numbers]

    return make


@pytest.mark.parametrize("numbers", [{3}, {3, 4, 11}, {35}])
@pytest.mark.parametrize("codec", ["ac3", "eac3"])
def test_damaged_packets_of_copied_sound_do_not_stop_the_run(codec, numbers, with_damage, tmp_path, nearest, caplog):
    source, left = with_damage(codec, numbers)  # the muxer of MP4 refuses them
    result = run(source, tmp_path / "out.mp4", nearest)
    assert payloads(tmp_path / "out.mp4", 1) == left
    assert result.frames == len(decode(tmp_path / "out.mp4")) == 30
    assert f"damaged.mkv: {len(numbers)} damaged packet(s) of stream #1 were left out" in caplog.text


def test_strict_stops_at_a_damaged_packet_of_copied_sound(with_damage, tmp_path, nearest):
    source, left = with_damage("ac3", {3})
    with pytest.raises(MediaError, match=r"damaged\.mkv: a damaged packet of stream #1 \(.*\): leave out --strict"):
        run(source, tmp_path / "out.mp4", nearest, strict=True)
    assert not (tmp_path / "out.mp4").exists()
    assert run(source, tmp_path / "out.mp4", nearest).resumed_frames == 30
    assert payloads(tmp_path / "out.mp4", 1) == left


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("damage", [{0: 0}, {1: 0xF0, 6: 0xFF}], ids=["no header", "what FFmpeg does not know"])
def test_a_damaged_header_in_a_transport_stream_costs_one_packet(damage, suffix, tmp_path, nearest, caplog):
    source = write_clip(tmp_path / "in.ts", Clip(muxer="mpegts", audio=["aac"]))
    content = bytearray(source.read_bytes())
    sound = payloads(source, 1)
    place = content.index(sound[7][:16])
    for offset, value in damage.items():
        content[place + offset] = value
    source.write_bytes(content)
    run(source, tmp_path / f"out{suffix}", nearest)
    bare = [payload[7:] for payload in sound]  # ADTS has seven bytes before each packet
    found = payloads(tmp_path / f"out{suffix}", 1)
    assert set(found) <= set(bare)
    assert len(bare) - 2 <= len(found) < len(bare)
    assert "in.ts: 1 damaged packet(s) of stream #1 were left out" in caplog.text


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_subtitles_that_are_not_utf8_are_converted(suffix, tmp_path, nearest, caplog):
    lines = [(100, 300, "eins"), (400, 600, "Caf# noir"), (700, 900, "drei")]
    whole = write_clip(tmp_path / "whole.mkv", Clip(subtitles=lines))

    def in_latin(packet):
        made = av.Packet(bytes(packet).replace(b"#", "é".encode("latin-1")))
        made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
        made.time_base = packet.time_base
        return made

    source = rewrite(whole, tmp_path / "in.mkv", Change(packet=in_latin))
    assert payloads(source, 1) == [b"eins", b"Caf\xe9 noir", b"drei"]
    encoder = FAST if suffix == ".mp4" else EncoderOptions(extra={"cpu-used": "8", "deadline": "realtime"})
    target = tmp_path / f"out{suffix}"
    run(source, target, nearest, encoder)
    shown = [payload[2:] if suffix == ".mp4" else payload for payload in payloads(target, 1)]
    assert [line for line in shown if line] == [b"eins", "Café noir".encode(), b"drei"]
    assert "stream #1: lines that are not UTF-8 are read as Windows-1252" in caplog.text
    assert failed(source, target) == set()


def test_subtitles_that_cannot_be_read_are_left_out(tmp_path, nearest, caplog):
    whole = tmp_path / "whole.mp4"
    run(write_clip(tmp_path / "text.mkv", Clip(subtitles=[(100, 300, "eins"), (400, 600, "zw#i")])), whole, nearest)

    def in_latin(packet):
        made = av.Packet(bytes(packet).replace(b"#", b"\xe9"))  # behind its length: not a line and nothing else
        made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
        made.time_base = packet.time_base
        return made

    source = rewrite(whole, tmp_path / "in.mp4", Change(packet=in_latin))
    assert b"\0\x04zw\xe9i" in payloads(source, 1)
    caplog.clear()
    run(source, tmp_path / "out.mkv", nearest)
    assert payloads(tmp_path / "out.mkv", 1) == [b"eins"]
    assert "in.mp4: 1 damaged packet(s) of stream #1 were left out" in caplog.text


@pytest.mark.parametrize("together", [1, 4])
def test_a_wrong_time_of_sound_moves_none_of_the_rest(together, tmp_path, nearest):
    first = write_clip(tmp_path / "first.ts", Clip(muxer="mpegts", times=range(50), audio=["aac"]))
    whole = tmp_path / "whole.ts"
    with av.open(str(first)) as before, av.open(str(whole), "w", format="mpegts") as after:
        targets = [after.add_stream_from_template(stream, opaque=True) for stream in before.streams]
        read = [packet for packet in before.demux() if packet.size]
        sound = [packet for packet in read if packet.stream_index == 1]
        for start in range(0, len(sound), together):  # one time stands for several
            merged = av.Packet(b"".join(map(bytes, sound[start : start + together])))
            merged.pts, merged.dts, merged.time_base = sound[start].pts, sound[start].dts, sound[start].time_base
            merged.stream = targets[1]
            after.mux(merged)
        for packet in read:
            if packet.stream_index == 0:
                packet.stream = targets[0]
                after.mux(packet)
    source = turn_time_bit(whole, tmp_path / "turned.ts", 1, 10)
    expected, astray = ([time for time, _ in packets(path, 1)] for path in (whole, source))
    assert max(astray) > 10_000
    assert sum(one != other for one, other in zip(expected, astray, strict=True)) == together
    target = tmp_path / "out.mkv"
    run(source, target, nearest)
    found = [time for time, _ in packets(target, 1)]
    assert max(abs(one - other) for one, other in zip(expected, found, strict=True)) < Fraction(1, 50)
    assert failed(source, target) == set()


@pytest.fixture
def joined(tmp_path):
    """Two transport streams in one file; the sound of the first ends a second and a half before its video."""
    first = write_clip(tmp_path / "one.ts", Clip(muxer="mpegts", times=range(75), audio=["aac"]))
    short = tmp_path / "short.ts"
    with av.open(str(first)) as before, av.open(str(short), "w", format="mpegts") as after:
        targets = [after.add_stream_from_template(stream, opaque=True) for stream in before.streams]
        for packet in before.demux():
            if packet.size and (packet.stream_index == 0 or packet.pts * packet.time_base < Fraction(3, 2)):
                packet.stream = targets[packet.stream_index]
                after.mux(packet)
    second = write_clip(tmp_path / "two.ts", Clip(muxer="mpegts", times=range(50), audio=["aac"]))
    path = tmp_path / "joined.ts"
    path.write_bytes(short.read_bytes() + second.read_bytes())
    return path


def test_sound_stays_with_the_video_where_files_were_joined(joined, tmp_path, nearest, caplog):
    target = tmp_path / "out.mkv"
    run(joined, target, nearest)
    sources, found = ([[time for time, _ in packets(path, index)] for index in (0, 1)] for path in (joined, target))
    moved = [max(after) - max(before[-20:]) for before, after in zip(sources, found, strict=True)]
    assert abs(moved[0] - 3) < Fraction(1, 5)
    assert abs(moved[1] - moved[0]) < Fraction(1, 100)
    assert increasing(found[1])
    assert "joined.ts: time begins anew 1 time(s)" in caplog.text
    assert failed(joined, target) == set()


def test_a_wrong_time_soon_after_a_join_moves_none_of_the_rest(joined, tmp_path, nearest):
    with av.open(str(joined)) as container:
        sound = [packet.pts for packet in container.demux(audio=0) if packet.size]
    second = next(number for number, (one, other) in enumerate(itertools.pairwise(sound)) if other < one) + 1
    source = turn_time_bit(joined, tmp_path / "turned.ts", 1, second + 6)
    results = []
    for path in (joined, source):
        run(path, path.with_suffix(".mkv"), nearest)
        results.append([time for time, _ in packets(path.with_suffix(".mkv"), 1)])
    assert max(time for time, _ in packets(source, 1)) > 10_000
    assert max(abs(one - other) for one, other in zip(*results, strict=True)) < Fraction(1, 50)


def test_sound_that_leaves_the_video_where_files_were_joined_is_found(joined, tmp_path, nearest):
    good = tmp_path / "out.mkv"
    run(joined, good, nearest)
    sound = [time for time, _ in packets(good, 1)]
    assert not [time for time in sound if Fraction(8, 5) < time < 3]

    def early(packet):
        if packet.stream_index == 1 and packet.pts * packet.time_base >= 3:
            packet.pts -= 1000
            packet.dts -= 1000
        return packet

    moved = rewrite(good, tmp_path / "moved.mkv", Change(packet=early))
    assert failed(joined, moved) == {("#1 audio", "start times")}


def with_subtitles(path, seconds, audio):
    """A transport stream of four seconds that has subtitles of DVB (EN 300 743) at these times, which show nothing."""
    plain = write_clip(path.with_suffix(".plain.ts"), Clip(muxer="mpegts", times=range(100), audio=audio))
    composition, end = b"\x0f\x10\0\1\0\2\x1e\0", b"\x0f\x80\0\1\0\0"
    waiting = deque(seconds)
    with av.open(str(plain)) as before, av.open(str(path), "w", format="mpegts") as after:
        targets = [after.add_stream_from_template(stream, opaque=True) for stream in before.streams]
        text = after.add_mux_stream("dvbsub")
        for packet in before.demux():
            while packet.size and waiting and waiting[0] <= packet.dts * packet.time_base:
                subtitle = av.Packet(composition + end)
                subtitle.stream, subtitle.time_base = text, Fraction(1, 90_000)
                subtitle.pts = subtitle.dts = int(waiting.popleft() * 90_000)
                after.mux(subtitle)
            if packet.size:
                packet.stream = targets[packet.stream_index]
                after.mux(packet)
    return path.read_bytes()


@pytest.mark.parametrize("first", [[1, 2, 3], [Fraction(1, 4)]])  # time steps back in the subtitles too, or does not
@pytest.mark.parametrize("audio", [["aac"], []])
def test_subtitles_stay_with_the_video_where_files_were_joined(first, audio, tmp_path, nearest):
    source, target = tmp_path / "joined.ts", tmp_path / "out.mkv"
    second = [Fraction(1, 2), Fraction(3, 2), Fraction(5, 2)]
    parts = [with_subtitles(tmp_path / name, times, audio) for name, times in (("1.ts", first), ("2.ts", second))]
    source.write_bytes(b"".join(parts))
    text = 1 + len(audio)
    video, lines = ([time for time, _ in packets(source, index)] for index in (0, text))
    assert len(lines) == len(first) + 3
    run(source, target, nearest)
    moved = max(time for time, _ in packets(target, 0)) - max(video)
    assert moved == 4
    expected = [time + moved * (number >= len(first)) for number, time in enumerate(lines)]
    assert [time for time, _ in packets(target, text)] == expected
    assert failed(source, target) == set()


def test_data_that_cannot_be_copied_is_left_out(tmp_path, nearest, caplog):
    source = tmp_path / "in.ts"
    inner = write_clip(tmp_path / "video.mp4", Clip())
    with av.open(str(inner)) as before, av.open(str(source), "w", format="mpegts") as output:
        video = output.add_stream_from_template(before.streams[0], opaque=True)
        data = output.add_data_stream("klv")
        for packet in before.demux(0):
            if packet.size:
                packet.stream = video
                output.mux(packet)
        packet = av.Packet(b"\x06\x0e\x2b\x34" + bytes(20))
        packet.stream, packet.time_base = data, Fraction(1, 1000)
        packet.pts = packet.dts = 400
        output.mux(packet)
    assert [kind for kind, *_ in streams(source)] == ["video", "data"]
    result = run(source, tmp_path / "out.mp4", nearest)
    assert result.frames == 30
    assert result.dropped_streams == ("#1 (data, klv)",)
    assert "stream #1 (data, klv) is left out: .mp4 cannot hold it" in caplog.text


def test_the_plan_can_be_had_without_work(rich):
    with VideoReader(rich) as reader:
        plan = plan_streams(rich, reader.info.stream_index, format_of(rich.with_suffix(".mp4")), drop_unsupported=True)
    assert [decision.action for decision in plan.streams] == ["upscale", "copy", "copy", "convert", "drop", "copy"]
    assert plan.streams[3].target == "mov_text"


@pytest.mark.parametrize("codec", ["aac", "ac3", "libmp3lame", "flac", "libopus", "pcm_s16le"])
def test_all_sound_is_byte_equal(codec, tmp_path, nearest):
    source = write_clip(
        tmp_path / "in.mkv", Clip(audio=[codec], time_base=Fraction(1, 1000), times=[40 * n for n in range(40)])
    )
    run(source, tmp_path / "out.mkv", nearest)
    assert packets(tmp_path / "out.mkv", 1) == packets(source, 1)
    assert len(packets(source, 1)) > 10


def test_priming_of_aac_stays_in_place(tmp_path, nearest):
    """MP4 hides the encoder's first samples with an edit list; the packets before zero must stay before zero."""
    source = write_clip(tmp_path / "in.mp4", Clip(audio=["aac"]))
    assert packets(source, 1)[0][0] < 0
    for suffix in (".mp4", ".mkv"):
        target = tmp_path / f"out{suffix}"
        run(source, target, nearest)
        assert payloads(target, 1) == payloads(source, 1)
        assert times(target) == times(source)
        for (ours, _), (theirs, _) in zip(packets(target, 1), packets(source, 1), strict=True):
            assert abs(ours - theirs) <= (0 if suffix == ".mp4" else Fraction(1, 1000))


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
@pytest.mark.parametrize("sar", [Fraction(11, 12), Fraction(128, 117), Fraction(2)])
def test_the_shape_of_vp9_pixels_is_in_the_file(suffix, sar, tmp_path, nearest):
    """VP9 has no field for it and PyAV cannot hand it to the muxer: it is added to the finished file."""
    clip = Clip(sar=sar, audio=["libopus"], times=range(75), chapters=[(0, 1000, "A")], metadata={"title": "T" * 200})
    source = write_clip(tmp_path / "in.mkv", clip)
    target = tmp_path / f"out{suffix}"
    run(source, target, nearest, EncoderOptions(codec="vp9", extra={"cpu-used": "8", "deadline": "realtime"}))
    with av.open(str(target)) as container:
        video = container.streams.video[0]
        assert video.sample_aspect_ratio == sar
        container.seek(2_000_000)
        assert next(container.decode(video)).pts <= 2000  # the index still points where it should
        assert container.metadata["title"] == "T" * 200
        assert len(container.chapters()) == 1
    assert len(decode(target)) == 75
    assert digest(target, 1) == digest(source, 1)
    content = target.read_bytes()
    name = b"\x16\x54\xae\x6b"
    tracks = content.index(name, content.index(name) + 4) + 4  # the first is the SeekHead's reference
    size_size = 9 - content[tracks].bit_length()
    size = int.from_bytes(content[tracks : tracks + size_size], "big") & ((1 << 7 * size_size) - 1)
    body = content[tracks + size_size : tracks + size_size + size]
    if body[:1] == b"\xbf":  # a checksum: Matroska has them, WebM does not
        assert int.from_bytes(body[2:6], "little") == zlib.crc32(body[6:])
    assert (body[:1] == b"\xbf") == (suffix == ".mkv")
