"""Counting what a network holds."""

import pytest
import torch
from torch import nn

from esrgan.archs.rrdbnet import RRDBNet
from esrgan_video.engine.memory import MARGIN, bytes_per_pixel, free_bytes

CPU = torch.device("cpu")


def test_one_convolution_holds_its_input_and_its_output():
    network = nn.Conv2d(3, 5, 1)
    measured = bytes_per_pixel(network, in_channels=3, dtype=torch.float32, device=CPU)
    assert measured == pytest.approx((3 + 5) * 4 * MARGIN)


def test_a_chain_lets_go_of_what_it_no_longer_needs():
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 3, 1))
    measured = bytes_per_pixel(network, in_channels=3, dtype=torch.float32, device=CPU)
    assert measured <= (3 + 8 + 8) * 4 * MARGIN  # the image, and two of the layers


def test_half_precision_needs_about_half():
    network = RRDBNet(num_feat=8, num_grow_ch=4, num_block=1)
    full = bytes_per_pixel(network, in_channels=3, dtype=torch.float32, device=CPU)
    half = bytes_per_pixel(network.bfloat16(), in_channels=3, dtype=torch.float32, device=CPU)
    assert 0.4 < half / full < 0.75


def test_free_memory_of_the_cpu_is_under_what_the_machine_has():
    import psutil

    assert 0 < free_bytes(torch.device("cpu")) < psutil.virtual_memory().total
