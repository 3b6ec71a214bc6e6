"""The filter inside other people's graphs: nothing locks up, nothing stays behind."""

import gc
import weakref

import numpy as np
import pytest

from esrgan_video.engine import Upscaler
from esrgan_video.vapoursynth import batches, esrgan, filter  # noqa: A004 - the module's name
from vs_tools import all_planes, clip_of, planes_of, random_planes, repeat

vs = pytest.importorskip("vapoursynth")

pytestmark = pytest.mark.timeout(120)
"""A graph that locks up fails here instead of waiting for ever."""

FRAMES = 17


@pytest.fixture(params=[1, 2, 8], ids="{} threads".format)
def threads(request):
    before = vs.core.num_threads
    vs.core.num_threads = request.param
    yield request.param
    vs.core.num_threads = before


def doubled(clip, **options):
    return esrgan(clip, repeat(2), **{"device": "cpu", "dtype": "float32", "batch": 3, **options})


def enlarged(frames, by):
    return [[plane.repeat(by, 0).repeat(by, 1) for plane in planes] for planes in frames]


def same(clip, expected):
    result = all_planes(clip)
    assert len(result) == len(expected)
    assert all(np.array_equal(one, other) for one, other in zip(result, expected, strict=True))


@pytest.fixture
def frames():
    return random_planes(vs.core.get_video_format(vs.YUV444P8), 6, 4, FRAMES)


@pytest.fixture
def clip(frames):
    return clip_of(frames, vs.YUV444P8, props=[{"_Matrix": 1}] * FRAMES)


@pytest.mark.parametrize("streams", [1, 2])
def test_two_of_our_filters_one_after_the_other(threads, frames, clip, streams):
    assert threads == vs.core.num_threads
    same(doubled(doubled(clip, num_streams=streams), batch=4, num_streams=streams), enlarged(frames, 4))


@pytest.mark.usefixtures("threads")
def test_trimmed_spliced_interleaved_and_reversed_clips(frames, clip):
    large = doubled(clip, num_streams=2)
    big = enlarged(frames, 2)
    graph = vs.core.std.Interleave([large[3:9], large[::-1][:6], doubled(clip[1:7], batch=2)]) + large[5]
    expected = [one for three in zip(big[3:9], big[::-1][:6], big[1:7], strict=True) for one in three] + [big[5]]
    same(graph, expected)


@pytest.mark.usefixtures("threads")
def test_filters_that_look_at_neighbours_and_at_both_sizes(frames, clip):
    large = doubled(clip)
    longer = large[0] + large[:-1]
    graph = vs.core.std.Expr([large, longer], "x y max")
    big = enlarged(frames, 2)
    expected = [
        [np.maximum(a, b) for a, b in zip(one, other, strict=True)]
        for one, other in zip(big, [big[0], *big[:-1]], strict=True)
    ]
    same(graph, expected)


@pytest.mark.usefixtures("threads")
def test_a_filter_built_and_used_inside_a_callback(frames, clip):
    built = {}

    def choose(n, f):
        part = n // 6
        if part not in built:
            built[part] = doubled(clip, batch=part + f.props["_Matrix"])
        return built[part]

    template = vs.core.std.BlankClip(clip, width=12, height=8)
    same(template.std.FrameEval(choose, prop_src=[clip]), enlarged(frames, 2))
    assert len(built) == 3


@pytest.mark.usefixtures("threads")
def test_many_frames_requested_at_once_from_several_ends(frames, clip):
    first, second = doubled(clip, num_streams=2), doubled(doubled(clip), batch=5)
    futures = [(n, by, end.get_frame_async(n)) for n in range(FRAMES) for by, end in ((2, first), (4, second))]
    for n, by, future in reversed(futures):
        assert np.array_equal(planes_of(future.result()), enlarged(frames, by)[n])


def test_the_network_is_released_with_the_clip(monkeypatch, clip):
    alive = []

    class Watched(Upscaler):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            alive.append(weakref.ref(self))

    monkeypatch.setattr(filter, "Upscaler", Watched)
    large = doubled(doubled(clip, num_streams=2))
    frame = large.get_frame(4)
    assert [reference() is None for reference in alive] == [False, False]
    del large
    gc.collect()
    assert [reference() is None for reference in alive] == [True, True]
    assert frame.width == 24


def test_what_is_remembered_for_reuse_is_released_with_the_clip(monkeypatch, frames, clip):
    kept = []

    class Watched(batches.RecentPictures):
        def of(self, frame):
            picture = super().of(frame)
            kept.append(weakref.ref(picture))
            return picture

    monkeypatch.setattr(batches, "RecentPictures", Watched)
    large = doubled(clip, num_streams=2)
    same(large, enlarged(frames, 2))
    assert len(kept) == FRAMES
    assert sum(reference() is not None for reference in kept) == 16  # eight for each stream
    del large
    gc.collect()
    assert not any(reference() for reference in kept)
