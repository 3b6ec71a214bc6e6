"""Real-ESRGAN's degradation on the CPU, against BasicSR's own on tensors, Pillow and closed forms."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from esrgan.errors import UsageError
from esrgan.training.cli import main
from esrgan.training.data import degradation
from esrgan.training.data.degradation_options import DegradationOptions, SecondStageOptions, StageOptions
from esrgan.training.parts import register_all
from esrgan.training.random_state import seeded


@pytest.fixture(scope="module", autouse=True)
def parts():
    register_all()


@pytest.fixture
def picture():
    """Smooth colours with edges, `(96, 128, 3)` BGR in 0..1."""
    generator = np.random.default_rng(2)
    coarse = generator.random((12, 16, 3), dtype=np.float32)
    return cv2.resize(coarse, (128, 96), interpolation=cv2.INTER_CUBIC).clip(0, 1)


def tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def test_filters_are_those_of_basicsr(picture):
    from basicsr.utils.img_process_util import filter2D

    kernel = degradation.sinc_kernel(np.random.default_rng(0))
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    expected = filter2D(tensor(picture), torch.from_numpy(kernel)[None])[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(degradation.filtered(picture, kernel), expected, atol=1e-5)


def test_sharpening_is_that_of_basicsr_on_tensors(picture):
    from basicsr.utils.img_process_util import USMSharp

    expected = USMSharp()(tensor(picture))[0].permute(1, 2, 0).numpy()
    found = degradation.sharpened(picture)
    assert np.abs(found - picture).max() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("quality", [30, 75.4, 95])
def test_jpeg_is_that_of_pillow(picture, quality):
    stream = io.BytesIO()
    levels = (picture * 255).round().astype(np.uint8)
    Image.fromarray(levels[..., ::-1].copy()).save(stream, "JPEG", quality=round(quality), subsampling="4:2:0")
    with Image.open(stream) as image:
        expected = np.array(image)[..., ::-1]
    found = degradation.jpeg(picture, quality) * 255
    assert np.abs(found - expected).max() <= 3
    assert np.abs(found - expected).mean() < 0.2


@pytest.mark.parametrize("grey", [False, True])
def test_gaussian_noise_has_the_deviation_asked_for(grey):
    flat = np.full((128, 128, 3), 0.5, np.float32)
    noise = degradation.gaussian_noise(flat, 20.0, np.random.default_rng(1), grey=grey) - flat
    assert noise.std() == pytest.approx(20 / 255, rel=0.03)
    assert np.array_equal(noise[..., 0], noise[..., 1]) == grey


@pytest.mark.parametrize("grey", [False, True])
def test_poisson_noise_has_the_variance_of_photons(grey):
    levels = np.arange(256, dtype=np.float32).repeat(400).reshape(256, 400, 1).repeat(3, axis=2) / 255
    noise = degradation.poisson_noise(levels, 0.5, np.random.default_rng(1), grey=grey) - levels
    middle = noise[100:156]  # nothing is clipped there
    expected = 0.5 * np.sqrt(levels[100:156, 0, 0] / 256)  # 256 levels are in the picture
    np.testing.assert_allclose(middle.std(axis=(1, 2)), expected, rtol=0.2)
    assert np.array_equal(noise[..., 0], noise[..., 1]) == grey


NOTHING = {
    "blur_prob": 0,
    "resize_prob": (0, 0, 1),
    "gaussian_noise_prob": 1,
    "noise_range": (0, 0),
    "jpeg_range": (100, 100),
}
HARMLESS = DegradationOptions(
    first=StageOptions(**NOTHING), second=SecondStageOptions(**NOTHING), final_sinc_prob=0, sharpen=False
)


def test_a_degradation_of_nothing_is_a_resize(picture):
    picture = picture[..., :1].repeat(3, axis=2)  # JPEG keeps colours at half the size
    lr = degradation.degrade(picture, 4, HARMLESS, np.random.default_rng(0))
    assert lr.shape == (24, 32, 3)
    np.testing.assert_allclose(lr, cv2.resize(picture, (32, 24), interpolation=cv2.INTER_AREA), atol=0.06)
    np.testing.assert_allclose(lr * 255, (lr * 255).round(), atol=1e-3)


@pytest.mark.parametrize("shape", [(4, 4, 3), (8, 36, 3), (64, 64, 3)])
def test_every_degradation_keeps_size_and_range(shape):
    generator = np.random.default_rng(3)
    image = generator.random(shape, dtype=np.float32)
    for _ in range(20):
        lr = degradation.degrade(image, 4, DegradationOptions(), generator)
        assert lr.shape == (shape[0] // 4, shape[1] // 4, 3)
        assert lr.dtype == np.float32
        assert lr.min() >= 0
        assert lr.max() <= 1


@pytest.mark.slow
def test_degraded_images_are_as_bad_as_those_of_basicsrs_own_model(tmp_path):
    """Median distance from a bicubic reduction, and median strength of detail, over equally many samples."""
    from basicsr.data.realesrgan_dataset import RealESRGANDataset
    from basicsr.models.realesrgan_model import RealESRGANModel
    from basicsr.utils import DiffJPEG
    from basicsr.utils.img_process_util import USMSharp

    from esrgan.training.data.bicubic import downscale
    from esrgan.training.data.degraded_set import DegradedDataset

    generator = np.random.default_rng(4)
    photograph = sum(
        cv2.resize(generator.random((side, side, 3), dtype=np.float32), (400, 400), interpolation=cv2.INTER_CUBIC) / 4
        for side in (8, 32, 100, 400)
    )
    (tmp_path / "hr").mkdir()
    cv2.imwrite(str(tmp_path / "hr" / "photograph.png"), (photograph * 255).clip(0, 255))
    (tmp_path / "names.txt").write_text("photograph.png\n")
    stock = yaml.load((Path(__file__).parent / "stock_realesrgan.yml").read_text(), Loader=yaml.SafeLoader)
    options = {**stock["datasets"]["train"], "dataroot_gt": str(tmp_path / "hr"), "gt_size": 128}
    theirs = RealESRGANDataset({**options, "meta_info": str(tmp_path / "names.txt")})
    model = RealESRGANModel.__new__(RealESRGANModel)  # its constructor moves everything to CUDA
    model.device, model.is_train, model.opt = torch.device("cpu"), True, {**stock, "gt_size": 128}
    model.usm_sharpener, model.jpeger = USMSharp(), DiffJPEG(differentiable=False)
    model._dequeue_and_enqueue = lambda: None
    ours = DegradedDataset(
        {"name": "x", "dataroot_gt": str(tmp_path / "hr"), "scale": 4, "gt_size": 128, "use_hflip": 1, "use_rot": 0}
    )

    def badness(lq, gt):
        lq, gt = ((image * 255).round().permute(1, 2, 0).numpy() for image in (lq, gt))
        lr = downscale(gt.astype(np.uint8), 4).astype(float)
        return np.abs(lq - lr).mean(), np.abs(np.diff(lq, axis=1)).mean() / np.abs(np.diff(lr, axis=1)).mean()

    found = {"theirs": [], "ours": []}
    with seeded(0):
        for _ in range(20):
            model.feed_data({key: v[None] if torch.is_tensor(v) else v for key, v in theirs[0].items()})
            found["theirs"].append(badness(model.lq[0], model.gt[0]))
            sample = ours[0]
            found["ours"].append(badness(sample["lq"], sample["gt"]))
    theirs, ours = (np.median(found[name], axis=0) for name in ("theirs", "ours"))
    np.testing.assert_allclose(ours, theirs, rtol=0.25)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"blur_prob": 1.5}, "blur_prob must be 0 to 1, got 1.5"),
        ({"noise_range": (3, 1)}, "noise_range must be two numbers"),
        ({"jpeg_range": (0, 50)}, "jpeg_range must be within 1 to 100"),
        ({"resize_range": (1.2, 1.5)}, "resize_range must be"),
        ({"resize_prob": (0, 0, 0)}, "resize_prob must be 3 numbers"),
        ({"kernel_prob": (1,)}, "kernel_prob must be 6 numbers"),
    ],
)
def test_impossible_ranges_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        StageOptions(**values)


# The set


def dataset(**changes):
    from esrgan.training.data.degraded_set import DegradedDataset

    options = {"name": "set", "dataroot_gt": "train/hr", "scale": 4, "gt_size": 32, "use_hflip": True, "use_rot": True}
    return DegradedDataset({**options, **changes})


@pytest.mark.usefixtures("runs")
def test_a_sample_follows_from_seed_and_position_alone():
    from esrgan.training.data.sampling import SampleKey, SeededDataset

    first = SeededDataset(dataset(), 7)[SampleKey(2, 0, 5)]
    second = SeededDataset(dataset(), 7)
    other = second[SampleKey(2, 0, 6)]
    again = second[SampleKey(2, 0, 5)]
    assert first["lq"].shape == (3, 8, 8)
    assert first["gt"].shape == first["gt_usm"].shape == (3, 32, 32)
    for name in ("lq", "gt", "gt_usm"):
        assert torch.equal(first[name], again[name])
    assert not torch.equal(first["lq"], other["lq"])


@pytest.mark.usefixtures("runs")
def test_lr_and_hr_lie_on_each_other():
    """An image of 48 pixels is mirrored to the patch and its margin; its LR, hardly degraded, fits its HR."""
    nothing = {name: list(value) if isinstance(value, tuple) else value for name, value in NOTHING.items()}
    options = {"first": nothing, "second": nothing, "final_sinc_prob": 0, "sharpen": False}
    for index in range(4):
        sample = dataset(degradation=options)[index]
        assert torch.equal(sample["gt"], sample["gt_usm"])
        luma = torch.tensor([0.299, 0.587, 0.114])  # JPEG keeps colours at half the size
        hr = torch.tensordot(luma, torch.nn.functional.avg_pool2d(sample["gt"], 4), 1)
        lr = torch.tensordot(luma, sample["lq"], 1)
        distances = {
            (down, right): (lr - hr.roll((down, right), (0, 1)))[1:-1, 1:-1].abs().mean()
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
        }
        there = distances.pop((0, 0))
        assert all(distance > 2 * there for distance in distances.values())


def degraded_options(runs, **changes):
    values = runs.options(train__total_iter=3, logger__save_checkpoint_freq=2, val=None)
    values["datasets"].pop("val")
    values["datasets"]["train"] = {
        "name": "photographs",
        "type": "DegradedDataset_esrgan",
        "dataroot_gt": "train/hr",
        "gt_size": 32,
        "use_hflip": True,
        "use_rot": False,
        "batch_size_per_gpu": 2,
        "num_worker_per_gpu": 0,
        **changes,
    }
    return runs.write(values)


def test_a_run_is_the_same_with_and_without_worker_processes(runs):
    losses = []
    for workers in (0, 2):
        degraded_options(runs, num_worker_per_gpu=workers)
        assert main(["train", "-opt", "tiny.yml"]) == 0
        losses.append([record["l_pix"] for record in runs.losses()])
    assert len(losses[0]) == 3
    assert losses[0] == losses[1]


def test_wrong_keys_of_a_degradation_are_named_with_their_place(runs, capsys):
    degraded_options(runs, degradation={"first": {"blur_probb": 1}, "second": {"jpeg_range": [30, 200]}})
    assert main(["check", "-opt", "tiny.yml"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "datasets:train:degradation:first:blur_probb: unknown key; did you mean 'blur_prob'?" in first
    assert "jpeg_range must be within 1 to 100" in second
