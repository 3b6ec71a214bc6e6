"""Planes to a device and back: on the processor, and with a stand-in for CUDA's streams and pinned memory."""

import contextlib

import numpy as np
import pytest
import torch

from esrgan_video import transfer
from esrgan_video.transfer import Transfer

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


class Cuda:
    """Streams whose copies happen when an event is waited for, as late as CUDA may do them.

    `fault` is what is wrong with it: `no memory` can be pinned, waiting is `not permitted`, or copies are `lost`.
    """

    def __init__(self, monkeypatch, fault: str = "") -> None:
        self.order: list[str] = []
        self.pinned = 0
        self.fault = fault
        self._waiting: list = []
        plain = torch.Tensor.copy_
        cuda = self

        class Event:
            def __init__(self, copies: list) -> None:
                self.copies = copies

            def synchronize(self) -> None:
                cuda.order.append("wait")
                if cuda.fault == "not permitted":
                    raise RuntimeError("CUDA error: operation not permitted")
                for target, source in self.copies if cuda.fault != "lost" else ():
                    plain(target, source)

        class Stream:
            def __init__(self, device: torch.device) -> None:
                assert device == CUDA

            def wait_event(self, event: str) -> None:
                cuda.order.append(f"after {event}")

            def record_event(self) -> Event:
                copies, cuda._waiting = cuda._waiting, []
                return Event(copies)

        def copy(target, source, *, non_blocking=False):
            assert non_blocking
            cuda.order.append("copy")
            cuda._waiting.append((target, source))

        def pinned(shape, dtype):
            if self.fault == "no memory":
                raise RuntimeError("CUDA error: out of memory")
            self.pinned += 1
            return torch.full(tuple(shape), 77, dtype=dtype)

        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "stream", lambda _stream: contextlib.nullcontext())
        monkeypatch.setattr(torch.Tensor, "copy_", copy)
        monkeypatch.setattr(transfer, "_pinned", pinned)


def planes_of(dtype: type, count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, np.iinfo(dtype).max, (6, 10), dtype, endpoint=True)[:, :7] for _ in range(count)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_planes_arrive_as_they_were(dtype):
    planes = planes_of(dtype, 3)
    transfer = Transfer(CPU)
    there = transfer.to_device(planes)
    assert there.dtype == {np.uint8: torch.uint8, np.uint16: torch.uint16}[dtype]
    back = list(transfer.to_host([(there[index : index + 1],) for index in range(3)], transfer.mark()))
    for plane, (same,) in zip(planes, back, strict=True):
        np.testing.assert_array_equal(same, plane)


class Uploads:
    """The way to a device that is not there. `fault`: `no memory` can be pinned, or fast copies are `lost`."""

    def __init__(self, monkeypatch, fault: str = "") -> None:
        self.asked: list[tuple[str, bool]] = []
        self.fault = fault

        def to(tensor, device, *, non_blocking=False):
            self.asked.append((device.type, non_blocking))
            return torch.zeros_like(tensor) if non_blocking and self.fault == "lost" else tensor.clone()

        monkeypatch.setattr(torch.Tensor, "to", to)
        monkeypatch.setattr(transfer, "_pinned", self._pinned)

    def _pinned(self, shape, dtype):
        if self.fault == "no memory":
            raise RuntimeError("CUDA error: out of memory")
        return torch.zeros(shape, dtype=dtype)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.bool_])
def test_planes_reach_cuda_through_pinned_memory(monkeypatch, dtype, caplog):
    planes = [plane.astype(dtype) for plane in planes_of(np.uint16, 3)]
    for plane in planes:
        plane.flags.writeable = False  # as a decoder's memory may be
    uploads, ours = Uploads(monkeypatch), Transfer(CUDA)
    for _ in range(2):
        np.testing.assert_array_equal(ours.to_device(planes).numpy(), np.stack(planes))
    assert uploads.asked == [("cuda", True)] * 2
    assert not caplog.records


@pytest.mark.parametrize(
    ("fault", "said", "asked"),
    [
        ("no memory", "out of memory", [("cuda", False)] * 3),
        ("lost", "other values arrive on the device", [("cuda", True)] + [("cuda", False)] * 3),
    ],
)
def test_where_the_fast_way_to_cuda_fails_or_differs_plain_copies_go_on(monkeypatch, caplog, fault, said, asked):
    uploads, ours = Uploads(monkeypatch, fault), Transfer(CUDA)
    for _ in range(3):
        planes = planes_of(np.uint16, 3)
        np.testing.assert_array_equal(ours.to_device(planes).numpy(), np.stack(planes))
    assert uploads.asked == asked
    assert ours.mark() is None, "results leave by plain copies, too"
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "going on with plain copies" in record.message
    assert said in record.message


def test_memory_that_cannot_be_pinned_any_more_ends_the_fast_way(monkeypatch, caplog):
    uploads, ours = Uploads(monkeypatch), Transfer(CUDA)
    planes = planes_of(np.uint16, 3)
    ours.to_device(planes)
    uploads.fault = "no memory"
    np.testing.assert_array_equal(ours.to_device(planes).numpy(), np.stack(planes))
    assert uploads.asked == [("cuda", True), ("cuda", False)]
    assert "out of memory" in caplog.text


def pictures_of(planes: list[np.ndarray]) -> list[tuple[torch.Tensor, ...]]:
    """Two planes for each picture, as they lie on a device."""
    pairs = zip(planes[::2], planes[1::2], strict=True)
    with torch.inference_mode():
        return [tuple(torch.from_numpy(plane.copy())[None] for plane in pair) for pair in pairs]


@pytest.mark.parametrize("count", [0, 1, 4])
def test_results_leave_on_a_stream_of_their_own_one_ahead(monkeypatch, count, caplog):
    planes = planes_of(np.uint16, 2 * count)
    pictures = pictures_of(planes)
    cuda = Cuda(monkeypatch)
    arrived = Transfer(CUDA).to_host(pictures, "ready")
    seen = []
    for one, other in arrived:
        seen += [one.copy(), other.copy()]
        cuda.order.append("taken")
    for plane, same in zip(planes, seen, strict=True):
        np.testing.assert_array_equal(same, plane)
    ahead = ["copy", "copy", "wait", "taken"]
    expected = ["after ready", "copy", "copy", *ahead * (count - 1), "wait", "taken"]
    assert cuda.order == (expected if count else [])
    assert cuda.pinned == 2 * count
    assert not caplog.records


@pytest.mark.parametrize(
    ("fault", "after", "said"),
    [
        ("no memory", 0, "out of memory"),
        ("no memory", 1, "out of memory"),
        ("not permitted", 0, "operation not permitted"),
        ("not permitted", 1, "operation not permitted"),
        ("lost", 0, "other values arrive in memory"),
    ],
)
def test_where_the_fast_way_from_cuda_fails_or_differs_plain_copies_go_on(monkeypatch, caplog, fault, after, said):
    """`after`: batches that left as they should."""
    planes = planes_of(np.uint16, 6)
    pictures = pictures_of(planes)
    cuda, ours = Cuda(monkeypatch, "" if after else fault), Transfer(CUDA)
    for batch in range(after + 2):
        cuda.fault = fault if batch >= after else ""
        seen = [plane for picture in ours.to_host(pictures, "ready") for plane in picture]
        for plane, same in zip(planes, seen, strict=True):
            np.testing.assert_array_equal(same, plane)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert said in record.message


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_cuda_device_gives_back_what_it_got(dtype, caplog):
    device = torch.device("cuda")
    planes = planes_of(dtype, 5)
    transfer = Transfer(device)
    for _ in range(2):
        with torch.inference_mode():
            there = transfer.to_device(planes)
            pictures = [(there[index : index + 1].clone(),) for index in range(5)]
        for plane, (same,) in zip(planes, transfer.to_host(pictures, transfer.mark()), strict=True):
            np.testing.assert_array_equal(same, plane)
    assert not caplog.records
