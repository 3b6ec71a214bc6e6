"""Seconds per adversarial training step: this project's `RaGANModel` beside BasicSR's own `ESRGANModel`.

Both get the same networks, weights, batches and perceptual loss, and take turns step by step in one
process. BasicSR's runs as it is: float32, five discriminator passes. Ours runs with bfloat16,
channels-last, one discriminator pass for each set of images, and compiled where asked for. Loading
data is not measured.

    python benchmarks/training_step.py --steps 15
    python benchmarks/training_step.py --device cuda --features 64 --blocks 23 --batch 16 --compile
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from machine import describe_machine

SCALE = 4
ASSETS = Path(os.environ.get("ESRGAN_ASSETS", Path(__file__).resolve().parents[2] / "shared"))


@dataclass(frozen=True)
class Timing:
    """Seconds of each measured step."""

    stock: list[float]
    ours: list[float]

    def ratio(self) -> float:
        """How many times faster ours is: the median over pairs of neighbouring steps."""
        return statistics.median(a / b for a, b in zip(self.stock, self.ours, strict=True))


def main() -> None:
    """Measure and print."""
    given = arguments()
    logging.disable(logging.WARNING)
    torch.backends.cudnn.benchmark = True  # as BasicSR's training does
    if given.threads:
        torch.set_num_threads(given.threads)
    print("\n".join(described(given)))
    stock, ours = models(given)
    print(f"gradient of the generator, {given.precision} against float32: cosine {agreement(given, ours):.5f}")
    timing = measure(given, stock, ours)
    for name, seconds in (("BasicSR ESRGANModel", timing.stock), ("RaGANModel_esrgan", timing.ours)):
        spread = f"{min(seconds):.4f} to {max(seconds):.4f}"
        print(f"{name:20} {statistics.median(seconds):8.4f} s per step, median of {len(seconds)} ({spread})")
    print(f"{'ratio':20} {timing.ratio():8.2f} x, median of pairs")
    if given.device == "cuda":
        print(f"{'peak memory':20} {torch.cuda.max_memory_allocated() / 2**30:8.2f} GiB, both models together")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--features", type=int, default=32, help="features of the generator")
    parser.add_argument("--blocks", type=int, default=4, help="RRDBs of the generator")
    parser.add_argument("--growth", type=int, default=16, help="growth of the dense blocks")
    parser.add_argument("--discriminator-features", type=int, default=64)
    parser.add_argument("--patch", type=int, choices=(128, 256), default=128, help="side of an HR patch")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--layer", default="conv3_4", help="VGG19 layer of the perceptual loss")
    parser.add_argument(
        "--vgg", type=Path, default=ASSETS / "weights" / "vgg19_features_to_conv3_4.safetensors", help="VGG19 weights"
    )
    parser.add_argument("--precision", choices=("float32", "bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--compile", action="store_true", help="compile the generator; takes a minute first")
    parser.add_argument("--detached", action="store_true", help="take BasicSR's losses in ours too")
    parser.add_argument("--warmup", type=int, default=2, help="steps of each that are not measured")
    parser.add_argument("--steps", type=int, default=15, help="steps of each that are measured")
    parser.add_argument("--threads", type=int, default=None)
    return parser.parse_args()


def described(given: argparse.Namespace) -> Iterator[str]:
    """What the figures hold for."""
    yield f"machine: {describe_machine()}, {', '.join(f'{name} {version(name)}' for name in ('basicsr', 'esrgan'))}"
    yield (
        f"step on {given.device}: RRDBNet x{SCALE}, {given.features} features, {given.blocks} blocks, growth "
        f"{given.growth}; discriminator of {given.discriminator_features} features; VGG19 to {given.layer}; "
        f"patch {given.patch}, batch {given.batch}; ours: {given.precision}"
        f"{', compiled' if given.compile else ''}{', detached' if given.detached else ''}"
    )


def models(given: argparse.Namespace) -> tuple[Any, Any]:
    """BasicSR's model and ours, with equal weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from esrgan.training.registration import register

        register()
        from basicsr.models import build_model
    gan = {"loss_weight": 5e-3}
    stock = build_model(options(given, "ESRGANModel", "", {"type": "GANLoss", "gan_type": "vanilla", **gan}))
    settings = {"precision": given.precision, "compile": given.compile, "detached": given.detached}
    loss = {"type": "RelativisticGANLoss_esrgan", **gan}
    ours = build_model(options(given, "RaGANModel_esrgan", "_esrgan", loss, **settings))
    ours.net_g.load_state_dict(stock.net_g.state_dict())
    ours.net_d.load_state_dict(stock.net_d.state_dict())
    ours.model_ema(0)
    return stock, ours


def options(
    given: argparse.Namespace, model: str, suffix: str, gan_loss: dict[str, Any], **train: Any
) -> dict[str, Any]:
    """What BasicSR reads from a file, for the paper's recipe."""
    adam = {"type": "Adam", "lr": 1e-4, "betas": [0.9, 0.999]}
    return {
        "name": "benchmark",
        "model_type": model,
        "scale": SCALE,
        "num_gpu": int(given.device == "cuda"),
        "dist": False,
        "rank": 0,
        "world_size": 1,
        "is_train": True,
        "network_g": {
            "type": f"RRDBNet{suffix}",
            "num_in_ch": 3,
            "num_out_ch": 3,
            "num_feat": given.features,
            "num_block": given.blocks,
            "num_grow_ch": given.growth,
        },
        "network_d": {
            "type": f"VGGStyleDiscriminator{suffix}",
            "num_in_ch": 3,
            "num_feat": given.discriminator_features,
            "input_size": given.patch,
        },
        "path": {},
        "train": {
            "ema_decay": 0.999,
            "optim_g": dict(adam),
            "optim_d": dict(adam),
            "scheduler": {"type": "MultiStepLR", "milestones": [50000], "gamma": 0.5},
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1e-2},
            # BasicSR's own loss would download; this one gives the same values (there is a test for that).
            "perceptual_opt": {
                "type": "PerceptualLoss_esrgan",
                "layer_weights": {given.layer: 1.0},
                "weights": str(given.vgg),
            },
            "gan_opt": gan_loss,
            **train,
        },
    }


def batch(given: argparse.Namespace, seed: int) -> dict[str, torch.Tensor]:
    """A batch of noise in 0..1: the time of a step does not depend on what is in the pictures."""
    generator = torch.Generator().manual_seed(seed)
    gt = torch.rand(given.batch, 3, given.patch, given.patch, generator=generator)
    return {"lq": torch.nn.functional.avg_pool2d(gt, SCALE), "gt": gt}


def agreement(given: argparse.Namespace, ours: Any) -> float:
    """Cosine between the generator's gradient of our step and that of the same step in float32."""
    _, exact = models(argparse.Namespace(**{**vars(given), "precision": "float32", "compile": False}))
    found = []
    start = ours.training_state()
    exact.load_training_state(start)
    for model in (ours, exact):
        model.feed_data(batch(given, 0))
        model.optimize_parameters(1)
        found.append(torch.cat([parameter.grad.flatten() for parameter in model.net_g.parameters()]))
    ours.load_training_state(start)
    return torch.nn.functional.cosine_similarity(*found, dim=0).item()


def measure(given: argparse.Namespace, stock: Any, ours: Any) -> Timing:
    """Steps of both in turns, on the same batches."""
    timing = Timing([], [])
    for index in range(given.warmup + given.steps):
        data = batch(given, index)
        for model, seconds in ((stock, timing.stock), (ours, timing.ours)):
            taken = step(given, model, data, index + 1)
            if index >= given.warmup:
                seconds.append(taken)
    return timing


def step(given: argparse.Namespace, model: Any, data: dict[str, torch.Tensor], iteration: int) -> float:
    """Seconds that one step of `model` takes."""
    synchronise(given)
    started = time.perf_counter()
    model.update_learning_rate(iteration)
    model.feed_data(data)
    model.optimize_parameters(iteration)
    synchronise(given)
    return time.perf_counter() - started


def synchronise(given: argparse.Namespace) -> None:
    """Wait for the GPU."""
    if given.device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
