"""The distribution: three import packages, their extras, two commands and one BasicSR plugin."""

from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

PACKAGE_FOLDERS = ("plugin", "video", "gradio_app")

KERNEL = "video/esrgan_video/engine/native"
CODES = "video/esrgan_video/colour/native"
COMPILER_OPTIONS = ["-std=c++17", "-O3", "-g0", "-pthread"]


class BuildNative(build_ext):
    """Compile the parts in C++; where that fails, say what will be missing and go on."""

    def build_extension(self, ext: Extension) -> None:
        """Compile `ext`."""
        try:
            super().build_extension(ext)
        except Exception:
            self.warn(f"no C++ compiler that can build {ext.name}: torch will do its work, and take longer")
            raise  # the extension is optional: setuptools goes on without it


EXTRAS = {
    "train": ["basicsr==1.4.2", "torchvision>=0.26", "opencv-python>=4.10", "setuptools<81"],
    "spandrel": ["spandrel>=0.4.2"],
    "onnx": ["onnx>=1.19"],
    "onnxruntime": ["onnx>=1.19", "onnxruntime>=1.22"],
    "openvino": ["onnx>=1.19", "openvino>=2025.2"],
    "triton": ["triton>=3.6; platform_system == 'Linux'"],
    "vapoursynth": ["vapoursynth>=81", "vapoursynth-bestsource>=22"],
    "gradio": ["gradio>=6.31"],
    "faces": ["facexlib>=0.3.0", "spandrel>=0.4.2"],
    "plot": ["matplotlib>=3.10"],
}
EXTRAS["all"] = sorted({requirement for extra in EXTRAS.values() for requirement in extra})
EXTRAS["dev"] = [
    *EXTRAS["all"],
    "hypothesis>=6.150",
    "mypy>=2.4",
    "playwright>=1.65",
    "pytest>=9",
    "pytest-timeout>=2.4",
    "pytest-xdist>=3.8",
    "ruff>=0.17",
    "scikit-image>=0.26",
    "types-PyYAML",
    "types-psutil",
    "types-tqdm",
]

setup(
    name="esrgan",
    version="0.1.0",
    description="ESRGAN for images and video, and as a plugin of BasicSR",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.12,<3.13",
    packages=[package for folder in PACKAGE_FOLDERS for package in find_packages(folder)],
    package_dir={
        package.split(".")[0]: f"{folder}/{package.split('.')[0]}"
        for folder in PACKAGE_FOLDERS
        for package in find_packages(folder)
    },
    package_data={
        "esrgan": ["py.typed"],
        "esrgan.weights": ["models/*.safetensors", "models/*.md"],
        "esrgan_gradio": ["*.css"],
    },
    cmdclass={"build_ext": BuildNative},
    ext_modules=[
        Extension(
            "esrgan_video.engine.native._winograd",
            sources=[f"{KERNEL}/{name}.cpp" for name in ("network", "kernel_avx512", "kernel_avx2", "kernel_portable")],
            depends=[f"{KERNEL}/winograd.h", f"{KERNEL}/kernel.inl"],
            extra_compile_args=[*COMPILER_OPTIONS, "-ffp-contract=fast", "-Wno-psabi"],
            extra_link_args=["-pthread"],
            language="c++",
            optional=True,
        ),
        Extension(
            "esrgan_video.colour.native._codes",
            sources=[f"{CODES}/codes.cpp"],
            # Neither of the last two changes a value: loops with comparisons are vectorised only with them.
            extra_compile_args=[*COMPILER_OPTIONS, "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno"],
            extra_link_args=["-pthread"],
            language="c++",
            optional=True,
        ),
    ],
    install_requires=[
        "av>=19.0",
        "numpy>=2.0",
        "opencv-python>=4.10",
        "pillow>=12",
        "platformdirs>=4",
        "psutil>=7",
        "safetensors>=0.5",
        "tifffile>=2025.1",
        "torch>=2.11",
        "tqdm>=4.66",
    ],
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [
            "esrgan=esrgan_video.cli.main:main",
            "basicsr=esrgan.training.cli:main",
        ],
        "basicsr.plugins": ["esrgan=esrgan.training.registration:register"],
    },
)
