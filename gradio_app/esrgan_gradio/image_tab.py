"""The tab *Image*."""

from __future__ import annotations

from typing import Any

from esrgan_gradio.errors import sentences
from esrgan_gradio.examples import example_pictures
from esrgan_gradio.html import status
from esrgan_gradio.pictures import MAX_SCALE, MIN_SCALE
from esrgan_gradio.runs import run_picture
from esrgan_gradio.services import DEVICE_EVENT, LIGHT_EVENT, Services, face_slider, own_scale_script

TILES: list[tuple[str, str | int]] = [
    ("Automatic", "auto"),
    ("Whole image", 0),
    ("128 pixels", 128),
    ("256 pixels", 256),
    ("512 pixels", 512),
]
WAITING = "The result appears here; drag the handle to compare."


def add_image_tab(services: Services) -> None:
    """Add the tab to the app that is being built."""
    import gradio as gr

    catalogue = services.catalogue
    with gr.Tab("Image", id="image"), gr.Row(elem_classes="panes"):
        with gr.Column(scale=4, min_width=320):
            source = gr.Image(
                label="Image: drop, paste or photograph",
                sources=["upload", "clipboard", "webcam"],
                type="filepath",
                image_mode=None,
                height=300,
                buttons=["fullscreen"],
                elem_id="image-source",
            )
            model = gr.Dropdown(catalogue.names, value=catalogue.default, label="Model", elem_id="image-model")
            with gr.Row(elem_classes="pair"):
                scale = gr.Slider(
                    MIN_SCALE,
                    MAX_SCALE,
                    value=catalogue.scales[catalogue.default],
                    step=0.1,
                    label="Scale",
                    elem_id="image-scale",
                )
                tile = gr.Dropdown(TILES, value="auto", label="Tile", elem_id="image-tile")
            faces = face_slider(services, "image-faces")
            run = gr.Button("Upscale image", variant="primary", elem_id="image-run")
            gr.Examples(
                [[str(path)] for path in example_pictures(services.workspace.root / "examples")],
                [source],
                label="Examples",
                cache_examples=False,
                elem_id="image-examples",
            )
        with gr.Column(scale=7, min_width=320):
            slider = gr.ImageSlider(
                label="Before (bicubic) and after",
                type="filepath",
                interactive=False,
                height=480,
                max_height=480,
                buttons=["fullscreen"],
                elem_id="image-slider",
            )
            state = gr.HTML(status(WAITING), elem_id="image-status", elem_classes="status", padding=False)
            download = gr.DownloadButton("Download PNG", interactive=False, elem_id="image-download")

    def upscale(sent: object, name: object, scale: object, tile: object, faces: object) -> tuple[Any, ...]:
        with sentences():
            done = run_picture(services, sent, name, scale, None if tile == "auto" else tile, faces)
        return (
            (str(done.before), str(done.after)),
            status(done.summary, "done"),
            gr.update(value=str(done.file), interactive=True),
        )

    run.click(
        upscale,
        [source, model, scale, tile, faces],
        [slider, state, download],
        show_progress_on=[state],
        **DEVICE_EVENT,
    ).failure(lambda: status(WAITING), None, state, **LIGHT_EVENT)
    model.change(None, model, scale, js=own_scale_script(services))
