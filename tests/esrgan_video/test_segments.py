"""The parts of a store, each for itself: the segment file, decoding times, the lock, the length of segments."""

from __future__ import annotations

import itertools
import os
import random
from fractions import Fraction

import av
import pytest
from av.packet import PacketSideData, packet_sidedata_type_from_literal

from esrgan.errors import MediaError, UsageError
from esrgan_video.segments.joining import joined
from esrgan_video.segments.length import cut, usual_segment_frames
from esrgan_video.segments.lock import locked
from esrgan_video.segments.packets import SegmentFile, checksum_of, write_segment


def packet(pts, payload=b"x", *, duration=1, is_keyframe=False, alpha=None):
    made = av.Packet(payload)
    made.pts, made.duration, made.is_keyframe = pts, duration, is_keyframe
    if alpha is not None:
        side_data = PacketSideData(packet_sidedata_type_from_literal("matroska_block_additional"), len(alpha))
        side_data.update(alpha)
        made.set_sidedata(side_data)
    return made


def told(one):
    side_data = [(item.data_type, bytes(item)) for item in one.iter_sidedata()]
    return one.pts, one.duration, one.is_keyframe, bytes(one), side_data


def test_a_segment_gives_back_what_it_was_given(tmp_path):
    generator = random.Random(1)

    def made():
        yield packet(0, b"key", is_keyframe=True, duration=7)
        yield packet(1 << 40, b"", duration=1 << 35)
        yield packet(-5, os.urandom(100_000), alpha=b"\0opacity\xff")
        yield packet(generator.randrange(100) + 10, b"last", alpha=b"a")

    given = list(made())
    segment = write_segment(tmp_path / "a", 3, b"headers", given)
    with SegmentFile(tmp_path / "a") as file:
        assert file.extradata == b"headers"
        assert file.times() == [one.pts for one in given]
        assert list(map(told, file.packets())) == list(map(told, given))
        assert file.times() == [one.pts for one in given]
    assert (segment.index, segment.frames, segment.first, segment.last) == (3, 4, -5, 1 << 40)
    assert segment.end == (1 << 40) + (1 << 35)
    assert segment.size == (tmp_path / "a").stat().st_size
    assert segment.checksum == checksum_of(tmp_path / "a")


def test_a_cut_segment_is_an_error_wherever_it_is_cut(tmp_path):
    path = tmp_path / "a"
    write_segment(path, 0, b"headers", [packet(0, b"first", alpha=b"alpha"), packet(1, b"second")])
    content = path.read_bytes()
    ends = set()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        try:
            with SegmentFile(path) as file:
                ends.add(len(list(file.packets())))
        except MediaError:
            continue
    assert ends == {0, 1}  # between two packets only: for that the journal has the size


def reordered(times, generator, longest):
    """An order of decoding in which no frame is held back by more than `longest` places."""
    left, order = list(times), []
    while left:
        order.append(left.pop(generator.randrange(min(longest, len(left)))))
    return order


@pytest.mark.parametrize("seed", range(20))
def test_decoding_times_increase_and_come_before_presentation(seed, tmp_path):
    generator = random.Random(seed)
    times = sorted(generator.sample(range(-50, 10_000), 200))
    segments, start = [], 0
    while start < len(times):
        length = generator.randrange(1, 40)
        order = reordered(times[start : start + length], generator, generator.randrange(1, 6))
        path = tmp_path / str(start)
        segments.append((write_segment(path, len(segments), b"h", map(packet, order)), path))
        start += length
    found = list(joined(segments, extradata=b"h", step=40, time_base=Fraction(1, 1000)))
    assert sorted(one.pts for one in found) == times
    stamps = [one.dts for one in found]
    assert all(before < after for before, after in itertools.pairwise(stamps))
    assert all(one.dts <= one.pts for one in found)
    delay = max(place - times.index(one.pts) for place, one in enumerate(found))
    assert stamps[delay:] == times[: len(times) - delay]
    assert stamps[:delay] == [times[0] - 40 * place for place in range(delay, 0, -1)]


def test_segments_with_other_headers_are_not_joined(tmp_path):
    segment = write_segment(tmp_path / "a", 0, b"one", [packet(0)])
    with pytest.raises(MediaError, match="other headers than this encoder's: begin anew with --restart"):
        list(joined([(segment, tmp_path / "a")], extradata=b"two", step=1, time_base=Fraction(1)))


def test_a_lock_is_held_once_and_leaves_no_file(tmp_path):
    path, target = tmp_path / "lock", tmp_path / "out.mp4"
    with locked(path, target=target):
        said = rf"another run is writing .*out\.mp4 \(process {os.getpid()}\)"
        with pytest.raises(UsageError, match=said), locked(path, target=target):
            pytest.fail("two hold the lock")
        assert path.exists()
    assert not path.exists()
    path.write_text("99999999\n")  # left by a run that was killed
    with locked(path, target=target):
        assert path.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize(
    ("count", "length", "expected"), [(7, 3, [3, 3, 1]), (6, 3, [3, 3]), (0, 3, []), (5, None, [5])]
)
def test_items_are_cut_into_parts(count, length, expected):
    parts = [list(part) for part in cut(iter(range(count)), length)]
    assert [len(part) for part in parts] == expected
    assert list(itertools.chain(*parts)) == list(range(count))


@pytest.mark.parametrize(
    ("device", "size", "expected"),
    [("cpu", (320, 240), 250), ("cpu", (1920, 1080), 48), ("cuda", (1920, 1080), 250), ("cuda", (7680, 4320), 72)],
)
def test_the_usual_length_lies_between_its_bounds(device, size, expected):
    assert usual_segment_frames(device, *size) == expected
