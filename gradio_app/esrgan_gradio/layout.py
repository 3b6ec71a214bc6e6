"""What the tabs are laid out with: panes, and the controls and results that several of them have.

All are Gradio's own components; `name` is the element's id in the page.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from esrgan_gradio.html import status
from esrgan_gradio.pictures import MAX_SCALE, MIN_SCALE
from esrgan_gradio.services import LIGHT_EVENT, Services


def panes() -> Any:
    """A row of panes: side by side, or one below the other where the window is narrow."""
    import gradio as gr

    return gr.Row(elem_classes="panes")


def pane(scale: int) -> Any:
    """A pane whose share of the width is `scale`."""
    import gradio as gr

    return gr.Column(scale=scale, min_width=320)


def control_pane() -> Any:
    """The pane in which a visitor chooses."""
    return pane(4)


def result_pane() -> Any:
    """The pane in which results appear."""
    return pane(7)


def pair() -> Any:
    """A row of two controls."""
    import gradio as gr

    return gr.Row(elem_classes="pair")


def picture_source(name: str, height: int) -> Any:
    """Where a visitor gives an image: `height` in pixels of the page."""
    import gradio as gr

    return gr.Image(
        label="Image: drop, paste or photograph",
        sources=["upload", "clipboard", "webcam"],
        type="filepath",
        image_mode=None,
        height=height,
        buttons=["fullscreen"],
        elem_id=name,
    )


def examples(paths: Sequence[Path], source: Any, name: str) -> None:
    """Files that a visitor may put into `source`."""
    import gradio as gr

    gr.Examples(
        [[str(path)] for path in paths],
        [source],
        label="Example" if len(paths) == 1 else "Examples",
        cache_examples=False,
        elem_id=name,
    )
    # Of a file, unlike an image, Gradio would remove the example in its time as it does an upload.
    source.keep_in_cache.update(map(str, paths))


def model_choice(services: Services, name: str) -> Any:
    """The models on offer."""
    import gradio as gr

    return gr.Dropdown(services.catalogue.names, value=services.catalogue.default, label="Model", elem_id=name)


def scale_slider(services: Services, name: str) -> Any:
    """The size ratio of the result, at first that of the preselected model."""
    import gradio as gr

    catalogue = services.catalogue
    value = catalogue.scales[catalogue.default]
    return gr.Slider(MIN_SCALE, MAX_SCALE, value=value, step=0.1, label="Scale", elem_id=name)


def follow_scale(services: Services, model: Any, scale: Any) -> None:
    """Set the slider `scale` to the scale of the chosen model, in the page: at once, before the visitor touches it."""
    scales = json.dumps(dict(services.catalogue.scales))
    model.change(None, model, scale, js=f"(name) => ({scales})[name]")


def face_slider(services: Services, name: str) -> Any:
    """How far faces are restored, hidden where they are not."""
    import gradio as gr

    return gr.Slider(
        0,
        1,
        value=0,
        step=0.05,
        label="Restore faces (0 leaves them)",
        visible=services.options.faces is not None,
        elem_id=name,
    )


def before_after(label: str, name: str, height: int) -> Any:
    """Two pictures and the handle that uncovers one or the other: `height` in pixels of the page."""
    import gradio as gr

    return gr.ImageSlider(
        label=label,
        type="filepath",
        interactive=False,
        height=height,
        max_height=height,
        buttons=["fullscreen"],
        elem_id=name,
    )


def state_line(text: str, name: str) -> Any:
    """How a job stands; `text` at first."""
    import gradio as gr

    return gr.HTML(status(text), elem_id=name, elem_classes="status", padding=False)


def download_button(label: str, name: str) -> Any:
    """Gives the result, when there is one."""
    import gradio as gr

    return gr.DownloadButton(label, interactive=False, elem_id=name)


def ready(file: Path) -> Any:
    """The update of a download button that now gives `file`."""
    import gradio as gr

    return gr.update(value=str(file), interactive=True)


def say_at_failure(event: Any, state: Any, text: str) -> None:
    """Show `text` in `state` when the event fails; the error's sentence is shown besides."""
    event.failure(lambda: status(text), None, state, **LIGHT_EVENT)
