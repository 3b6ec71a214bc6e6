"""What every benchmark prints first: the machine and the versions."""

from __future__ import annotations

import platform
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch


def describe_machine() -> str:
    """Processor or GPU, threads and the versions that matter, in one line."""
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        processor = names[0].split(":")[1].strip() if names else processor
    if torch.cuda.is_available():
        processor += f" + {torch.cuda.get_device_name()}"
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "av", "numpy") if find_spec(name))
    return f"{processor}, {torch.get_num_threads()} threads, Python {platform.python_version()}, {packages}"
