"""Running a VapourSynth script, and its clip in a format that FFmpeg has too."""

from __future__ import annotations

import contextlib
import logging
import runpy
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from esrgan.errors import MediaError, MissingExtraError, UsageError
from esrgan_video.colour import PixelLayout
from esrgan_video.colour.layout import Model

if TYPE_CHECKING:
    import vapoursynth as vs

_log = logging.getLogger(__name__)

_DEPTHS = (8, 9, 10, 12, 14, 16)


def run_script(path: Path) -> vs.VideoNode:
    """Run a script and return its output 0.

    Raises:
        MissingExtraError: VapourSynth is not installed.
        UsageError: no such file.
        MediaError: the script fails, or output 0 is not a video clip of constant size and format.
    """
    try:
        import vapoursynth as vs
    except ImportError:
        raise MissingExtraError(f"the VapourSynth script {path}", "vapoursynth") from None
    if not path.is_file():
        raise UsageError(f"no such file: {path}")
    path = path.resolve()
    vs.clear_outputs()
    try:
        with contextlib.chdir(path.parent):
            runpy.run_path(str(path), run_name="__vapoursynth__")
        output = vs.get_outputs().get(0)
    except (Exception, SystemExit) as error:  # whatever a program may raise
        raise MediaError(f"{path} failed{_place(error, path)}: {last_line(error) or type(error).__name__}") from error
    finally:
        vs.clear_outputs()
    if not isinstance(output, vs.VideoOutputTuple):
        raise MediaError(f"{path} has no video as output 0: end it with clip.set_output()")
    if output.alpha is not None:
        _log.warning("%s has transparency, which is left out", path)
    clip = output.clip
    if not clip.width or clip.format.color_family == vs.UNDEFINED:
        raise MediaError(f"{path}: its output has variable size or format: bring it to one with resize.Bicubic")
    return clip


def _place(error: BaseException, path: Path) -> str:
    """Where in the script an error came from."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" in line {lines[-1]}" if lines else ""


def last_line(error: BaseException) -> str:
    """The last line of a message: VapourSynth puts whole tracebacks into them."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else ""


def in_layout(clip: vs.VideoNode, path: Path) -> tuple[PixelLayout, vs.VideoNode]:
    """The layout that holds the clip's frames, and the clip in that layout.

    Raises:
        MediaError: integers of more than 16 bits.
    """
    import vapoursynth as vs

    own = clip.format
    if own.sample_type == vs.INTEGER and own.bits_per_sample > 16:
        raise MediaError(f"{path}: {own.name} cannot be read: use at most 16 bits, or float")
    bits = 16 if own.sample_type == vs.FLOAT else min(depth for depth in _DEPTHS if depth >= own.bits_per_sample)
    model: Model = "yuv" if own.color_family == vs.YUV else "rgb" if own.color_family == vs.RGB else "grey"
    step = (1 << own.subsampling_w, 1 << own.subsampling_h)
    layout = next(
        candidate for candidate in (_layout(model, bits, *step), _layout(model, bits, 1, 1)) if candidate is not None
    )
    wanted = vs.core.query_video_format(
        own.color_family,
        vs.INTEGER,
        layout.bits,
        layout.chroma_x.bit_length() - 1,
        layout.chroma_y.bit_length() - 1,
    )
    if wanted.id == own.id:
        return layout, clip
    _log.info("%s: %s is read as %s", path, own.name, wanted.name)
    return layout, clip.resize.Bilinear(format=wanted.id)


def _layout(model: Model, bits: int, chroma_x: int, chroma_y: int) -> PixelLayout | None:
    """The layout, if FFmpeg has it."""
    from av.video.format import names

    layout = PixelLayout(model=model, bits=bits, chroma_x=chroma_x, chroma_y=chroma_y)
    try:
        return layout if layout.pix_fmt in names else None
    except KeyError:  # a subsampling that has no name there
        return None
