"""The demo as a user starts it, and a browser to look at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from browser import FLAGS, find_chromium
from clip_tools import Clip, write_clip
from demo_server import demo
from esrgan.archs.rrdbnet import RRDBNet

pytest.importorskip("gradio", reason="the extra gradio is not installed")

PATIENCE = 60_000
"""Milliseconds that anything in the browser may take on a busy machine."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Files of this session; its name has a space and a percent sign."""
    return tmp_path_factory.mktemp("demo 100%")


def tiny_weights(path: Path, seed: int) -> Path:
    """A random x2 network, too small to take time."""
    torch.manual_seed(seed)
    network = RRDBNet(num_feat=8, num_grow_ch=4, num_block=1, scale=2, unshuffle=1)
    torch.save({"params": network.state_dict()}, path)
    return path


@pytest.fixture(scope="session")
def tiny(folder) -> tuple[Path, Path]:
    """Two networks that can be interpolated."""
    return tiny_weights(folder / "tiny-a.pth", 1), tiny_weights(folder / "tiny-b.pth", 2)


@pytest.fixture(scope="session")
def photo(folder) -> Path:
    """Noise with alpha, 31x23."""
    path = folder / "a photo.png"
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (23, 31, 4), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="session")
def clip(folder) -> Path:
    """Ten seconds of H.264 with sound: 250 frames of 96x72."""
    return write_clip(folder / "a clip.mp4", Clip(size=(96, 72), times=range(250), audio=["aac"]))


@pytest.fixture(scope="session")
def app(folder, tiny) -> Iterator[str]:
    """Address of the demo with three networks and small limits."""
    limits = ["--max-megapixels", "0.25", "--max-seconds", "12", "--max-upload-mb", "20"]
    models = [word for name in ("default", *map(str, tiny)) for word in ("-n", name)]
    with demo(folder / "server", *limits, *models) as address:
        yield address


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser without windows."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    try:
        path = find_chromium()
    except LookupError as error:
        pytest.skip(str(error))
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, app) -> Iterator[Any]:
    """Opens a window of a visitor of its own; in the end no window has asked anybody but the demo for anything."""
    contexts, elsewhere = [], []

    def open_window(**settings: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        context.set_default_timeout(PATIENCE)
        context.on("request", lambda request: None if _is_own(request.url, app) else elsewhere.append(request.url))
        contexts.append(context)
        page = context.new_page()
        page.goto(app)
        page.wait_for_selector("#image-run")
        return page

    yield open_window
    for context in contexts:
        context.close()
    assert elsewhere == []


def _is_own(url: str, address: str) -> bool:
    return url.startswith((address, "data:", "blob:"))
