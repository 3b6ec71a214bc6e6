"""8-bit dense blocks against the float64 network."""

import copy
import re

import av
import numpy as np
import pytest
import torch
from PIL import Image

from clip_tools import Clip, write_clip
from esrgan.archs.compact import SRVGGNetCompact
from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import UsageError
from esrgan.weights import LoadedNetwork, load_network, save_network
from esrgan_video import EngineOptions, Upscaler, VideoOptions
from esrgan_video.cli.main import main
from esrgan_video.container import TimeRange
from esrgan_video.engine.precision import probe_picture
from esrgan_video.export.int8 import calibrate
from esrgan_video.sampling import sample_image, sample_video
from network_tools import loaded, small_rrdb

for package in ("onnx", "openvino"):
    pytest.importorskip(package, reason=f"the package {package} is not installed")


def int8(network: LoadedNetwork, frames: torch.Tensor, **options) -> Upscaler:
    calibration = calibrate(network, frames)
    return Upscaler(
        network, EngineOptions(backend="openvino", dtype="int8", calibration=calibration, threads=1, **options)
    )


def psnr(result: torch.Tensor, network: torch.nn.Module, images: torch.Tensor) -> float:
    with torch.no_grad():
        expected = copy.deepcopy(network).double()(images.double())
    error = (result.double().clamp(0, 1) - expected.clamp(0, 1)).square().mean()
    return -10 * error.log10().item()


@pytest.fixture(scope="module")
def shipped() -> tuple[LoadedNetwork, Upscaler]:
    network = load_network("default")
    return network, int8(network, probe_picture(64).flip(-1))


def random_network(scale: int = 4, multiple: int = 1, **changes) -> LoadedNetwork:
    """Random weights whose dense blocks matter, as those of trained networks do."""
    torch.manual_seed(0)
    network = RRDBNet(num_feat=16, num_grow_ch=8, num_block=2, scale=scale, **changes)
    with torch.no_grad():
        network.body.apply(lambda layer: layer.weight.mul_(8) if isinstance(layer, torch.nn.Conv2d) else None)
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    made = loaded(network, scale)
    facts = vars(made.facts) | {"size_multiple": multiple, "in_channels": network.conv_last.out_channels}
    return LoadedNetwork(made.network, type(made.facts)(**facts | {"out_channels": network.conv_last.out_channels}))


def test_the_shipped_weights_keep_49_db_on_a_picture_that_was_not_looked_at(shipped):
    network, upscaler = shipped
    images = probe_picture(64)[..., :41, :]
    found = psnr(upscaler(images), network.network, images)
    assert 49 < found < 75  # more would not be 8 bits


@pytest.mark.parametrize(("scale", "multiple"), [(4, 1), (2, 2), (1, 4)])
def test_odd_sizes_and_batches_stay_close_to_the_float64_network(scale, multiple):
    network = random_network(scale, multiple)
    upscaler = int8(network, torch.rand(3, 3, 24, 24))
    for batch, height, width in ((1, 1, 1), (7, 3, 1), (1, 1, 5), (2, 7, 9)):
        images = torch.rand(batch, 3, height * multiple, width * multiple)
        with torch.no_grad():
            expected = copy.deepcopy(network.network).double()(images.double())
        error = (upscaler(images) - expected).square().mean().sqrt()
        assert error < 0.02 * expected.std()


def test_the_dense_blocks_and_nothing_else_are_computed_with_integers(shipped):
    network, upscaler = shipped
    ran = upscaler._backend._request.get_compiled_model().get_runtime_model().get_ops()
    kinds = {
        operation.get_friendly_name(): operation.get_rt_info()["runtimePrecision"].astype(str)
        for operation in ran
        if operation.get_rt_info()["layerType"].astype(str) == "Convolution"
    }
    whole = {name for name, kind in kinds.items() if kind in ("i8", "u8")}
    blocks = [name for name, _ in network.network.named_modules() if re.fullmatch(r"body\.\d+\.rdb\d\.conv\d", name)]
    assert len(whole) == len(blocks) == 60
    assert len(kinds) == 60 + 6


def test_channels_of_very_different_range_keep_their_bits():
    """One feature of each block a thousand times as wide as the others, which no common scale could hold."""
    network = random_network()
    with torch.no_grad():
        for block in network.network.body:
            for name in ("rdb1", "rdb2", "rdb3"):
                dense = getattr(block, name)
                dense.conv1.weight[0] *= 40
                for reader in (dense.conv2, dense.conv3, dense.conv4, dense.conv5):
                    reader.weight[:, dense.conv1.in_channels] /= 40
    images = torch.rand(2, 3, 24, 24)
    assert psnr(int8(network, images)(images), network.network, images) > 40


def test_a_grey_network_takes_each_channel_for_itself():
    network = random_network(num_in_ch=1, num_out_ch=1)
    images = torch.rand(2, 3, 9, 12)
    result = int8(network, images)(images)
    with torch.no_grad():
        expected = torch.cat([network.network(images[:, [channel]]) for channel in range(3)], 1)
    assert (result - expected).square().mean().sqrt() < 0.02 * expected.std()


def test_what_is_said_of_the_precision_is_what_it_is():
    network = random_network()
    images = [torch.rand(3, 20, 30), torch.rand(3, 16, 16)]
    calibration = calibrate(network, images)
    upscaler = int8(network, images)
    with torch.no_grad():
        pairs = [(upscaler(image[None]), network.network(image[None])) for image in images]
    errors = torch.cat([(one.clamp(0, 1) - other.clamp(0, 1)).flatten() for one, other in pairs])
    assert calibration.psnr(upscaler) == pytest.approx(-10 * errors.square().mean().log10().item(), abs=0.01)
    assert upscaler.precision == "int8"
    assert upscaler.identity["calibration"] == calibration.digest


def test_the_ranges_are_the_largest_magnitudes_that_each_block_sees_times_a_margin():
    network = random_network()
    images = torch.rand(3, 3, 24, 24)
    seen: dict[str, torch.Tensor] = {}
    for name, layer in network.network.named_modules():
        if name.endswith("conv5"):
            layer.register_forward_hook(lambda _l, inputs, _o, name=name: seen.update({name: inputs[0]}))
    with torch.no_grad():
        network.network(images)
    widest_of = {name: inputs.abs().amax((0, 2, 3)) for name, inputs in seen.items()}
    for name, values in calibrate(network, images).ranges.items():
        widest = widest_of[f"{name}.conv5"]
        assert (values >= widest * 2**0.5 * 0.999).all()
        assert (values <= torch.maximum(widest, widest.max() / 64) * 2 ** (1 / 2 + 1 / 16) * 1.001).all()


def test_the_same_frames_give_the_same_ranges_and_others_do_not():
    network = random_network()
    frames = torch.rand(2, 3, 20, 20)
    digests = [calibrate(network, given).digest for given in (frames, frames.clone(), frames * 0.3)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda: loaded(SRVGGNetCompact(num_feat=4, num_conv=1), 4), "not for SRVGGNetCompact"),
        (lambda: loaded(torch.nn.Conv2d(3, 3, 1), 1), "not for Conv2d"),
    ],
)
def test_networks_without_dense_blocks_are_refused(network, said):
    with pytest.raises(UsageError, match=said):
        calibrate(network(), torch.rand(1, 3, 8, 8))


def test_esrgan_plus_is_refused_by_its_blocks():
    made = loaded(RRDBNet(num_feat=8, num_grow_ch=4, num_block=1, plus=True), 4)
    with pytest.raises(UsageError, match=r"not for those of ESRGAN\+"):
        calibrate(made, torch.rand(1, 3, 8, 8))


def test_it_is_refused_without_frames_and_by_other_backends():
    with pytest.raises(UsageError, match="got none"):
        calibrate(small_rrdb(), [])
    with pytest.raises(UsageError, match="needs to see some frames"):
        Upscaler(small_rrdb(), EngineOptions(backend="openvino", dtype="int8"))
    for backend in ("torch", "onnxruntime", "native"):
        with pytest.raises(UsageError, match="dtype int8 runs in OpenVINO only"):
            EngineOptions(backend=backend, dtype="int8")


def test_the_command_prints_its_precision_on_frames_of_the_input(tmp_path, capsys):
    clip = write_clip(tmp_path / "in.mkv", Clip(times=range(12)))
    target = tmp_path / "out.mkv"
    call = ["upscale", str(clip), "-o", str(target), "--backend", "openvino", "--dtype", "int8", "--progress", "none"]
    assert main(call) == 0
    said = re.search(r"int8: ([\d.]+) dB against float32 in 8 frames", capsys.readouterr().err)
    assert said is not None
    assert float(said[1]) > 40
    with av.open(str(target)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12


def test_what_is_printed_is_of_8_bits_alone(tmp_path, capsys):
    """Eight orientations and a mirrored border change the picture on purpose."""
    clip, weights = write_clip(tmp_path / "in.mkv", Clip(times=range(3))), tmp_path / "network.safetensors"
    save_network(random_network(), weights)
    call = ["upscale", str(clip), "-o", str(tmp_path / "out.mkv"), "-n", str(weights), "--dry-run"]
    call += ["--backend", "openvino", "--dtype", "int8"]
    said = []
    for options in ([], ["--tta"], ["--pre-pad", "8"]):
        assert main([*call, *options]) == 0
        said += re.findall(r"int8: ([\d.]+) dB", capsys.readouterr().err)
    assert len(said) == 3
    assert len(set(said)) == 1


@pytest.mark.parametrize(("found", "advised"), [(39.9, True), (40.0, False)])
def test_a_precision_that_can_be_seen_is_advised_against_before_the_work(found, advised, tmp_path, monkeypatch, capsys):
    clip = write_clip(tmp_path / "in.mkv", Clip(times=range(2)))
    monkeypatch.setattr("esrgan_video.export.int8.Calibration.psnr", lambda *_: found)
    call = ["upscale", str(clip), "-o", str(tmp_path / "out.mkv"), "--backend", "openvino", "--dtype", "int8"]
    assert main([*call, "--dry-run"]) == 0
    said = capsys.readouterr().err
    assert f"int8: {found} dB" in said
    assert ("leave --dtype out" in said) == advised


def test_a_pipe_cannot_be_read_twice(capsys):
    assert main(["upscale", "-", "-o", "out.mkv", "--backend", "openvino", "--dtype", "int8"]) == 2
    assert "reads its input twice" in capsys.readouterr().err


def test_frames_come_from_all_over_the_video(tmp_path):
    """A clip that gets brighter from frame to frame: the brightness tells when a frame was shown."""
    clip = tmp_path / "ramp.mkv"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "bgr0"
        for number in range(80):
            frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), number * 3, np.uint8), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="bgr0")))
        container.mux(stream.encode(None))
    places = [round(frame.mean().item() * 255 / 3) for frame in sample_video(clip, VideoOptions())]
    assert places == [5, 15, 25, 35, 45, 55, 65, 75]
    part = VideoOptions(time_range=TimeRange(start=4, frames=16))
    assert [round(frame.mean().item() * 255 / 3) for frame in sample_video(clip, part)] == [
        41, 43, 45, 47, 49, 51, 53, 55,
    ]  # fmt: skip


def test_images_of_any_kind_are_samples(tmp_path):
    Image.fromarray(np.full((4, 5), 51, np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(np.full((4, 5, 4), 102, np.uint8)).save(tmp_path / "alpha.png")
    for name, value in (("grey.png", 0.2), ("alpha.png", 0.4)):
        torch.testing.assert_close(sample_image(tmp_path / name), torch.full((1, 3, 4, 5), value))
