"""The tab *Interpolate*."""

from __future__ import annotations

from typing import Any

from esrgan_gradio.blending import ALPHAS, SHEET_CROP
from esrgan_gradio.errors import sentences
from esrgan_gradio.examples import example_pictures
from esrgan_gradio.html import status
from esrgan_gradio.layout import (
    before_after,
    control_pane,
    download_button,
    examples,
    pair,
    panes,
    picture_source,
    ready,
    result_pane,
    say_at_failure,
    state_line,
)
from esrgan_gradio.runs import run_blend, run_sheet
from esrgan_gradio.services import DEVICE_EVENT, Services

WAITING = "α mixes the two networks, parameter by parameter: 0 is the first, 1 the second."
_WEIGHTS = [".safetensors", ".pth", ".pt", ".ckpt"]


def add_interpolate_tab(services: Services) -> None:
    """Add the tab to the app that is being built."""
    import gradio as gr

    names = services.catalogue.names
    first_name, second_name = services.catalogue.pair()
    with gr.Tab("Interpolate", id="interpolate"), panes():
        with control_pane():
            source = picture_source("blend-source", 240)
            with pair():
                first = gr.Dropdown(names, value=first_name, label="First (α = 0)", elem_id="blend-first")
                second = gr.Dropdown(names, value=second_name, label="Second (α = 1)", elem_id="blend-second")
            with gr.Accordion("Weights of your own", open=False):
                own_first = _weights_source("In place of the first", "blend-own-first")
                own_second = _weights_source("In place of the second", "blend-own-second")
            alpha = gr.Slider(0, 1, value=0.5, step=0.05, label="α", elem_id="blend-alpha")
            with pair():
                run = gr.Button("Upscale at α", variant="primary", elem_id="blend-run")
                sheet_run = gr.Button("Contact sheet", elem_id="sheet-run")
            examples(example_pictures(services.workspace.root / "examples")[:1], source, "blend-examples")
        with result_pane():
            slider = before_after("First network, and the network at α", "blend-slider", 420)
            state = state_line(_first_words(first_name, second_name), "blend-status")
            download = download_button("Download PNG", "blend-download")
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
        return (str(done.before), str(done.after)), status(f"α = {share:g}: {done.summary}", "done"), ready(done.file)

    def make_sheet(sent: object, a: object, b: object, own_a: object, own_b: object) -> tuple[str, str]:
        with sentences():
            path = run_sheet(services, sent, (a, b), (own_a, own_b))
        return str(path), status("The contact sheet is ready, below.", "done")

    def follow(sent: object, *rest: Any) -> tuple[Any, ...]:
        return (gr.skip(), gr.skip(), gr.skip()) if sent is None else blend(sent, *rest)

    networks = [source, first, second, own_first, own_second]
    for trigger, answer in ((run.click, blend), (alpha.release, follow)):
        started = trigger(
            answer,
            [*networks, alpha],
            [slider, state, download],
            show_progress_on=[state],
            trigger_mode="always_last",
            **DEVICE_EVENT,
        )
        say_at_failure(started, state, WAITING)
    started = sheet_run.click(make_sheet, networks, [sheet, state], show_progress_on=[state], **DEVICE_EVENT)
    say_at_failure(started, state, WAITING)


def _weights_source(label: str, name: str) -> Any:
    import gradio as gr

    return gr.File(label=label, file_types=_WEIGHTS, height=110, elem_id=name)


def _first_words(first: str, second: str) -> str:
    if first == second:
        return f"{WAITING} Choose a second network, or give weights of your own: both ends are the same now."
    return WAITING
