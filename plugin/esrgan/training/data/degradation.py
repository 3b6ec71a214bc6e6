"""Real-ESRGAN's random degradation (Wang et al. 2021, arXiv:2107.10833, section 3) of one image, on the CPU.

Twice blur, resize, noise and JPEG; then, in either order, the resize to the LR size with a sinc filter,
and the last JPEG. Real-ESRGAN's own code does this on the GPU for a whole batch with one choice of sizes,
and keeps a pool of pairs to vary them. Here each image has choices of its own, so no pool is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from esrgan.training.data.degradation_options import KERNELS, DegradationOptions, StageOptions

Image = NDArray[np.float32]
"""`(H, W, 3)`, BGR, 0..1."""

_KERNEL_SIZES = tuple(range(7, 22, 2))
_SMALL_KERNEL = 13
"""Sinc kernels under this size have cut-off frequencies from π/3 on, others from π/5 on."""
_INTERPOLATIONS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
_POISSON_MARGIN = 1e-6


def degrade(image: Image, scale: int, options: DegradationOptions, random: np.random.Generator) -> Image:
    """Make an LR image as a bad camera and the internet would.

    Args:
        image: HR, sharpened where the options say so; both sides multiples of `scale`.
        scale: size ratio.
        options: ranges and probabilities.
        random: makes all choices, except the shapes of Gaussian kernels, which are BasicSR's and come from the
            global generators of python and numpy.

    Returns:
        `(H / scale, W / scale, 3)`, multiples of 1/255 in 0..1.
    """
    height, width = image.shape[0] // scale, image.shape[1] // scale
    factor = _factor(options.first, random)
    out = _blurred(image, options.first, random)
    out = _resized(out, round(image.shape[0] * factor), round(image.shape[1] * factor), random)
    out = jpeg(_noisy(out, options.first, random), _drawn(options.first.jpeg_range, random))

    factor = _factor(options.second, random)
    out = _blurred(out, options.second, random)
    out = _noisy(_resized(out, int(height * factor), int(width * factor), random), options.second, random)
    quality = _drawn(options.second.jpeg_range, random)
    kernel = sinc_kernel(random) if random.random() < options.final_sinc_prob else None
    if random.random() < 0.5:
        out = jpeg(filtered(_resized(out, height, width, random), kernel), quality)
    else:
        out = filtered(_resized(jpeg(out, quality), height, width, random), kernel)
    return np.asarray((out * 255).round().clip(0, 255) / np.float32(255), np.float32)


def sharpened(image: Image) -> Image:
    """Unsharp masking as in Real-ESRGAN: half of the detail is added where it is over ten levels."""
    from basicsr.utils.img_process_util import usm_sharp

    return np.asarray(usm_sharp(image), np.float32)


def jpeg(image: Image, quality: float) -> Image:
    """Compress with libjpeg, chroma at half the size; what is outside 0..1 is clipped first."""
    levels = (image * 255).round().clip(0, 255).astype(np.uint8)
    done, data = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, round(quality)])
    assert done
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.float32) / np.float32(255)


def gaussian_noise(image: Image, sigma: float, random: np.random.Generator, *, grey: bool) -> Image:
    """Add noise of `sigma` levels of 255, clipped to 0..1; `grey`: the same in all channels."""
    shape = (*image.shape[:2], 1) if grey else image.shape
    noise = random.standard_normal(shape, dtype=np.float32) * np.float32(sigma / 255)
    return (image + noise).clip(0, 1)


def poisson_noise(image: Image, strength: float, random: np.random.Generator, *, grey: bool) -> Image:
    """Add `strength` times the noise of photons, as many at full white as there are levels in the image."""
    levels = np.asarray((image * 255).round().clip(0, 255) / np.float32(255), np.float32)
    if grey:
        levels = np.asarray(cv2.cvtColor(levels, cv2.COLOR_BGR2GRAY)[..., None], np.float32)
    photons = 2 ** math.ceil(math.log2(max(2, len(np.unique((levels * 255).round())))))
    noise = random.poisson((levels + _POISSON_MARGIN) * photons) / photons - levels
    return np.asarray((image + np.float32(strength) * noise.astype(np.float32)).clip(0, 1), np.float32)


def sinc_kernel(random: np.random.Generator) -> NDArray[np.float32]:
    """A circular low-pass filter of random size and cut-off; its sum is 1."""
    from basicsr.data.degradations import circular_lowpass_kernel

    size = int(random.choice(_KERNEL_SIZES))
    cutoff = random.uniform(math.pi / (3 if size < _SMALL_KERNEL else 5), math.pi)
    with np.errstate(invalid="ignore"):  # 0 / 0 in the middle, which it then sets
        return np.asarray(circular_lowpass_kernel(cutoff, size, pad_to=0), np.float32)


def _blurred(image: Image, stage: StageOptions, random: np.random.Generator) -> Image:
    from basicsr.data.degradations import random_mixed_kernels

    if random.random() >= stage.blur_prob:
        return image
    if random.random() < stage.sinc_prob:
        return filtered(image, sinc_kernel(random))
    kernel = random_mixed_kernels(
        list(KERNELS),
        [weight / sum(stage.kernel_prob) for weight in stage.kernel_prob],
        int(random.choice(_KERNEL_SIZES)),
        stage.blur_sigma,
        stage.blur_sigma,
        [-math.pi, math.pi],
        stage.betag_range,
        stage.betap_range,
        noise_range=None,
    )
    return filtered(image, np.asarray(kernel, np.float32))


def filtered(image: Image, kernel: NDArray[np.float32] | None) -> Image:
    """Correlate with `kernel`, mirrored at the edges; `None` changes nothing."""
    if kernel is None:
        return image
    return np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101), np.float32)


def _drawn(ends: Sequence[float], random: np.random.Generator) -> float:
    return float(random.uniform(ends[0], ends[1]))


def _factor(stage: StageOptions, random: np.random.Generator) -> float:
    up, down, keep = stage.resize_prob
    kind = random.choice(3, p=np.array([up, down, keep]) / (up + down + keep))
    if kind == 2:
        return 1.0
    return float(random.uniform(1, stage.resize_range[1]) if kind == 0 else random.uniform(stage.resize_range[0], 1))


def _resized(image: Image, height: int, width: int, random: np.random.Generator) -> Image:
    method = _INTERPOLATIONS[random.integers(len(_INTERPOLATIONS))]
    return np.asarray(cv2.resize(image, (max(1, width), max(1, height)), interpolation=method), np.float32)


def _noisy(image: Image, stage: StageOptions, random: np.random.Generator) -> Image:
    is_gaussian, grey = random.random() < stage.gaussian_noise_prob, random.random() < stage.gray_noise_prob
    image = image.clip(0, 1)
    if is_gaussian:
        return gaussian_noise(image, _drawn(stage.noise_range, random), random, grey=grey)
    return poisson_noise(image, _drawn(stage.poisson_scale_range, random), random, grey=grey)
