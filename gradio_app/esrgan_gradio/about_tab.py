"""The tab *About the model*."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

from esrgan import __version__
from esrgan.weights import describe
from esrgan_gradio.errors import sentences
from esrgan_gradio.html import duration, table
from esrgan_gradio.layout import model_choice, pane, panes
from esrgan_gradio.services import DEVICE_EVENT, Services

_LOCAL_LINK = re.compile(r"!?\[([^\]]*)\]\((?![a-z]+:)[^)]*\)")
_TITLE = re.compile(r"\A# .*\n+")


def add_about_tab(services: Services) -> None:
    """Add the tab to the app that is being built."""
    import gradio as gr

    with gr.Tab("About the model", id="about"), panes():
        with pane(5):
            model = model_choice(services, "about-model")
            facts = gr.HTML(listed_facts(services, services.catalogue.default), elem_id="about-facts", padding=False)
            load = gr.Button("Read the weights", elem_id="about-load")
            gr.HTML(_service_facts(services), elem_id="about-service", padding=False)
        with pane(6):
            card = gr.Markdown(
                model_card(services, services.catalogue.default), elem_id="about-card", elem_classes="card"
            )

    def describe_network(name: Any) -> str:
        with sentences():
            source = services.catalogue.source(name)
            with services.device.lent():
                upscaler = services.device.upscaler(source)
                rows = [
                    *_listing(services, name),
                    *(row for row in describe(upscaler.facts) if row[0] != "scale"),
                    ("runs on", f"{upscaler.device} in {str(upscaler.dtype).removeprefix('torch.')}"),
                ]
        return table(rows, caption=name)

    model.change(
        lambda name: (listed_facts(services, name), model_card(services, name)),
        model,
        [facts, card],
        show_progress="hidden",
        api_visibility="private",
    )
    load.click(describe_network, model, facts, **DEVICE_EVENT)


def listed_facts(services: Services, name: str) -> str:
    """What is known of a model before its weights are read."""
    return table(_listing(services, name), caption=name)


def _listing(services: Services, name: str) -> list[tuple[str, str]]:
    entry = services.catalogue.entry(name)
    if entry is None:
        return [("file", "of whoever runs this page")]
    where = "installed with the program" if entry.address is None else "downloaded at first use, checked by SHA-256"
    return [
        ("what", entry.description),
        ("scale", f"×{entry.scale}"),
        ("licence", entry.licence),
        ("file", where),
    ]


def model_card(services: Services, name: str) -> str:
    """The card that comes with an installed model, as Markdown; links into the repository become plain text."""
    entry = services.catalogue.entry(name)
    if entry is None:
        return "### Card\nThis file came without one."
    if entry.address is not None:
        return f"### Card\nPublished at <{entry.address}>, licence {entry.licence}."
    card = resources.files("esrgan.weights").joinpath("models", entry.file).with_suffix(".md")  # type: ignore[attr-defined]
    if not card.is_file():
        return "### Card\nThis model came without one."
    return "### Card\n" + _LOCAL_LINK.sub(r"\1", _TITLE.sub("", card.read_text(encoding="utf-8")))


def _service_facts(services: Services) -> str:
    options = services.options
    rows = [
        ("program", f"esrgan {__version__}"),
        ("device", options.device),
        ("largest file", f"{options.max_upload_mb:g} MB"),
        ("largest picture", f"{options.max_megapixels:g} megapixels"),
        ("longest video", duration(options.max_seconds)),
        ("files are kept", duration(options.keep_seconds)),
    ]
    return table(rows, caption="This page")
