"""Validations; oracles are scikit-image and formulas in float64."""

import json
import math
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import structural_similarity

from esrgan.training.cli import main
from esrgan.training.evaluation.metrics import (
    BestScores,
    Metric,
    Picture,
    configured_metrics,
    pyiqa_metrics,
    standard_metrics,
)
from esrgan.training.evaluation.validation import evaluate, report, side_by_side, takes_single_images
from esrgan.training.options.binding import Component
from esrgan.training.parts import register_all


@pytest.fixture(scope="module", autouse=True)
def parts():
    register_all()


def picture(side=(40, 52), seed=0):
    generator = np.random.default_rng(seed)
    hr = cv2.resize(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8), (side[1], side[0]))
    noise = generator.integers(-20, 21, hr.shape)
    output = (hr.astype(int) + noise).clip(0, 255).astype(np.uint8)
    return Picture(name="x", lr=hr[::4, ::4], output=output, hr=hr)


def inner(image, border=4):
    return image[border:-border, border:-border, ::-1].astype(np.float64)  # RGB


def y_of(image):
    return rgb2ycbcr(image.astype(np.uint8))[..., 0]


def psnr(a, b):
    return 10 * math.log10(255**2 / np.mean((a - b) ** 2))


def ssim(a, b):
    return structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255,
        channel_axis=2 if a.ndim == 3 else None,
    )  # fmt: skip


def test_psnr_and_ssim_are_named_by_what_they_measure():
    shown = picture()
    a, b = inner(shown.output), inner(shown.hr)
    found = {metric.name: metric.measure(shown) for metric in standard_metrics(4)}
    assert found["psnr_rgb"] == pytest.approx(psnr(a, b), abs=1e-9)
    assert found["psnr_y"] == pytest.approx(psnr(y_of(a), y_of(b)), abs=1e-3)
    assert found["ssim_rgb"] == pytest.approx(ssim(a, b), abs=1e-6)
    assert found["ssim_y"] == pytest.approx(ssim(y_of(a), y_of(b)), abs=1e-4)
    assert abs(found["psnr_y"] - found["psnr_rgb"]) > 0.5


@pytest.mark.parametrize("side", [(18, 40), (1, 1)])
def test_a_picture_too_small_for_ssim_is_left_out(side):
    assert all(math.isnan(metric.measure(picture(side))) for metric in standard_metrics(4))


def test_a_picture_without_hr_is_left_out():
    shown = Picture(name="x", lr=picture().lr, output=picture().output, hr=None)
    configured = configured_metrics({"psnr": Component("calculate_psnr", {"crop_border": 0})})
    assert all(math.isnan(metric.measure(shown)) for metric in [*standard_metrics(4), *configured])


def test_a_grey_picture_is_measured_on_its_values():
    shown = picture()
    grey = Picture(name="x", lr=shown.lr[..., 0], output=shown.output[..., 0], hr=shown.hr[..., 0])
    found = {metric.name: metric.measure(grey) for metric in standard_metrics(4)}
    a, b = (image[4:-4, 4:-4].astype(np.float64) for image in (grey.output, grey.hr))
    assert found["psnr_y"] == pytest.approx(psnr(a, b), abs=1e-3)
    assert math.isnan(found["psnr_rgb"])


def test_the_best_value_follows_the_direction_of_the_metric():
    best = BestScores()
    up, down = Metric("up", lambda _: 0.0), Metric("down", lambda _: 0.0, "lower")
    for iteration, value in ((1, 3.0), (2, 5.0), (3, 4.0), (4, math.nan)):
        best.update("set", up, value, iteration)
        best.update("set", down, value, iteration)
    assert best.values == {"set": {"up": [5.0, 2], "down": [3.0, 1]}}


def test_metrics_of_pyiqa_are_left_out_with_a_warning_where_it_is_missing(monkeypatch, caplog):
    monkeypatch.setattr("esrgan.training.evaluation.metrics.find_spec", lambda _: None)
    assert pyiqa_metrics(["lpips", "dists"], torch.device("cpu")) == []
    assert "lpips, dists are left out: `pip install pyiqa`" in caplog.text
    assert pyiqa_metrics([], torch.device("cpu")) == []


def test_niqe_without_pyiqa_is_basicsrs(monkeypatch):
    from basicsr.metrics.niqe import calculate_niqe

    monkeypatch.setattr("esrgan.training.evaluation.metrics.find_spec", lambda _: None)
    (metric,) = pyiqa_metrics(["niqe"], torch.device("cpu"), border=4)
    assert (metric.name, metric.better) == ("niqe", "lower")
    image = cv2.blur(np.random.default_rng(0).integers(0, 256, (208, 110, 3), dtype=np.uint8), (3, 3))
    shown = Picture(name="x", lr=image, output=image, hr=None)
    assert metric.measure(shown) == pytest.approx(calculate_niqe(image, crop_border=4), abs=1e-9)
    small = Picture(name="x", lr=image, output=image[:199], hr=None)  # one block without its border
    assert math.isnan(metric.measure(small))


def test_metrics_of_pyiqa_get_rgb_and_one_that_cannot_be_made_is_left_out(monkeypatch, caplog):
    class Difference:
        lower_better, metric_mode = True, "FR"

        def __call__(self, output, hr):
            assert output.shape == (1, 3, 40, 52)
            return (output[:, 0] - hr[:, 0]).mean()  # red

    def create_metric(name, device):
        if name != "difference":
            raise OSError("no route to the weights\nof this metric")
        assert device == torch.device("cpu")
        return Difference()

    monkeypatch.setitem(sys.modules, "pyiqa", SimpleNamespace(create_metric=create_metric, __spec__=object()))
    (metric,) = pyiqa_metrics(["lpips", "difference"], torch.device("cpu"))
    assert "lpips is left out: no route to the weights of this metric" in caplog.text
    assert (metric.name, metric.better) == ("difference", "lower")
    shown = picture()
    red = shown.output[..., 2].astype(np.float64) - shown.hr[..., 2]
    assert metric.measure(shown) == pytest.approx(red.mean() / 255, abs=1e-6)
    assert math.isnan(metric.measure(Picture(name="x", lr=shown.lr, output=shown.output, hr=None)))


def test_a_sample_shows_lr_output_and_hr_in_this_order():
    shown = picture()
    sample = side_by_side(shown, 4)
    assert sample.shape == (40, 3 * 52 + 2 * 4, 3)
    assert np.array_equal(sample[:, 56:108], shown.output)
    assert np.array_equal(sample[:, 112:], shown.hr)
    assert np.array_equal(sample[::4, 0:52:4], shown.lr)


def test_a_sample_of_a_large_picture_is_its_middle():
    hr = np.zeros((800, 600, 3), np.uint8)
    hr[400, 300] = 255
    sample = side_by_side(Picture(name="x", lr=hr[::4, ::4], output=hr, hr=hr), 4)
    assert sample.shape == (512, 3 * 512 + 8, 3)
    assert sample[256, 512 + 4 + 256].tolist() == [255, 255, 255]


def test_the_report_names_the_set_the_iteration_and_the_border():
    best = BestScores({"Set5": {"psnr_y": [32.0, 500]}})
    text = report("Set5", 1000, {"psnr_y": 31.5, "ssim_y": 0.9}, border=4, best=best)
    assert text.splitlines()[0] == "Set5 at iteration 1,000, border 4:"
    assert "psnr_y" in text
    assert "31.5000 dB" in text
    assert "best 32.0000 at 500" in text


class Model:
    """Doubles what it is fed, and shows whether it was in training."""

    is_train = True
    device = torch.device("cpu")

    def feed_data(self, batch):
        self.lq, self.seen_training = batch["lq"], self.is_train

    def test(self):
        self.output = self.lq.repeat_interleave(4, 2).repeat_interleave(4, 3)

    def get_current_visuals(self):
        return {"result": self.output}


class Loader(list):
    @property
    def dataset(self):
        class Set:
            opt = {"name": "set"}  # noqa: RUF012

        return Set()


def batch(side, *, hr=True):
    lq = torch.rand(1, 3, side, side)
    values = {"lq": lq, "lq_path": [f"some where/{side}%.png"]}
    return {**values, "gt": lq.repeat_interleave(4, 2).repeat_interleave(4, 3)} if hr else values


def test_a_mean_is_over_the_pictures_that_can_be_measured():
    first = Metric("area", lambda picture: math.nan if picture.hr is None else float(picture.output.shape[0]))
    names = []
    model = Model()
    loader = Loader([batch(10), batch(20), batch(30, hr=False)])
    scores = evaluate(model, loader, [first], each=lambda _, shown: names.append(shown.name), progress="none")
    assert scores == {"area": 60.0}
    assert names == ["10%", "20%", "30%"]
    assert model.is_train
    assert not model.seen_training


def test_a_perfect_picture_has_an_infinite_mean():
    scores = evaluate(Model(), Loader([batch(10)]), standard_metrics(4), each=lambda *_: None, progress="none")
    assert scores["psnr_y"] == math.inf
    assert scores["ssim_y"] == pytest.approx(1)


def test_video_models_keep_their_own_validation():
    from basicsr.utils.registry import MODEL_REGISTRY

    names = ("SRModel", "ESRGANModel", "SwinIRModel", "RaGANModel_esrgan", "EDVRModel", "VideoRecurrentModel")
    found = {name: takes_single_images(object.__new__(MODEL_REGISTRY.get(name))) for name in names}
    assert found == {name: name not in ("EDVRModel", "VideoRecurrentModel") for name in names}


def test_a_run_validates_at_its_interval_and_at_its_end_under_the_right_iterations(runs, capsys):
    runs.write(train__total_iter=7, val__val_freq=3, val__save_img=True)
    assert main(["train", "-opt", "tiny.yml"]) == 0
    said = capsys.readouterr().err
    assert [line.split(": ", 1)[1] for line in said.splitlines() if " at iteration " in line] == [
        f"val at iteration {number}, border 4:" for number in (3, 6, 7)
    ]
    pictures = {path.name for path in (runs.path / "experiments/tiny/visualization/000").iterdir()}
    assert pictures == {f"000_{number}{kind}.png" for number in (3, 6, 7) for kind in ("", "_lr_output_hr")}


def test_the_scores_of_a_validation_are_those_of_the_pictures_that_it_saves(runs):
    runs.write(train__total_iter=4, val__val_freq=4, val__save_img=True, logger__use_tb_logger=True)
    assert main(["train", "-opt", "tiny.yml"]) == 0
    values = []
    for name in ("000", "001"):
        output = cv2.imread(str(runs.path / f"experiments/tiny/visualization/{name}/{name}_4.png"))
        hr = cv2.imread(str(runs.path / f"val/hr/{name}.png"))
        values.append(psnr(inner(output), inner(hr)))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (record,) = map(json.loads, (runs.path / "experiments/tiny/scores.jsonl").read_text().splitlines())
    assert (record["iter"], record["dataset"]) == (4, "val")
    assert record["psnr_rgb"] == pytest.approx(np.mean(values), abs=1e-4)
    events = EventAccumulator(str(runs.path / "tb_logger/tiny"))
    events.Reload()
    (scalar,) = events.Scalars("metrics/val/psnr_rgb")
    assert scalar.step == 4
    assert scalar.value == pytest.approx(np.mean(values), abs=1e-4)
    assert [event.step for event in events.Scalars("losses/l_pix")] == [1, 2, 3, 4]
    assert events.Images("val/000")


def test_test_measures_the_averaged_weights_that_train_left(runs):
    runs.write(train__total_iter=4, val__val_freq=4, val__save_img=True)
    assert main(["train", "-opt", "tiny.yml"]) == 0
    assert main(["test", "-opt", "tiny.yml"]) == 0
    scores = json.loads((runs.path / "results/tiny/scores.json").read_text())
    assert scores.keys() == {"val"}
    values = []
    for name in ("000", "001"):
        output = cv2.imread(str(runs.path / f"results/tiny/visualization/val/{name}_tiny.png"))
        hr = cv2.imread(str(runs.path / f"val/hr/{name}.png"))
        values.append(psnr(inner(output), inner(hr)))
        in_training = cv2.imread(str(runs.path / f"experiments/tiny/visualization/{name}/{name}_4.png"))
        assert np.array_equal(output, in_training)
    assert scores["val"]["psnr_rgb"] == pytest.approx(np.mean(values))
    assert scores["val"].keys() == {"psnr_y", "psnr_rgb", "ssim_y", "ssim_rgb"}


def test_test_measures_what_a_second_stage_made_and_not_where_it_began(runs, capsys):
    runs.write(train__total_iter=1, val__val_freq=1, val__save_img=True)
    assert main(["train", "-opt", "tiny.yml"]) == 0
    (runs.path / "experiments/tiny/models/net_g_latest.pth").rename(runs.path / "first.pth")
    second = runs.options(train__total_iter=3, val__val_freq=3, val__save_img=True, path__param_key_g="params")
    second["name"], second["path"]["pretrain_network_g"] = "second", "first.pth"
    runs.write(second)

    assert main(["test", "-opt", "tiny.yml"]) == 0  # before there is anything to test
    assert "first.pth is measured" in capsys.readouterr().err
    picture = runs.path / "results/second/visualization/val/000_second.png"
    start = cv2.imread(str(picture))
    assert main(["train", "-opt", "tiny.yml"]) == 0
    made = cv2.imread(str(runs.path / "experiments/second/visualization/000/000_3.png"))
    assert not np.array_equal(made, start)

    assert main(["test", "-opt", "tiny.yml"]) == 0
    assert np.array_equal(cv2.imread(str(picture)), made)
    assert main(["test", "-opt", "tiny.yml", "--force_yml", "path:pretrain_network_g=first.pth"]) == 0
    assert np.array_equal(cv2.imread(str(picture)), start)


def test_metrics_of_the_options_are_added_under_their_names(runs):
    metrics = {
        "psnr_border_0": {"type": "calculate_psnr", "crop_border": 0, "test_y_channel": False},
        "ssim_y": {"type": "calculate_ssim", "crop_border": 2, "test_y_channel": True, "better": "higher"},
    }
    runs.write(train__total_iter=1, val__metrics=metrics, val__save_img=True)
    assert main(["train", "-opt", "tiny.yml"]) == 0
    assert main(["test", "-opt", "tiny.yml"]) == 0
    scores = json.loads((runs.path / "results/tiny/scores.json").read_text())["val"]
    assert scores.keys() == {"psnr_y", "psnr_rgb", "ssim_y", "ssim_rgb", "psnr_border_0"}
    pairs = [
        (
            cv2.imread(str(runs.path / f"results/tiny/visualization/val/{n}_tiny.png")),
            cv2.imread(str(runs.path / f"val/hr/{n}.png")),
        )
        for n in ("000", "001")
    ]
    expected = np.mean([psnr(a.astype(np.float64), b.astype(np.float64)) for a, b in pairs])
    assert scores["psnr_border_0"] == pytest.approx(expected)
    expected = np.mean([ssim(y_of(inner(a, 2)), y_of(inner(b, 2))) for a, b in pairs])
    assert scores["ssim_y"] == pytest.approx(expected, abs=1e-4)


def test_test_without_weights_is_refused(runs, capsys):
    runs.write()
    assert main(["test", "-opt", "tiny.yml"]) == 2
    assert "path:pretrain_network_g is not set" in capsys.readouterr().err
    assert not (runs.path / "results").exists()


def test_a_set_without_hr_is_upscaled_only(runs):
    runs.write(train__total_iter=1)
    assert main(["train", "-opt", "tiny.yml"]) == 0
    only_lr = {"name": "field", "type": "SingleImageDataset", "dataroot_lq": "val/lr", "io_backend": {"type": "disk"}}
    runs.write(datasets={"test_1": only_lr})
    assert main(["test", "-opt", "tiny.yml"]) == 0
    assert json.loads((runs.path / "results/tiny/scores.json").read_text()) == {"field": {}}
    assert cv2.imread(str(runs.path / "results/tiny/visualization/field/000_tiny.png")).shape == (48, 48, 3)
