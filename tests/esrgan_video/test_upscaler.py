"""The engine against the plain network that it runs."""

import copy

import pytest
import torch
from torch import nn

from esrgan.archs.compact import SRVGGNetCompact
from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import EngineError, UsageError
from esrgan.weights import LoadedNetwork, NetworkFacts, load_network
from esrgan_video.engine import EngineOptions, Upscaler
from esrgan_video.engine.precision import probe_picture, probe_psnr

FLOAT32 = EngineOptions(device="cpu", dtype="float32")


def wrap(network: nn.Module, scale: int = 4, channels: int = 3, multiple: int = 1) -> LoadedNetwork:
    facts = NetworkFacts(
        architecture=type(network).__name__,
        layout="basicsr",
        scale=scale,
        in_channels=channels,
        out_channels=channels,
        size_multiple=multiple,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        supports_float16=True,
        supports_bfloat16=True,
        config={},
    )
    return LoadedNetwork(network.eval(), facts)


def small_rrdb(**changes) -> RRDBNet:
    torch.manual_seed(0)
    return RRDBNet(**{"num_feat": 8, "num_grow_ch": 4, "num_block": 2, **changes})


def reference(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The network in float64, one image at a time."""
    exact = copy.deepcopy(network).double()
    with torch.no_grad():
        return torch.cat([exact(image[None].double()) for image in images])


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (13, 1), (15, 22), (32, 32)])
@pytest.mark.parametrize("batch", [1, 7])
def test_float32_equals_the_float64_network_within_a_millionth(size, batch):
    network = small_rrdb()
    images = torch.rand(batch, 3, *size)
    result = Upscaler(wrap(network), FLOAT32)(images)
    assert result.shape == (batch, 3, size[0] * 4, size[1] * 4)
    torch.testing.assert_close(result.double(), reference(network, images), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("scale", "multiple"), [(2, 2), (1, 4)])
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (8, 12)])
def test_sizes_that_pixel_unshuffle_cannot_take_are_padded_and_cropped(scale, multiple, size):
    network = small_rrdb(scale=scale)
    images = torch.rand(2, 3, *size)
    result = Upscaler(wrap(network, scale, multiple=multiple), FLOAT32)(images)
    assert result.shape == (2, 3, size[0] * scale, size[1] * scale)
    below, right = -size[0] % multiple, -size[1] % multiple
    mode = "reflect" if below < size[0] and right < size[1] else "replicate"
    padded = nn.functional.pad(images, (0, right, 0, below), mode=mode)
    expected = reference(network, padded)[..., : size[0] * scale, : size[1] * scale]
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-6)


def test_a_grey_network_takes_each_channel_for_itself():
    network = small_rrdb(num_in_ch=1, num_out_ch=1)
    images = torch.rand(2, 3, 9, 8)
    result = Upscaler(wrap(network, channels=1), FLOAT32)(images)
    expected = torch.cat([reference(network, images[:, [channel]]) for channel in range(3)], 1)
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("tile", [16, 20, 33])
def test_tiles_that_see_the_whole_receptive_field_change_nothing(tile):
    network = SRVGGNetCompact(num_feat=8, num_conv=3, upscale=2)  # five 3x3 convolutions: radius 5
    images = torch.rand(2, 3, 61, 47)
    tiled = Upscaler(wrap(network, 2), EngineOptions(device="cpu", dtype="float32", tile=tile, overlap=5))(images)
    torch.testing.assert_close(tiled.double(), reference(network, images), rtol=0, atol=1e-6)


def test_too_small_an_overlap_is_seen():
    network = SRVGGNetCompact(num_feat=8, num_conv=3, upscale=2)
    images = torch.rand(1, 3, 61, 47)
    tiled = Upscaler(wrap(network, 2), EngineOptions(device="cpu", dtype="float32", tile=16, overlap=1))(images)
    assert (tiled.double() - reference(network, images)).abs().max() > 1e-4


def test_the_default_overlap_keeps_trained_weights_within_one_code_value_of_untiled():
    loaded = load_network("default")
    images = probe_picture(96)
    tiled = Upscaler(loaded, EngineOptions(device="cpu", dtype="float32", tile=32))(images)
    assert (tiled.double() - reference(loaded.network, images)).abs().max() < 1 / 255


class LimitedMemory(nn.Module):
    """Raises what torch raises when a pass has more pixels than `limit`."""

    def __init__(self, network: nn.Module, limit: int, error: Exception) -> None:
        super().__init__()
        self.network, self.limit, self.error, self.failures = network, limit, error, 0

    def forward(self, images):
        if images.shape[0] * images.shape[2] * images.shape[3] > self.limit:
            self.failures += 1
            raise self.error
        return self.network(images)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
    ],
)
def test_running_out_of_memory_makes_passes_smaller_and_loses_no_frame(error):
    network = SRVGGNetCompact(num_feat=4, num_conv=0, upscale=2)
    limited = LimitedMemory(network, 50 * 50, error)
    images = torch.rand(3, 3, 64, 64)
    upscaler = Upscaler(wrap(limited, 2), EngineOptions(device="cpu", dtype="float32", batch=3, overlap=12))
    result = upscaler(images)
    torch.testing.assert_close(result.double(), reference(network, images), rtol=0, atol=1e-6)
    failures = upscaler._backend.network.failures
    assert failures > 0
    upscaler(images)
    assert upscaler._backend.network.failures == failures, "a second batch starts with what was learned"


def test_no_memory_at_all_ends_with_a_clear_line():
    limited = LimitedMemory(small_rrdb(), 16 * 16, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(EngineError, match="not enough memory for 64x64"):
        Upscaler(wrap(limited), FLOAT32)(torch.rand(1, 3, 64, 64))


def test_a_picture_that_found_no_memory_leaves_the_next_one_all_there_is():
    network = small_rrdb()
    limited = LimitedMemory(network, 16 * 16, torch.OutOfMemoryError("CUDA out of memory"))
    upscaler = Upscaler(wrap(limited), FLOAT32)
    with pytest.raises(EngineError):
        upscaler(torch.rand(1, 3, 64, 64))
    upscaler._backend.network.limit = 128 * 128
    images = torch.rand(1, 3, 80, 80)
    torch.testing.assert_close(upscaler(images).double(), reference(network, images), rtol=0, atol=1e-5)


def test_other_errors_of_the_network_are_not_taken_for_memory():
    limited = LimitedMemory(small_rrdb(), 16 * 16, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        Upscaler(wrap(limited), FLOAT32)(torch.rand(1, 3, 20, 20))


def test_frames_that_overflow_in_half_precision_are_computed_again_in_float32():
    network = small_rrdb()
    with torch.no_grad():  # 1e5 in the features is beyond float16, and the last layer brings it back
        network.conv_first.weight *= 1e5
        network.conv_last.weight *= 1e-5
    images = torch.rand(3, 3, 8, 8)
    images[1] = 0
    result = Upscaler(wrap(network), EngineOptions(device="cpu", dtype="float16"))(images)
    assert torch.isfinite(result).all()
    expected = reference(network, images)
    torch.testing.assert_close(result[[0, 2]].double(), expected[[0, 2]], rtol=1e-4, atol=1e-4)


def test_weights_that_are_not_finite_end_with_a_clear_line():
    network = small_rrdb()
    with torch.no_grad():
        network.conv_last.bias.fill_(float("nan"))
    with pytest.raises(EngineError, match="not finite in float32"):
        Upscaler(wrap(network), FLOAT32)(torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_keeps_50_db_with_the_shipped_weights(dtype):
    loaded = load_network("default")
    images = probe_picture(96)
    result = Upscaler(loaded, EngineOptions(device="cpu", dtype=dtype))(images).double()
    error = (result.clamp(0, 1) - reference(loaded.network, images).clamp(0, 1)).square().mean()
    assert -10 * error.log10() > 50


def test_auto_stays_with_float32_when_half_precision_misses_the_bound():
    network = small_rrdb()
    with torch.no_grad():  # large features that cancel: the case in which bfloat16 falls apart
        network.conv_hr.weight *= 300
        network.conv_last.weight *= 30
    loaded = wrap(network)
    assert probe_psnr(loaded, torch.bfloat16, torch.device("cpu")) < 52
    assert Upscaler(loaded, EngineOptions(device="cpu")).dtype == torch.float32


def test_the_trunk_and_the_last_convolution_stay_in_float32():
    upscaler = Upscaler(wrap(small_rrdb()), EngineOptions(device="cpu", dtype="bfloat16"))
    seen = {}
    network = upscaler._backend.network
    network.body[0].register_forward_hook(lambda _m, _i, output: seen.update(trunk=output.dtype))
    network.conv_last.register_forward_hook(lambda _m, _i, output: seen.update(last=output.dtype))
    network.conv_hr.register_forward_hook(lambda _m, _i, output: seen.update(hr=output.dtype))
    upscaler(torch.rand(1, 3, 8, 8))
    assert seen == {"trunk": torch.float32, "last": torch.float32, "hr": torch.bfloat16}


@pytest.mark.parametrize(
    ("has_it", "dtype", "said"), [(False, "bfloat16", 1), (True, "bfloat16", 0), (False, "auto", 0)]
)
def test_bfloat16_in_software_is_done_but_said(has_it, dtype, said, monkeypatch, caplog):
    monkeypatch.setattr("esrgan_video.engine.precision.multiplies_bfloat16", lambda: has_it)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: has_it)
    upscaler = Upscaler(wrap(small_rrdb()), EngineOptions(device="cpu", backend="torch", dtype=dtype))
    assert upscaler.precision == ("float32" if dtype == "auto" else "bfloat16")
    assert caplog.text.count("this processor has no bfloat16") == said


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 8, 8), (0, 3, 8, 8), (1, 3, 0, 8)])
def test_batches_of_another_shape_are_refused_with_the_shape(shape):
    with pytest.raises(UsageError, match="got"):
        Upscaler(wrap(small_rrdb()), FLOAT32)(torch.rand(shape))


def test_integers_are_refused():
    with pytest.raises(UsageError, match="uint8"):
        Upscaler(wrap(small_rrdb()), FLOAT32)(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize("device", ["cuda:99", "meta", "gpu", "cuda:x"])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(UsageError, match=device):
        Upscaler(wrap(small_rrdb()), EngineOptions(device=device))


def test_networks_of_other_channels_are_refused():
    with pytest.raises(UsageError, match="4 and gives 4 channels"):
        Upscaler(wrap(small_rrdb(num_in_ch=4, num_out_ch=4), channels=4), FLOAT32)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("dtype", "psnr"), [("float16", 60), ("bfloat16", 50), ("float32", 90)])
def test_cuda_agrees_with_float64(dtype, psnr):
    loaded = load_network("default")
    images = probe_picture(96)
    result = Upscaler(loaded, EngineOptions(device="cuda", dtype=dtype))(images).cpu().double()
    error = (result.clamp(0, 1) - reference(loaded.network, images).clamp(0, 1)).square().mean()
    assert -10 * error.log10() > psnr
