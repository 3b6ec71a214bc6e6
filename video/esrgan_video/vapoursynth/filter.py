"""`esrgan`: a clip in, a larger clip out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from esrgan.errors import MissingExtraError, UsageError
from esrgan.weights import LoadedNetwork, gan_of, load_network, resolve
from esrgan.weights import interpolate as interpolate_networks
from esrgan_video.engine import DType, EngineOptions, Upscaler
from esrgan_video.engine.backends.config import BackendConfig, parse_backend
from esrgan_video.engine.options import DEFAULT_OVERLAP
from esrgan_video.size import OutputSize
from esrgan_video.vapoursynth.batches import Target, upscale_batches
from esrgan_video.vapoursynth.formats import (
    check_clip,
    check_size,
    matrix_code,
)

if TYPE_CHECKING:
    import vapoursynth as vs

    from esrgan_video.export.int8 import Calibration

type Model = str | os.PathLike[str] | LoadedNetwork

MODEL_PROPERTY = "ESRGANModel"
"""Frame property that names the weights. Names with a leading underscore are reserved for VapourSynth itself."""


def esrgan(
    clip: vs.VideoNode,
    model: Model = "default",
    *,
    scale: float | None = None,
    tile: int | None = None,
    overlap: int | None = None,
    batch: int | None = None,
    backend: str | BackendConfig | None = None,
    device: str | Sequence[str] | None = None,
    dtype: DType | None = None,
    calibration: Calibration | None = None,
    pre_pad: int = 0,
    tta: bool = False,
    num_streams: int = 1,
    interpolate: Model | tuple[Model, float] | None = None,
    alpha: float | None = None,
    color_fix: bool = False,
    reuse: bool = True,
    matrix_in: str | int | None = None,
) -> vs.VideoNode:
    """Upscale a clip with ESRGAN weights.

    The result has the clip's format, number of frames, frame rate and, frame by frame, its properties, and says in
    the property `ESRGANModel` which weights ran. Only `_Alpha`, a picture of the old size, is left out.

    RGB and GRAY in float go to the network as they are, and come back as the network gives them, not clamped.
    Integer formats and YUV are converted inside, by each frame's `_Matrix`, `_Range` and `_ChromaLocation`, to
    full-range RGB and back, exactly as `esrgan upscale` does. Interlaced frames are upscaled as they are.

    Args:
        clip: RGB, YUV or GRAY, integer of 8 to 16 bits or float of 16 or 32 bits, of constant format and size.
        model: name of known weights (`esrgan info` lists them), a weights file, or a network that was loaded already.
        scale: size ratio of output to input, any positive number; by default the network's.
        tile: side of a tile in input pixels; 0 never cuts, `None` cuts when memory asks for it.
        overlap: input pixels that a tile sees beyond each side.
        batch: frames that are computed together; by default chosen by frame size and device.
        backend: library that runs the network, as for `EngineOptions`: `torch`, `openvino`, `onnxruntime`, `native`,
            `triton` or `auto` (the fastest one that is installed, measured once), as `openvino:GPU` with a device of
            its own; or its settings.
        device: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`; several of them share the batches.
        dtype: `auto`, `float32`, `bfloat16`, `float16` or, with `backend="openvino"` and a calibration, `int8`.
        calibration: for `int8`: what `esrgan_video.export.int8.calibrate` found in some frames of the clip.
        pre_pad: input pixels that a frame is mirrored by beyond each side before the network sees it: 4 keep flat,
            vivid areas free of a tint along the border.
        tta: take the mean over the eight orientations of a frame: 8 times the work for a little more fidelity.
        num_streams: batches that each device computes at the same time.
        interpolate: a second network to blend in, parameter by parameter (Wang et al. 2018, section 3.4), or such a
            network and its share, `(network, alpha)`.
        alpha: share of that second network, 0 to 1; without `interpolate`, of the GAN that belongs to `model`.
        color_fix: give frames the low frequencies of their input, for networks that tint or shift brightness.
        reuse: compute frames that show what one of the last few showed only once; the result is the same.
        matrix_in: matrix of YUV clips whose frames do not say it (`709`, `170m`, `2020ncl` …), as in the resizer; it
            goes before the frames' own.

    Raises:
        UsageError: a clip or an argument that cannot be used; the message says what can. For a frame whose matrix
            is unknown it is raised when that frame is requested, inside a `vapoursynth.Error`.
        WeightsError: weights that cannot be read.
        EngineError: memory does not suffice for the smallest tile; also inside a `vapoursynth.Error` later on.
    """
    _check_installed()
    check_clip(clip)
    devices = (device,) if isinstance(device, str | None) else tuple(device)
    if num_streams < 1 or not devices:
        raise UsageError(f"esrgan: at least 1 stream on 1 device, got num_streams={num_streams}, device={device!r}")
    if dtype == "int8" and calibration is None:
        raise UsageError(
            "esrgan: dtype int8 is calibrated on frames of the whole clip, which a filter does not see beforehand: "
            "give calibration=calibrate(network, frames), or use `esrgan upscale SCRIPT --backend openvino "
            "--dtype int8`"
        )
    options = EngineOptions(
        backend=parse_backend(backend) if isinstance(backend, str) else backend or "usual",
        dtype=dtype or "auto",
        calibration=calibration,
        tile=tile,
        overlap=DEFAULT_OVERLAP if overlap is None else overlap,
        batch=batch,
        pre_pad=pre_pad,
        tta=tta,
    )
    size = OutputSize(scale=scale)
    network, name = _load(model, interpolate, alpha)
    upscalers = [Upscaler(network, replace(options, device=one or "auto")) for one in devices]
    width, height = size.resolve(clip.width, clip.height, upscalers[0].scale)
    check_size(clip, width, height)
    target = Target(width=width, height=height, color_fix=color_fix, reuse=reuse)
    count = min(batch or _planned_batch(upscalers[0], clip), clip.num_frames)
    # Streams alternate between devices, so that the first batches already keep all of them busy.
    streams = [upscaler for _ in range(num_streams) for upscaler in upscalers]
    source = _source(clip, matrix_in, cached_frames=2 * count * len(streams))
    large = upscale_batches(source, streams, target=target, batch=count)
    result = large.std.CopyFrameProps(source)
    return result.std.SetFrameProps(**{MODEL_PROPERTY: name})


def _check_installed() -> None:
    try:
        import vapoursynth  # noqa: F401
    except ImportError:
        raise MissingExtraError("the VapourSynth filter", "vapoursynth") from None


def _planned_batch(upscaler: Upscaler, clip: vs.VideoNode) -> int:
    plan = upscaler.plan(clip.height, clip.width)
    return plan.batch if plan.tile is None else 1


def _source(clip: vs.VideoNode, matrix_in: str | int | None, *, cached_frames: int) -> vs.VideoNode:
    """The input behind a cache of its own: each frame is used for its pixels and, a batch later, its properties."""
    import vapoursynth as vs

    source = clip.std.RemoveFrameProps("_Alpha")
    if matrix_in is not None:
        if clip.format.color_family != vs.YUV:
            raise UsageError(f"esrgan: matrix_in={matrix_in!r} is for YUV clips, got {clip.format.name}")
        source = source.std.SetFrameProps(_Matrix=matrix_code(matrix_in))
    source.std.SetVideoCache(mode=1, fixedsize=True, maxsize=cached_frames + 2 * vs.core.num_threads)
    return source


def _load(
    model: Model, interpolate: Model | tuple[Model, float] | None, alpha: float | None
) -> tuple[LoadedNetwork, str]:
    """The network, and its name for the frame property."""
    network, name = _load_one(model)
    if isinstance(interpolate, tuple):
        if alpha is not None:
            raise UsageError(f"esrgan: interpolate={interpolate!r} has a share already, leave out alpha={alpha}")
        interpolate, alpha = interpolate
    if interpolate is None and alpha is None:
        return network, name
    if alpha is None:
        raise UsageError(f"esrgan: interpolate={interpolate!r} wants alpha, its share from 0 to 1")
    if interpolate is None:
        if isinstance(model, LoadedNetwork):
            raise UsageError(f"esrgan: alpha={alpha} of a network without a name: give interpolate, the second network")
        interpolate = gan_of(model)
    other, other_name = _load_one(interpolate)
    return interpolate_networks(network, other, alpha), f"{name} * {1 - alpha:g} + {other_name} * {alpha:g}"


def _load_one(model: Model) -> tuple[LoadedNetwork, str]:
    if isinstance(model, LoadedNetwork):
        return model, model.facts.architecture
    path = resolve(model)
    return load_network(path), path.stem
