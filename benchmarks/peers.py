"""ESRGAN's usual network against peers, in one run on one machine.

    python benchmarks/peers.py [--rounds 1] [--only NAME ...] [--add] [-o peers.json] [--plot docs/peers.png]
    python benchmarks/peers.py --rounds 0 --add --plot docs/peers.png        # draw what was measured before

RRDBNet x4 with 23 blocks, seeded random weights (the last layer scaled so that values are those of pictures), one frame
of 320x180 at a time. Each peer runs in a process of its own that stays; in each round all of them compute the frame in
turn, so that each round gives ratios under equal conditions. Figures are medians of the rounds; `--add` goes on with
the rounds of a file, so that many short runs make one long one. Processor time stands beside the time on the clock:
what else runs on the machine changes it less. A round counts only if the load was the same from its begin to its end.

Peers whose packages are missing are installed, without their dependencies, into `--folder`, beside the packages of this
environment: all of them use the same torch. Real-ESRGAN 0.3.0 needs a module that torchvision has dropped; an alias
with the function that it wants is put in its place. Threads that wait sleep (`OMP_WAIT_POLICY=PASSIVE`) in all of them:
on an idle machine that changes little, on a busy one it keeps peers from losing for a reason that is not theirs.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from esrgan.archs.rrdbnet import RRDBNet
from esrgan.processor import multiplies_bfloat16
from esrgan.weights import load_network
from esrgan_video.benchmark.work import flops_per_pixel, matrix_peak
from esrgan_video.cli.benchmark import parse_size
from esrgan_video.engine.cores import threads_for
from esrgan_video.engine.memory import peak_memory
from esrgan_video.engine.precision import probe_picture
from machine import describe_machine

BASE = "Real-ESRGAN float32"
_PACKAGES = {
    "realesrgan": ["realesrgan==0.3.0"],
    "openvino": ["openvino", "openvino-telemetry"],
    "onnxruntime": ["onnxruntime"],
    "ncnn": ["ncnn", "portalocker"],
}
type Run = Callable[[], np.ndarray]
"""Computes the frame: `(3, 4 H, 4 W)` float32 in RGB."""


def make_inputs(folder: Path, width: int, height: int) -> None:
    """Weights, frame, and what the network gives in float32."""
    if (folder / "expected.npy").exists():
        return
    torch.manual_seed(0)
    network = RRDBNet()
    picture = probe_picture(max(width, height))[:, :, :height, :width]
    with torch.inference_mode():
        small = network(picture[..., :64, :64])
        network.conv_last.weight.mul_(0.2 / small.std())
        network.conv_last.bias.zero_().add_(0.5 - (small * 0.2 / small.std()).mean((0, 2, 3)))
        codes = (picture[0] * 255).round().byte()  # all peers get the same 8 bits
        expected = network(codes[None].float() / 255)[0]
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.save({"params_ema": state}, folder / "net.pth")
    np.save(folder / "frame.npy", codes.numpy())
    np.save(folder / "expected.npy", expected.numpy())


def frame_of(folder: Path) -> Tensor:
    """`(1, 3, H, W)` in 0..1."""
    return torch.from_numpy(np.load(folder / "frame.npy"))[None].float() / 255


def realesrganer(folder: Path, *, half: bool, blocks: int = 23, features: int = 64, growth: int = 32) -> Any:
    """`RealESRGANer` as its script makes it, without tiles, for the weights in `folder`."""
    import torchvision.transforms.functional as functional

    alias = types.ModuleType("torchvision.transforms.functional_tensor")
    alias.rgb_to_grayscale = functional.rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[alias.__name__] = alias
    from basicsr.archs.rrdbnet_arch import RRDBNet as Theirs
    from realesrgan import RealESRGANer

    model = Theirs(num_in_ch=3, num_out_ch=3, num_feat=features, num_block=blocks, num_grow_ch=growth, scale=4)
    path = str(folder / "net.pth")
    return RealESRGANer(scale=4, model_path=path, model=model, tile=0, tile_pad=10, pre_pad=0, half=half)


def realesrgan(folder: Path) -> Run:
    """`RealESRGANer.enhance` as its script calls it: no tiles, float32, 8 bits in and out."""
    upsampler = realesrganer(folder, half=False)
    bgr = np.ascontiguousarray(np.load(folder / "frame.npy").transpose(1, 2, 0)[..., ::-1])

    def run() -> np.ndarray:
        output, _ = upsampler.enhance(bgr, outscale=4)
        return output[..., ::-1].transpose(2, 0, 1).astype(np.float32) / 255

    return run


def spandrel(folder: Path) -> Run:
    """The model that spandrel's loader gives, called as it is."""
    from spandrel import ModelLoader

    model = ModelLoader(device="cpu").load_from_file(folder / "net.pth").eval()
    frame = frame_of(folder)

    def run() -> np.ndarray:
        with torch.no_grad():
            return model(frame)[0].numpy()

    return run


def as_onnx(folder: Path) -> Path:
    """The network as `esrgan export` writes it: what OpenVINO and onnxruntime read."""
    from esrgan_video.export.model import export_onnx

    path = folder / "net.onnx"
    if not path.exists():
        export_onnx(load_network(folder / "net.pth"), path)
    return path


def openvino(folder: Path, precision: str) -> Run:
    """Compiled for one frame of this size."""
    import openvino as ov

    frame = frame_of(folder)
    core = ov.Core()
    model = core.read_model(as_onnx(folder))
    model.reshape(list(frame.shape))
    settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(model, "CPU", settings | {"INFERENCE_NUM_THREADS": threads_for(None)})
    return lambda: compiled(frame.numpy())[0][0]


def onnxruntime(folder: Path) -> Run:
    """On the processor's provider."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads_for(None)
    session = ort.InferenceSession(str(as_onnx(folder)), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    frame = frame_of(folder).numpy()
    return lambda: session.run(None, {name: frame})[0][0]


class NcnnGraph:
    """An RRDBNet written for ncnn, layer by layer (pnnx takes minutes for its 351 convolutions)."""

    def __init__(self, network: RRDBNet) -> None:
        self._layers: list[tuple[str, list[str], str]] = []  # type, inputs, parameters; the output has its number
        self._weights: list[bytes] = []
        x = self._add("Input", [], "")
        first = self._convolution(network.conv_first, x, activated=False)
        body = first
        for block in network.body:
            inner = body
            for dense in (block.rdb1, block.rdb2, block.rdb3):
                inner = self._sum(inner, self._dense(dense, inner), 0.2)
            body = self._sum(body, inner, 0.2)
        x = self._sum(first, self._convolution(network.conv_body, body, activated=False), 1.0)
        for layer in (network.conv_up1, network.conv_up2):
            x = self._convolution(layer, self._add("Interp", [x], "0=1 1=2.0 2=2.0"))
        x = self._convolution(network.conv_hr, x)
        self.output = self._convolution(network.conv_last, x, activated=False)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """The graph and its weights, as ncnn reads them."""
        readers: dict[str, int] = {}
        for _, inputs, _ in self._layers:
            for blob in inputs:
                readers[blob] = readers.get(blob, 0) + 1
        lines, blobs, used = [], 0, dict.fromkeys(readers, 0)
        for number, (kind, inputs, parameters) in enumerate(self._layers):
            names = []
            for blob in inputs:  # ncnn wants a copy of a blob for each that reads it
                names.append(f"{blob}_{used[blob]}" if readers[blob] > 1 else blob)
                used[blob] += 1
            output = f"b{number}"
            lines.append(f"{kind} l{number} {len(names)} 1 {' '.join([*names, output])} {parameters}")
            blobs += 1
            count = readers.get(output, 0)
            if count > 1:
                copies = " ".join(f"{output}_{index}" for index in range(count))
                lines.append(f"Split s{number} 1 {count} {output} {copies}")
                blobs += count
        graph, weights = folder / "net.param", folder / "net.bin"
        graph.write_text(f"7767517\n{len(lines)} {blobs}\n" + "\n".join(lines) + "\n")
        weights.write_bytes(b"".join(self._weights))
        return graph, weights

    def _add(self, kind: str, inputs: list[str], parameters: str) -> str:
        self._layers.append((kind, inputs, parameters))
        return f"b{len(self._layers) - 1}"

    def _convolution(self, layer: torch.nn.Conv2d, x: str, *, activated: bool = True) -> str:
        float32 = bytes(4)  # how the weights are stored
        self._weights += [float32, layer.weight.detach().numpy().tobytes(), layer.bias.detach().numpy().tobytes()]
        leaky = " 9=2 -23310=1,0.2" if activated else ""
        return self._add("Convolution", [x], f"0={layer.out_channels} 1=3 4=1 5=1 6={layer.weight.numel()}{leaky}")

    def _sum(self, one: str, other: str, share: float) -> str:
        return self._add("Eltwise", [one, other], f"0=1 -23301=2,1.0,{share}")

    def _dense(self, block: torch.nn.Module, x: str) -> str:
        known = [x]
        for index in range(1, 6):
            joined = known[0] if index == 1 else self._add("Concat", list(known), "0=0")
            known.append(self._convolution(getattr(block, f"conv{index}"), joined, activated=index < 5))
        return known[-1]


def ncnn(folder: Path) -> Run:
    """On the processor in float32, Winograd and all."""
    import ncnn as library

    graph = NcnnGraph(load_network(folder / "net.pth").network)
    net = library.Net()
    net.opt.num_threads = threads_for(None)
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    for load, file in zip((net.load_param, net.load_model), graph.write(folder), strict=True):
        load(str(file))
    frame = np.ascontiguousarray(frame_of(folder)[0].numpy())

    def run() -> np.ndarray:
        with net.create_extractor() as extractor:
            extractor.input("b0", library.Mat(frame))
            _, output = extractor.extract(graph.output)
            return np.array(output)

    return run


def ours(folder: Path, **options: Any) -> Run:
    """`Upscaler` with these options."""
    from esrgan_video import EngineOptions, Upscaler

    upscaler = Upscaler(folder / "net.pth", EngineOptions(device="cpu", **options))
    frame = frame_of(folder)

    def run() -> np.ndarray:
        return upscaler(frame)[0].numpy()

    return run


def ours_int8(folder: Path) -> Run:
    """With 8-bit integers, calibrated on another picture than the one that is computed."""
    from esrgan_video.export.int8 import calibrate

    calibration = calibrate(load_network(folder / "net.pth"), [probe_picture(96)])
    return ours(folder, backend="openvino", dtype="int8", calibration=calibration)


PEERS: dict[str, tuple[Callable[[Path], Run], str, str]] = {
    BASE: (realesrgan, "float32", "realesrgan"),
    "spandrel float32": (spandrel, "float32", "spandrel"),
    "OpenVINO float32": (lambda folder: openvino(folder, "f32"), "float32", "openvino"),
    "OpenVINO bfloat16": (lambda folder: openvino(folder, "bf16"), "bfloat16", "openvino"),
    "onnxruntime float32": (onnxruntime, "float32", "onnxruntime"),
    "ncnn float32": (ncnn, "float32", "ncnn"),
    "ours, torch bfloat16": (lambda folder: ours(folder, backend="torch", dtype="bfloat16"), "bfloat16", "torch"),
    "ours, default": (ours, "", "torch"),
    "ours, exact": (lambda folder: ours(folder, dtype="float32", overlap=48), "float32", "torch"),
    "ours, exact, native": (lambda folder: ours(folder, backend="native", dtype="float32"), "float32", "torch"),
    "ours, int8": (ours_int8, "int8", "openvino"),
}
"""How to make each, its precision (empty where the engine chooses), and the package that it needs."""


def work(name: str, folder: Path) -> None:
    """A peer's process: says what its first frame was like, then computes one for each line that it reads."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print does not belong among the replies
    start = time.perf_counter()
    run = PEERS[name][0](folder)
    result = np.clip(run(), 0, 1)
    first = time.perf_counter() - start
    difference = result.astype(np.float64) - np.clip(np.load(folder / "expected.npy"), 0, 1)
    square = float(np.square(difference).mean())
    record = {
        "first": first,
        "psnr": -10 * math.log10(square) if square else None,
        "largest": float(np.abs(difference).max()) * 255,
    }
    replies.write(json.dumps(record) + "\n")
    replies.flush()
    for _ in sys.stdin:
        start, used = time.perf_counter(), time.process_time()
        run()
        seconds, used = time.perf_counter() - start, time.process_time() - used
        replies.write(json.dumps({"seconds": seconds, "processor": used, "memory": peak_memory()}) + "\n")
        replies.flush()


class Peer:
    """A peer's process, seen from outside."""

    def __init__(self, name: str, folder: Path) -> None:
        environment = {
            "OMP_WAIT_POLICY": "PASSIVE",
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*sys.path[1:], str(folder.parent / "packages")]),
        }
        command = [sys.executable, __file__, "--worker", name, "--folder", str(folder)]
        self._log = (folder / f"{name}.log").open("w")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment
        )
        try:
            self.facts = self._reply()
        except RuntimeError:
            self.end()
            raise

    def run(self) -> dict[str, Any]:
        """Compute a frame."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._reply()

    def end(self) -> None:
        """Let it end."""
        self._process.communicate()
        self._log.close()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(Path(self._log.name).read_text().strip().splitlines()[-1:])
        return json.loads(line)


def install(names: list[str], folder: Path) -> None:
    """What is missing of the packages that the peers need."""
    target = folder / "packages"
    wanted = {PEERS[name][2] for name in names}
    missing = [
        requirement
        for package, requirements in _PACKAGES.items()
        if package in wanted and importlib.util.find_spec(package) is None and not (target / package).exists()
        for requirement in requirements
    ]
    if missing:
        command = ["uv", "pip", "install", "--quiet", "--python", sys.executable, "--no-deps", "--target", str(target)]
        tool = Path(sys.executable).with_name("uv")
        subprocess.run([str(tool) if tool.exists() else command[0], *command[1:], *missing], check=True)


def measure_peaks(record: dict[str, Any]) -> None:
    """What products of large matrices reach in each precision; the best of all times it was measured."""
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        found = matrix_peak(dtype, torch.device("cpu"), threads_for(None))
        record["peaks"][precision] = max(found, record["peaks"].get(precision, 0.0))


def measure(
    names: list[str], rounds: int, folder: Path, record: dict[str, Any], save: Callable[[], None], *, wait: bool
) -> None:
    """Start the peers and take `rounds`, each of which is in the record once it is whole."""
    peers: dict[str, Peer] = {}
    try:
        for name in names:
            try:
                peers[name] = Peer(name, folder)
            except RuntimeError as error:
                print(f"{name}: left out, {error}")
                continue
            record["peers"].setdefault(name, {}).update(peers[name].facts)
            print(f"{name}: first frame after {peers[name].facts['first']:.1f} s", flush=True)
        if wait:
            print("ready: a line on standard input starts the rounds", flush=True)
            if not sys.stdin.readline():
                sys.exit("peers.py: standard input ended before the rounds were started")
        measure_peaks(record)  # under the load of the rounds, or shares of it would mean nothing
        for _ in range(rounds):
            taken: dict[str, float] = {}
            used: dict[str, float] = {}
            began = time.time()
            for name, peer in peers.items():
                reply = peer.run()
                taken[name], used[name] = reply["seconds"], reply["processor"]
                record["peers"][name]["memory"] = reply["memory"]
            record["rounds"].append(taken)
            record["processor"].append(used)
            record["spans"].append([began, time.time()])
            save()
            print(" ".join(f"{name}: {seconds:.2f} s;" for name, seconds in taken.items()), flush=True)
    finally:
        for peer in peers.values():
            peer.end()


def summary(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Of each peer: medians over the rounds, the ratio to Real-ESRGAN in rounds that have both, share of peak."""
    rows = []
    for name, facts in record["peers"].items():
        times = [taken[name] for taken in record["rounds"] if name in taken]
        ratios = [taken[BASE] / taken[name] for taken in record["rounds"] if name in taken and BASE in taken]
        if not times:
            continue
        seconds = statistics.median(times)
        used = [taken[name] for taken in record["processor"] if name in taken]
        peak = record["peaks"].get(PEERS[name][1])
        rows.append(
            {
                "name": name,
                "seconds": seconds,
                "ratio": statistics.median(ratios) if ratios else None,
                "ratios": [min(ratios), max(ratios)] if ratios else None,
                "rounds": len(times),
                "processor": statistics.median(used),
                "share_of_peak": None if peak is None else record["flops"] / seconds / peak,
                **facts,
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Lines for a person."""
    heads = f"{'peak':>7}{'PSNR':>8}{'max/255':>9}{'MB':>7}{'first':>8}"
    lines = [f"{'':<24}{'s/frame':>9}{'cpu s':>8}{'ratio':>8}{'':>16}{heads}"]
    for row in rows:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        span = "" if row["ratios"] is None else "({:.2f} to {:.2f})".format(*row["ratios"])
        share = "" if row["share_of_peak"] is None else f"{row['share_of_peak']:.0%}"
        psnr = "equal" if row["psnr"] is None else f"{row['psnr']:.1f}"
        lines.append(
            f"{row['name']:<24}{row['seconds']:>9.2f}{row['processor']:>8.2f}{ratio:>8}{span:>16}{share:>7}{psnr:>8}{row['largest']:>9.2g}"
            f"{row['memory'] / 1e6:>7.0f}{row['first']:>8.1f}"
        )
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], record: dict[str, Any], file: Path) -> None:
    """Bars of speed against Real-ESRGAN's float32 loop, with each one's error."""
    from matplotlib.figure import Figure

    rows = sorted((row for row in rows if row["ratio"] is not None), key=lambda row: row["ratio"])
    figure = Figure(figsize=(8, 0.45 * len(rows) + 1.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    colours = ["tab:blue" if row["name"].startswith("ours") else "tab:gray" for row in rows]
    axes.barh([row["name"] for row in rows], [row["ratio"] for row in rows], color=colours)
    for place, row in enumerate(rows):
        psnr = "equal" if row["psnr"] is None else f"{row['psnr']:.0f} dB"
        axes.text(
            row["ratio"], place, f" {row['ratio']:.2f}× · {row['seconds']:.1f} s · {psnr}", va="center", fontsize=8
        )
    axes.set_xlim(0, max(row["ratio"] for row in rows) * 1.35)
    axes.set_xlabel("speed against Real-ESRGAN's float32 loop; seconds a frame; PSNR against float32")
    axes.set_title(f"RRDBNet ×4, 23 blocks, {record['width']}×{record['height']}\n{record['machine']}", fontsize=8)
    figure.savefig(file)


def runnable() -> list[str]:
    """The peers that this processor computes itself: in software, bfloat16 takes minutes."""
    able = multiplies_bfloat16()
    return [name for name, (_, precision, _) in PEERS.items() if able or precision != "bfloat16"]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PEERS, default=runnable())
    parser.add_argument("--add", action="store_true", help="go on with the rounds in the output")
    parser.add_argument("-o", "--output", type=Path, default=Path("peers.json"))
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--wait", action="store_true", help="hold the rounds until there is a line on standard input")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "esrgan-peers")
    parser.add_argument("--size", type=parse_size, default="320x180", help="of the frame, for a quick trial")
    parser.add_argument("--worker", choices=PEERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.worker, given.folder)
        return
    width, height = given.size
    given.folder.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {
        "rounds": [],
        "processor": [],
        "spans": [],
        "peers": {},
        "peaks": {},
        "width": width,
        "height": height,
    }
    if given.add and given.output.exists():
        record = json.loads(given.output.read_text())
    record["machine"] = describe_machine()
    if given.rounds:
        install(given.only, given.folder)
        folder = given.folder / f"{width}x{height}"
        folder.mkdir(exist_ok=True)
        make_inputs(folder, width, height)
        record["flops"] = flops_per_pixel(load_network(folder / "net.pth")) * width * height
        measure(
            given.only,
            given.rounds,
            folder,
            record,
            lambda: given.output.write_text(json.dumps(record, indent=1)),
            wait=given.wait,
        )
    rows = summary(record)
    given.output.write_text(json.dumps(record | {"summary": rows}, indent=1))
    print(record["machine"])
    print(", ".join(f"{name} peak {value / 1e9:,.0f} GFLOP/s" for name, value in record["peaks"].items()))
    print(table(rows))
    if given.plot is not None and any(row["ratio"] is not None for row in rows):
        plot(rows, record, given.plot)


if __name__ == "__main__":
    main()
