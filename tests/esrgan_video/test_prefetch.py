"""Threads between stages: order, bounds, errors, and no hang whichever side gives up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from esrgan_video.prefetch import Drain, Prefetch


def alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name in ("prefetch", "drain")]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert not alive()


def test_prefetch_gives_all_items_in_order():
    with Prefetch(range(1000), depth=3) as items:
        assert list(items) == list(range(1000))


def test_prefetch_runs_at_most_depth_items_ahead():
    made = []

    def source():
        for number in range(100):
            made.append(number)
            yield number

    with Prefetch(source(), depth=4) as items:
        for number in items:
            time.sleep(0.001)
            assert len(made) <= number + 1 + 4 + 1  # taken, waiting, and the one that waits for room


def test_prefetch_overlaps_the_two_sides():
    def source():
        for _ in range(10):
            time.sleep(0.02)
            yield None

    started = time.monotonic()
    with Prefetch(source(), depth=2) as items:
        for _ in items:
            time.sleep(0.02)
    assert time.monotonic() - started < 0.36  # 0.4 s one after the other, 0.22 s overlapped


def test_prefetch_raises_the_sources_error_before_waiting_items():
    failed = threading.Event()

    def source():
        yield 1
        yield 2
        failed.set()
        raise ZeroDivisionError("from the source")

    with Prefetch(source(), depth=8) as items:
        failed.wait(5)
        time.sleep(0.05)
        with pytest.raises(ZeroDivisionError, match="from the source"):
            next(items)


def test_leaving_early_stops_and_closes_the_source():
    closed = threading.Event()

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    with Prefetch(source(), depth=2) as items:
        next(items)
    assert closed.is_set()


def test_drain_returns_the_functions_result():
    with Drain(sum, depth=2) as drain:
        for number in range(100):
            drain.put(number)
        assert drain.finish() == 4950


def test_drain_holds_at_most_depth_items():
    release, taken = threading.Event(), []

    def slow(items):
        for item in items:
            release.wait(5)
            taken.append(item)

    with Drain(slow, depth=2) as drain:
        for number in range(3):
            drain.put(number)  # one in the function's hands, two waiting
        late = threading.Timer(0.1, release.set)
        late.start()
        drain.put(3)
        assert release.is_set()
        drain.finish()
    assert taken == [0, 1, 2, 3]


def test_drains_error_reaches_the_feeder():
    def broken(items):
        next(items)
        raise OSError("disk full")

    def feed():
        with Drain(broken, depth=2) as drain:
            for number in range(1000):
                drain.put(number)

    with pytest.raises(OSError, match="disk full"):
        feed()


def test_drains_late_error_reaches_finish():
    def broken(items):
        list(items)
        raise OSError("no trailer")

    with Drain(broken, depth=2) as drain:
        drain.put(1)
        with pytest.raises(OSError, match="no trailer"):
            drain.finish()


def test_leaving_a_drain_unfinished_breaks_the_function_off():
    outcome = []

    def write(items):
        try:
            outcome.append(list(items))
        except Exception as error:
            outcome.append(type(error).__name__)
            raise

    with Drain(write, depth=4) as drain:
        drain.put(1)
    assert outcome == ["_BrokenOffError"]


def test_giving_up_while_waiting_for_the_end_breaks_the_function_off():
    outcome = []

    def write(items):
        for item in items:
            time.sleep(0.05)
            outcome.append(item)

    def interrupted(*_):
        raise KeyboardInterrupt

    def feed():
        with Drain(write, depth=100) as drain:
            for number in range(100):
                drain.put(number)
            drain._join = interrupted
            drain.finish()

    with pytest.raises(KeyboardInterrupt):
        feed()
    assert len(outcome) < 50


def test_a_depth_below_one_is_refused():
    with pytest.raises(ValueError, match="0"):
        Prefetch([], depth=0)


_WAITING = """
import itertools, sys, time
from esrgan_video.prefetch import Drain, Prefetch

def never(items):
    time.sleep(0.2)
    for item in items:
        time.sleep(0.2)

def slow():
    for number in itertools.count():
        time.sleep(0.2)
        yield number

try:
    with Prefetch(slow(), 2) as items, Drain(never, 1) as drain:
        print("ready", flush=True)
        for item in items:
            drain.put(item)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_both_threads():
    with subprocess.Popen([sys.executable, "-c", _WAITING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=5)
    assert output == "interrupted\n"
    assert process.returncode == 0
