"""Runs of `upscale_video` that can be killed, each in a process of its own, without importing torch again for each.

`KillableRuns` starts this file as a server that has everything imported; for each run it forks. Only the server's
children compute, so the fork finds no threads.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self


class KillableRuns:
    """Starts runs one after the other. A run that was started must be waited for with `end`."""

    def __enter__(self) -> Self:
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._waiting: list[dict[str, Any]] = []
        return self

    def __exit__(self, *_: object) -> None:
        with self._server:  # closes its pipes, which ends it, and waits
            pass

    def start(self, source: Path, target: Path, **how: Any) -> int:
        """Start a run; returns its process. For what there is to say see `_run`."""
        self._server.stdin.write(json.dumps({"source": str(source), "target": str(target), **how}) + "\n")
        return int(self._next()["pid"])

    def batch(self) -> bool:
        """Wait for the next batch to reach the network; false if the run ended before."""
        event = self._next()
        if "batch" not in event:
            self._waiting.append(event)
        return "batch" in event

    def end(self) -> dict[str, Any]:
        """Wait for the end: `status` as `os.waitstatus_to_exitcode` gives it, `error`, or `frames` and `resumed`."""
        result: dict[str, Any] = {}
        while "status" not in result:
            event = self._waiting.pop(0) if self._waiting else self._next()
            result |= {key: value for key, value in event.items() if key != "batch"}
        return result

    def run(self, source: Path, target: Path, **how: Any) -> dict[str, Any]:
        """Start a run and wait for its end."""
        self.start(source, target, **how)
        return self.end()

    def _next(self) -> dict[str, Any]:
        return json.loads(self._server.stdout.readline())


def _serve() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if not pid:
            _say(pid=os.getpid())
            os._exit(_run(**job))
        _, status = os.waitpid(pid, 0)
        _say(status=os.waitstatus_to_exitcode(status))


def _say(**event: Any) -> None:
    os.write(1, json.dumps(event).encode() + b"\n")


def _run(
    source: str,
    target: str,
    encoder: dict[str, Any],
    delay: float = 0,
    die_at_write: int | None = None,
    die_in_file: int | None = None,
    file_limit: int | None = None,
    batch: int = 4,
    faces: dict[str, Any] | None = None,
    slow: float | None = None,
    **options: Any,
) -> int:
    """One run, in the child.

    Args:
        source: the input.
        target: the output.
        encoder: for `EncoderOptions`.
        delay: seconds that a batch takes.
        die_at_write: die by SIGKILL before the moment of this number at which something on the disk changes for good.
        die_in_file: die by SIGKILL when so many packets of the video are in the final file.
        file_limit: bytes that a file may have: what stands in for a full disk.
        batch: frames in one.
        faces: for `face_tools.stand_in`: faces are restored.
        slow: seconds that a frame must take to be kept before its segment is whole, however large it is.
        **options: for `VideoOptions`.
    """
    import math
    import resource
    import time

    import torch
    from torch.nn import functional as F

    from esrgan.errors import EsrganError, one_line
    from esrgan_video import VideoOptions, upscale_video
    from esrgan_video.container import EncoderOptions
    from esrgan_video.segments import shelf

    torch.set_num_threads(1)

    class Paced:
        scale, device = 2, torch.device("cpu")

        def plan(self, height: int, width: int) -> Any:  # noqa: ARG002
            return type("Plan", (), {"batch": batch, "tile": None})

        def __call__(self, frames: torch.Tensor) -> torch.Tensor:
            _say(batch=len(frames))
            time.sleep(delay)
            return F.interpolate(frames, scale_factor=2.0, mode="nearest")

    if slow is not None:
        shelf._SLOW, shelf._BYTES_A_SECOND, shelf._SPARE = slow, math.inf, 0
    if die_at_write is not None:
        _die_at(die_at_write)
    if die_in_file is not None:
        _die_in_file(die_in_file)
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    restorer = None if faces is None else _restorer(**faces)
    try:
        result = upscale_video(
            source,
            target,
            upscaler=Paced(),
            options=VideoOptions(
                encoder=EncoderOptions(**encoder), faces=None if restorer is None else restorer.options, **options
            ),
            progress="none",
            faces=restorer,
        )
    except EsrganError as error:
        _say(error=one_line(error))
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        _say(error=one_line(interrupt))
        return 130
    _say(frames=result.frames, resumed=result.resumed_frames)
    return 0


def _restorer(model: str, folder: str, **options: Any) -> Any:
    from face_tools import stand_in

    return stand_in(Path(model), Path(folder), **options)


def _die_at(count: int) -> None:
    """Let this process die before the `count`-th call that syncs, renames or removes."""
    left = count

    def wrapped(function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return function(*arguments, **named)

        return call

    os.fsync, os.truncate = wrapped(os.fsync), wrapped(os.truncate)
    Path.replace, Path.unlink = wrapped(Path.replace), wrapped(Path.unlink)


def _die_in_file(count: int) -> None:
    from esrgan_video.segments import SegmentStore

    original = SegmentStore.packets

    def packets(*arguments: Any, **named: Any) -> Any:
        for number, packet in enumerate(original(*arguments, **named)):
            if number == count:
                os.kill(os.getpid(), signal.SIGKILL)
            yield packet

    SegmentStore.packets = packets


if __name__ == "__main__":
    import esrgan_video.pipeline
    import esrgan_video.targets  # noqa: F401 - imported before forking

    _serve()
