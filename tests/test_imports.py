"""What importing costs, and what works without the optional packages."""

import subprocess
import sys

import pytest

OPTIONAL = (
    "basicsr",
    "torchvision",
    "gradio",
    "vapoursynth",
    "facexlib",
    "spandrel",
    "onnx",
    "onnxruntime",
    "openvino",
)
HEAVY = ("torch", "triton", "numpy", "cv2", "av", "PIL", *OPTIONAL)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_importing_the_packages_loads_nothing_heavy():
    code = (
        f"import sys, esrgan, esrgan_video, esrgan_gradio; print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert run_python(code).stdout.strip() == "[]"


def test_the_command_parses_without_loading_the_network_library():
    code = f"""
import sys
from esrgan_video.cli.main import build_parser
build_parser().parse_args(["upscale", "in.mkv", "-o", "out.mkv"])
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    result = run_python(code)
    assert result.stdout.strip() == "[]", result.stderr


def test_upscaling_works_with_every_optional_package_blocked():
    code = f"""
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {OPTIONAL!r}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocked())
import torch
from esrgan_video import Upscaler, upscale_image, upscale_video
print(tuple(Upscaler("default")(torch.rand(1, 3, 5, 6)).shape))
"""
    result = run_python(code)
    assert result.stdout.strip() == "(1, 3, 20, 24)", result.stderr


def test_importing_esrgan_registers_nothing_with_basicsr():
    code = """
from esrgan.training.compat import patch_torchvision
patch_torchvision()
import esrgan, esrgan.archs.rrdbnet, esrgan.weights
from basicsr.utils.registry import ARCH_REGISTRY
print([name for name in ARCH_REGISTRY.keys() if name.endswith("_esrgan")])
"""
    result = run_python(code)
    assert result.stdout.strip().splitlines()[-1] == "[]", result.stderr


def test_the_public_names_of_esrgan_video():
    import esrgan_video

    assert esrgan_video.__all__ == [
        "EngineOptions",
        "FaceOptions",
        "FaceRestorer",
        "OutputSize",
        "Upscaler",
        "VideoOptions",
        "upscale_image",
        "upscale_video",
    ]
    with pytest.raises(AttributeError, match="upscale_everything"):
        _ = esrgan_video.upscale_everything
    for name in esrgan_video.__all__:
        assert getattr(esrgan_video, name).__module__.startswith("esrgan_video")
