"""The example scripts under `vspipe`, as the wheel installs it."""

import itertools
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from clip_tools import Clip, Tags, decode, write_clip
from esrgan.archs.compact import SRVGGNetCompact
from esrgan.archs.rrdbnet import RRDBNet
from esrgan.weights import save_network
from network_tools import loaded

vs = pytest.importorskip("vapoursynth")

EXAMPLES = Path(__file__).parents[2] / "examples" / "vapoursynth"
VSPIPE = Path(sys.executable).with_name("vspipe")

TIMES = [0, 40, 90, 120, 200, 240, 300, 333]
DURATIONS = [Fraction(after - before, 1000) for before, after in itertools.pairwise(TIMES)]

needs_bestsource = pytest.mark.skipif(
    not hasattr(vs.core, "bs"), reason="needs BestSource: pip install vapoursynth-bestsource"
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """A home of its own: `vspipe` wants its configuration, and BestSource writes an index."""
    home = tmp_path_factory.mktemp("home")
    environment = os.environ | {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "ESRGAN_CACHE": str(home / "weights"),
    }
    subprocess.run([sys.executable, "-m", "vapoursynth", "config"], env=environment, check=True, capture_output=True)
    return environment


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, Path]:
    """Tiny networks, so that the scripts cost their start and little else."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    networks = {
        "rrdb": loaded(RRDBNet(num_feat=8, num_grow_ch=4, num_block=1), 4),
        "compact": loaded(SRVGGNetCompact(num_feat=8, num_conv=2), 4),
    }
    return {name: save_network(network, folder / f"{name}.pth", layout="basicsr") for name, network in networks.items()}


@pytest.fixture
def source(tmp_path) -> Path:
    """8 frames of irregular length, 4:2:0 at 10 bits, BT.709."""
    tags = Tags(matrix=1, color_range=1, primaries=1, transfer=1, location=1)
    clip = Clip(codec="ffv1", pix_fmt="yuv420p10le", times=TIMES, time_base=Fraction(1, 1000), tags=tags, options={})
    return write_clip(tmp_path / "a film of 100%.mkv", clip)


def run(environment, script: str, target: Path, *arguments: str, **values: object) -> list[dict]:
    """Properties of the frames that `script` gave; `target` has their pixels as Y4M."""
    given = [word for name, value in values.items() for word in ("--arg", f"{name}={value}")]
    properties = target.with_suffix(".json")
    command = [VSPIPE, "--container", "y4m", "--json", properties, *arguments, *given, EXAMPLES / script, target]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return json.loads(properties.read_text())


def looks(picture) -> tuple[int, int, str]:
    return picture.width, picture.height, picture.format.name


def durations(props: list[dict]) -> list[Fraction]:
    """Without that of the last frame, which Matroska does not store."""
    return [Fraction(frame["_DurationNum"], frame["_DurationDen"]) for frame in props[:-1]]


def test_basic(environment, tmp_path):
    props = run(environment, "basic.vpy", tmp_path / "out.y4m", "--end", "2")
    pictures = decode(tmp_path / "out.y4m")
    assert [looks(picture) for picture in pictures] == [(224, 144, "yuv420p")] * 3
    assert [(frame["_Matrix"], frame["ESRGANModel"]) for frame in props] == [(1, "rrdb-lite-x4-psnr")] * 3
    luma = pictures[0].to_ndarray()[:144].astype(int)
    # The bars are, from the left, white, yellow, cyan, green, magenta, red and blue: darker and darker.
    middles = [luma[40:104, 32 * bar + 12 : 32 * bar + 20].mean() for bar in range(7)]
    assert middles == sorted(middles, reverse=True)
    assert middles[0] - middles[-1] > 100


@needs_bestsource
def test_yuv420p10_keeps_format_colour_and_times(environment, tmp_path, source):
    props = run(environment, "yuv420p10.vpy", tmp_path / "out.y4m", source=source)
    pictures = decode(tmp_path / "out.y4m")
    assert [looks(picture) for picture in pictures] == [(128, 96, "yuv420p10le")] * 8
    assert durations(props) == DURATIONS
    wanted = {"_Matrix": 1, "_Range": 0, "_Primaries": 1, "_Transfer": 1, "_ChromaLocation": 0}
    assert [{name: frame[name] for name in wanted} for frame in props] == [wanted] * 8


@needs_bestsource
def test_yuv420p10_takes_the_demo_clip_which_has_8_bits_and_no_matrix(environment, tmp_path):
    props = run(environment, "yuv420p10.vpy", tmp_path / "out.y4m", "--end", "0")
    assert [frame["_Matrix"] for frame in props] == [6]
    assert [picture.format.name for picture in decode(tmp_path / "out.y4m")] == ["yuv420p10le"]


def test_chained(environment, tmp_path, weights):
    props = run(environment, "chained.vpy", tmp_path / "out.y4m", first=weights["rrdb"], second=weights["rrdb"])
    pictures = decode(tmp_path / "out.y4m")
    assert [looks(picture) for picture in pictures] == [(192, 80, "yuv444p")] * 16
    assert len(props) == 16
    # Dark and bright pictures take turns, on both sides.
    for half in (slice(0, 96), slice(96, 192)):
        levels = [picture.to_ndarray()[0][:, half].mean() for picture in pictures]
        assert levels[::2] == [levels[0]] * 8
        assert levels[1::2] == [levels[1]] * 8


@needs_bestsource
def test_anime(environment, tmp_path, source, weights):
    props = run(environment, "anime.vpy", tmp_path / "out.y4m", source=source, model=weights["compact"])
    pictures = decode(tmp_path / "out.y4m")
    assert [looks(picture) for picture in pictures] == [(256, 192, "yuv420p")] * 8
    assert [frame["ESRGANModel"] for frame in props] == ["compact"] * 8
    assert durations(props) == DURATIONS


def test_every_example_has_a_test():
    assert {path.stem for path in EXAMPLES.glob("*.vpy")} == {"basic", "yuv420p10", "chained", "anime"}
