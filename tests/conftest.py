"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

_REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_reaches_the_programs_that_are_started() -> None:
    """A shell starts background jobs with Ctrl-C ignored, and what they start inherits that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder of real images, clips and weights: `ESRGAN_ASSETS`, or `shared` beside the checkout."""
    folder = Path(os.environ.get("ESRGAN_ASSETS", _REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no real inputs: {folder} does not exist (set ESRGAN_ASSETS)")
    return folder


@pytest.fixture(scope="session")
def basicsr_archs() -> SimpleNamespace:
    """BasicSR's own `RRDBNet` and `SRVGGNetCompact`, and its `BaseModel`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # basicsr uses names that its own dependencies have deprecated
        from esrgan.training.compat import patch_torchvision

        patch_torchvision()
        from basicsr.archs.rrdbnet_arch import RRDBNet
        from basicsr.archs.srvgg_arch import SRVGGNetCompact
        from basicsr.models.base_model import BaseModel
    return SimpleNamespace(RRDBNet=RRDBNet, SRVGGNetCompact=SRVGGNetCompact, BaseModel=BaseModel)
