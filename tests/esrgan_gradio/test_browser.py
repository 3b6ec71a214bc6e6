"""The demo in a real browser, as a visitor sees it."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from browser import choose, open_tab
from esrgan_video.cli.main import main


def by_command(source: Path, target: Path, *options: str) -> np.ndarray:
    """Pixels that `esrgan upscale` makes of an image."""
    assert main(["upscale", str(source), "-o", str(target), "--device", "cpu", "--progress", "none", *options]) == 0
    return np.asarray(Image.open(target))


def saved(page, button: str, folder: Path) -> Path:
    """The file behind a download button, under the name that the browser gives it."""
    with page.expect_download() as download:
        page.click(button)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def place(page, selector: str) -> tuple[float, ...]:
    box = page.locator(selector).bounding_box()
    return box["x"], box["y"], box["width"], box["height"]


def test_an_image_comes_back_with_the_pixels_of_the_command(open_page, photo, tiny, tmp_path):
    page = open_page()
    page.set_input_files("#image-source input[type=file]", photo)
    page.wait_for_selector("#image-source img")
    choose(page, "#image-model", "tiny-a")
    before = [place(page, selector) for selector in ("#image-slider", "#image-status", "#image-download")]
    page.click("#image-run")
    page.wait_for_selector("#image-status .done")
    assert "31 × 23 to 62 × 46 pixels" in page.inner_text("#image-status")
    assert [place(page, selector) for selector in ("#image-slider", "#image-status", "#image-download")] == before

    pictures = page.locator("#image-slider img")
    page.wait_for_function("[...document.querySelectorAll('#image-slider img')].every(i => i.naturalWidth > 0)")
    sizes = pictures.evaluate_all("all => all.map(one => [one.naturalWidth, one.naturalHeight])")
    assert sizes == [[62, 46], [62, 46]]

    file = saved(page, "#image-download", tmp_path)
    assert file.name == "a_photo_x2.png"
    result = np.asarray(Image.open(file))
    assert result.shape == (46, 62, 4)
    np.testing.assert_array_equal(result, by_command(photo, tmp_path / "command.png", "-n", str(tiny[0])))


def test_the_handle_uncovers_one_picture_and_then_the_other(open_page, photo):
    page = open_page()
    page.set_input_files("#image-source input[type=file]", photo)
    choose(page, "#image-model", "tiny-a")
    page.click("#image-run")
    page.wait_for_selector("#image-status .done")
    page.wait_for_selector("#image-slider img")
    view = page.locator("#image-slider").bounding_box()
    middle = view["y"] + view["height"] / 2
    shots = []
    for target in (0.35, 0.65):
        handle = page.locator("#image-slider .outer, #image-slider .icon").first.bounding_box()
        page.mouse.move(handle["x"] + handle["width"] / 2, middle)
        page.mouse.down()
        page.mouse.move(view["x"] + view["width"] * target, middle, steps=5)
        page.mouse.up()
        moved = page.locator("#image-slider .outer, #image-slider .icon").first.bounding_box()
        shots.append(moved["x"])
    assert shots[1] - shots[0] > view["width"] * 0.2


def test_a_chosen_model_and_scale_are_used(open_page, photo, tiny, tmp_path):
    page = open_page()
    page.set_input_files("#image-source input[type=file]", photo)
    choose(page, "#image-model", "tiny-a")
    page.fill("#image-scale input[type=number]", "3")
    page.press("#image-scale input[type=number]", "Tab")
    page.click("#image-run")
    page.wait_for_selector("#image-status .done")
    assert "93 × 69" in page.inner_text("#image-status")
    result = np.asarray(Image.open(saved(page, "#image-download", tmp_path)))
    expected = by_command(photo, tmp_path / "command.png", "-n", str(tiny[0]), "-s", "3")
    np.testing.assert_array_equal(result, expected)


def test_a_video_shows_progress_stops_and_runs_again(open_page, clip, tmp_path):
    page = open_page()
    open_tab(page, "Video")
    page.set_input_files("#video-source input[type=file]", clip)
    page.wait_for_selector("#video-plan table")
    plan = page.inner_text("#video-plan")
    assert re.search(r"video, h264\s+upscaled", plan)
    assert re.search(r"audio, aac, eng\s+kept as it is", plan)
    assert "384 × 288" in plan

    page.click("#video-run")
    page.wait_for_function(
        r"/\d+ of 250 frames · [\d.]+ frames.s · .+ left/.test($('#video-status'))".replace(
            "$(", "(s => document.querySelector(s).innerText)("
        )
    )
    page.wait_for_selector("#video-still img")
    page.click("#video-stop")
    page.wait_for_selector("#video-status >> text=Stopped")
    assert page.is_enabled("#video-run")

    choose(page, "#video-trial", "First 2 seconds")
    page.wait_for_selector("#video-plan >> text=A trial")
    page.click("#video-run")
    page.wait_for_selector("#video-status .done")
    assert "50 frames of 384 × 288" in page.inner_text("#video-status")

    page.wait_for_selector("#video-result video")
    page.wait_for_function("document.querySelector('#video-result video').readyState >= 1")
    shown = page.evaluate(
        "(v => [v.videoWidth, v.videoHeight, v.duration])(document.querySelector('#video-result video'))"
    )
    assert shown[:2] == [384, 288]
    assert shown[2] == pytest.approx(2, abs=0.1)

    with av.open(saved(page, "#video-download", tmp_path)) as result:
        assert [stream.codec_context.name for stream in result.streams] == ["h264", "aac"]
        assert sum(1 for _ in result.decode(video=0)) == 50
    with av.open(tmp_path / "a_clip_x4.mp4") as result:
        assert sum(frame.samples for frame in result.decode(audio=0)) == pytest.approx(2 * 48000, abs=2048)


def test_closing_the_window_frees_the_device(open_page, clip, photo):
    first = open_page()
    open_tab(first, "Video")
    first.set_input_files("#video-source input[type=file]", clip)
    first.click("#video-run")
    first.wait_for_selector("#video-status >> text=of 250 frames")
    first.context.close()

    second = open_page()
    second.set_input_files("#image-source input[type=file]", photo)
    choose(second, "#image-model", "tiny-a")
    second.click("#image-run")
    second.wait_for_selector("#image-status .done")


def test_two_windows_at_once_get_their_own_results(open_page, tiny, tmp_path):
    pages, files = [open_page(), open_page()], []
    for number, page in enumerate(pages):
        picture = tmp_path / f"picture {number}.png"
        shape = (20 + 4 * number, 30, 3)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)).save(picture)
        files.append(picture)
        page.set_input_files("#image-source input[type=file]", picture)
        choose(page, "#image-model", ("tiny-a", "tiny-b")[number])
    for page in pages:
        page.click("#image-run")
    for number, page in enumerate(pages):
        page.wait_for_selector("#image-status .done")
        (tmp_path / str(number)).mkdir()
        result = np.asarray(Image.open(saved(page, "#image-download", tmp_path / str(number))))
        expected = by_command(files[number], tmp_path / f"command {number}.png", "-n", str(tiny[number]))
        np.testing.assert_array_equal(result, expected)


def bomb() -> bytes:
    """The header of a PNG of 3.6 gigapixels, and nothing else."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(10_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("notes.png", b"only words", "Cannot read notes.png: not a PNG, JPEG"),
        ("bomb.png", bomb(), "Cannot read bomb.png: 60000x60000 pixels are more than the 250000 that are read."),
        ("cut.jpg", b"\xff\xd8\xff\xe0" + bytes(50), "Cannot read cut.jpg: the image is damaged"),
    ],
    ids=["text", "bomb", "damaged"],
)
def test_a_wrong_image_is_refused_with_a_sentence(open_page, tmp_path, name, content, sentence):
    file = tmp_path / name
    file.write_bytes(content)
    page = open_page()
    page.set_input_files("#image-source input[type=file]", file)
    page.wait_for_selector("#image-source img", state="attached")
    page.click("#image-run")
    toast = page.locator(".toast-body")
    toast.wait_for()
    assert sentence in toast.inner_text()
    assert "Traceback" not in page.content()


def test_a_wrong_video_is_refused_in_its_plan(open_page, tmp_path):
    file = tmp_path / "script.mp4"
    file.write_text("#EXTM3U\n#EXTINF:10,\n/etc/passwd\n#EXT-X-ENDLIST\n")
    page = open_page()
    open_tab(page, "Video")
    page.set_input_files("#video-source input[type=file]", file)
    page.wait_for_selector("#video-plan >> text=script.mp4 is damaged or not a video.")


class Hostile:
    def __reduce__(self):
        return print, ("this must not run",)


def test_weights_that_want_to_run_code_are_refused_with_a_sentence(open_page, tmp_path, photo):
    file = tmp_path / "evil.pth"
    torch.save({"params": Hostile()}, file)
    page = open_page()
    open_tab(page, "Interpolate")
    page.set_input_files("#blend-source input[type=file]", photo)
    page.click("text=Weights of your own")
    page.set_input_files("#blend-own-second input[type=file]", file)
    page.wait_for_selector("#blend-own-second >> text=evil")
    page.click("#blend-run")
    toast = page.locator(".toast-body")
    toast.wait_for()
    assert "evil.pth: wants to run code" in toast.inner_text()


def test_interpolation_between_two_models_and_a_contact_sheet(open_page, photo, tiny, tmp_path):
    page = open_page()
    open_tab(page, "Interpolate")
    page.set_input_files("#blend-source input[type=file]", photo)
    choose(page, "#blend-first", "tiny-a")
    choose(page, "#blend-second", "tiny-b")
    page.fill("#blend-alpha input[type=number]", "0.25")
    page.press("#blend-alpha input[type=number]", "Tab")
    page.click("#blend-run")
    page.wait_for_selector("#blend-status .done")
    result = np.asarray(Image.open(saved(page, "#blend-download", tmp_path)))
    blend = tmp_path / "blend.safetensors"
    assert main(["interpolate", *map(str, tiny), "--alpha", "0.25", "-o", str(blend)]) == 0
    np.testing.assert_array_equal(result, by_command(photo, tmp_path / "command.png", "-n", str(blend)))

    page.click("#sheet-run")
    page.wait_for_selector("#sheet img")
    page.wait_for_function("document.querySelector('#sheet img').naturalWidth > 1000")


def test_the_facts_of_a_model_are_read_from_its_weights(open_page):
    page = open_page()
    open_tab(page, "About the model")
    assert "BSDS500" in page.inner_text("#about-card")
    page.click("#about-load")
    page.wait_for_selector("#about-facts >> text=758,755")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_every_tab_without_scrolling_sideways(open_page, theme):
    page = open_page(viewport={"width": 390, "height": 844}, color_scheme=theme)
    for name in ("Image", "Video", "Interpolate", "About the model"):
        open_tab(page, name)
        page.wait_for_timeout(150)
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 390, name
    assert page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")


def test_every_input_has_a_name_and_the_keyboard_reaches_the_button(open_page, photo):
    page = open_page()
    nameless = """() => [...document.querySelectorAll('input, select, textarea')].filter(one =>
        one.type !== 'hidden' && !one.getAttribute('aria-label') && !one.getAttribute('aria-labelledby')
        && !(one.labels && one.labels.length) && !one.closest('[aria-label]') && !one.closest('label')
    ).map(one => one.outerHTML)"""
    for name in ("Image", "Video", "Interpolate", "About the model"):
        open_tab(page, name)
        assert page.evaluate(nameless) == [], name
    open_tab(page, "Image")
    page.set_input_files("#image-source input[type=file]", photo)
    page.locator("#image-model input").focus()
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "image-run":
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("#image-status .done")
