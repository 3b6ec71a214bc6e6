"""The tab *Video*."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from esrgan.errors import EsrganError, UsageError
from esrgan_gradio.errors import sentence, sentences
from esrgan_gradio.examples import example_clip
from esrgan_gradio.html import duration, status
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
    ready,
    result_pane,
    scale_slider,
    state_line,
)
from esrgan_gradio.preview import browser_copy
from esrgan_gradio.runs import video_job
from esrgan_gradio.services import DEVICE_EVENT, LIGHT_EVENT, Services
from esrgan_gradio.video_input import AUTOMATIC, CODECS, CONTAINERS, QUALITIES, VideoRequest
from esrgan_gradio.video_job import Snapshot, VideoJob
from esrgan_gradio.video_plan import NO_PLAN, plan_page
from esrgan_video.inputs import VIDEO_SUFFIXES

TRIALS = [("Whole video", 0), ("First 2 seconds", 2), ("First 5 seconds", 5), ("First 15 seconds", 15)]
WAITING = "Progress appears here."
STOPPED = "Stopped. Nothing of an unfinished file is kept."
_TICK = 0.5
"""Seconds between two looks at a job; a stopped one is noticed as fast."""


class _Controls(NamedTuple):
    """What a visitor chooses, in the order of the arguments of the events."""

    source: Any
    model: Any
    scale: Any
    codec: Any
    quality: Any
    container: Any
    trial: Any
    drop: Any
    faces: Any


class _Buttons(NamedTuple):
    """What starts a job, and what stops it."""

    run: Any
    stop: Any


class _Results(NamedTuple):
    """Where a job shows what it gives, in that order."""

    still: Any
    state: Any
    download: Any
    player: Any
    file: Any
    """Path of the file for the player: kept on the server, since what a request says of paths is not trusted."""


def add_video_tab(services: Services) -> None:
    """Add the tab to the app that is being built."""
    import gradio as gr

    with gr.Tab("Video", id="video"), panes():
        with control_pane():
            controls, buttons, plan = _add_controls(services)
        with result_pane():
            results = _add_results()
    _connect_job(services, controls, buttons, results)
    _connect_plan(services, controls, plan)
    follow_scale(services, controls.model, controls.scale)


def _add_controls(services: Services) -> tuple[_Controls, _Buttons, Any]:
    """The controls, the buttons and the place of the plan."""
    import gradio as gr

    source = gr.File(
        label="Video",
        file_types=sorted(VIDEO_SUFFIXES),
        file_count="single",
        height=130,
        elem_id="video-source",
    )
    plan = gr.HTML(NO_PLAN, elem_id="video-plan", padding=False)
    model = model_choice(services, "video-model")
    with pair():
        scale = scale_slider(services, "video-scale")
        trial = gr.Dropdown(TRIALS, value=0, label="Part", elem_id="video-trial")
    with pair():
        codec = gr.Dropdown([AUTOMATIC, *CODECS], value=AUTOMATIC, label="Codec", elem_id="video-codec")
        quality = gr.Dropdown(list(QUALITIES), value=QUALITIES[0], label="Quality", elem_id="video-quality")
    with pair():
        container = gr.Dropdown(
            [AUTOMATIC, *((name.upper(), name) for name in CONTAINERS)],
            value=AUTOMATIC,
            label="Container",
            elem_id="video-container",
        )
        drop = gr.Checkbox(label="Leave out what does not fit", value=False, min_width=140, elem_id="video-drop")
    faces = face_slider(services, "video-faces")
    with pair():
        run = gr.Button("Upscale video", variant="primary", elem_id="video-run")
        stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="video-stop")
    examples([example_clip(services.workspace.root / "examples")], source, "video-examples")
    controls = _Controls(
        source=source,
        model=model,
        scale=scale,
        codec=codec,
        quality=quality,
        container=container,
        trial=trial,
        drop=drop,
        faces=faces,
    )
    return controls, _Buttons(run=run, stop=stop), plan


def _add_results() -> _Results:
    import gradio as gr

    return _Results(
        still=before_after("Last frame, before (bicubic) and after", "video-still", 380),
        state=state_line(WAITING, "video-status"),
        download=download_button("Download the full-quality file", "video-download"),
        player=gr.Video(
            label="Result, as this browser can play it",
            interactive=False,
            height=380,
            buttons=[],
            elem_id="video-result",
        ),
        file=gr.State(),
    )


def _connect_job(services: Services, controls: _Controls, buttons: _Buttons, results: _Results) -> None:
    """Start a job, follow it, stop it, and play what it made."""
    import gradio as gr

    idle = (gr.update(interactive=True), gr.update(interactive=False))
    busy = (gr.update(interactive=False), gr.update(interactive=True))

    def upscale(sent: Any, name: Any, *given: Any) -> Iterator[tuple[Any, ...]]:
        with sentences():
            job = video_job(services, sent, name, _request(given))
            yield None, status("Waiting for the device.", "busy"), gr.update(interactive=False), None, None, *busy
            shown = None
            for snapshot in followed(job):
                stills = snapshot.stills
                picture = gr.skip() if stills is None or stills == shown else tuple(map(str, stills))
                shown = stills
                yield picture, progress_line(snapshot), *(gr.skip(),) * 5
            path, line = finished(job)
            yield gr.skip(), status(line, "done"), ready(path), gr.skip(), path, *idle

    def preview(file: Path | None) -> str | None:
        with sentences():
            return None if file is None else str(browser_copy(file, services.workspace.job()))

    started = buttons.run.click(
        upscale,
        [*controls],
        [*results, *buttons],
        show_progress_on=[results.state],
        **DEVICE_EVENT,
    )
    # An error and a stop both end here; the error's sentence is shown besides.
    started.failure(lambda: (status(STOPPED), *idle), None, [results.state, *buttons], **LIGHT_EVENT)
    played = started.success(
        preview,
        results.file,
        results.player,
        concurrency_id="preview",
        concurrency_limit=1,
        api_visibility="private",
    )
    buttons.stop.click(None, cancels=[started, played])


def _connect_plan(services: Services, controls: _Controls, plan: Any) -> None:
    """Show the plan, anew with each choice."""

    def show_plan(sent: Any, name: Any, *given: Any) -> str:
        if sent is None:
            return NO_PLAN
        try:
            return plan_page(services, sent, services.catalogue.scales.get(name, 4), _request(given))
        except EsrganError as error:
            return status(sentence(error), "error")

    for control in controls:
        control.change(
            show_plan,
            [*controls],
            plan,
            show_progress="hidden",
            trigger_mode="always_last",
            **LIGHT_EVENT,
        )


def _request(given: tuple[Any, ...]) -> VideoRequest:
    names = ("scale", "codec", "quality", "container", "trial_seconds", "drop_unsupported", "faces")
    return VideoRequest(**dict(zip(names, given, strict=True)))


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
