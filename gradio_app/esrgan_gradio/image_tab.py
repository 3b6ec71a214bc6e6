"""The tab *Image*."""

from __future__ import annotations

from typing import Any

from esrgan_gradio.errors import sentences
from esrgan_gradio.examples import example_pictures
from esrgan_gradio.html import status
from esrgan_gradio.layout import (
    before_after,
    control_pane,
    download_button,
    examples,
    face_slider,
    follow_scale,
    model_choice,
    pair,
    panes,
    picture_source,
    ready,
    result_pane,
    say_at_failure,
    scale_slider,
    state_line,
)
from esrgan_gradio.runs import run_picture
from esrgan_gradio.services import DEVICE_EVENT, Services

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

    with gr.Tab("Image", id="image"), panes():
        with control_pane():
            source = picture_source("image-source", 300)
            model = model_choice(services, "image-model")
            with pair():
                scale = scale_slider(services, "image-scale")
                tile = gr.Dropdown(TILES, value="auto", label="Tile", elem_id="image-tile")
            faces = face_slider(services, "image-faces")
            run = gr.Button("Upscale image", variant="primary", elem_id="image-run")
            examples(example_pictures(services.workspace.root / "examples"), source, "image-examples")
        with result_pane():
            slider = before_after("Before (bicubic) and after", "image-slider", 480)
            state = state_line(WAITING, "image-status")
            download = download_button("Download PNG", "image-download")

    def upscale(sent: object, name: object, scale: object, tile: object, faces: object) -> tuple[Any, ...]:
        with sentences():
            done = run_picture(services, sent, name, scale, None if tile == "auto" else tile, faces)
        return (str(done.before), str(done.after)), status(done.summary, "done"), ready(done.file)

    started = run.click(
        upscale,
        [source, model, scale, tile, faces],
        [slider, state, download],
        show_progress_on=[state],
        **DEVICE_EVENT,
    )
    say_at_failure(started, state, WAITING)
    follow_scale(services, model, scale)
