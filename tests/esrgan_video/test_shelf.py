"""Frames that were slow to compute outlive a run that ends in the middle of a segment."""

from __future__ import annotations

import os
import signal
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from clip_tools import Clip, decode, planes, times, write_clip
from esrgan_video.segments import unfinished_job
from killable_runs import KillableRuns

FRAMES, SEGMENT, BATCH = 40, 24, 2
FAST = {"preset": "ultrafast"}
HOW = {"encoder": FAST, "segment_frames": SEGMENT, "batch": BATCH}
SLOWLY = {"slow": 0.02, "delay": 0.1}


@pytest.fixture(scope="module")
def runs():
    with KillableRuns() as started:
        yield started


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    ticks = np.cumsum(np.random.default_rng(3).integers(1500, 9000, FRAMES)).tolist()
    clip = Clip(size=(32, 24), times=ticks, time_base=Fraction(1, 90000))
    return write_clip(tmp_path_factory.mktemp("shelf") / "in.mp4", clip)


@pytest.fixture(scope="module")
def undisturbed(source, runs, tmp_path_factory):
    target = tmp_path_factory.mktemp("undisturbed") / "out.mp4"
    assert runs.run(source, target, **HOW) == {"status": 0, "frames": FRAMES, "resumed": 0}
    return target


def shelves(target):
    return sorted((target.parent / f".{target.name}.esrgan").glob("*.frames"))


def end_early(runs, source, target, *, batches, by=signal.SIGKILL, **how):
    """Let a run see so many batches, then end it."""
    pid = runs.start(source, target, **{**HOW, **SLOWLY, **how})
    for _ in range(batches):
        assert runs.batch()
    os.kill(pid, by)
    return runs.end()


def computed(runs, source, target, **how):
    """What a run says at its end, and the frames that went through its network."""
    runs.start(source, target, **{**HOW, **how})
    batches = 0
    while runs.batch():
        batches += 1
    return runs.end(), batches


def check_equal(ours, theirs):
    assert times(ours) == times(theirs)
    for mine, other in zip(decode(ours), decode(theirs), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(planes(mine), planes(other), strict=True))
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("batches", [6, 17])  # in the first segment, and in the second
def test_a_run_goes_on_in_the_middle_of_a_segment(by, batches, runs, source, undisturbed, tmp_path):
    target = tmp_path / "out.mp4"
    ended = end_early(runs, source, target, batches=batches, by=by)
    left = unfinished_job(target).frames
    # One batch is under way, and at most two wait for the encoder.
    assert BATCH * (batches - 4) <= left < BATCH * batches
    if by == signal.SIGINT:
        assert ended["error"].startswith(f"{left} finished frames are kept in ")
    ended, batches_after = computed(runs, source, target)
    assert ended == {"status": 0, "frames": FRAMES, "resumed": left}
    assert batches_after == -(-(FRAMES - left) // BATCH)
    check_equal(target, undisturbed)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_many_kills_lose_little_and_change_nothing(runs, source, undisturbed, tmp_path):
    target, left = tmp_path / "out.mp4", [0]
    for _ in range(3):
        end_early(runs, source, target, batches=6)
        left.append(unfinished_job(target).frames)
    assert all(later > earlier for earlier, later in pairwise(left))
    assert runs.run(source, target, **HOW)["resumed"] == left[-1]
    check_equal(target, undisturbed)


def test_fast_networks_keep_no_frames(runs, source, undisturbed, tmp_path):
    target = tmp_path / "out.mp4"
    end_early(runs, source, target, batches=7, slow=5)
    assert not shelves(target)
    end_early(runs, source, target, batches=7, slow=None)  # as it is: a second for a frame
    assert not shelves(target)
    assert runs.run(source, target, **HOW)["resumed"] == 0
    check_equal(target, undisturbed)


def test_fast_frames_behind_slow_ones_do_not_cost_these(runs, source, undisturbed, tmp_path):
    target = tmp_path / "out.mp4"
    end_early(runs, source, target, batches=7)
    left = unfinished_job(target).frames
    end_early(runs, source, target, batches=4, slow=5)
    assert unfinished_job(target).frames == left > 0
    assert runs.run(source, target, **HOW)["resumed"] == left
    check_equal(target, undisturbed)


@pytest.mark.parametrize("harm", ["cut", "changed"])
def test_of_a_damaged_file_the_whole_frames_are_used(harm, runs, source, undisturbed, tmp_path):
    target = tmp_path / "out.mp4"
    end_early(runs, source, target, batches=8)
    (file,) = shelves(target)
    before, content = unfinished_job(target).frames, bytearray(file.read_bytes())
    size = len(content) // before
    if harm == "cut":
        del content[3 * size + 100 :]
    else:
        content[3 * size + 100] ^= 1
    file.write_bytes(content)
    assert unfinished_job(target).frames == 3
    end_early(runs, source, target, batches=5)  # and new ones are put behind those
    assert unfinished_job(target).frames > 3
    runs.run(source, target, **HOW)
    check_equal(target, undisturbed)


def test_a_full_disk_drops_the_frames_and_not_the_run(runs, source, undisturbed, tmp_path):
    target = tmp_path / "out.mp4"
    limit = max(undisturbed.stat().st_size, 20_000)  # the video fits, 24 frames of 64 x 48 do not
    assert limit < 24 * 64 * 48 * 3 // 2
    assert runs.run(source, target, file_limit=limit, **HOW, **SLOWLY)["status"] == 0
    check_equal(target, undisturbed)


def test_changed_settings_are_named_and_restart_begins_anew(runs, source, undisturbed, tmp_path):
    target = tmp_path / "out.mp4"
    end_early(runs, source, target, batches=6)
    other = {**HOW, "color_fix": "wavelet"}
    refused = runs.run(source, target, **other)
    assert refused["status"] == 2
    assert "was begun otherwise: color fix" in refused["error"]
    assert runs.run(source, target, restart=True, **HOW) == {"status": 0, "frames": FRAMES, "resumed": 0}
    check_equal(target, undisturbed)


OTHER_ENCODERS = [{"preset": "slow"}, {**FAST, "crf": 30}, {"codec": "hevc", "preset": "ultrafast"}]


@pytest.mark.parametrize("encoder", OTHER_ENCODERS)
def test_frames_alone_go_to_any_encoder(encoder, runs, source, tmp_path):
    target, other = tmp_path / "out.mp4", {**HOW, "encoder": encoder}
    end_early(runs, source, target, batches=6)
    kept = unfinished_job(target).frames
    assert kept >= 8
    ended, batches = computed(runs, source, target, **other)
    assert ended["status"] == 0
    assert batches <= -(-(FRAMES - kept) // BATCH) + 1  # a batch may end with its segment
    (tmp_path / "again").mkdir()
    assert runs.run(source, tmp_path / "again/out.mp4", **other)["status"] == 0
    check_equal(target, tmp_path / "again/out.mp4")


def test_encoded_frames_do_not_go_to_another_encoder(runs, source, undisturbed, tmp_path):
    target = tmp_path / "out.mp4"
    end_early(runs, source, target, batches=17)
    refused = runs.run(source, target, **{**HOW, "encoder": {**FAST, "crf": 30}})
    assert refused["status"] == 2
    assert "was begun otherwise: encoder options" in refused["error"]
    assert runs.run(source, target, **HOW)["status"] == 0
    check_equal(target, undisturbed)
