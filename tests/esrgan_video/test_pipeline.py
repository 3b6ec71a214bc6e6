"""`upscale_video` from file to file: frames, times, colour, geometry, read back with PyAV alone."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import floor
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from clip_tools import (
    Clip,
    Tags,
    decode,
    digest,
    increasing,
    main_video,
    packets,
    planes,
    times,
    video_options,
    write_clip,
)
from esrgan.errors import UsageError
from esrgan_video import OutputSize, Upscaler, upscale_video
from esrgan_video.container import EncoderOptions
from esrgan_video.container.scheduling import ordinary_priority
from esrgan_video.verify import verify_video
from network_tools import random_rrdb

FAST = EncoderOptions(preset="ultrafast")
LOSSLESS = EncoderOptions(codec="ffv1")


def run(source, target, upscaler, encoder=FAST, **given):
    if target.suffix == ".webm" and encoder is FAST:
        encoder = EncoderOptions(extra={"deadline": "realtime", "cpu-used": "8"})
    options = video_options(encoder=encoder, **given)
    return upscale_video(source, target, upscaler=upscaler, options=options, progress="none")


def header(path):
    container = av.open(str(path))
    return container, main_video(container)


# Frames and times


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_irregular_times_come_back(suffix, vfr, tmp_path, nearest):
    target = tmp_path / f"out{suffix}"
    result = run(vfr, target, nearest)
    expected = times(vfr)
    assert result.frames == len(expected)
    if suffix in (".mkv", ".webm"):  # these store milliseconds
        expected = [Fraction(floor(moment * 1000 + Fraction(1, 2)), 1000) for moment in expected]
    assert times(target) == expected


@pytest.mark.parametrize("base", [Fraction(1001, 30000), Fraction(1, 90000), Fraction(1, 19184), Fraction(1, 1000)])
def test_time_bases_come_back_exactly_in_mp4(base, tmp_path, nearest):
    step = round(Fraction(1, 30) / base)
    source = write_clip(tmp_path / "in.mp4", Clip(time_base=base, times=[step * number for number in range(20)]))
    run(source, tmp_path / "out.mp4", nearest)
    assert times(tmp_path / "out.mp4") == times(source) == [step * number * base for number in range(20)]


def test_the_encoder_reorders_frames_and_none_is_lost(plain, tmp_path, nearest):
    options = EncoderOptions(preset="fast", extra={"bf": "3"})
    run(plain, tmp_path / "out.mp4", nearest, options)
    stamps = [time for time, _ in packets(tmp_path / "out.mp4", 0)]
    assert not increasing(stamps)  # there are B-frames
    assert sorted(stamps) == times(tmp_path / "out.mp4") == times(plain)


@pytest.mark.parametrize(
    ("weights", "given", "searched"),
    [
        (758_755, {}, ("dia", "2")),
        (16_697_987, {}, ("hex", "6")),
        (758_755, {"preset": "medium"}, ("hex", "7")),
        (758_755, {"preset": "veryfast"}, ("hex", "2")),
        (758_755, {"extra": {"preset": "medium"}}, ("hex", "7")),
        (758_755, {"extra": {"motion-est": "umh"}}, ("umh", "2")),
        (758_755, {"codec": "hevc"}, None),
    ],
)
def test_small_networks_get_the_faster_preset(weights, given, searched, tmp_path):
    """x264 notes in its stream how well it searched: subme 2 is veryfast's, 6 fast's, 7 medium's."""
    source = write_clip(tmp_path / "in.mkv", Clip(size=(32, 24), times=range(2)))
    network = random_rrdb(num_feat=16, num_block=1, num_grow_ch=16)
    network = replace(network, facts=replace(network.facts, parameters=weights))
    run(source, tmp_path / "out.mkv", Upscaler(network), EncoderOptions(**given))
    written = (tmp_path / "out.mkv").read_bytes()
    noted = re.findall(r"x264 - core.* me=(\w+) subme=(\d+)", written.decode("latin-1"))
    assert noted == ([] if searched is None else [searched])


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_late_start_and_its_sound_stay_in_step(suffix, late, tmp_path, nearest):
    target = tmp_path / f"out{suffix}"
    run(late, target, nearest)
    assert times(target) == times(late)
    assert times(target)[0] == 2
    assert digest(target, 1) == digest(late, 1)
    for (ours, _), (theirs, _) in zip(packets(target, 1), packets(late, 1), strict=True):
        assert abs(ours - theirs) <= (0 if suffix == ".mp4" else Fraction(1, 1000))


def test_frames_before_zero_are_moved_and_none_is_lost(tmp_path, nearest, caplog):
    muxer_options = {"avoid_negative_ts": "disabled", "muxdelay": "0", "mpegts_copyts": "1"}
    clip = Clip(times=range(-5, 25), muxer="mpegts", muxer_options=muxer_options)
    source = write_clip(tmp_path / "negative.ts", clip)
    assert times(source)[0] < 0
    result = run(source, tmp_path / "out.mp4", nearest)
    assert result.frames == 30
    assert times(tmp_path / "out.mp4") == [time - times(source)[0] for time in times(source)]
    assert "starts 0.200 s before zero" in caplog.text


def test_the_last_frames_duration_is_kept(tmp_path, nearest):
    source = write_clip(tmp_path / "in.mp4", Clip(times=[0, 1, 2, 3], last_duration=50, options={"bf": "0"}))
    run(source, tmp_path / "out.mp4", nearest)
    for path in (source, tmp_path / "out.mp4"):
        container, video = header(path)
        assert video.duration * video.time_base == Fraction(53, 25)
        container.close()


def test_pixels_are_those_of_the_upscaler(plain, tmp_path, nearest):
    run(plain, tmp_path / "out.mkv", nearest, LOSSLESS)
    before, after = decode(plain), decode(tmp_path / "out.mkv")
    for source, target in zip(before, after, strict=True):
        for small, large in zip(planes(source)[:1], planes(target)[:1], strict=True):
            np.testing.assert_array_equal(large, small.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_the_batch_changes_nothing(batch, plain, tmp_path, make_upscaler):
    upscaler = make_upscaler()
    run(plain, tmp_path / "out.mkv", upscaler, LOSSLESS, batch=batch)
    sizes = [shape[0] for shape in upscaler.batches]
    assert sizes == [batch] * (30 // batch) + ([30 % batch] if 30 % batch else [])
    run(plain, tmp_path / "reference.mkv", make_upscaler(), LOSSLESS)
    assert digest(tmp_path / "out.mkv", 0) == digest(tmp_path / "reference.mkv", 0)


def test_frames_of_another_size_midway_are_brought_to_the_same_size(tmp_path, nearest):
    first = write_clip(tmp_path / "one.ts", Clip(muxer="mpegts", times=range(30)))
    second = write_clip(tmp_path / "two.ts", Clip(muxer="mpegts", size=(96, 72)))
    source = tmp_path / "joined.ts"
    source.write_bytes(first.read_bytes() + second.read_bytes())
    result = run(source, tmp_path / "out.mp4", nearest)
    frames = decode(tmp_path / "out.mp4")
    assert result.frames == len(frames) == 60
    assert {(frame.width, frame.height) for frame in frames} == {(128, 96)}


def test_a_range_begins_at_zero_with_its_sound(tmp_path, nearest):
    source = write_clip(tmp_path / "in.mp4", Clip(times=range(100), audio=["aac"]))
    result = run(source, tmp_path / "out.mp4", nearest, start=Fraction(1), end=2.0)
    assert result.frames == 25
    assert times(tmp_path / "out.mp4") == [Fraction(number, 25) for number in range(25)]
    kept = [(time - 1, payload) for time, payload in packets(source, 1) if 1 <= time < 2]
    assert packets(tmp_path / "out.mp4", 1) == kept


def test_an_end_behind_the_end_cuts_nothing(tmp_path, nearest):
    source = write_clip(tmp_path / "in.mp4", Clip(times=range(20), audio=["aac"], audio_start=24000))
    run(source, tmp_path / "out.mp4", nearest, end=1000.0)
    assert packets(tmp_path / "out.mp4", 1) == packets(source, 1)


def test_a_number_of_frames_ends_the_sound_too(tmp_path, nearest):
    source = write_clip(tmp_path / "in.mp4", Clip(times=range(100), audio=["aac"]))
    result = run(source, tmp_path / "out.mp4", nearest, frames=10)
    assert result.frames == 10
    last = packets(tmp_path / "out.mp4", 1)[-1][0]
    assert Fraction(10, 25) - Fraction(1024, 48000) <= last < Fraction(10, 25)


def test_a_number_of_frames_keeps_sound_that_lies_late_in_the_file(tmp_path, nearest):
    """Without interleaving, FFmpeg stores the second track behind nearly all of the first."""
    loose = {"max_interleave_delta": "1"}
    clip = Clip(times=[40 * time for time in range(50)], time_base=Fraction(1, 1000), audio=["aac", "aac"])
    source = write_clip(tmp_path / "in.mkv", replace(clip, muxer_options=loose))
    with av.open(str(source)) as container:
        stored = [(packet.stream_index, packet.pts) for packet in container.demux() if packet.size]
    before = stored[: [index for index, _ in stored].index(2)]
    assert max(pts for index, pts in before if index == 1) > 1000  # the clip lasts two seconds, the trial 0.4
    run(source, tmp_path / "out.mkv", nearest, frames=10)
    for index in (1, 2):
        expected = [packet for packet in packets(source, index) if packet[0] < Fraction(10, 25)]
        assert packets(tmp_path / "out.mkv", index) == expected


# Colour


PATCHES = np.array(
    [[0.1, 0.1, 0.1], [0.9, 0.9, 0.9], [0.5, 0.5, 0.5], [0.75, 0, 0], [0, 0.75, 0], [0, 0, 0.75],
     [0.75, 0.75, 0], [0, 0.75, 0.75], [0.75, 0, 0.75], [0.2, 0.4, 0.6], [0, 0, 0], [1, 1, 1]]
)  # fmt: skip
KR_KB = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}


def codes(rgb, matrix, full, bits):
    """Code values of H.273 in float64, for patches `(P, 3)`."""
    kr, kb = KR_KB[matrix]
    luma = rgb @ [kr, 1 - kr - kb, kb]
    blue, red = (rgb[:, 2] - luma) / (2 * (1 - kb)), (rgb[:, 0] - luma) / (2 * (1 - kr))
    unit, top = 2 ** (bits - 8), 2**bits - 1
    black, span, chroma = (0, top, top) if full else (16 * unit, 219 * unit, 224 * unit)
    values = [luma * span + black, blue * chroma + 128 * unit, red * chroma + 128 * unit]
    return np.round(values).clip(0, top).T.astype(int)


def patch_planes(values, pix_fmt):
    """A column of patches, 16 x 16 luma samples each."""
    step_x, step_y = {"420": (2, 2), "422": (2, 1), "444": (1, 1)}[pix_fmt[3:6]]
    dtype = np.uint16 if "10" in pix_fmt else np.uint8
    return [
        np.repeat(values[:, plane], 16 // sy).astype(dtype)[:, None].repeat(16 // sx, 1)
        for plane, (sx, sy) in enumerate([(1, 1), (step_x, step_y), (step_x, step_y)])
    ]


@pytest.mark.parametrize(("matrix", "full"), [*product([1, 6, 9], [False, True])])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"])
def test_known_colours_come_back_within_a_code_from_h264(matrix, full, pix_fmt, tmp_path, identity):
    encoder = EncoderOptions(preset="ultrafast", extra={"qp": "0"})
    bits = 10 if "10" in pix_fmt else 8
    made = patch_planes(codes(PATCHES, matrix, full, bits), pix_fmt)
    tags = Tags(matrix=matrix, color_range=2 if full else 1, primaries=1, transfer=1, location=1)
    size = (16, 16 * len(PATCHES))
    clip = Clip(codec="ffv1", pix_fmt=pix_fmt, size=size, tags=tags, times=[0, 1], options={}, planes=[made, made])
    source = write_clip(tmp_path / "in.mkv", clip)
    run(source, tmp_path / "out.mkv", identity, encoder)
    frames = decode(tmp_path / "out.mkv")
    assert len(frames) == 2
    for frame in frames:
        assert frame.format.name.replace("yuvj", "yuv") == pix_fmt
        assert (frame.colorspace, frame.color_range) == (matrix, 2 if full else 1)
        for ours, theirs in zip(planes(frame), made, strict=True):
            rows = ours.shape[0] // len(PATCHES)
            inside = [row for row in range(ours.shape[0]) if 0 < row % rows < rows - 1]  # edges blend in 4:2:0
            difference = np.abs(ours[inside].astype(int) - theirs[inside].astype(int)).max()
            assert difference <= (1 if bits == 8 else 2)


@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv444p10le"])
def test_super_white_and_super_black_survive(pix_fmt, tmp_path, nearest):
    # The stand-in asserts that the network itself sees values in 0..1 only.
    peak = 255 if pix_fmt == "yuv444p" else 1023
    ramp = np.linspace(0, peak, 64).round().astype(np.uint8 if peak == 255 else np.uint16)[None].repeat(48, 0)
    neutral = np.full_like(ramp, (peak + 1) // 2)
    tags = Tags(matrix=1, color_range=1)
    made = [[ramp, neutral, neutral]]
    clip = Clip(codec="ffv1", pix_fmt=pix_fmt, tags=tags, times=[0], options={}, planes=made)
    run(write_clip(tmp_path / "in.mkv", clip), tmp_path / "out.mkv", nearest, LOSSLESS)
    luma, *chroma = planes(decode(tmp_path / "out.mkv")[0])
    np.testing.assert_array_equal(luma, ramp.repeat(2, 0).repeat(2, 1))
    assert all((plane == neutral[0, 0]).all() for plane in chroma)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize(
    "tags",
    [
        Tags(matrix=9, color_range=1, primaries=9, transfer=18, location=3),
        Tags(matrix=5, color_range=2, primaries=5, transfer=4, location=2),
    ],
    ids=["hlg", "pal"],
)
def test_colour_tags_are_kept(tags, suffix, tmp_path, nearest):
    source = write_clip(tmp_path / "in.mp4", Clip(pix_fmt="yuv420p10le", tags=tags, times=range(3)))
    run(source, tmp_path / f"out{suffix}", nearest)
    frame = decode(tmp_path / f"out{suffix}")[0]
    assert frame.format.name == "yuv420p10le"
    assert (frame.colorspace, frame.color_range) == (tags.matrix, tags.color_range)
    assert (frame.color_primaries, frame.color_trc) == (tags.primaries, tags.transfer)
    assert frame.chroma_location == tags.location


def test_an_untagged_picture_is_tagged_with_the_matrix_that_was_used(tmp_path, make_upscaler):
    # 480 lines are BT.601 to a player, 1920 would be BT.709: without a tag, colours would shift.
    source = write_clip(tmp_path / "in.mp4", Clip(size=(320, 240), times=range(2)))
    run(source, tmp_path / "out.mp4", make_upscaler(scale=4))
    frame = decode(tmp_path / "out.mp4")[0]
    assert frame.height == 960
    assert (frame.colorspace, frame.color_range) == (6, 1)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_hdr_metadata_is_kept(codec, tmp_path, nearest):
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    parameters = f"log-level=error:master-display={display}:max-cll=1000,400"
    tags = Tags(matrix=9, color_range=1, primaries=9, transfer=16)
    clip = Clip(codec="libx265", pix_fmt="yuv420p10le", tags=tags, options={"x265-params": parameters}, times=range(3))
    source = write_clip(tmp_path / "in.mkv", clip)
    run(source, tmp_path / "out.mp4", nearest, EncoderOptions(codec=codec, preset="ultrafast"))
    before, after = decode(source)[0], decode(tmp_path / "out.mp4")[0]
    for kind in ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"):
        assert bytes(after.side_data[kind]) == bytes(before.side_data[kind])
    assert (after.color_trc, after.format.name) == (16, "yuv420p10le")


def test_hdr_metadata_is_kept_in_av1(tmp_path, nearest):
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    parameters = f"log-level=error:master-display={display}:max-cll=1000,400"
    clip = Clip(codec="libx265", pix_fmt="yuv420p10le", options={"x265-params": parameters}, times=range(3))
    source = write_clip(tmp_path / "in.mkv", clip)
    run(source, tmp_path / "out.webm", nearest, EncoderOptions(preset="10"))
    after = decode(tmp_path / "out.webm")[0]
    numbers = np.frombuffer(bytes(after.side_data["MASTERING_DISPLAY_METADATA"]), np.int32)[:20].reshape(10, 2)
    expected = [0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329, 0.0001, 1000]
    np.testing.assert_allclose(numbers[:, 0] / numbers[:, 1], expected, atol=3e-5)  # AV1 counts in 1/65536 and 1/16384
    assert np.frombuffer(bytes(after.side_data["CONTENT_LIGHT_LEVEL"]), np.uint32).tolist() == [1000, 400]


def test_hdr_metadata_that_an_encoder_cannot_carry_is_announced(tmp_path, nearest, caplog):
    parameters = "log-level=error:max-cll=1000,400"
    clip = Clip(codec="libx265", pix_fmt="yuv420p10le", options={"x265-params": parameters}, times=range(3))
    source = write_clip(tmp_path / "in.mkv", clip)
    run(source, tmp_path / "out.mkv", nearest, EncoderOptions(codec="ffv1"))
    assert "CONTENT_LIGHT_LEVEL" not in decode(tmp_path / "out.mkv")[0].side_data
    assert "ffv1 cannot carry its static HDR metadata" in caplog.text


@pytest.mark.parametrize(("codec", "keeps"), [("vp9", False), ("av1", True)])
def test_a_matrix_that_an_encoder_cannot_carry_is_announced_and_another_said(codec, keeps, tmp_path, nearest, caplog):
    source = write_clip(tmp_path / "in.mkv", Clip(codec="ffv1", options={}, tags=Tags(matrix=4), times=range(3)))
    run(source, tmp_path / "out.webm", nearest, EncoderOptions(codec=codec))
    failed = verify_video(source, tmp_path / "out.webm", progress="none").failed
    assert [check.name for check in failed] == ([] if keeps else ["matrix"])
    assert int(decode(tmp_path / "out.webm")[0].colorspace) == (4 if keeps else 6)
    said = "libvpx-vp9 cannot carry the matrix of its colours, FCC: they are converted to SMPTE170M"
    assert (said in caplog.text) != keeps


def test_grey_stays_grey_even_if_the_network_tints(tmp_path, make_upscaler):
    class Tinting(make_upscaler):
        def __call__(self, batch):
            return super().__call__(batch) * torch.tensor([1, 0.9, 1.1]).view(1, 3, 1, 1)

    source = write_clip(tmp_path / "in.mkv", Clip(codec="ffv1", pix_fmt="gray", options={}, times=range(2)))
    run(source, tmp_path / "out.mp4", Tinting())
    frame = decode(tmp_path / "out.mp4")[0]
    assert frame.format.name in ("yuv420p", "yuvj420p")
    assert all((np.abs(plane.astype(int) - 128) <= 1).all() for plane in planes(frame)[1:])


@pytest.mark.parametrize(("codec", "pix_fmt"), [("ffv1", "gbrp"), ("h264", "yuv444p")])
def test_rgb_input(codec, pix_fmt, tmp_path, identity):
    source = write_clip(tmp_path / "in.mkv", Clip(codec="ffv1", pix_fmt="bgr0", options={}, times=range(2)))
    run(
        source,
        tmp_path / "out.mkv",
        identity,
        EncoderOptions(codec=codec, extra={"qp": "0"} if codec == "h264" else {}),
    )
    before, after = decode(source)[0], decode(tmp_path / "out.mkv")[0]
    if codec == "ffv1":
        ours, theirs = (planes(frame.reformat(format=pix_fmt, threads=1)) for frame in (after, before))
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    else:
        assert (after.format.name, after.colorspace, after.color_range) == (pix_fmt, 1, 1)


@pytest.mark.parametrize(
    ("pix_fmt", "codec", "expected"),
    [
        ("yuv422p", "h264", "yuv422p"), ("yuv444p10le", "h264", "yuv444p10le"), ("yuv420p12le", "hevc", "yuv420p12le"),
        ("yuv440p", "h264", "yuv444p"), ("yuv411p", "h264", "yuv422p"), ("yuv420p9le", "h264", "yuv420p10le"),
        ("yuv422p10le", "prores", "yuv422p10le"), ("gray10le", "ffv1", "gray10le"), ("gray", "h264", "yuv420p"),
    ],
)  # fmt: skip
def test_the_output_has_the_inputs_depth_and_sampling_or_better(pix_fmt, codec, expected, tmp_path, nearest):
    source = write_clip(tmp_path / "in.mkv", Clip(codec="ffv1", pix_fmt=pix_fmt, options={}, times=range(2)))
    run(source, tmp_path / "out.mkv", nearest, EncoderOptions(codec=codec))
    assert decode(tmp_path / "out.mkv")[0].format.name.replace("yuvj", "yuv") == expected


def test_a_video_shorter_than_the_encoders_lookahead(tmp_path, nearest):
    # x265 then gives random decoding times; not each time, hence the repetition.
    source = write_clip(tmp_path / "in.mkv", Clip(codec="ffv1", options={}, times=range(2)))
    for number in range(8):
        for suffix in (".mkv", ".mp4"):
            target = tmp_path / f"{number}{suffix}"
            run(source, target, nearest, EncoderOptions(codec="hevc"))
            assert times(target) == times(source)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the scheduling of single threads")
def test_an_encoder_leaves_no_thread_in_real_time(tmp_path):
    """SVT-AV1 asks for it, and gets it as root: then nothing else would be computed beside it."""

    def policies():
        return {os.sched_getscheduler(int(task.name)) for task in Path("/proc/self/task").iterdir()}

    with av.open(tmp_path / "out.mkv", "w") as container:
        stream = container.add_stream("libsvtav1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        with ordinary_priority():
            stream.codec_context.open()
            if os.geteuid() == 0:
                assert os.SCHED_FIFO in policies()
        assert not policies() & {os.SCHED_FIFO, os.SCHED_RR}
        container.mux([*stream.encode(av.VideoFrame(64, 64, "yuv420p")), *stream.encode(None)])


def test_webm_of_ten_bits_is_av1(tmp_path, nearest):
    source = write_clip(tmp_path / "in.mkv", Clip(pix_fmt="yuv420p10le", times=range(3), size=(128, 96)))
    run(source, tmp_path / "out.webm", nearest, EncoderOptions(preset="10"))
    container, video = header(tmp_path / "out.webm")
    assert "av1" in video.codec_context.name
    assert [frame.format.name for frame in container.decode(video)] == ["yuv420p10le"] * 3
    container.close()


# Geometry


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
def test_anamorphic_pixels_stay_anamorphic(suffix, tmp_path, nearest):
    source = write_clip(tmp_path / "in.mp4", Clip(sar=Fraction(128, 117), times=range(3)))
    run(source, tmp_path / f"out{suffix}", nearest)
    container, video = header(tmp_path / f"out{suffix}")
    assert video.sample_aspect_ratio == Fraction(128, 117)
    container.close()


def test_a_size_of_another_shape_keeps_the_display_aspect_ratio(tmp_path, nearest):
    source = write_clip(tmp_path / "in.mp4", Clip(size=(720, 480), sar=Fraction(8, 9), times=range(2)))
    run(source, tmp_path / "out.mp4", nearest, size=OutputSize(width=640, height=480))
    container, video = header(tmp_path / "out.mp4")
    assert (video.width, video.height, video.sample_aspect_ratio) == (640, 480, 1)
    container.close()


TURNS = {
    "clockwise": (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30),
    "upside down": (-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30),
    "mirrored": (-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30),
}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("turn", TURNS)
def test_rotation_and_mirroring_are_kept(turn, suffix, tmp_path, nearest):
    source = write_clip(tmp_path / "in.mp4", Clip(matrix=TURNS[turn], times=range(2)))
    run(source, tmp_path / f"out{suffix}", nearest)
    sides = [decode(path)[0].side_data["DISPLAYMATRIX"] for path in (source, tmp_path / f"out{suffix}")]
    matrices = [np.frombuffer(bytes(side), np.int32) for side in sides]
    np.testing.assert_array_equal(matrices[0][:6], matrices[1][:6])


def test_odd_sizes_where_the_encoder_takes_them(tmp_path, identity):
    source = write_clip(tmp_path / "in.mkv", Clip(codec="ffv1", options={}, size=(161, 121), times=range(3)))
    for name, encoder in (("out.webm", FAST), ("out.mkv", LOSSLESS), ("444.mp4", EncoderOptions(pix_fmt="yuv444p"))):
        run(source, tmp_path / name, identity, encoder)
        frames = decode(tmp_path / name)
        assert [(frame.width, frame.height) for frame in frames] == [(161, 121)] * 3
    np.testing.assert_array_equal(planes(decode(tmp_path / "out.mkv")[0])[0], planes(decode(source)[0])[0])


def test_an_odd_size_that_the_encoder_refuses_says_what_to_do(tmp_path, identity):
    source = write_clip(tmp_path / "in.mkv", Clip(codec="ffv1", options={}, size=(161, 121), times=range(3)))
    with pytest.raises(UsageError, match=r"161x121 in yuv420p: .* --width 162 --height 122"):
        run(source, tmp_path / "out.mp4", identity)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (9, 1)])
def test_pictures_of_a_pixel(size, tmp_path, make_upscaler):
    source = write_clip(tmp_path / "in.nut", Clip(codec="rawvideo", options={}, size=size, times=range(2)))
    run(source, tmp_path / "out.mp4", make_upscaler(scale=4))
    assert [(frame.width, frame.height) for frame in decode(tmp_path / "out.mp4")] == [(4 * size[0], 4 * size[1])] * 2


@pytest.mark.parametrize(
    ("given", "expected"), [({"scale": 2.5}, (160, 120)), ({"width": 100}, (100, 75)), ({"scale": 0.5}, (32, 24))]
)
def test_any_output_size(given, expected, plain, tmp_path, nearest):
    result = run(
        plain, tmp_path / "out.mp4", nearest, EncoderOptions(pix_fmt="yuv444p"), size=OutputSize(**given), frames=2
    )
    assert (result.width, result.height) == expected
    assert {(frame.width, frame.height) for frame in decode(tmp_path / "out.mp4")} == {expected}
