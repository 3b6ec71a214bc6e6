"""Faces in pictures: alignment, masks, blending, and what is left alone."""

from __future__ import annotations

import functools
import sys
import warnings

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.transform import SimilarityTransform
from torch.nn import functional as F

from esrgan.errors import UsageError
from esrgan_video import FaceOptions, FaceRestorer, upscale_image
from esrgan_video.cli.main import main
from esrgan_video.faces.blend import RestoredFace, soft_mask, square_mask
from esrgan_video.faces.detect import FaceDetector
from esrgan_video.faces.face import Detection, Face
from esrgan_video.faces.geometry import TEMPLATE, Similarity, Window, align, sample, stretch
from esrgan_video.faces.network import FaceParser
from esrgan_video.faces.restorer import crop
from esrgan_video.images import read_image, upscale_pixels
from esrgan_video.size import OutputSize
from face_tools import BrightDetector, face_folder, face_picture, landmarks_in, stand_in, write_restorer

PLACES = [
    [[147.4, 124.8], [204.3, 112.9], [173.8, 154.9], [164.4, 182.8], [214.5, 172.5]],
    [[30, 40], [34, 60], [20, 52], [8, 45], [12, 62]],
    [[300, 200], [310, 201], [318, 230], [303, 262], [312, 260]],  # a profile
]


class Bicubic:
    """What an upscaler without a network gives."""

    device = torch.device("cpu")

    def __init__(self, scale: int) -> None:
        self.scale = scale

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        return F.interpolate(batch, scale_factor=float(self.scale), mode="bicubic") if self.scale > 1 else batch.clone()


class Listed:
    """A detector that knows beforehand."""

    def __init__(self, *found: Detection) -> None:
        self._found = list(found)

    def __call__(self, batch: torch.Tensor) -> list[list[Detection]]:
        return [self._found] * len(batch)


def face_at(left, top, right, bottom):
    return Detection((left, top, right, bottom), 0.9, landmarks_in((left, top, right, bottom)))


@pytest.fixture
def restorer(tmp_path):
    """Makes restorers of faces that it is told of; `added` is how much brighter they get."""

    def make(*found, added=0.2, scale=1, **options):
        model = write_restorer(tmp_path / f"x{scale}{added}.pth", scale, added)
        return FaceRestorer(FaceOptions(model=str(model), **options), detector=Listed(*found))

    return make


@pytest.mark.parametrize("landmarks", PLACES)
@pytest.mark.parametrize("side", [128, 512])
def test_alignment_is_umeyamas_similarity(landmarks, side):
    found = align(np.array(landmarks, float), side)
    expected = SimilarityTransform.from_estimate(np.array(landmarks, float), TEMPLATE * side / 512)
    assert np.allclose(found.matrix, expected.params[:2], atol=1e-9)
    assert np.allclose(found.inverse().matrix, cv2.invertAffineTransform(found.matrix), atol=1e-6)


def test_alignment_of_exact_landmarks_is_opencvs():
    turned = Similarity(0.4, 0.2, 30, 50)(TEMPLATE)
    expected, _ = cv2.estimateAffinePartial2D(turned, TEMPLATE, method=cv2.LMEDS)
    assert np.allclose(align(turned, 512).matrix, expected, atol=1e-4)


@pytest.mark.parametrize("landmarks", [np.full((5, 2), 7.0), np.full((5, 2), np.nan)])
def test_landmarks_in_one_place_are_no_face(landmarks):
    assert align(landmarks, 512) is None


@pytest.mark.parametrize("scale", [0.9, 0.4, 0.15])
def test_sampling_is_opencvs_with_its_area_filter(scale):
    """On a picture without fine detail, so that filters do not differ; OpenCV's coordinates are those of centres."""
    picture = cv2.GaussianBlur(np.random.default_rng(1).random((300, 400)).astype(np.float32), (0, 0), 6 / scale)
    turned = Similarity(0.95 / scale, 0.2 / scale, 20, 3)
    seen = sample(torch.from_numpy(picture)[None, None], Window(2, 3, 50, 40), turned.matrix)[0, 0].numpy()
    centres = turned.matrix.copy()
    centres[:, 2] = turned(np.array([[2.5, 3.5]]))[0] - 0.5
    expected = cv2.warpAffine(
        picture, centres, (50, 40), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    inside = cv2.warpAffine(np.ones_like(picture), centres, (50, 40), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    away = cv2.erode(inside, np.ones((5, 5))) > 0
    assert away.mean() > 0.1
    assert np.abs(seen - expected)[away].max() < 2 / 255


def test_shrinking_does_not_alias():
    """Stripes of two pixels, seen at an eighth, are grey; OpenCV's plain sampling shows stripes that are not there."""
    stripes = torch.zeros(1, 1, 256, 256)
    stripes[..., ::4], stripes[..., 1::4] = 1, 1
    seen = sample(stripes, Window(0, 0, 30, 30), Similarity(8, 0.5, 3, 2).matrix)
    assert (seen - 0.5)[..., 4:-4, 4:-4].abs().max() < 0.01


def test_masks_are_whole_inside_nothing_at_the_edge_and_without_steps():
    line = torch.stack((torch.linspace(0, 512, 2049), torch.full((2049,), 300.0)), dim=-1)
    for mask in (soft_mask, square_mask):
        values = mask(line)
        assert mask(torch.from_numpy(TEMPLATE)).min() == 1
        assert values[0] == 0
        assert values[-1] == 0
        assert values.max() == 1
        assert values.diff().abs().max() < 0.01  # of a quarter pixel
        assert values.diff().diff().abs().max() < 0.001


@pytest.mark.parametrize("network_scale", [1, 2, 4])
@pytest.mark.parametrize("size", [OutputSize(), OutputSize(scale=1.5), OutputSize(width=333, height=500)])
def test_an_identity_gives_the_plain_picture(restorer, network_scale, size):
    pixels = cv2.GaussianBlur(np.random.default_rng(2).integers(0, 256, (240, 320, 3)).astype(np.uint8), (0, 0), 2)
    faces = restorer(face_at(40, 50, 110, 140), face_at(180, 20, 300, 200), added=0.0)
    plain = upscale_pixels(pixels, Bicubic(network_scale), size)
    restored = upscale_pixels(pixels, Bicubic(network_scale), size, faces=faces)
    assert restored.shape == plain.shape
    assert np.abs(restored.astype(int) - plain).max() <= 2


def test_a_restored_face_is_where_the_mask_is_and_nowhere_else(restorer):
    pixels = face_picture(240, 320, None)
    box = (100, 60, 180, 190)
    plain = upscale_pixels(pixels, Bicubic(2)).astype(int)
    changed = upscale_pixels(pixels, Bicubic(2), faces=restorer(face_at(*box), added=0.2)) - plain
    place = align(Face(landmarks_in(box)).points, 512)
    y, x = np.mgrid[:480, :640] + 0.5
    template = place(np.stack((x / 2, y / 2), axis=2))
    mask = soft_mask(torch.from_numpy(template)).numpy()
    assert np.abs(changed - 51 * mask[:, :, None]).max() <= 2  # 0.2 of 255
    assert (changed[mask == 0] == 0).all()
    assert changed.max() == pytest.approx(51, abs=1)


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_strength_is_a_share(restorer, strength):
    pixels = face_picture(120, 160, None)
    plain = upscale_pixels(pixels, Bicubic(2)).astype(int)
    faces = restorer(face_at(50, 30, 110, 100), strength=strength)
    changed = upscale_pixels(pixels, Bicubic(2), faces=faces) - plain
    assert changed.max() == pytest.approx(51 * strength, abs=1)


def test_faces_beyond_the_border_and_tiny_and_huge_ones_are_blended_without_a_trace(restorer):
    pixels = cv2.GaussianBlur(np.random.default_rng(4).integers(0, 256, (200, 260, 3)).astype(np.uint8), (0, 0), 2)
    places = [(-60, -50, 80, 120), (200, 150, 330, 300), (100, 80, 116, 98), (20, -30, 225, 270), (900, 0, 950, 60)]
    for scale in (1, 2):
        plain = upscale_pixels(pixels, Bicubic(2)).astype(int)
        faces = restorer(*(face_at(*place) for place in places), added=0.0, scale=scale)
        assert np.abs(upscale_pixels(pixels, Bicubic(2), faces=faces) - plain).max() <= (3 if scale == 1 else 6)


def test_small_faces_and_those_beside_the_centre_are_left_alone(restorer):
    pixels = face_picture(200, 300, None)
    plain = upscale_pixels(pixels, Bicubic(1)).astype(int)
    small, left, middle = face_at(20, 20, 50, 60), face_at(20, 90, 80, 170), face_at(120, 60, 190, 150)

    def touched(**options):
        changed = upscale_pixels(pixels, Bicubic(1), faces=restorer(small, left, middle, **options)) - plain
        return [bool(changed[y, x].any()) for x, y in ((35, 40), (50, 130), (155, 105))]

    assert touched() == [True, True, True]
    assert touched(min_size=31) == [False, True, True]
    assert touched(only_center=True) == [False, False, True]
    assert touched(only_center=True, min_size=500) == [False, False, False]


def test_no_face_changes_nothing(restorer):
    pixels = face_picture(60, 80, None)
    assert np.array_equal(upscale_pixels(pixels, Bicubic(2), faces=restorer()), upscale_pixels(pixels, Bicubic(2)))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_every_kind_of_picture_keeps_its_kind(restorer, tmp_path, mode):
    colours = face_picture(80, 100, None) + 80
    picture = Image.fromarray(colours)
    if mode == "I;16":
        picture = Image.fromarray(colours[:, :, 0].astype(np.uint16) * 257)
    elif mode == "RGBA":
        picture.putalpha(Image.fromarray(np.tile(np.arange(100, dtype=np.uint8) * 2, (80, 1))))
    else:
        picture = picture.convert(mode)
    source, plain, restored = (tmp_path / name for name in ("in.png", "plain.png", "faces.png"))
    picture.save(source)
    upscale_image(source, plain, upscaler=Bicubic(2))
    upscale_image(source, restored, upscaler=Bicubic(2), faces=restorer(face_at(30, 20, 70, 60), added=-0.2))
    before, after = read_image(plain).pixels, read_image(restored).pixels
    assert (before.dtype, before.shape) == (after.dtype, after.shape)
    peak = np.iinfo(before.dtype).max
    assert (before.astype(float) - after).max() == pytest.approx(0.2 * peak, abs=0.01 * peak)
    if mode == "RGBA":
        assert np.array_equal(before[:, :, 3], after[:, :, 3])


def test_color_fix_takes_the_tint_of_the_restorer_back(restorer):
    pixels = face_picture(120, 160, None)
    plain = upscale_pixels(pixels, Bicubic(2), color_fix=True).astype(int)
    tinted = restorer(face_at(50, 30, 110, 100), added=0.1)
    assert np.abs(upscale_pixels(pixels, Bicubic(2), faces=tinted, color_fix=True) - plain).max() <= 1


def test_an_upscaling_network_sees_the_inputs_own_pixels_whatever_the_size_of_the_face(restorer):
    network = restorer(scale=4)._network
    for extent in (10, 64, 65, 300, 5000):
        side, density = network.crop_for(512 / extent)
        assert density * 512 == pytest.approx(extent)
        assert extent <= side < extent + 64
    upright = align(np.array(landmarks_in((20, 30, 62, 100))), 512)
    pixels = torch.rand(1, 3, 140, 120, generator=torch.Generator().manual_seed(0))
    side, density = network.crop_for(upright.scale)
    seen = crop(pixels, upright, side, density)
    left, top = upright.inverse()(np.array([256.0, 256.0])) - side / 2
    expected = cv2.warpAffine(
        pixels[0].permute(1, 2, 0).numpy(),
        np.array([[1, 0, left], [0, 1, top]]),
        (side, side),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    assert np.abs(seen[0].permute(1, 2, 0).numpy() - expected).max() < 0.05  # OpenCV has 32 places between pixels


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"strength": 1.5}, "--face-strength must be 0 to 1, got 1.5"),
        ({"strength": float("nan")}, "--face-strength must be 0 to 1, got nan"),
        ({"min_size": -1}, "--face-min-size must be 0 or more pixels, got -1"),
        ({"detector": "mtcnn"}, "--face-detector must be one of mobilenet, resnet50, got 'mtcnn'"),
        ({"mask": "hard"}, "--face-mask must be one of soft, parse, got 'hard'"),
    ],
)
def test_choices_outside_their_range_are_named(given, message):
    with pytest.raises(UsageError, match=message):
        FaceOptions(model="x", **given)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--face-strength", "0.5"], "--face-strength is for faces: name what restores them with --faces MODEL"),
        (["--only-center"], "--face-only-center is for faces"),
        (["--faces", "no-such-model"], "'no-such-model' is neither a weights file nor a known model"),
        (["--faces", "default", "--face-min-size", "-3"], "--face-min-size must be 0 or more pixels, got -3"),
        (["--faces", "default", "--face-dir", "no folder"], "--face-dir no folder is not a folder"),
        (["--faces", "default", "--face-dir", "."], "--face-dir . has no detection_mobilenet0.25_Final.pth"),
        (["--face_enhance", "--face-dir", ".", "--face-detector", "resnet50"], "has no detection_Resnet50_Final.pth"),
    ],
)
def test_a_mistake_about_faces_is_one_line_before_the_work(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(face_picture(20, 30, None)).save("in.png")
    (tmp_path / "GFPGANv1.4.pth").write_bytes(b"never read")
    assert main(["upscale", "in.png", "-o", "out.png", *words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "out.png").exists()


def test_the_command_restores_faces(tmp_path, monkeypatch, capsys):
    """With the stand-in for the detector; else all is the command's."""
    monkeypatch.setattr("esrgan_video.faces.restorer.FaceDetector", lambda *_: BrightDetector())
    source = tmp_path / "in.png"
    Image.fromarray(face_picture(40, 60, (20, 8, 48, 34))).save(source)
    model = write_restorer(tmp_path / "darker.pth", scale=4, added=-0.3)
    results = []
    for number, words in enumerate(([], ["--faces", str(model)], ["--faces", str(model), "--face-min-size", "40"])):
        target = tmp_path / f"{number}.png"
        assert main(["upscale", str(source), "-o", str(target), *words]) == 0
        results.append(np.asarray(Image.open(target)).astype(int))
    assert (results[0] - results[1])[80, 136].min() > 50
    assert np.array_equal(results[0], results[2])
    capsys.readouterr()


def test_without_facexlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "facexlib.detection.retinaface", None)
    with pytest.raises(UsageError, match=r'restoring faces needs an optional package: pip install "esrgan\[faces\]"'):
        FaceRestorer(FaceOptions(model="default", folder=face_folder(tmp_path)))


@pytest.mark.parametrize("name", ["mobilenet", "resnet50"])
def test_weights_of_the_official_kind_run_as_in_facexlib(tmp_path, name):
    """Random ones in both networks of facexlib, so that many boxes pass: its own decoding and suppression agree."""
    retinaface = pytest.importorskip(
        "facexlib.detection.retinaface", reason="the extra faces is not installed", exc_type=ImportError
    )
    torch.manual_seed(6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = retinaface.RetinaFace({"mobilenet": "mobile0.25", "resnet50": "resnet50"}[name], device="cpu")
    file = {"mobilenet": "detection_mobilenet0.25_Final.pth", "resnet50": "detection_Resnet50_Final.pth"}[name]
    picture = np.random.default_rng(3).integers(0, 256, (70, 100, 3), dtype=np.uint8)
    with torch.no_grad():  # statistics that keep values in bounds
        theirs.train()(torch.randn(4, 3, 128, 128) * 60)
    theirs.eval()
    torch.save({f"module.{key}": tensor for key, tensor in theirs.state_dict().items()}, tmp_path / file)
    with torch.no_grad():
        scores = theirs(torch.from_numpy(picture[:, :, ::-1].copy()).permute(2, 0, 1)[None].float() - 110)[1][..., 1]
        least = float(scores.quantile(0.6))
        expected = theirs.detect_faces(picture[:, :, ::-1].copy(), least)
    options = FaceOptions(model="default", folder=tmp_path, detector=name, min_score=least)
    found = FaceDetector(options, torch.device("cpu"))(as_batch(picture))[0]
    ours = np.array([[*face.box, face.score, *np.ravel(face.landmarks)] for face in found])
    assert len(expected) > 3
    assert ours.shape == expected.shape
    apart = np.abs(ours[:, None] - expected[None]).max(2)
    assert apart.min(0).max() < 0.02
    assert apart.min(1).max() < 0.02


def test_a_parsed_face_is_pasted_where_it_is_face():
    left_half = torch.zeros(1, 1, 512, 512)
    left_half[..., :256] = 1
    picture = torch.zeros(1, 3, 200, 200)
    place = align(Face(landmarks_in((60, 40, 140, 170))).points, 512)
    RestoredFace(torch.ones(1, 3, 512, 512), stretch(1.0), place, 1.0, left_half).paste(picture, (200, 200))
    assert picture[0, 0, 100, 80:92].min() == pytest.approx(1, abs=1e-5)
    assert picture[0, 0, 100, 108:].abs().max() < 1e-5


def test_the_parser_is_facexlibs(tmp_path, monkeypatch):
    """A small ParseNet with random weights and half of its pixels background, its classes counted by hand."""
    parsenet = pytest.importorskip(
        "facexlib.parsing.parsenet", reason="the extra faces is not installed", exc_type=ImportError
    )
    small = functools.partial(parsenet.ParseNet, base_ch=8, res_depth=1, ch_range=[8, 16])
    torch.manual_seed(8)
    theirs = small(in_size=512, out_size=512, parsing_ch=19)
    face = F.interpolate(torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)), size=512, mode="bicubic")
    face = face.clamp(0, 1)
    with torch.no_grad():
        theirs.train()(face * 2 - 1)
        scores = theirs.eval()(face * 2 - 1)[0]
        theirs.out_mask_conv.conv2d.bias[[14, 16, 17, 18]] -= 1000
        theirs.out_mask_conv.conv2d.bias[0] += (scores[:, [*range(1, 14), 15]].amax(1) - scores[:, 0]).median()
    torch.save(theirs.state_dict(), tmp_path / "parsing_parsenet.pth")
    monkeypatch.setattr(parsenet, "ParseNet", small)
    with torch.inference_mode():
        classes = theirs(face * 2 - 1)[0].argmax(1)[0]
        soft = FaceParser(tmp_path / "parsing_parsenet.pth", torch.device("cpu"))(face)
    inside = (((classes >= 1) & (classes <= 13)) | (classes == 15)).numpy()
    assert 0.1 < inside.mean() < 0.9
    assert soft.shape == (1, 1, 512, 512)
    deep, far = (cv2.erode(area.astype(np.uint8), np.ones((101, 101))) > 0 for area in (inside, ~inside))
    assert soft.mean() == pytest.approx(inside.mean(), abs=0.02)
    assert not deep.any() or soft[0, 0].numpy()[deep].min() > 0.95
    assert not far.any() or soft[0, 0].numpy()[far].max() < 0.05


# ------------------------------------------------------------------------------------------------ real detector


@pytest.fixture(scope="module")
def real_detector(assets):
    if not (assets / "weights" / "mobilenet0.25_Final.pth").is_file():
        pytest.skip("no RetinaFace weights in the assets")
    pytest.importorskip(
        "facexlib.detection.retinaface", reason="the extra faces is not installed", exc_type=ImportError
    )
    return FaceDetector(FaceOptions(model="default", folder=assets / "weights"), torch.device("cpu"))


def real_picture(assets, name):
    return read_image(assets / "images" / "faces" / name).pixels


def as_batch(pixels):
    return torch.from_numpy(np.repeat(pixels, 3 // pixels.shape[2], 2).copy()).permute(2, 0, 1)[None].float() / 255


BY_HAND = {
    "group_or_portrait.jpg": [
        [(467, 158), (553, 176), (494, 211), (448, 240), (533, 256)],
        [(150, 180), (216, 203), (170, 225), (130, 250), (186, 271)],
    ],
    "test.jpg": [[(147, 124), (203, 112), (176, 152), (165, 187), (212, 178)]],
}
"""Both eyes, nose and corners of the mouth as one sees them, in pixels."""


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_the_detector_finds_the_faces_that_are_there(real_detector, assets, name):
    found = real_detector(as_batch(real_picture(assets, name)))[0]
    assert len(found) == len(BY_HAND[name])
    for face, points in zip(found, BY_HAND[name], strict=True):
        eyes = np.hypot(*np.subtract(points[1], points[0]))
        assert np.abs(np.array(face.landmarks) - points).max() < 0.25 * eyes
        assert face.box[0] < min(x for x, _ in points) < max(x for x, _ in points) < face.box[2]
        assert face.box[1] < min(y for _, y in points) < max(y for _, y in points) < face.box[3]


def test_the_detector_is_facexlibs(real_detector, assets):
    """The same weights, set up in facexlib's class as they were trained, through facexlib's own decoding."""
    from facexlib.detection.retinaface import RetinaFace

    theirs = RetinaFace("mobile0.25", device="cpu")
    theirs.load_state_dict(
        torch.load(assets / "weights" / "mobilenet0.25_Final.pth", weights_only=True, map_location="cpu")
    )
    theirs.cfg["min_sizes"] = [[10, 20], [32, 64], [128, 256]]
    for layer in theirs.modules():
        if isinstance(layer, torch.nn.LeakyReLU):
            layer.negative_slope = 0.0
    for name in BY_HAND:
        pixels = np.repeat(real_picture(assets, name), 3, 2)[:, :, -3:]
        batch = as_batch(pixels)
        with torch.no_grad():
            expected = theirs.detect_faces(np.ascontiguousarray(pixels[:, :, ::-1]), 0.8)
        found = real_detector(batch)[0]
        ours = np.array([[*face.box, face.score, *np.ravel(face.landmarks)] for face in found])
        assert ours.shape == expected.shape
        assert np.abs(ours - expected).max() < 0.02


def test_what_is_found_does_not_depend_on_the_batch(real_detector, assets):
    picture = as_batch(real_picture(assets, "group_or_portrait.jpg"))
    batch = torch.cat([picture, picture.flip(3), picture * 0.9, torch.full_like(picture, 0.5)])
    together = real_detector(batch)
    assert together == [real_detector(one[None])[0] for one in batch]
    assert [len(found) for found in together] == [2, 2, 2, 0]


def test_large_pictures_are_searched_at_a_size_that_the_detector_knows(real_detector, assets):
    picture = as_batch(real_picture(assets, "group_or_portrait.jpg"))
    small, large = real_detector(picture)[0], real_detector(F.interpolate(picture, scale_factor=4.0))[0]
    assert len(large) == len(small) == 2
    for one, other in zip(small, large, strict=True):
        assert np.abs(np.array(other.box) / 4 - one.box).max() < 0.05 * one.size


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_an_identity_on_real_faces_gives_the_plain_picture(real_detector, assets, tmp_path, name):
    """What is lost by sampling twice is the finest detail, so that goes first; a hard edge keeps a little."""
    pixels = real_picture(assets, name)
    soft = cv2.GaussianBlur(pixels, (0, 0), 3).reshape(pixels.shape)
    options = FaceOptions(model=str(write_restorer(tmp_path / "identity.pth")))
    faces = FaceRestorer(options, detector=real_detector)
    plain = upscale_pixels(soft, Bicubic(2)).astype(int)
    lost = np.abs(upscale_pixels(soft, Bicubic(2), faces=faces) - plain)
    assert lost.max() <= 4
    assert (lost > 2).mean() < 1e-4
    brighter = FaceRestorer(
        FaceOptions(model=str(write_restorer(tmp_path / "brighter.pth", added=0.1))), detector=real_detector
    )
    changed = upscale_pixels(pixels, Bicubic(2), faces=brighter) - upscale_pixels(pixels, Bicubic(2)).astype(int)
    for points in BY_HAND[name]:
        for x, y in points:
            assert changed[2 * y, 2 * x].mean() > 10  # of 25


def test_aligned_faces_have_their_eyes_and_mouths_where_the_template_has_them(real_detector, assets):
    """Found again in the aligned picture."""
    for name in BY_HAND:
        picture = as_batch(real_picture(assets, name))
        for face in real_detector(picture)[0]:
            aligned = crop(picture, align(np.array(face.landmarks), 512), 512, 1.0)
            again = real_detector(F.interpolate(aligned, size=256, mode="area"))[0][0]
            assert np.abs(2 * np.array(again.landmarks) - TEMPLATE).max() < 35


def test_the_stand_in_for_the_detector_finds_what_is_bright(tmp_path):
    box = (30, 20, 70, 60)
    found = BrightDetector()(as_batch(face_picture(80, 100, box)))[0]
    assert [face.box for face in found] == [box]
    assert stand_in(write_restorer(tmp_path / "i.pth"), tmp_path / "f").options.folder == tmp_path / "f"
