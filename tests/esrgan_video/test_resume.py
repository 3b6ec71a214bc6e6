"""Runs that are killed, stopped or starved: the same command goes on, and the result is that of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from fractions import Fraction

import numpy as np
import pytest

from clip_tools import Clip, decode, packets, planes, streams, times, video_options, write_clip
from esrgan.errors import UsageError
from esrgan_video import upscale_video
from esrgan_video.container import EncoderOptions
from killable_runs import KillableRuns

B_FRAMES = {"preset": "ultrafast", "extra": {"bf": "3", "x264-params": "b-pyramid=normal:b-adapt=0"}}
FRAMES = 120
SEGMENT = 7


@pytest.fixture(scope="module")
def runs():
    with KillableRuns() as started:
        yield started


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """120 frames at irregular times with two sound tracks; the last segment of 7 is short."""
    ticks = np.cumsum(np.random.default_rng(5).integers(1500, 9000, FRAMES)).tolist()
    clip = Clip(size=(32, 24), times=ticks, time_base=Fraction(1, 90000), audio=["aac", "libopus"])
    return write_clip(tmp_path_factory.mktemp("resume") / "120 frames of 100%.mp4", clip)


@pytest.fixture(scope="module")
def undisturbed(source, runs, tmp_path_factory):
    """What a run gives that nobody disturbs."""
    target = tmp_path_factory.mktemp("undisturbed") / "out.mp4"
    ended = runs.run(source, target, encoder=B_FRAMES, segment_frames=SEGMENT)
    assert ended == {"status": 0, "frames": FRAMES, "resumed": 0}
    assert times(target) == times(source)
    return target


def hidden(folder):
    return [path for path in folder.iterdir() if path.name.startswith(".")]


def segments(target):
    return sorted((target.parent / f".{target.name}.esrgan").glob("*.segment"))


def check_equal(ours, theirs):
    """Frame for frame, time for time, stream for stream."""
    assert times(ours) == times(theirs)
    for mine, other in zip(decode(ours), decode(theirs), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(planes(mine), planes(other), strict=True))
        assert (mine.key_frame, mine.pict_type) == (other.key_frame, other.pict_type)
    assert streams(ours) == streams(theirs)
    for index in range(len(streams(theirs))):
        assert packets(ours, index) == packets(theirs, index)
    assert ours.read_bytes() == theirs.read_bytes()


def test_ten_kills_at_random_moments_change_nothing(runs, source, undisturbed, tmp_path):
    target, chance = tmp_path / "out.mp4", random.Random(11)
    resumed = []
    for _ in range(10):
        pid = runs.start(source, target, encoder=B_FRAMES, segment_frames=SEGMENT, delay=0.06)
        for _ in range(chance.randrange(1, 6)):
            assert runs.batch()
        time.sleep(chance.random() * 0.05)
        os.kill(pid, signal.SIGKILL)
        assert runs.end()["status"] == -signal.SIGKILL
        assert not target.exists()
        resumed.append(len(segments(target)))
    ended = runs.run(source, target, encoder=B_FRAMES, segment_frames=SEGMENT)
    assert (ended["status"], ended["frames"]) == (0, FRAMES)
    assert ended["resumed"] >= SEGMENT * max(resumed) > 0
    assert resumed == sorted(resumed)  # nothing that was finished is lost
    check_equal(target, undisturbed)
    assert not hidden(tmp_path)


@pytest.mark.slow
def test_a_kill_before_any_change_on_the_disk_changes_nothing(runs, tmp_path_factory, tmp_path):
    source = write_clip(tmp_path_factory.mktemp("few") / "in.mp4", Clip(size=(16, 16), times=range(10)))
    results = []
    for moment in range(100):
        target = tmp_path / f"{moment}.mp4"
        died = runs.run(source, target, encoder=B_FRAMES, segment_frames=4, die_at_write=moment)
        if died["status"] == 0:
            break
        assert died["status"] == -signal.SIGKILL
        ended = runs.run(source, target, encoder=B_FRAMES, segment_frames=4)
        assert (ended["status"], ended["frames"]) == (0, 10)
        results.append(target.read_bytes())
    assert times(target) == times(source)
    assert set(results) == {target.read_bytes()}
    assert len(results) > 20
    assert not hidden(tmp_path)


@pytest.mark.parametrize("count", [0, 30, FRAMES - 1])
def test_a_kill_while_the_file_is_written_computes_nothing_twice(count, runs, source, undisturbed, tmp_path):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"what was there before")
    killed = runs.run(source, target, encoder=B_FRAMES, segment_frames=SEGMENT, die_in_file=count)
    assert killed["status"] == -signal.SIGKILL
    assert target.read_bytes() == b"what was there before"
    assert len(segments(target)) == 18
    runs.start(source, target, encoder=B_FRAMES, segment_frames=SEGMENT)
    assert not runs.batch()
    assert runs.end() == {"status": 0, "frames": FRAMES, "resumed": FRAMES}
    check_equal(target, undisturbed)
    assert not hidden(tmp_path)


@pytest.fixture
def unfinished(runs, source, tmp_path):
    """An output of which some segments are there, and how many frames these have."""
    target = tmp_path / "out.mp4"
    pid = runs.start(source, target, encoder=B_FRAMES, segment_frames=SEGMENT, delay=0.02)
    while len(segments(target)) < 3:
        assert runs.batch()
    os.kill(pid, signal.SIGKILL)
    assert runs.end()["status"] == -signal.SIGKILL
    return target


def journal_of(target):
    return target.parent / f".{target.name}.esrgan" / "journal.jsonl"


def resume(runs, source, target, **how):
    return runs.run(source, target, encoder=B_FRAMES, segment_frames=SEGMENT, **how)


@pytest.mark.parametrize("torn", [b'{"segment": {"index": 3, "fra', b"\0" * 100, b'{"segment": 3}', b"\xff\n", b"[]\n"])
def test_a_torn_last_line_of_the_journal_is_written_over(torn, runs, source, undisturbed, unfinished):
    whole = len(journal_of(unfinished).read_bytes().splitlines()) - 1
    with journal_of(unfinished).open("ab") as file:
        file.write(torn)
    ended = resume(runs, source, unfinished)
    assert (ended["status"], ended["resumed"]) == (0, whole * SEGMENT)
    check_equal(unfinished, undisturbed)


def test_a_journal_that_lost_its_first_line_is_begun_anew(runs, source, undisturbed, unfinished):
    content = journal_of(unfinished).read_bytes()
    journal_of(unfinished).write_bytes(content[:40])
    assert resume(runs, source, unfinished) == {"status": 0, "frames": FRAMES, "resumed": 0}
    check_equal(unfinished, undisturbed)


@pytest.mark.parametrize("harm", ["cut", "flip", "gone"])
def test_a_damaged_segment_is_made_again_and_the_others_are_not(harm, runs, source, undisturbed, unfinished):
    known = [json.loads(line) for line in journal_of(unfinished).read_text().splitlines()[1:]]
    second = segments(unfinished)[1]
    content = bytearray(second.read_bytes())
    if harm == "gone":
        second.unlink()
    else:
        content[len(content) // 2] ^= 1
        second.write_bytes(content if harm == "flip" else content[:-5])
    ended = resume(runs, source, unfinished)
    assert (ended["status"], ended["resumed"]) == (0, (len(known) - 1) * SEGMENT)
    check_equal(unfinished, undisturbed)


def test_a_changed_input_is_refused_and_restart_begins_anew(runs, unfinished, tmp_path):
    other = write_clip(tmp_path / "other.mp4", Clip(size=(32, 24), times=range(FRAMES)))
    refused = resume(runs, other, unfinished)
    assert refused["status"] == 2
    assert "input's size" in refused["error"]
    assert "input's content" in refused["error"]
    assert refused["error"].endswith("or begin anew with --restart")
    assert "\n" not in refused["error"]
    assert len(segments(unfinished)) >= 3
    assert resume(runs, other, unfinished, restart=True) == {"status": 0, "frames": FRAMES, "resumed": 0}
    assert times(unfinished) == times(other)


def test_an_input_that_was_only_touched_is_refused(runs, source, unfinished, tmp_path):
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(source.read_bytes())
    refused = resume(runs, copy, unfinished)
    assert refused["status"] == 2
    assert "input's time of change (" in refused["error"]
    assert "content" not in refused["error"]


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ({"encoder": {**B_FRAMES, "crf": 30}}, r"encoder options \(.*crf=18.*, now .*crf=30"),
        ({"encoder": {"codec": "ffv1"}}, r"encoder \(libx264 before, now ffv1\)"),
        ({"encoder": {**B_FRAMES, "pix_fmt": "yuv444p"}}, r"pixel format \(yuv420p before, now yuv444p\)"),
        ({"batch": 3, "encoder": B_FRAMES}, None),
        ({"color_fix": True, "encoder": B_FRAMES}, r"color fix \(False before, now True\)"),
        ({"segment_frames": 8, "encoder": B_FRAMES}, r"segment frames \(7 before, now 8\)"),
        ({"strict": True, "reuse": False, "encoder": B_FRAMES}, None),
    ],
)
def test_changed_settings_are_named(how, named, runs, source, undisturbed, unfinished):
    ended = runs.run(source, unfinished, **{"segment_frames": SEGMENT, **how})
    if named is None:
        assert ended["status"] == 0
        check_equal(unfinished, undisturbed)
        return
    assert ended["status"] == 2
    assert re.search(named, ended["error"])


def test_two_runs_at_once_are_refused(runs, source, undisturbed, tmp_path, nearest):
    target = tmp_path / "out.mp4"
    pid = runs.start(source, target, encoder=B_FRAMES, segment_frames=SEGMENT, delay=0.1)
    assert runs.batch()
    options = video_options(encoder=EncoderOptions(**B_FRAMES), segment_frames=SEGMENT)
    with pytest.raises(UsageError, match=rf"another run is writing .*out\.mp4 \(process {pid}\): wait for its end"):
        upscale_video(source, target, upscaler=nearest, options=options, progress="none")
    assert nearest.batches == []
    assert runs.end()["status"] == 0
    check_equal(target, undisturbed)
    assert not hidden(tmp_path)


def test_an_interrupt_says_what_is_kept(runs, source, undisturbed, tmp_path):
    target = tmp_path / "out.mp4"
    pid = runs.start(source, target, encoder=B_FRAMES, segment_frames=SEGMENT, delay=0.02)
    while not segments(target):
        assert runs.batch()
    os.kill(pid, signal.SIGINT)
    ended = runs.end()
    assert ended["status"] == 130
    assert re.fullmatch(
        rf"\d+ finished frames are kept in .*{target.name}.*: the same command goes on from there", ended["error"]
    )
    assert not target.exists()
    assert resume(runs, source, target)["resumed"] >= SEGMENT
    check_equal(target, undisturbed)


def test_a_full_disk_is_one_line_and_the_work_goes_on(runs, tmp_path):
    source = write_clip(tmp_path / "in.mkv", Clip(size=(160, 120), times=range(40)))
    target = tmp_path / "out.mkv"
    full = runs.run(source, target, encoder={"codec": "ffv1"}, segment_frames=10, file_limit=200_000)
    assert full["status"] == 1
    assert full["error"] == (
        f"cannot write {target}: File too large; 40 finished frames are kept in "
        f"{tmp_path / '.out.mkv.esrgan'}: the same command goes on from there"
    )
    assert not target.exists()
    assert not list(tmp_path.glob(".*part*"))
    ended = runs.run(source, target, encoder={"codec": "ffv1"}, segment_frames=10)
    assert ended == {"status": 0, "frames": 40, "resumed": 40}
    assert times(target) == times(source)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 600 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_small_disk_that_gets_room_lets_the_work_go_on(small_disk, runs, tmp_path):
    source = write_clip(tmp_path / "in.mkv", Clip(size=(160, 120), times=range(60)))
    target = small_disk / "out.mkv"
    (small_disk / "something else").write_bytes(bytes(250_000))
    how = {"encoder": {"codec": "ffv1"}, "segment_frames": 5}
    full = runs.run(source, target, **how)
    assert full["status"] == 1
    assert full["error"].startswith(f"cannot write {target}: No space left on device; ")
    assert full["error"].endswith(
        f"finished frames are kept in {small_disk / '.out.mkv.esrgan'}: the same command goes on from there"
    )
    (small_disk / "something else").unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    ended = runs.run(source, target, **how)
    assert (ended["status"], ended["frames"]) == (0, 60)
    assert ended["resumed"] == int(re.search(r"; (\d+) finished", full["error"])[1]) > 0
    assert times(target) == times(source)
    assert [path.name for path in small_disk.iterdir()] == ["out.mkv"]
