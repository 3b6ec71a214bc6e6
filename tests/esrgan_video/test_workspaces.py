"""Memory that passes of the native kernel leave to each other, judged by what the system counts."""

import ctypes
import mmap
import sys
from pathlib import Path

import pytest

from esrgan_video.engine.native import workspaces
from esrgan_video.engine.native.workspaces import Workspaces

MEBIBYTE = 1 << 20


def page_faults() -> int:
    resource = pytest.importorskip("resource", reason="only Unix counts page faults")
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def faults_of_a_pass(memory: Workspaces, size: int) -> int:
    with memory.borrow(size) as address:
        before = page_faults()
        ctypes.memset(address, 1, size)
        return page_faults() - before


@pytest.mark.skipif(sys.platform != "linux", reason="tests the promise that Linux gives")
def test_the_next_pass_finds_its_memory_there():
    memory = Workspaces()
    first = faults_of_a_pass(memory, 64 * MEBIBYTE)
    assert first >= 32  # a page of 2 MiB each, or 512 times as many small ones
    assert faults_of_a_pass(memory, 64 * MEBIBYTE) < first / 4
    assert faults_of_a_pass(memory, 40 * MEBIBYTE) < first / 4


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux tells of a process's memory")
def test_what_lies_idle_counts_as_memory_that_others_may_have():
    def lazily_freed() -> int:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("LazyFree:")) * 1024

    memory, before = Workspaces(), lazily_freed()
    faults_of_a_pass(memory, 64 * MEBIBYTE)
    assert lazily_freed() - before >= 60 * MEBIBYTE


def test_passes_at_the_same_time_have_memory_of_their_own():
    memory, size = Workspaces(), 3 * MEBIBYTE
    with memory.borrow(size) as one, memory.borrow(size) as other:
        assert one % mmap.PAGESIZE == other % mmap.PAGESIZE == 0
        ctypes.memset(one, 1, size)
        ctypes.memset(other, 2, size)
        assert ctypes.string_at(one, size) == b"\1" * size


def test_larger_pictures_get_more():
    memory = Workspaces()
    for size in (MEBIBYTE, 5 * MEBIBYTE, 2 * MEBIBYTE, 9 * MEBIBYTE):
        with memory.borrow(size) as address:
            ctypes.memset(address, 3, size)
    assert len(memory._idle) <= 1


def test_nothing_is_kept_where_the_system_makes_no_promise(monkeypatch):
    monkeypatch.setattr(workspaces, "_MAY_BE_RECLAIMED", None)
    memory = Workspaces()
    with memory.borrow(MEBIBYTE) as address:
        ctypes.memset(address, 3, MEBIBYTE)
    assert not memory._idle


def test_too_much_is_a_memory_error():
    with pytest.raises(MemoryError, match=f"no {1 << 60} bytes"), Workspaces().borrow(1 << 60):
        pass
