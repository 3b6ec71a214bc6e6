"""`--exact`: what the float32 network gives, tiles or not."""

import cv2
import numpy as np
import torch

from esrgan.weights import load_network
from esrgan_video.cli.main import main
from esrgan_video.engine.precision import probe_picture


def test_exact_tiles_give_the_network_s_values_at_16_bits(tmp_path):
    codes = (probe_picture(96)[0].permute(1, 2, 0) * 65535).round().numpy().astype(np.uint16)
    cv2.imwrite(str(tmp_path / "small.png"), codes[..., ::-1])
    call = ["upscale", str(tmp_path / "small.png"), "-o", str(tmp_path / "large.png"), "--exact", "-t", "32"]
    assert main([*call, "--device", "cpu", "--progress", "none"]) == 0
    result = cv2.imread(str(tmp_path / "large.png"), cv2.IMREAD_UNCHANGED)[..., ::-1].astype(np.int64)

    network = load_network("default").network.double()
    with torch.inference_mode():
        image = torch.from_numpy(codes.astype(np.float64) / 65535).permute(2, 0, 1)[None]
        expected = (network(image)[0].clamp(0, 1).permute(1, 2, 0) * 65535).round().numpy().astype(np.int64)
    assert np.abs(result - expected).max() <= 1
    assert (result == expected).mean() > 0.8
