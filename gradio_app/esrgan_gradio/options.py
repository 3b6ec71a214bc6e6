"""`AppOptions`: what whoever starts the demo may choose."""

from __future__ import annotations

import math
from dataclasses import dataclass

from esrgan.errors import UsageError
from esrgan_video.engine.backends.config import parse_backend
from esrgan_video.faces.options import FaceOptions

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class AppOptions:
    """How the demo is served, and what a visitor may ask of the machine.

    Raises:
        UsageError: a value outside its range.
    """

    host: str = LOOPBACK
    """Address to listen on; the default is reachable from this machine only."""
    port: int | None = None
    """Port to listen on; `None` is the first free one from 7860."""
    share: bool = False
    """Ask Gradio's servers for a public link."""
    open_browser: bool = False
    """Open the page in this machine's browser."""
    models: tuple[str, ...] = ()
    """Weights that visitors may choose, names or files, the first one preselected; empty for all known names."""
    backend: str = "usual"
    """Library that runs networks, as for `esrgan upscale --backend`."""
    faces: FaceOptions | None = None
    """What restores faces where a visitor asks for it; by default nothing does."""
    device: str = "auto"
    """Where networks run, as for `EngineOptions.device`."""
    queue_size: int = 16
    """Requests that may wait; one more is refused."""
    max_upload_mb: float = 512
    """Largest file that is taken, in units of 1,000,000 bytes."""
    max_total_mb: float | None = None
    """What all uploads and results together may take, in units of 1,000,000 bytes; `None` for half of what is free on
    their disk at the start."""
    max_megapixels: float = 9
    """Largest image or video frame, in units of 1,000,000 pixels; the default admits a frame of 4096x2160."""
    max_seconds: float = 600
    """Longest part of a video that is upscaled, in seconds."""
    keep_minutes: float = 60
    """Uploads and results are removed after this time."""

    def __post_init__(self) -> None:
        parse_backend(self.backend)
        if self.port is not None and not 1 <= self.port <= 65535:
            raise UsageError(f"--port must be 1 to 65535, got {self.port}")
        if self.queue_size < 1:
            raise UsageError(f"--queue-size must be at least 1, got {self.queue_size}")
        for name in ("max_upload_mb", "max_total_mb", "max_megapixels", "max_seconds", "keep_minutes"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"--{name.replace('_', '-')} must be a positive number, got {value:g}")

    @property
    def max_bytes(self) -> int:
        """Largest upload in bytes."""
        return int(self.max_upload_mb * 1_000_000)

    @property
    def max_pixels(self) -> int:
        """Largest picture in pixels."""
        return int(self.max_megapixels * 1_000_000)

    @property
    def keep_seconds(self) -> int:
        """Age in seconds at which files are removed."""
        return max(1, round(self.keep_minutes * 60))
