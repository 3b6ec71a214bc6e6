"""What a request computes, from what the visitor sent to files in a folder of its own."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from esrgan.weights import LoadedNetwork
from esrgan_gradio.blending import blended_picture, checked_alpha, chosen_network, contact_sheet
from esrgan_gradio.errors import naming
from esrgan_gradio.pictures import PictureResult, checked_scale, checked_strength, checked_tile, upscale_picture
from esrgan_gradio.services import Services
from esrgan_gradio.video_input import VideoRequest
from esrgan_gradio.video_job import Limits, VideoJob
from esrgan_gradio.workspace import Upload
from esrgan_video.images import StillImage, read_image


def run_picture(
    services: Services,
    sent: object,
    name: object,
    scale: object,
    tile: object,
    faces: object = 0,
    *,
    show: bool = True,
) -> PictureResult:
    """Upscale an uploaded image, and restore the faces in it with the strength `faces`.

    Args:
        services: the app's.
        sent: the image.
        name: the model.
        scale: see `checked_scale`.
        tile: see `checked_tile`.
        faces: see `checked_strength`.
        show: write what the page shows besides.

    Raises:
        EsrganError: see what is called.
    """
    source = services.catalogue.source(name)
    factor, side, strength = checked_scale(scale), checked_tile(tile), checked_strength(faces)
    upload, image = _image(services, sent)
    with _job(services) as folder, services.device.lent():
        upscaler = services.device.upscaler(source, side)
        restorer = services.device.faces(strength, upscaler)
        return upscale_picture(
            image, upscaler, scale=factor, folder=folder, stem=upload.stem, faces=restorer, show=show
        )


def run_blend(
    services: Services,
    sent: object,
    names: tuple[object, object],
    weights: tuple[object, object],
    alpha: object,
    *,
    show: bool = True,
) -> PictureResult:
    """Upscale an uploaded image with the network between two.

    Args:
        services: the app's.
        sent: the image.
        names: models for alpha 0 and alpha 1.
        weights: uploads that take their places; `None` for none.
        alpha: share of the second.
        show: write what the page shows besides.

    Raises:
        EsrganError: see what is called.
    """
    share = checked_alpha(alpha)
    upload, image = _image(services, sent)
    with _job(services) as folder, services.device.lent():
        first, second = (_network(services, folder, *pair) for pair in zip(names, weights, strict=True))
        return blended_picture(
            services.device, image, (first, second), share, folder=folder, stem=upload.stem, show=show
        )


def run_sheet(services: Services, sent: object, names: tuple[object, object], weights: tuple[object, object]) -> Path:
    """Make a contact sheet of the networks between two; arguments as for `run_blend`.

    Raises:
        EsrganError: see what is called.
    """
    upload, image = _image(services, sent)
    with _job(services) as folder, services.device.lent():
        first, second = (_network(services, folder, *pair) for pair in zip(names, weights, strict=True))
        path = folder / f"{upload.stem}_alphas.png"
        contact_sheet(services.device, image, (first, second), path)
        return path


def video_job(services: Services, sent: object, name: object, request: VideoRequest) -> VideoJob:
    """A job for an uploaded video, not started yet.

    Raises:
        UsageError: the model is not on offer, or there is no such upload.
    """
    options = services.options
    return VideoJob(
        services.workspace,
        services.device,
        Limits(max_pixels=options.max_pixels, max_seconds=options.max_seconds),
        sent=sent,
        source=services.catalogue.source(name),
        request=request,
    )


def _image(services: Services, sent: object) -> tuple[Upload, StillImage]:
    upload = services.workspace.admit(sent, "an image")
    with naming({upload.path: upload.name}):
        return upload, read_image(upload.path, max_pixels=services.options.max_pixels)


def _network(services: Services, folder: Path, name: object, sent: object) -> LoadedNetwork:
    return chosen_network(services.device, services.catalogue, services.workspace, folder, name=name, sent=sent)


@contextlib.contextmanager
def _job(services: Services) -> Iterator[Path]:
    """A folder that is removed if the work in it fails."""
    folder = services.workspace.job()
    try:
        with services.workspace.at_work(folder):
            yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
