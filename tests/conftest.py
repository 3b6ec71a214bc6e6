"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder of real images, clips and weights: `ESRGAN_ASSETS`, or `shared` beside the checkout."""
    folder = Path(os.environ.get("ESRGAN_ASSETS", _REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no real inputs: {folder} does not exist (set ESRGAN_ASSETS)")
    return folder
