"""Planes to a device and back: on the processor, and with a stand-in for CUDA's streams and pinned memory."""

import contextlib

import numpy as np
import pytest
import torch

from esrgan_video import transfer
from esrgan_video.transfer import mark, to_device, to_host

CPU = torch.device("cpu")


class Cuda:
    """Streams whose copies happen when an event is waited for, as late as CUDA may do them."""

    def __init__(self, monkeypatch) -> None:
        self.order: list[str] = []
        self.pinned = 0
        self._waiting: list = []
        plain = torch.Tensor.copy_
        cuda = self

        class Event:
            def __init__(self, copies: list) -> None:
                self.copies = copies

            def synchronize(self) -> None:
                cuda.order.append("wait")
                for target, source in self.copies:
                    plain(target, source)

        class Stream:
            def __init__(self, device: torch.device) -> None:
                assert device == CPU

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
    there = to_device(planes, CPU)
    assert there.dtype == {np.uint8: torch.uint8, np.uint16: torch.uint16}[dtype]
    back = list(to_host([(there[index : index + 1],) for index in range(3)], mark(CPU)))
    for plane, (same,) in zip(planes, back, strict=True):
        np.testing.assert_array_equal(same, plane)


def test_planes_reach_cuda_through_pinned_memory(monkeypatch):
    asked = []

    def to(tensor, device, *, non_blocking):
        asked.append((device.type, non_blocking))
        return tensor.clone()

    monkeypatch.setattr(transfer, "_pinned", lambda shape, dtype: torch.zeros(shape, dtype=dtype))
    monkeypatch.setattr(torch.Tensor, "to", to)
    planes = planes_of(np.uint16, 3)
    for plane in planes:
        plane.flags.writeable = False  # as a decoder's memory may be
    there = to_device(planes, torch.device("cuda"))
    assert asked == [("cuda", True)]
    np.testing.assert_array_equal(there.numpy(), np.stack(planes))


@pytest.mark.parametrize("count", [0, 1, 4])
def test_results_leave_on_a_stream_of_their_own_one_ahead(monkeypatch, count):
    planes = planes_of(np.uint16, 2 * count)
    with torch.inference_mode():
        pairs = zip(planes[::2], planes[1::2], strict=True)
        pictures = [tuple(torch.from_numpy(plane.copy())[None] for plane in pair) for pair in pairs]
    cuda = Cuda(monkeypatch)
    arrived = to_host(pictures, "ready")
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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_cuda_device_gives_back_what_it_got(dtype):
    device = torch.device("cuda")
    planes = planes_of(dtype, 5)
    with torch.inference_mode():
        there = to_device(planes, device)
        pictures = [(there[index : index + 1].clone(),) for index in range(5)]
    for plane, (same,) in zip(planes, to_host(pictures, mark(device)), strict=True):
        np.testing.assert_array_equal(same, plane)
