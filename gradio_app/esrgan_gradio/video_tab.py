"""The tab *Video*."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from esrgan.errors import EsrganError, UsageError
from esrgan_gradio.errors import sentence, sentences
from esrgan_gradio.examples import example_clip
from esrgan_gradio.html import duration, status
from esrgan_gradio.pictures import MAX_SCALE, MIN_SCALE
from esrgan_gradio.preview import browser_copy
from esrgan_gradio.runs import video_job
from esrgan_gradio.services import DEVICE_EVENT, LIGHT_EVENT, Services, face_slider, own_scale_script
from esrgan_gradio.video_input import AUTOMATIC, CODECS, CONTAINERS, QUALITIES, VideoRequest
from esrgan_gradio.video_job import Snapshot, VideoJob
from esrgan_gradio.video_plan import NO_PLAN, plan_page
from esrgan_video.inputs import VIDEO_SUFFIXES

TRIALS = [("Whole video", 0), ("First 2 seconds", 2), ("First 5 seconds", 5), ("First 15 seconds", 15)]
WAITING = "Progress appears here."
STOPPED = "Stopped. Nothing of an unfinished file is kept."
_TICK = 0.5
"""Seconds between two looks at a job; a stopped one is noticed as fast."""


def add_video_tab(services: Services) -> None:
    """Add the tab to the app that is being built."""
    import gradio as gr

    catalogue = services.catalogue
    with gr.Tab("Video", id="video"), gr.Row(elem_classes="panes"):
        with gr.Column(scale=4, min_width=320):
            source = gr.File(
                label="Video",
                file_types=sorted(VIDEO_SUFFIXES),
                file_count="single",
                height=130,
                elem_id="video-source",
            )
            plan = gr.HTML(NO_PLAN, elem_id="video-plan", padding=False)
            model = gr.Dropdown(catalogue.names, value=catalogue.default, label="Model", elem_id="video-model")
            with gr.Row(elem_classes="pair"):
                scale = gr.Slider(
                    MIN_SCALE,
                    MAX_SCALE,
                    value=catalogue.scales[catalogue.default],
                    step=0.1,
                    label="Scale",
                    elem_id="video-scale",
                )
                trial = gr.Dropdown(TRIALS, value=0, label="Part", elem_id="video-trial")
            with gr.Row(elem_classes="pair"):
                codec = gr.Dropdown([AUTOMATIC, *CODECS], value=AUTOMATIC, label="Codec", elem_id="video-codec")
                quality = gr.Dropdown(list(QUALITIES), value=QUALITIES[0], label="Quality", elem_id="video-quality")
            with gr.Row(elem_classes="pair"):
                container = gr.Dropdown(
                    [AUTOMATIC, *((name.upper(), name) for name in CONTAINERS)],
                    value=AUTOMATIC,
                    label="Container",
                    elem_id="video-container",
                )
                drop = gr.Checkbox(
                    label="Leave out what does not fit", value=False, min_width=140, elem_id="video-drop"
                )
            faces = face_slider(services, "video-faces")
            with gr.Row(elem_classes="pair"):
                run = gr.Button("Upscale video", variant="primary", elem_id="video-run")
                stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="video-stop")
            gr.Examples(
                [[str(example_clip(services.workspace.root / "examples"))]],
                [source],
                label="Example",
                cache_examples=False,
                elem_id="video-examples",
            )
        with gr.Column(scale=7, min_width=320):
            still = gr.ImageSlider(
                label="Last frame, before (bicubic) and after",
                type="filepath",
                interactive=False,
                height=380,
                max_height=380,
                buttons=["fullscreen"],
                elem_id="video-still",
            )
            state = gr.HTML(status(WAITING), elem_id="video-status", elem_classes="status", padding=False)
            download = gr.DownloadButton("Download the full-quality file", interactive=False, elem_id="video-download")
            result = gr.Video(
                label="Result, as this browser can play it",
                interactive=False,
                height=380,
                buttons=[],
                elem_id="video-result",
            )

    choices = [scale, codec, quality, container, trial, drop, faces]
    idle = (gr.update(interactive=True), gr.update(interactive=False))

    def show_plan(sent: Any, name: Any, *given: Any) -> str:
        if sent is None:
            return NO_PLAN
        try:
            return plan_page(services, sent, catalogue.scales.get(name, 4), VideoRequest(**_fields(given)))
        except EsrganError as error:
            return status(sentence(error), "error")

    def upscale(sent: Any, name: Any, *given: Any) -> Iterator[tuple[Any, ...]]:
        with sentences():
            job = video_job(services, sent, name, VideoRequest(**_fields(given)))
            busy = (gr.update(interactive=False), gr.update(interactive=True))
            yield None, status("Waiting for the device.", "busy"), gr.update(interactive=False), None, *busy
            shown = None
            for snapshot in followed(job):
                pair = snapshot.stills
                picture = gr.skip() if pair is None or pair == shown else tuple(map(str, pair))
                shown = pair
                yield picture, progress_line(snapshot), gr.skip(), gr.skip(), gr.skip(), gr.skip()
            made = finished(job)
            yield (
                gr.skip(),
                status(made[1], "done"),
                gr.update(value=str(made[0]), interactive=True),
                gr.skip(),
                *idle,
            )

    def preview(file: str | None) -> str | None:
        with sentences():
            return None if file is None else str(browser_copy(Path(file), services.workspace.job()))

    outputs = [still, state, download, result, run, stop]
    started = run.click(upscale, [source, model, *choices], outputs, show_progress_on=[state], **DEVICE_EVENT)
    # An error and a stop both end here; the error's sentence is shown besides.
    started.failure(lambda: (status(STOPPED), *idle), None, [state, run, stop], **LIGHT_EVENT)
    played = started.success(
        preview,
        download,
        result,
        concurrency_id="preview",
        concurrency_limit=1,
        api_visibility="private",
    )
    stop.click(None, cancels=[started, played])
    controls: list[Any] = [source, model, *choices]
    for control in controls:
        control.change(
            show_plan,
            [source, model, *choices],
            plan,
            show_progress="hidden",
            trigger_mode="always_last",
            **LIGHT_EVENT,
        )
    model.change(None, model, scale, js=own_scale_script(services))


def _fields(given: tuple[Any, ...]) -> dict[str, Any]:
    names = ("scale", "codec", "quality", "container", "trial_seconds", "drop_unsupported", "faces")
    return dict(zip(names, given, strict=True))


def followed(job: VideoJob) -> Iterator[Snapshot]:
    """Start a job and give its state about twice a second until it ends. Closing this generator stops the job."""
    job.start()
    try:
        while job.wait(_TICK):
            yield job.snapshot
        yield job.snapshot
    finally:
        job.stop()


def finished(job: VideoJob) -> tuple[Path, str]:
    """The result of a job that ended, and a line about it.

    Raises:
        EsrganError: what went wrong.
    """
    if job.error is not None:
        raise job.error
    result = job.result
    if result is None:
        raise UsageError("the job was stopped")
    rate = result.frames / result.seconds
    text = (
        f"{result.frames} frames of {result.width} × {result.height} in {duration(result.seconds)}, {rate:.1f} frames/s"
    )
    if result.damaged_packets:
        text += f"; {result.damaged_packets} damaged packets of the input were skipped"
    if result.dropped_streams:
        text += f"; left out: {', '.join(result.dropped_streams)}"
    return result.path, text


def progress_line(snapshot: Snapshot) -> str:
    """How far a job has come, as a bar and a line."""
    share = snapshot.frames / snapshot.total if snapshot.total and snapshot.frames else None
    return status(progress_text(snapshot), "busy", share)


def progress_text(snapshot: Snapshot) -> str:
    """How far a job has come, as a line."""
    if snapshot.stage == "waiting":
        return "Waiting for the device."
    if snapshot.stage == "starting":
        return "Reading the weights and the video."
    parts = [f"{snapshot.frames} of {snapshot.total} frames" if snapshot.total else f"{snapshot.frames} frames"]
    if snapshot.rate:
        parts.append(f"{snapshot.rate:.1f} frames/s")
    if snapshot.seconds_left is not None:
        parts.append(f"{duration(snapshot.seconds_left)} left")
    return " · ".join(parts)
