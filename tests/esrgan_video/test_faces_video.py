"""Faces in video: followed without jitter and blinking, and the same whatever way a run takes."""

from __future__ import annotations

import os
import signal
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import torch

from clip_tools import Clip, decode, planes, times, write_clip
from esrgan.errors import UsageError
from esrgan_video import FaceOptions, VideoOptions, upscale_video
from esrgan_video.container import EncoderOptions
from esrgan_video.dry_run import dry_run
from esrgan_video.faces.detect import FaceDetector
from esrgan_video.faces.face import Detection
from esrgan_video.faces.geometry import align
from esrgan_video.faces.track import FaceTracker, overlap
from esrgan_video.size import OutputSize
from esrgan_video.verify import verify_video
from face_tools import BrightDetector, face_picture, landmarks_in, stand_in, write_restorer
from killable_runs import KillableRuns

LOSSLESS = EncoderOptions(codec="ffv1")
STEP = 0.2
"""Strength that a face gains or loses in a frame."""


def seen(left, top, side=60.0):
    box = (left, top, left + side, top + side * 1.4)
    return Detection(box, 0.9, landmarks_in(box))


def centre(faces):
    return np.mean(faces[0].landmarks, axis=0)


# ------------------------------------------------------------------------------------------------------ tracking


def test_a_resting_face_is_held_still_and_a_moving_one_is_followed():
    noise = np.random.default_rng(1).normal(0, 0.7, (60, 2))
    for speed in (0.0, 4.0):
        tracker, places, true = FaceTracker(), [], []
        for frame, shift in enumerate(noise):
            left, top = 50 + speed * frame, 40
            true.append(np.mean(seen(left, top).landmarks, axis=0))
            places.append(centre(tracker.advance([seen(left + shift[0], top + shift[1])])))
        jitter, before = (np.abs(np.diff(path, 2, axis=0)[10:]).mean() for path in (np.array(places), noise))
        assert jitter < before * (0.2 if speed == 0 else 0.6)
        assert np.abs(np.array(places) - true)[10:].max() < (1.0 if speed == 0 else 0.1 * 60)


def test_a_face_that_is_missed_for_a_frame_does_not_blink():
    tracker = FaceTracker()
    strengths = [
        [face.strength for face in tracker.advance([seen(50 + 2 * n, 40)] if n not in (6, 12, 13) else [])]
        for n in range(20)
    ]
    assert all(len(found) == 1 for found in strengths)
    path = [found[0] for found in strengths]
    assert path[:6] == [1.0] * 6
    assert path[6:9] == [1 - STEP, 1.0, 1.0]
    assert min(path) == pytest.approx(1 - 2 * STEP)
    assert np.abs(np.diff(path)).max() == pytest.approx(STEP)


def test_a_missed_face_goes_on_where_it_was_going():
    tracker = FaceTracker()
    for n in range(12):
        before = centre(tracker.advance([seen(50 + 3 * n, 40)]))
    lost = centre(tracker.advance([]))
    assert 1 < (lost - before)[0] < 4
    assert abs((lost - before)[1]) < 0.1


def test_a_face_comes_in_and_goes_out_over_some_frames():
    tracker = FaceTracker()
    tracker.advance([])
    coming = [tracker.advance([seen(50, 40)])[0].strength for _ in range(6)]
    assert coming == pytest.approx([STEP, 2 * STEP, 3 * STEP, 4 * STEP, 1, 1])
    going = [[face.strength for face in tracker.advance([])] for _ in range(6)]
    assert [found[0] for found in going[:4]] == pytest.approx([1 - STEP, 1 - 2 * STEP, 1 - 3 * STEP, STEP])
    assert going[4:] == [[], []]


def test_faces_of_a_new_scene_are_there_at_once():
    tracker = FaceTracker()
    tracker.advance([seen(50, 40)])
    tracker.cut()
    faces = tracker.advance([seen(60, 50), seen(300, 50)])
    assert [face.strength for face in faces] == [1, 1]
    assert np.allclose(faces[0].landmarks, seen(60, 50).landmarks, atol=1 / 128)


def test_two_faces_that_pass_keep_apart():
    tracker = FaceTracker()
    for n in range(20):
        faces = tracker.advance([seen(300 - 3 * n, 40), seen(50 + 3 * n, 60)][:: 1 if n % 2 else -1])
        assert len(faces) == 2
        assert {face.strength for face in faces} == {1.0}
    assert sorted(round(np.mean(face.landmarks, axis=0)[0]) for face in faces) == pytest.approx([137, 272], abs=6)


def test_overlap_is_intersection_over_union():
    """Counted in whole pixels."""
    generator = np.random.default_rng(3)
    y, x = np.mgrid[:120, :120]
    for _ in range(50):
        corners = generator.integers(0, 50, (2, 2))
        a, b = (np.concatenate((corner, corner + generator.integers(1, 60, 2))) for corner in corners)
        inside = [(box[0] <= x) & (x < box[2]) & (box[1] <= y) & (y < box[3]) for box in (a, b)]
        expected = np.logical_and(*inside).sum() / np.logical_or(*inside).sum()
        assert overlap(tuple(a), tuple(b)) == pytest.approx(expected)


def test_smoothing_takes_the_jitter_of_the_real_detector_away(assets):
    """A photograph under a camera that pans and zooms by a known path: what is left of the detector's own jitter."""
    if not (assets / "weights" / "mobilenet0.25_Final.pth").is_file():
        pytest.skip("no RetinaFace weights in the assets")
    pytest.importorskip(
        "facexlib.detection.retinaface", reason="the extra faces is not installed", exc_type=ImportError
    )
    picture = cv2.imread(str(assets / "images" / "faces" / "test.jpg"))[:, :, ::-1]
    detector = FaceDetector(FaceOptions(model="default", folder=assets / "weights"), torch.device("cpu"))
    noise = np.random.default_rng(0)
    frames = []
    for n in range(40):
        zoom = 1 + 0.004 * n
        move = np.array([[zoom, 0, 20 + 0.8 * n - zoom * 90], [0, zoom, 10 - 0.3 * n - zoom * 30]])
        frame = cv2.warpAffine(picture, move, (240, 240), flags=cv2.INTER_CUBIC).astype(np.float32)
        frames.append(np.clip(frame + noise.normal(0, 6, frame.shape), 0, 255).astype(np.float32) / 255)
    batch = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    found = [one for part in batch.split(8) for one in detector(part)]
    assert [len(one) for one in found] == [1] * len(frames)
    tracker = FaceTracker()
    raw = np.array([middle(one[0].landmarks) for one in found])
    smooth = np.array([middle(tracker.advance(one)[0].landmarks) for one in found])
    before, after = (np.abs(np.diff(path, 2, axis=0)[5:]).mean() for path in (raw, smooth))
    assert before > 0.1  # pixels: there is something to smooth
    assert after < 0.5 * before
    assert np.abs(smooth - raw).max() < 0.08 * found[0][0].size


def middle(landmarks):
    """Where the centre of the mask lies in the frame."""
    return align(np.array(landmarks), 512).inverse()(np.array([256.0, 284.0]))


# --------------------------------------------------------------------------------------------------------- video


def as_yuv(pictures, pix_fmt="yuv444p"):
    """Planes of each RGB picture, by FFmpeg's own conversion."""
    result = []
    for picture in pictures:
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
        result.append(planes(frame))
    return result


def moving(count, height=96, width=128):
    """A bright face that goes right by a pixel a frame."""
    return [face_picture(height, width, (20 + n, height // 4, 60 + n, height // 4 + 40)) for n in range(count)]


def film(path, pictures, pix_fmt="yuv444p"):
    height, width, _ = pictures[0].shape
    clip = Clip(
        codec="ffv1",
        pix_fmt=pix_fmt,
        size=(width, height),
        times=[40 * n for n in range(len(pictures))],
        time_base=Fraction(1, 1000),
        options={},
        planes=as_yuv(pictures, pix_fmt),
    )
    return write_clip(path, clip)


def run(source, target, nearest, faces=None, **options):
    options.setdefault("encoder", LOSSLESS)
    chosen = VideoOptions(faces=None if faces is None else faces.options, **options)
    return upscale_video(source, target, upscaler=nearest, options=chosen, progress="none", faces=faces)


@pytest.fixture
def brighten(tmp_path):
    """Makes a restorer that makes faces darker, and so is seen."""

    def make(added=-0.2, **options):
        model = write_restorer(tmp_path / f"r{added}.pth", scale=4, added=added)
        return stand_in(model, tmp_path / "faces", **options)

    return make


def luma(path):
    return np.stack([planes(frame)[0].astype(int) for frame in decode(path)])


def test_faces_are_found_in_batches_and_restored_in_each_frame(brighten, nearest, tmp_path):
    source = film(tmp_path / "in.mkv", moving(21))
    detector = BrightDetector()
    run(source, tmp_path / "plain.mkv", nearest)
    run(source, tmp_path / "out.mkv", nearest, brighten(detector=detector))
    assert detector.batches == [8, 8, 5]
    changed = luma(tmp_path / "plain.mkv") - luma(tmp_path / "out.mkv")
    for n, frame in enumerate(changed):
        assert frame[100, 2 * (40 + n)] == pytest.approx(0.2 * 219, abs=3)  # limited range
        assert (frame[:, -20:] == 0).all()
    assert times(tmp_path / "out.mkv") == times(source)


def test_without_a_face_the_video_is_the_plain_one(brighten, nearest, tmp_path):
    source = film(tmp_path / "in.mkv", [face_picture(40, 48, None, seed) for seed in range(5)])
    run(source, tmp_path / "plain.mkv", nearest)
    run(source, tmp_path / "out.mkv", nearest, brighten())
    assert np.array_equal(luma(tmp_path / "plain.mkv"), luma(tmp_path / "out.mkv"))


@pytest.mark.parametrize("smooth", [True, False])
def test_reuse_changes_no_frame(brighten, nearest, tmp_path, smooth):
    """Held drawings, a face that comes and goes, drawings that come back."""
    drawings = moving(6)
    empty = face_picture(96, 128, None)
    pictures = [drawings[0]] * 3 + [empty] * 4 + drawings[:4] + [drawings[3]] * 6 + [drawings[0], drawings[3]] * 3
    source = film(tmp_path / "in.mkv", pictures)
    results = []
    for reuse in (True, False):
        target = tmp_path / f"{reuse}.mkv"
        done = run(source, target, nearest, brighten(smooth=smooth), reuse=reuse, segment_frames=9)
        assert (done.reused_frames > 5) == reuse
        results.append(luma(target))
    assert np.array_equal(*results)


def test_a_face_fades_in_where_it_appears_within_a_scene(brighten, nearest, tmp_path):
    """The stand-in misses dark faces: the picture hardly changes when it finds one."""
    box = (40, 24, 80, 76)
    dim = face_picture(96, 128, box)
    dim[24:76, 40:80] = 185
    bright = dim.copy()
    bright[24:76, 40:80] = 195
    noisy = [
        np.clip(one.astype(int) + n % 2, 0, 255).astype(np.uint8) for n, one in enumerate([dim] * 4 + [bright] * 8)
    ]
    source = film(tmp_path / "in.mkv", noisy)
    run(source, tmp_path / "plain.mkv", nearest)
    run(source, tmp_path / "out.mkv", nearest, brighten())
    change = (luma(tmp_path / "plain.mkv") - luma(tmp_path / "out.mkv"))[:, 100, 120] / (0.2 * 219)
    assert change[:4] == pytest.approx(0, abs=0.02)
    assert change[4:] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1], abs=0.05)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "yuva420p", "gray"])
@pytest.mark.parametrize("options", [{}, {"compare": True}, {"size": OutputSize(scale=1.5)}, {"color_fix": True}])
def test_every_format_and_option_goes_with_faces(brighten, nearest, tmp_path, pix_fmt, options):
    """An identity gives the plain video but for what sampling twice loses, whatever else is done to frames."""
    source = film(tmp_path / "in.mkv", [cv2.GaussianBlur(one, (0, 0), 3) for one in moving(2)], pix_fmt)
    run(source, tmp_path / "plain.mkv", nearest, **options)
    run(source, tmp_path / "same.mkv", nearest, brighten(added=0.0), **options)
    run(source, tmp_path / "darker.mkv", nearest, brighten(), **options)
    unit = 4 if "10" in pix_fmt else 1
    for before, same, darker in zip(*(decode(tmp_path / f"{n}.mkv") for n in ("plain", "same", "darker")), strict=True):
        assert before.format.name == same.format.name
        for index, (a, b) in enumerate(zip(planes(before), planes(same), strict=True)):
            # The stand-in repeats pixels, the way back from the aligned face is smooth.
            assert np.abs(a.astype(int) - b).max() <= (0 if index == 3 else 12 * unit)
        fall = planes(before)[0].astype(int) - planes(darker)[0]
        assert (fall.max() > 20 * unit) == (options != {"color_fix": True})


def test_a_video_with_faces_verifies(brighten, nearest, tmp_path):
    source = film(tmp_path / "in.mkv", moving(30), "yuv420p")
    run(source, tmp_path / "out.mkv", nearest, brighten(added=-0.02), segment_frames=8)
    report = verify_video(source, tmp_path / "out.mkv", progress="none")
    assert not report.failed


def test_a_dry_run_counts_faces_in(brighten, nearest, tmp_path):
    source, faces = film(tmp_path / "in.mkv", moving(10)), brighten()
    options = VideoOptions(encoder=LOSSLESS, faces=faces.options)
    forecast = dry_run(source, tmp_path / "out.mkv", upscaler=nearest, options=options, faces=faces)
    assert "face restorer" in forecast.plan.job.facts


def test_other_faces_are_another_job(brighten, nearest, tmp_path):
    """An unfinished output is not continued with another restorer, strength or detector."""
    source, target = film(tmp_path / "in.mkv", moving(12)), tmp_path / "out.mkv"

    class StopError(Exception):
        pass

    def stop(progress):
        if progress.frames >= 8:
            raise StopError

    first = brighten()
    options = VideoOptions(encoder=LOSSLESS, faces=first.options, segment_frames=3, batch=1)
    with pytest.raises(StopError):
        upscale_video(source, target, upscaler=nearest, options=options, progress="none", faces=first, watch=stop)
    for other, what in (
        (brighten(strength=0.5), "faces"),
        (brighten(added=0.1), "face restorer"),
        (None, "faces"),
    ):
        with pytest.raises(UsageError, match=f"begun otherwise: .*{what}"):
            run(source, target, nearest, other, segment_frames=3, batch=1)
    assert run(source, target, nearest, brighten(), segment_frames=3, batch=1).resumed_frames >= 3


@pytest.fixture(scope="module")
def runs():
    with KillableRuns() as started:
        yield started


@pytest.mark.parametrize(("segment", "kills"), [(5, (1, 3)), (15, (1,))])
def test_killed_and_resumed_equals_undisturbed(runs, tmp_path, segment, kills):
    """Tracks reach over the ends of segments; the run that goes on must know what the one that died knew."""
    generator = np.random.default_rng(7)
    pictures = moving(25, 64, 96)
    for n in (9, 10, 17):  # missed
        pictures[n] = face_picture(64, 96, None)
    pictures = [np.clip(one + generator.integers(0, 3, one.shape), 0, 255).astype(np.uint8) for one in pictures]
    source = film(tmp_path / "in.mkv", pictures)
    model = write_restorer(tmp_path / "darker.pth", scale=4, added=-0.2)
    how = {
        "encoder": {"codec": "ffv1"},
        "segment_frames": segment,
        "faces": {"model": str(model), "folder": str(tmp_path / "faces")},
    }
    undisturbed, target = tmp_path / "undisturbed.mkv", tmp_path / "out.mkv"
    assert runs.run(source, undisturbed, **how)["status"] == 0
    for wanted in kills:
        pid = runs.start(source, target, delay=0.1, **how)
        while len(list(tmp_path.glob(".out.mkv.esrgan/*.segment"))) < wanted:
            assert runs.batch()
        os.kill(pid, signal.SIGKILL)
        assert runs.end()["status"] == -signal.SIGKILL
    ended = runs.run(source, target, **how)
    assert (ended["status"], ended["frames"]) == (0, 25)
    assert ended["resumed"] >= segment * kills[-1]
    assert times(target) == times(undisturbed) == times(source)
    assert np.array_equal(luma(target), luma(undisturbed))


def test_the_end_of_a_segment_is_not_seen(brighten, nearest, tmp_path):
    """With one segment and with many, faces are nearly where they were, and as strong."""
    source = film(tmp_path / "in.mkv", [cv2.GaussianBlur(one, (0, 0), 3) for one in moving(40)])
    results = []
    shifts = np.random.default_rng(2).normal(0, 1, 100)
    for frames in (100, 15):
        faces = brighten(detector=BrightDetector(lambda n: shifts[n]))
        run(source, tmp_path / f"{frames}.mkv", nearest, faces, segment_frames=frames)
        results.append(luma(tmp_path / f"{frames}.mkv"))
    assert np.abs(results[0] - results[1]).max() <= 8
    assert not np.array_equal(*results)  # else this compares nothing
