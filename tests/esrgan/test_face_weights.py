"""Networks that restore aligned faces, and the files of face restoration by name."""

from __future__ import annotations

import hashlib
import urllib.error
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from esrgan.errors import UsageError, WeightsError
from esrgan.weights import face_files, load_network
from esrgan.weights.face_files import (
    DETECTORS,
    FACE_MODELS,
    PARSER,
    check_face_model,
    resolve_face_model,
    resolve_face_part,
)
from esrgan.weights.load import load_face_network
from esrgan.weights.others import CentredNetwork
from esrgan_video.cli.upscale import FACE_NAMES

EVERY_ENTRY = [*FACE_MODELS.values(), *DETECTORS.values(), PARSER]


def offline(_address):
    raise urllib.error.URLError("Name or service not known")


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ESRGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("entry", EVERY_ENTRY, ids=lambda entry: entry.name)
def test_every_file_has_an_address_a_checksum_and_a_size(entry):
    assert entry.address.startswith("https://github.com/")
    assert entry.address.endswith(f"/{entry.file}")
    assert len(bytes.fromhex(entry.sha256)) == hashlib.sha256().digest_size
    assert entry.size_bytes > 1_000_000


def test_the_command_names_the_same_restorers():
    assert tuple(FACE_MODELS) == FACE_NAMES


def test_offline_there_is_one_line_that_names_file_and_folder(no_cache):
    with pytest.raises(WeightsError, match=r"cannot download .*detection_Resnet50_Final.*--face-dir$") as raised:
        resolve_face_part(DETECTORS["resnet50"], opener=offline, progress="none")
    assert "\n" not in str(raised.value)
    with pytest.raises(WeightsError, match=r"cannot download .*GFPGANv1\.4\.pth.*--face-dir$"):
        resolve_face_model("gfpganv1.4", opener=offline, progress="none")
    assert not list(no_cache.rglob("*.pth"))


def test_a_download_is_kept_only_with_the_right_checksum(no_cache):
    import io

    class Answer(io.BytesIO):
        headers: dict[str, str] = {}  # noqa: RUF012

    content = b"a detector"
    right = replace(DETECTORS["mobilenet"], sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    file = resolve_face_part(right, opener=lambda _: Answer(content), progress="none")
    assert file.read_bytes() == content
    assert file.parent == no_cache
    wrong = replace(right, sha256="0" * 64, file="other.pth")
    with pytest.raises(WeightsError, match="is not the file expected"):
        resolve_face_part(wrong, opener=lambda _: Answer(content), progress="none")


def test_files_given_by_hand_are_taken_under_either_name(tmp_path):
    with pytest.raises(UsageError, match=r"has no detection_mobilenet0\.25_Final\.pth \(nor mobilenet0"):
        resolve_face_part(DETECTORS["mobilenet"], tmp_path)
    (tmp_path / "mobilenet0.25_Final.pth").write_bytes(b"x")
    assert resolve_face_part(DETECTORS["mobilenet"], tmp_path).name == "mobilenet0.25_Final.pth"
    (tmp_path / "GFPGANv1.4.pth").write_bytes(b"x")
    assert resolve_face_model("GFPGANv1.4", tmp_path, opener=offline) == tmp_path / "GFPGANv1.4.pth"


def test_upscaling_networks_restore_faces_too_and_other_names_are_refused(tmp_path):
    assert load_face_network(resolve_face_model("default")).facts.face_side is None
    with pytest.raises(UsageError, match="neither a weights file nor a known model"):
        resolve_face_model("GFPGANv9")
    with pytest.raises(UsageError, match="neither a weights file nor a network that restores faces"):
        check_face_model(str(tmp_path / "none.pth"))
    check_face_model("CodeFormer")
    check_face_model("default")


@pytest.fixture(scope="module")
def restoreformer(tmp_path_factory):
    """RestoreFormer of spandrel's own class, as small as it goes, with random weights."""
    architecture = pytest.importorskip("spandrel.architectures.RestoreFormer", reason="spandrel is not installed")
    torch.manual_seed(1)
    network = architecture.RestoreFormer(
        n_embed=16,
        embed_dim=32,
        ch=32,
        out_ch=3,
        ch_mult=(1, 1, 1, 1, 1, 1),
        num_res_blocks=1,
        attn_resolutions=(16,),
        dropout=0.0,
        in_channels=3,
        resolution=512,
        z_channels=32,
        double_z=False,
        enable_mid=True,
        head_size=8,
    ).eval()
    path = tmp_path_factory.mktemp("restoreformer") / "small.pth"
    torch.save({"params": network.state_dict()}, path)
    return path, network


def test_restoreformer_loads_for_faces_and_for_nothing_else(restoreformer):
    path, network = restoreformer
    with pytest.raises(WeightsError, match=r"restores aligned faces.*there is --faces"):
        load_network(path)
    loaded = load_face_network(path)
    assert (loaded.facts.face_side, loaded.facts.scale) == (512, 1)
    face = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = (network(face * 2 - 1)[0] + 1) / 2
        assert (loaded.network(face) - expected.clamp(0, 1)).abs().max() < 1e-4


def small_gfpgan():
    architecture = pytest.importorskip("spandrel.architectures.GFPGAN", reason="spandrel is not installed")
    torch.manual_seed(3)
    network = architecture.GFPGAN(
        out_size=64, num_style_feat=16, channel_multiplier=1, num_mlp=2, input_is_latent=True, different_w=True,
        narrow=0.0625, sft_half=True,
    ).eval()  # fmt: skip
    for name, parameter in network.named_parameters():
        if name.startswith("stylegan_decoder") and name.endswith("conv1.weight") and parameter.numel() == 1:
            torch.nn.init.constant_(parameter, 0.5)
        if name.endswith(".weight") and parameter.shape == (1,):  # of the noise: zero at first
            torch.nn.init.constant_(parameter, 0.3)
    return network


def test_gfpgan_works_on_minus_one_to_one_and_gives_the_same_face_twice():
    """As its own inference does but for the noise, which spandrel draws anew for each call."""
    network = small_gfpgan()
    wrapped = CentredNetwork(SimpleNamespace(model=network, architecture=SimpleNamespace(id="GFPGAN")))
    face = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        expected = network(face * 2 - 1, return_rgb=False, randomize_noise=False)[0]
        drawn = [network(face * 2 - 1)[0] for _ in range(2)]
        first, second = wrapped(face), wrapped(face)
        alone = wrapped(face[1:])
    assert not torch.equal(*drawn)  # noise matters in this network
    assert torch.equal(first, second)
    assert torch.equal(first, ((expected + 1) / 2).clamp(0, 1))
    assert (alone - first[1:]).abs().max() < 1e-5


@pytest.mark.slow
def test_gfpgan_of_the_real_size_loads_and_runs(tmp_path):
    """With random weights: GFPGAN's own could not be had."""
    architecture = pytest.importorskip("spandrel.architectures.GFPGAN", reason="spandrel is not installed")
    torch.manual_seed(5)
    network = architecture.GFPGAN(
        out_size=512, channel_multiplier=2, input_is_latent=True, different_w=True, narrow=1, sft_half=True
    )
    torch.save({"params_ema": network.state_dict()}, tmp_path / "GFPGANv1.4.pth")
    loaded = load_face_network(tmp_path / "GFPGANv1.4.pth")
    assert loaded.facts.face_side == 512
    with torch.inference_mode():
        restored = loaded.network(torch.rand(1, 3, 512, 512))
    assert restored.shape == (1, 3, 512, 512)
    assert 0 <= restored.min() <= restored.max() <= 1


def test_unused_names_do_not_hide():
    assert set(face_files.OTHER_NAMES) == {entry.name for entry in (*DETECTORS.values(), PARSER)}
