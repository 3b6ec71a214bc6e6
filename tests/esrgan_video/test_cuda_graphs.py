"""CUDA graphs, with a stand-in that repeats the recorded work in the same memory, as a graph does."""

import contextlib

import pytest
import torch

from esrgan_video.engine import cuda_graphs
from esrgan_video.engine.cuda_graphs import GraphedPass, record_cuda


class Recorder:
    """Records a pass: what it launched runs again on the same input, into the same result."""

    def __init__(self) -> None:
        self.recorded: list[torch.Size] = []
        self.replays = 0

    def __call__(self, run, source, pool):
        assert pool is None  # there is no pool without CUDA
        self.recorded.append(source.shape)
        result = run(source)

        def replay() -> None:
            self.replays += 1
            result.copy_(run(source))

        return replay, result


class Work:
    """A pass that a plain function can be held against; it counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, images):
        self.calls += 1
        return torch.nn.functional.interpolate(images, scale_factor=2.0).to(memory_format=torch.channels_last)


def doubled(images: torch.Tensor) -> torch.Tensor:
    return images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def made(**options) -> tuple[GraphedPass, Recorder, Work]:
    recorder, work = Recorder(), Work()
    return GraphedPass(work, record=recorder, **options), recorder, work


def test_a_shape_is_recorded_when_it_comes_again():
    run, recorder, _ = made()
    for times in range(5):
        images = torch.rand(2, 3, 4, 5)
        before = images.clone()
        assert torch.equal(run(images), doubled(images))
        assert torch.equal(images, before)
        assert len(recorder.recorded) == (times > 0)
        assert recorder.replays == times


def test_pictures_alone_in_their_size_are_not_recorded():
    run, recorder, _ = made()
    for width in range(1, 30):
        images = torch.rand(1, 3, 4, width)
        assert torch.equal(run(images), doubled(images))
    assert recorder.recorded == []


def test_results_stay_when_the_next_pass_comes():
    run, _, _ = made()
    pictures = [torch.rand(1, 3, 4, 5) for _ in range(4)]
    results = [run(picture) for picture in pictures]
    assert len({result.data_ptr() for result in results}) == len(results)
    for picture, result in zip(pictures, results, strict=True):
        assert torch.equal(result, doubled(picture))


@pytest.mark.parametrize("strided", ["channels_last", "expanded", "sliced"])
def test_any_order_in_memory_goes_in(strided):
    run, _, _ = made()
    for _ in range(3):
        images = {
            "channels_last": torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
            "expanded": torch.rand(1, 3, 4, 5).expand(2, -1, -1, -1),
            "sliced": torch.rand(2, 3, 8, 10)[..., ::2, ::2],
        }[strided]
        assert torch.equal(run(images), doubled(images))


def test_the_shape_that_was_not_used_for_longest_goes():
    run, recorder, _ = made(kept=2)
    one, two, three = (torch.rand(1, 3, 4, width) for width in (1, 2, 3))
    for images in (one, one, two, two, one, three, three):  # two is the oldest when three is recorded
        assert torch.equal(run(images), doubled(images))
    assert recorder.recorded == [one.shape, two.shape, three.shape]
    run(one)
    assert len(recorder.recorded) == 3
    run(two)
    assert recorder.recorded[3:] == [two.shape]


def test_a_replay_waits_for_the_one_before_on_another_stream(monkeypatch):
    order: list[str] = []

    class Stream:
        def __init__(self, name: str) -> None:
            self.name = name

        def wait_event(self, event: str) -> None:
            order.append(f"{self.name} waits for {event}")

        def record_event(self) -> str:
            order.append(f"{self.name} is done")
            return self.name

    def record(run, source, pool):
        replay, result = Recorder()(run, source, pool)
        return lambda: (order.append("replay"), replay()), result

    streams = iter([Stream("first"), Stream("second")])
    monkeypatch.setattr(cuda_graphs, "_stream_of", lambda _device: next(streams))
    run = GraphedPass(Work(), record=record)
    for _ in range(3):
        run(torch.rand(1, 3, 4, 5))
    assert order == ["replay", "first is done", "second waits for first", "replay", "second is done"]


def test_where_recording_fails_passes_go_on(caplog):
    def refuse(_run, _source, _pool):
        raise RuntimeError("operation not permitted when stream is capturing")

    run = GraphedPass(Work(), record=refuse)
    for _ in range(4):
        images = torch.rand(1, 3, 4, 5)
        assert torch.equal(run(images), doubled(images))
    assert caplog.text.count("going on without") == 1


@pytest.mark.parametrize("fault", ["stale", "fails"])
def test_where_a_graph_gives_other_values_or_fails_passes_go_on(caplog, fault):
    def record(run, source, _pool):
        result = run(torch.zeros_like(source))

        def replay() -> None:  # leaves what recording left
            if fault == "fails":
                raise RuntimeError("unspecified launch failure")

        return replay, result

    run = GraphedPass(Work(), record=record)
    for _ in range(4):
        images = torch.rand(1, 3, 4, 5)
        assert torch.equal(run(images), doubled(images))
    assert caplog.text.count("going on without") == 1
    assert ("unspecified launch failure" if fault == "fails" else "it gives other values") in caplog.text


def test_values_that_are_not_finite_are_no_reason_to_do_without(caplog):
    run, recorder, _ = made()
    images = torch.full((1, 3, 4, 5), torch.nan)
    for _ in range(3):
        assert run(images).isnan().all()
    assert recorder.replays == 2
    assert not caplog.records


def test_graphs_give_way_when_memory_runs_out():
    run, recorder, work = made()
    for _ in range(2):
        run(torch.rand(1, 3, 4, 5))
    fails = [True]

    def full(images):
        if fails.pop():
            fails.append(False)
            raise torch.OutOfMemoryError("full")
        fails.append(False)
        return work(images)

    run._run = full
    large = torch.rand(1, 3, 40, 50)
    assert torch.equal(run(large), doubled(large))
    assert run._recorded == {}
    run._run = work
    for _ in range(2):  # it counts as new from here on
        run(torch.rand(1, 3, 4, 5))
    assert len(recorder.recorded) == 2


def test_without_graphs_to_give_back_the_failure_is_the_callers():
    def full(_images):
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        GraphedPass(full, record=Recorder())(torch.rand(1, 3, 4, 5))


def test_recording_asks_torch_for_a_graph_that_other_threads_do_not_break(monkeypatch):
    asked = {}

    class Graph:
        def replay(self) -> None:
            asked["replays"] = asked.get("replays", 0) + 1

    @contextlib.contextmanager
    def capture(graph, **options):
        asked.update(options, graph=graph)
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: "stream")
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    source = torch.rand(1, 3, 4, 5)
    replay, result = record_cuda(doubled, source, "pool")
    replay()
    assert torch.equal(result, doubled(source))
    assert isinstance(asked["graph"], Graph)
    assert (asked["pool"], asked["capture_error_mode"], asked["replays"]) == ("pool", "thread_local", 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cuda_device_records_and_replays(caplog):
    run = GraphedPass(Work())
    for _ in range(3):
        for width in (5, 6, 7, 8, 9):
            images = torch.rand(2, 3, 4, width, device="cuda")
            assert torch.equal(run(images), doubled(images))
    assert "going on without" not in caplog.text
    assert len(run._recorded) == cuda_graphs._KEPT
