"""Make pictures of the browser demo at work: every tab, at the widths of a phone and a desk, light and dark.

    python scripts/make_screenshots.py FOLDER [--tab image] [--width 1280] [--theme light]

Needs playwright, and Chromium as the system installs it.
"""

from __future__ import annotations

import argparse
import itertools
import logging
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from esrgan_gradio import AppOptions
from esrgan_gradio.launch import served

_log = logging.getLogger(__name__)

CHROMIUM = "/usr/bin/chromium"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
WIDTHS = {390: 844, 1280: 900}
"""Width and height of the windows."""
THEMES = ("light", "dark")
PATIENCE = 180_000
"""Milliseconds that a job may take."""


def show_image(page: Page) -> None:
    """Upscale the first example."""
    page.locator("#image-examples button, #image-examples .gallery-item").first.click()
    page.wait_for_selector("#image-source img")
    page.click("#image-run")
    page.wait_for_selector("#image-status .done", timeout=PATIENCE)
    page.wait_for_selector("#image-slider img")


def show_video(page: Page) -> None:
    """Upscale the example clip."""
    page.locator("#video-examples button, #video-examples .gallery-item, #video-examples td").first.click()
    page.wait_for_selector("#video-plan table")
    page.click("#video-run")
    page.wait_for_selector("#video-status .done", timeout=PATIENCE)
    page.wait_for_selector("#video-result video", timeout=PATIENCE)


def show_interpolate(page: Page) -> None:
    """Blend on the example, and make the contact sheet."""
    page.locator("#blend-examples button, #blend-examples .gallery-item").first.click()
    page.wait_for_selector("#blend-source img")
    page.click("#blend-run")
    page.wait_for_selector("#blend-status .done", timeout=PATIENCE)
    page.click("#sheet-run")
    page.wait_for_selector("#sheet img", timeout=PATIENCE)


def show_about(page: Page) -> None:
    """Read the weights."""
    page.click("#about-load")
    page.wait_for_selector("#about-facts td >> text=RRDBNet", timeout=PATIENCE)


TABS: dict[str, tuple[str, Callable[[Page], None]]] = {
    "image": ("Image", show_image),
    "video": ("Video", show_video),
    "interpolate": ("Interpolate", show_interpolate),
    "about": ("About the model", show_about),
}


def main() -> None:
    """Start the demo, and photograph it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tab", choices=TABS)
    parser.add_argument("--width", type=int, choices=WIDTHS)
    parser.add_argument("--theme", choices=THEMES)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    wanted = itertools.product(
        [given.tab] if given.tab else TABS,
        [given.width] if given.width else WIDTHS,
        [given.theme] if given.theme else THEMES,
    )
    with served(AppOptions(device="cpu")) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        for tab, width, theme in wanted:
            page = browser.new_page(
                viewport={"width": width, "height": WIDTHS[width]}, color_scheme=theme, device_scale_factor=1
            )
            page.goto(address)
            label, show = TABS[tab]
            open_tab(page, label)
            show(page)
            page.wait_for_timeout(700)  # pictures fade in
            path = given.folder / f"{tab}-{width}-{theme}.png"
            page.screenshot(path=path, full_page=True)
            _log.info("%s", path)
            page.close()
        browser.close()


def open_tab(page: Page, label: str) -> None:
    """Open a tab, which a narrow page may have put into its menu."""
    page.wait_for_selector("#image-run")
    tab = page.get_by_role("tab", name=label, exact=True)
    if not tab.first.is_visible():
        page.locator(".overflow-menu button").first.click()
        page.locator(".overflow-dropdown button", has_text=label).click()
        return
    tab.first.click()


if __name__ == "__main__":
    main()
