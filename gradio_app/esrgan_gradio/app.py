"""`build_app`: the page and its named endpoints."""

from __future__ import annotations

from typing import Any

from esrgan.errors import MissingExtraError
from esrgan_gradio.device import Device
from esrgan_gradio.options import AppOptions
from esrgan_gradio.workspace import Workspace

TITLE = "ESRGAN"
_INTRODUCTION = (
    '<div class="masthead"><h1>ESRGAN</h1><p>Enlarge images and video, and see what the weights do. '
    "Nothing of a video is lost: every frame at its time, all sound and subtitles.</p></div>"
)


def build_app(options: AppOptions, workspace: Workspace, device: Device | None = None) -> Any:
    """The app as `gradio.Blocks`, not launched yet.

    Args:
        options: what visitors may ask for.
        workspace: where uploads and results lie: Gradio's folder for uploads, from the environment variable
            `GRADIO_TEMP_DIR`, must be its own when the app is built and while it runs. Old files go when a request
            comes; `Workspace.pruned` is for the time between.
        device: where networks run; made from `options` if it is not given. Close it after the app.

    Raises:
        MissingExtraError: gradio is not installed.
        UsageError: models that do not exist.
    """
    try:
        import gradio as gr
    except ImportError as error:
        raise MissingExtraError("the browser demo", "gradio") from error
    from esrgan.weights.face_files import check_face_model
    from esrgan_gradio.about_tab import add_about_tab
    from esrgan_gradio.api import add_api
    from esrgan_gradio.catalogue import Catalogue
    from esrgan_gradio.image_tab import add_image_tab
    from esrgan_gradio.interpolate_tab import add_interpolate_tab
    from esrgan_gradio.services import Services
    from esrgan_gradio.video_tab import add_video_tab

    if options.faces is not None:
        check_face_model(options.faces.model)
    services = Services(
        options=options,
        workspace=workspace,
        device=device or Device(options.device, backend=options.backend, faces=options.faces),
        catalogue=Catalogue.of(options.models),
    )
    keep = options.keep_seconds
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(min(60, keep), keep)) as app:
        gr.HTML(_INTRODUCTION, padding=False)
        with gr.Tabs():
            add_image_tab(services)
            add_video_tab(services)
            add_interpolate_tab(services)
            add_about_tab(services)
        add_api(services)
    app.queue(max_size=options.queue_size, default_concurrency_limit=1)
    return app
