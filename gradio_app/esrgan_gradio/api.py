"""The named endpoints for programs: `/upscale_image`, `/upscale_video`, `/interpolate`."""

# Annotations are read by Gradio when an endpoint is added, and name classes that are imported then: they must not be
# strings here.

from collections.abc import Iterator
from pathlib import Path

from esrgan_gradio.errors import sentences
from esrgan_gradio.runs import run_blend, run_picture, video_job
from esrgan_gradio.services import DEVICE_EVENT, Services
from esrgan_gradio.video_input import AUTOMATIC, QUALITIES, VideoRequest
from esrgan_gradio.video_tab import finished, followed, progress_text


def add_api(services: Services) -> None:
    """Add the endpoints to the app that is being built."""
    from gradio import FileData
    from gradio.events import api

    default = services.catalogue.default
    first, second = services.catalogue.pair()

    def upscale_image(
        image: FileData, model: str = default, scale: float | None = None, tile: int | None = None, faces: float = 0
    ) -> FileData:
        """Upscale an image; returns a PNG with its depth and alpha.

        Args:
            image: the file.
            model: a name from the page's list.
            scale: output scale, 1 to 8; the model's own by default.
            tile: side of a tile in pixels, 0 for none; by memory by default.
            faces: strength with which faces are restored, 0 to 1.
        """
        with sentences():
            return _file(run_picture(services, image, model, scale, tile, faces, show=False).file)

    def upscale_video(
        video: FileData,
        model: str = default,
        scale: float | None = None,
        codec: str = AUTOMATIC,
        quality: str = QUALITIES[0],
        container: str = AUTOMATIC,
        trial_seconds: float = 0,
        drop_unsupported: bool = False,
        faces: float = 0,
    ) -> Iterator[tuple[FileData | None, str]]:
        """Upscale a video; yields nothing and a line of progress until the file is there.

        Args:
            video: the file.
            model: a name from the page's list.
            scale: output scale, 1 to 8; the model's own by default.
            codec: a name from the page's list.
            quality: a name from the page's list.
            container: mkv, mp4, mov, webm or Automatic.
            trial_seconds: only that much from the beginning; 0 for all.
            drop_unsupported: leave out streams that the container cannot hold instead of refusing.
            faces: strength with which faces are restored, 0 to 1.
        """
        with sentences():
            request = VideoRequest(
                scale=scale,
                codec=codec,
                quality=quality,
                container=container,
                trial_seconds=trial_seconds,
                drop_unsupported=drop_unsupported,
                faces=faces,
            )
            job = video_job(services, video, model, request)
            for snapshot in followed(job):
                yield None, progress_text(snapshot)
            path, text = finished(job)
            yield _file(path), text

    def interpolate(
        image: FileData,
        alpha: float,
        first: str = first,
        second: str = second,
        first_weights: FileData | None = None,
        second_weights: FileData | None = None,
    ) -> FileData:
        """Upscale an image with the network between two: (1 - alpha) first + alpha second; returns a PNG.

        Args:
            image: the file.
            alpha: share of the second network, 0 to 1.
            first: a name from the page's list.
            second: a name from the page's list.
            first_weights: a weights file in its place.
            second_weights: a weights file in its place.
        """
        with sentences():
            done = run_blend(services, image, (first, second), (first_weights, second_weights), alpha, show=False)
            return _file(done.file)

    def _file(path: Path) -> FileData:
        return FileData(path=str(path), orig_name=path.name)

    public = {key: value for key, value in DEVICE_EVENT.items() if key not in ("preprocess", "api_visibility")}
    for endpoint in (upscale_image, upscale_video, interpolate):
        api(endpoint, api_name=endpoint.__name__, **public)
