"""The tab *Interpolate*."""

from __future__ import annotations

from typing import Any

from esrgan_gradio.blending import ALPHAS, SHEET_CROP
from esrgan_gradio.errors import sentences
from esrgan_gradio.examples import example_pictures
from esrgan_gradio.html import status
from esrgan_gradio.runs import run_blend, run_sheet
from esrgan_gradio.services import DEVICE_EVENT, LIGHT_EVENT, Services

WAITING = "α mixes the two networks, parameter by parameter: 0 is the first, 1 the second."
_WEIGHTS = [".safetensors", ".pth", ".pt", ".ckpt"]


def add_interpolate_tab(services: Services) -> None:
    """Add the tab to the app that is being built."""
    import gradio as gr

    names = services.catalogue.names
    first_name, second_name = services.catalogue.pair()
    with gr.Tab("Interpolate", id="interpolate"), gr.Row(elem_classes="panes"):
        with gr.Column(scale=4, min_width=320):
            source = gr.Image(
                label="Image: drop, paste or photograph",
                sources=["upload", "clipboard", "webcam"],
                type="filepath",
                image_mode=None,
                height=240,
                buttons=["fullscreen"],
                elem_id="blend-source",
            )
            with gr.Row(elem_classes="pair"):
                first = gr.Dropdown(names, value=first_name, label="First (α = 0)", elem_id="blend-first")
                second = gr.Dropdown(names, value=second_name, label="Second (α = 1)", elem_id="blend-second")
            with gr.Accordion("Weights of your own", open=False):
                own_first = gr.File(
                    label="In place of the first", file_types=_WEIGHTS, height=110, elem_id="blend-own-first"
                )
                own_second = gr.File(
                    label="In place of the second", file_types=_WEIGHTS, height=110, elem_id="blend-own-second"
                )
            alpha = gr.Slider(0, 1, value=0.5, step=0.05, label="α", elem_id="blend-alpha")
            with gr.Row(elem_classes="pair"):
                run = gr.Button("Upscale at α", variant="primary", elem_id="blend-run")
                sheet_run = gr.Button("Contact sheet", elem_id="sheet-run")
            gr.Examples(
                [[str(example_pictures(services.workspace.root / "examples")[0])]],
                [source],
                label="Example",
                cache_examples=False,
                elem_id="blend-examples",
            )
        with gr.Column(scale=7, min_width=320):
            slider = gr.ImageSlider(
                label="First network, and the network at α",
                type="filepath",
                interactive=False,
                height=420,
                max_height=420,
                buttons=["fullscreen"],
                elem_id="blend-slider",
            )
            state = gr.HTML(
                status(_first_words(first_name, second_name)),
                elem_id="blend-status",
                elem_classes="status",
                padding=False,
            )
            download = gr.DownloadButton("Download PNG", interactive=False, elem_id="blend-download")
            sheet = gr.Image(
                label=f"Contact sheet, α = {ALPHAS[0]:g} to {ALPHAS[-1]:g}",
                type="filepath",
                interactive=False,
                height=420,
                buttons=["download", "fullscreen"],
                alt_text=f"The middle {SHEET_CROP} pixels of the image, once for each α",
                elem_id="sheet",
            )

    def blend(sent: object, a: object, b: object, own_a: object, own_b: object, share: object) -> tuple[Any, ...]:
        with sentences():
            done = run_blend(services, sent, (a, b), (own_a, own_b), share)
        return (
            (str(done.before), str(done.after)),
            status(f"α = {share:g}: {done.summary}", "done"),
            gr.update(value=str(done.file), interactive=True),
        )

    def make_sheet(sent: object, a: object, b: object, own_a: object, own_b: object) -> tuple[str, str]:
        with sentences():
            path = run_sheet(services, sent, (a, b), (own_a, own_b))
        return str(path), status("The contact sheet is ready, below.", "done")

    def follow(sent: object, *rest: Any) -> tuple[Any, ...]:
        return (gr.skip(), gr.skip(), gr.skip()) if sent is None else blend(sent, *rest)

    networks = [source, first, second, own_first, own_second]
    for trigger, answer in ((run.click, blend), (alpha.release, follow)):
        trigger(
            answer,
            [*networks, alpha],
            [slider, state, download],
            show_progress_on=[state],
            trigger_mode="always_last",
            **DEVICE_EVENT,
        ).failure(lambda: status(WAITING), None, state, **LIGHT_EVENT)
    sheet_run.click(make_sheet, networks, [sheet, state], show_progress_on=[state], **DEVICE_EVENT).failure(
        lambda: status(WAITING), None, state, **LIGHT_EVENT
    )


def _first_words(first: str, second: str) -> str:
    if first == second:
        return f"{WAITING} Choose a second network, or give weights of your own: both ends are the same now."
    return WAITING
