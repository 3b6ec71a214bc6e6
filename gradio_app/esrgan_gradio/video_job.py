"""`VideoJob`: one video being upscaled in a thread, watched and stopped from outside."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from esrgan_gradio.device import Device
from esrgan_gradio.errors import naming
from esrgan_gradio.still import write_stills
from esrgan_gradio.video_input import VideoRequest, check_header, check_limits, choose, open_upload
from esrgan_gradio.workspace import Workspace
from esrgan_video.container import VideoInfo
from esrgan_video.pipeline import VideoProgress, VideoResult, upscale_video

_STILL_INTERVAL = 1.5
"""Seconds between two stills, at least: each costs the conversion of a frame."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is taken of a video."""

    max_pixels: int
    max_seconds: float


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """How far a job has come."""

    stage: str = "waiting"
    """`waiting` for the device, `starting`, `running`."""
    frames: int = 0
    """Frames that have been through the network."""
    total: int | None = None
    """Frames that there will be, as far as the header tells."""
    seconds: float = 0
    """Since the first frame was decoded."""
    rate: float = 0
    """Frames a second, without the time to start."""
    stills: tuple[Path, Path] | None = None
    """The last still: before and after."""

    @property
    def seconds_left(self) -> float | None:
        """Estimate of the time that is left."""
        if self.total is None or not self.rate:
            return None
        return max(0.0, (self.total - self.frames) / self.rate)


class _Stopped(Exception):  # noqa: N818 - not an error: the visitor asked for it
    """Ends `upscale_video` from its `watch`."""


class VideoJob:
    """Upscales one upload. `start` it, `wait` for news, and call `stop` in the end whatever happened.

    Args:
        workspace: where uploads and results lie.
        device: where the network runs.
        limits: what is refused.
        sent: the upload, as it came from the visitor.
        source: name or path of the weights.
        request: what to do.
    """

    def __init__(
        self, workspace: Workspace, device: Device, limits: Limits, *, sent: object, source: str, request: VideoRequest
    ) -> None:
        self.folder = workspace.job()
        try:
            self.upload, self.path = open_upload(workspace, sent, self.folder)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.snapshot = Snapshot()
        self.result: VideoResult | None = None
        self.error: Exception | None = None
        self._workspace, self._device, self._limits = workspace, device, limits
        self._source, self._request = source, request
        self._stop = threading.Event()
        self._news = threading.Event()
        self._began = self._first_batch = 0.0
        self._first_frames = 0
        self._last_still = float("-inf")
        self._thread = threading.Thread(target=self._run, name="upscale video", daemon=True)

    @property
    def is_running(self) -> bool:
        """Whether the thread is still at work, and the device perhaps taken."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait for news, but not for longer; returns whether the job still runs."""
        self._news.wait(seconds)
        self._news.clear()
        return self._thread.is_alive()

    def stop(self) -> None:
        """Let the job end after the batch that it is at; returns at once. A finished job keeps its result."""
        self._stop.set()

    def _is_wanted(self) -> bool:
        return not self._stop.is_set() and not self._device.is_closing

    def _run(self) -> None:
        try:
            with self._workspace.at_work(self.folder), self._device.taken(self._is_wanted) as is_taken:
                if is_taken and self._is_wanted():
                    with naming({self.path: self.upload.name, self.folder: "the result"}):
                        self.result = self._upscale()
        except _Stopped:
            pass
        except Exception as error:  # noqa: BLE001 - raised by whoever asks for the result
            self.error = error
        finally:
            self.path.unlink(missing_ok=True)
            if self.result is None:
                shutil.rmtree(self.folder, ignore_errors=True)
            self._news.set()

    def _upscale(self) -> VideoResult:
        self.snapshot = Snapshot(stage="starting")
        self._news.set()
        check_header(self.path, self._request, **vars(self._limits))
        choice = choose(self.path, self.upload.path.suffix.lower(), self._request)
        upscaler = self._device.upscaler(self._source)
        scale = upscaler.scale if self._request.scale is None else self._request.scale
        target = self.folder / f"{self.upload.stem}_x{scale:g}{choice.suffix}"
        faces = self._device.faces(self._request.faces, upscaler)
        self._began = time.monotonic()
        result = upscale_video(
            self.path,
            target,
            upscaler=upscaler,
            options=replace(self._request.options, faces=None if faces is None else faces.options),
            progress="none",
            watch=lambda progress: self._watch(progress, choice.info),
            faces=faces,
        )
        self.snapshot = Snapshot(
            stage="running",
            frames=result.frames,
            total=result.frames,
            seconds=result.seconds,
            rate=result.frames / result.seconds,
            stills=self.snapshot.stills,
        )
        return result

    def _watch(self, progress: VideoProgress, info: VideoInfo) -> None:
        if not self._is_wanted():
            raise _Stopped
        frame = progress.group.sources[-1]
        check_limits(
            self.path,
            width=frame.width,
            height=frame.height,
            seconds=float(frame.time),
            max_pixels=self._limits.max_pixels,
            max_seconds=self._limits.max_seconds,
        )
        now = time.monotonic()
        if not self._first_frames:  # the first batch waits for memory and code to be loaded: no measure of the rest
            self._first_batch, self._first_frames = now, progress.frames
            rate = progress.frames / (now - self._began)
        else:
            rate = (progress.frames - self._first_frames) / (now - self._first_batch)
        self.snapshot = Snapshot(
            stage="running",
            frames=progress.frames,
            total=progress.total,
            seconds=now - self._began,
            rate=rate,
            stills=self._stills(progress, info, now),
        )
        self._news.set()

    def _stills(self, progress: VideoProgress, info: VideoInfo, now: float) -> tuple[Path, Path] | None:
        if now - self._last_still < _STILL_INTERVAL:
            return self.snapshot.stills
        self._last_still = now
        self._workspace.require_room()  # the result grows with each frame
        return write_stills(progress.group, info, self.folder, f"still-{progress.frames}")
