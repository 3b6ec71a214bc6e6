"""End-to-end video upscaling against the engine alone, and against a plain float32 loop, in one run.

    python benchmarks/end_to_end.py CLIP [-n MODEL] [--frames 24] [--rounds 3]
    python benchmarks/end_to_end.py CLIP_IN_1080P --frames 6 --rounds 1 --without-plain

Three ways over the same frames, taken in turn in every round. A ratio is that of the medians, and in brackets are those
of the single rounds.
`engine` computes frames that are in memory already and throws the results away: the limit for everything
around it. `plain` decodes, computes in float32 and encodes one frame after the other, the way that
Real-ESRGAN's script does, with the same network, codec and quality.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import av
import torch
from torch import Tensor

from esrgan.weights import load_network
from esrgan_video import EngineOptions, Upscaler, VideoOptions, upscale_video
from esrgan_video.container import EncoderOptions, TimeRange
from machine import describe_machine


def decode(clip: Path, count: int) -> list[Tensor]:
    """The first frames as `(1, 3, H, W)` in 0..1."""
    with av.open(clip) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), count)]
    return [torch.from_numpy(frame).permute(2, 0, 1)[None] / 255 for frame in frames]


def run_engine(upscaler: Upscaler, frames: list[Tensor]) -> None:
    """The engine alone, in the batches that it plans."""
    size = upscaler.plan(*frames[0].shape[-2:]).batch
    for start in range(0, len(frames), size):
        upscaler(torch.cat(frames[start : start + size]))


def run_plain(network: torch.nn.Module, scale: int, clip: Path, target: Path, count: int) -> None:
    """Decode, float32, encode: one frame after the other."""
    with av.open(clip) as source, av.open(target, "w") as sink, torch.no_grad():
        video = source.streams.video[0]
        stream = sink.add_stream("libx264", rate=video.average_rate, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = video.width * scale, video.height * scale, "yuv420p"
        for frame in islice(source.decode(video=0), count):
            image = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)[None] / 255
            result = (network(image)[0].clamp(0, 1).permute(1, 2, 0) * 255).round().byte().numpy()
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(result, format="rgb24")))
        sink.mux(stream.encode(None))


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("-n", "--model", default="default")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--preset", help="of the encoder; by default what `esrgan upscale` chooses")
    parser.add_argument("--without-plain", action="store_true", help="leave out the float32 loop: for large frames")
    given = parser.parse_args()

    loaded = load_network(given.model)
    upscaler = Upscaler(loaded, EngineOptions())
    network = loaded.network.to(upscaler.device)
    frames = decode(given.clip, given.frames)
    height, width = frames[0].shape[-2:]
    print(describe_machine())
    print(
        f"{given.clip.name}: {len(frames)} frames of {width}x{height}, "
        f"{loaded.facts.architecture} x{loaded.facts.scale}, {loaded.facts.parameters:,} parameters, "
        f"engine in {upscaler.dtype}"
    )
    upscaler(frames[0])
    trial = VideoOptions(
        time_range=TimeRange(frames=len(frames)), reuse=False, encoder=EncoderOptions(preset=given.preset)
    )
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.mp4"
        ways: dict[str, Callable[[], object]] = {
            "engine": lambda: run_engine(upscaler, frames),
            "end to end": lambda: upscale_video(given.clip, target, upscaler=upscaler, options=trial, progress="none"),
            "plain": lambda: run_plain(network, loaded.facts.scale, given.clip, target, len(frames)),
        }
        if given.without_plain:
            del ways["plain"]
        times: dict[str, list[float]] = {name: [] for name in ways}
        processor: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(given.rounds):
            for name, way in ways.items():
                began = time.process_time()
                times[name].append(seconds(way))
                processor[name].append((time.process_time() - began) / len(frames))
    for name, values in times.items():
        used = statistics.median(processor[name])
        rate = len(frames) / statistics.median(values)
        print(f"{name:<11} {rate:7.3f} frames/s {used:7.2f} s of processor time a frame")
    for name, other in (("end to end", "engine"), ("end to end", "plain"), ("engine", "plain")):
        if other not in times:
            continue
        ratios = [theirs / ours for ours, theirs in zip(times[name], times[other], strict=True)]
        whole = statistics.median(times[other]) / statistics.median(times[name])
        print(f"{name} / {other}: {whole:.3f} ({', '.join(f'{ratio:.3f}' for ratio in ratios)})")


if __name__ == "__main__":
    main()
