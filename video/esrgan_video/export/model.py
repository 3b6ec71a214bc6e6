"""A network as an ONNX model, and as a file of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from esrgan.errors import UsageError, WeightsError
from esrgan.weights import LoadedNetwork
from esrgan.weights.atomic import written_beside
from esrgan_video.engine.precision import cast
from esrgan_video.export.graph import Dimension, GraphWriter
from esrgan_video.export.networks import WriteBlock, write_network

DEFAULT_OPSET = 17
_OPSETS = range(13, 22)
"""From the one whose Resize and QuantizeLinear are used here to the last one in which they mean the same."""
SUFFIX = ".onnx"


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How a network is written as ONNX.

    Raises:
        UsageError: a value outside its range.
    """

    half: bool = False
    """Convolutions in float16, but the last one; input, output and residual trunk stay in float32."""
    size: tuple[int, int] | None = None
    """Height and width of the input in pixels; `None` leaves them open."""
    batch: int | None = 1
    """Images in a pass; `None` leaves it open. vs-mlrt wants 1."""
    opset: int = DEFAULT_OPSET
    """Version of the operators."""

    def __post_init__(self) -> None:
        if self.size is not None and min(self.size) < 1:
            raise UsageError(f"size must be at least 1x1 pixels, got {self.size[0]}x{self.size[1]}")
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"batch must be at least 1, got {self.batch}")
        if self.opset not in _OPSETS:
            raise UsageError(f"opset must be {_OPSETS[0]} to {_OPSETS[-1]}, got {self.opset}")


def onnx_model(
    loaded: LoadedNetwork, options: ExportOptions | None = None, *, write_block: WriteBlock | None = None
) -> Any:
    """`loaded` as an `onnx.ModelProto` of one input, `input`, and one output, `output`, both float32.

    Input `(N, C, H, W)`, RGB (or grey) in 0..1, H and W multiples of `facts.size_multiple`; output
    `(N, C, H * scale, W * scale)`, not clamped.

    Raises:
        UsageError: an architecture that is not ours, or a size that the network does not take.
        MissingExtraError: the package `onnx` is not installed.
    """
    options = options or ExportOptions()
    facts = loaded.facts
    writer = GraphWriter()
    network = cast(loaded.network, torch.float16 if options.half else torch.float32)
    output = write_network(writer, network, write_block=write_block)
    if output is None:
        raise UsageError(f"ONNX is written of RRDBNet and SRVGGNetCompact, not of {facts.architecture}")
    batch: Dimension = options.batch or "batch"
    if options.size is None:
        sizes: tuple[Dimension, Dimension] = ("height", "width")
        large: tuple[Dimension, Dimension] = ("large_height", "large_width")
    else:
        height, width = options.size
        if height % facts.size_multiple or width % facts.size_multiple:
            raise UsageError(f"size {height}x{width} must be a multiple of {facts.size_multiple} for this network")
        sizes, large = (height, width), (height * facts.scale, width * facts.scale)
    return writer.finish(
        output,
        input_shape=(batch, facts.in_channels, *sizes),
        output_shape=(batch, facts.out_channels, *large),
        opset=options.opset,
    )


def export_onnx(
    loaded: LoadedNetwork,
    path: str | os.PathLike[str],
    options: ExportOptions | None = None,
    *,
    name: str = "",
    licence: str = "",
) -> Path:
    """Write `loaded` to `path` as ONNX, whole or not at all; a file that exists is replaced.

    Args:
        loaded: the network; it is not changed.
        path: the file, `.onnx`.
        options: precision, sizes and version of the operators.
        name: of the weights, for the file's metadata.
        licence: of the weights, for the file's metadata.

    Raises:
        UsageError: as `onnx_model`; or the suffix is another one, or the folder does not exist.
        MissingExtraError: the package `onnx` is not installed.
        WeightsError: the file cannot be written.
    """
    options = options or ExportOptions()
    file = Path(path)
    if file.suffix.lower() != SUFFIX:
        raise UsageError(f"{file}: ONNX is written as {SUFFIX}")
    if not file.parent.is_dir():
        raise UsageError(f"{file}: the folder {file.parent} does not exist")
    model = onnx_model(loaded, options)
    for key, value in _metadata(loaded, options, name, licence).items():
        model.metadata_props.add(key=key, value=value)
    try:
        with written_beside(file) as temporary:
            temporary.write_bytes(model.SerializeToString())
    except OSError as error:
        raise WeightsError(f"{file}: cannot be written: {error}") from error
    return file


def _metadata(loaded: LoadedNetwork, options: ExportOptions, name: str, licence: str) -> dict[str, str]:
    facts = loaded.facts
    return {
        "name": name or facts.architecture,
        "architecture": facts.architecture,
        "scale": str(facts.scale),
        "channels": "grey" if facts.in_channels == 1 else "RGB",
        "value range": "0 to 1; the output is not clamped",
        "size multiple": str(facts.size_multiple),
        "precision": "float16 convolutions, float32 trunk" if options.half else "float32",
        "licence": licence or "not known",
    }
