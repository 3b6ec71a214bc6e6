"""`--backend auto`: the fastest library of those that are installed, measured once and remembered."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch

from esrgan.archs.compact import SRVGGNetCompact
from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import EsrganError
from esrgan.weights import LoadedNetwork
from esrgan.weights.atomic import written_beside
from esrgan.weights.registry import cache_folder
from esrgan_video.engine.backends import native_backend, triton_backend
from esrgan_video.engine.backends.base import Backend
from esrgan_video.engine.backends.config import DEFAULT_CONFIGS
from esrgan_video.engine.cores import threads_for
from esrgan_video.engine.devices import find_device
from esrgan_video.engine.options import EngineOptions
from esrgan_video.engine.precision import MIN_PSNR, probe_picture, psnr

_log = logging.getLogger(__name__)

type Build = Callable[[str], Backend]
"""From a backend's name to the backend."""

_USUAL = "torch"
_PACKAGES = {"openvino": ("openvino", "onnx"), "onnxruntime": ("onnxruntime", "onnx"), "triton": ("triton",)}
_ON_PROCESSORS = ("openvino", "onnxruntime")
_PROBE_SIDE = {"cpu": 64, "cuda": 256}
"""On a GPU a small picture would tell how long launches take."""
_WARM_UP, _PASSES = 2, 3
_WORTH_IT = 1.15
"""Times as fast as torch that another library must be: less is within what a busy machine makes of one."""
FILE = "fastest_backends.json"
"""In the cache folder."""


def choose_backend(loaded: LoadedNetwork, options: EngineOptions, build: Build) -> Backend:
    """The fastest backend that keeps to the bound of automatic precision with this network.

    The first time for a kind of network on a machine they are measured, which takes a few seconds for a large one and
    about a minute where Triton compiles and tunes its kernels (it keeps those); the answer is kept in the cache folder.
    A run that goes on says which backend it had, so a new answer cannot mix two.

    Args:
        loaded: the network.
        options: as the caller chose.
        build: makes a backend.
    """
    names = _candidates(loaded, options)
    if names == [_USUAL]:
        _log.info("backend torch: no other one is installed for this device and network")
        return build(_USUAL)
    file = cache_folder() / FILE
    key = _key(loaded, options, names)
    known = _read(file).get(key)
    if known in names:
        _log.info("backend %s: the fastest one when they were measured", known)
        return build(str(known))
    name, backend = _fastest(loaded, options, names, build)
    _write(file, key, name)
    return backend


def _candidates(loaded: LoadedNetwork, options: EngineOptions) -> list[str]:
    device = find_device(options.device).type
    if device == "cuda" and triton_backend.computes(loaded) and options.dtype != "float32" and _is_installed("triton"):
        return [_USUAL, "triton"]
    if device != "cpu" or not isinstance(loaded.network, RRDBNet | SRVGGNetCompact):
        return [_USUAL]
    names = [_USUAL, *filter(_is_installed, _ON_PROCESSORS)]
    if options.dtype in ("auto", "float32") and native_backend.is_worth_it(loaded):
        names.append("native")
    return names


def _is_installed(name: str) -> bool:
    return all(find_spec(package) for package in _PACKAGES[name])


def _fastest(loaded: LoadedNetwork, options: EngineOptions, names: list[str], build: Build) -> tuple[str, Backend]:
    multiple = loaded.facts.size_multiple
    device = find_device(options.device)
    images = probe_picture(-(-_PROBE_SIDE[device.type] // multiple) * multiple)[:, : loaded.facts.in_channels]
    with torch.inference_mode():
        expected = loaded.network(images).to(device)
        images = images.to(device)
        made = {_USUAL: build(_USUAL)}
        seconds = {_USUAL: _seconds(made[_USUAL], images)}
        for name in names[1:]:
            try:
                backend = build(name)
                if options.dtype == "auto" and psnr(expected, backend(images)) < MIN_PSNR:
                    continue
                made[name], seconds[name] = backend, _seconds(backend, images)
            except (EsrganError, RuntimeError, MemoryError) as error:
                _log.warning("backend %s is left out: %s", name, error)
    best = min(seconds, key=lambda name: seconds[name])
    if seconds[_USUAL] < _WORTH_IT * seconds[best]:
        best = _USUAL
    times = ", ".join(f"{name} {taken * 1000:.0f} ms" for name, taken in seconds.items())
    _log.info("backend %s: %dx%d pixels took %s", best, images.shape[-1], images.shape[-2], times)
    return best, made[best]


def _seconds(backend: Backend, images: torch.Tensor) -> float:
    """The shortest of a few passes after those in which a GPU's launches are recorded: others only ever add time."""
    for _ in range(_WARM_UP):
        backend(images)
    taken = []
    for _ in range(_PASSES):
        start = time.perf_counter()
        backend(images).cpu()  # waits for a GPU
        taken.append(time.perf_counter() - start)
    return min(taken)


def _key(loaded: LoadedNetwork, options: EngineOptions, names: list[str]) -> str:
    """What the answer depends on: machine, versions, shape of the network, precision, threads."""
    facts = loaded.facts
    packages = ("torch", *(package for name in names for package in _PACKAGES.get(name, ())))
    parts = (
        platform.node(),
        platform.machine(),
        _processor(),
        _gpu(options),
        *(f"{package} {_version(package)}" for package in packages),
        facts.architecture,
        *(f"{name}={value}" for name, value in sorted(facts.config.items())),
        str(facts.parameters),
        options.dtype,
        str(threads_for(options.threads)),
        *names,
        *DEFAULT_CONFIGS,
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("model name")), platform.processor())


def _gpu(options: EngineOptions) -> str:
    device = find_device(options.device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _read(file: Path) -> Mapping[str, object]:
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(file: Path, key: str, name: str) -> None:
    """Remember an answer; without a folder to write to, it is found again the next time."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(file) as temporary:
            temporary.write_text(json.dumps({**_read(file), key: name}, indent=1))
    except OSError as error:
        _log.info("the fastest backend could not be remembered: %s", error)
