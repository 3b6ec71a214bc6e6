"""Cores that may be used, and passes that are shared out over them."""

import os
import re
import subprocess
import sys
import threading

import pytest
import torch
from PIL import Image

from control_group_tree import group_tree
from ctrl_c import press_ctrl_c
from esrgan.errors import UsageError
from esrgan_video import EngineOptions, Upscaler
from esrgan_video.engine.cores import prepare_threads, threads_for, usable_cores
from esrgan_video.engine.planner import make_plan
from esrgan_video.engine.workers import Workers
from network_tools import small_rrdb

_MANY = frozenset(range(64))


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "500000 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        # Docker without a namespace of its own: the path is the host's, the mount shows the group as its root.
        (
            "4:memory:/docker/f0\n3:cpu,cpuacct:/docker/f0\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        ("3:cpu:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, 64),
        ("3:cpu:/x\n", {"cpu/x/cpu.cfs_quota_us": "400000\n", "cpu/x/cpu.cfs_period_us": "50000\n"}, 8),
        ("", {}, 64),
    ],
)
def test_quotas_of_control_groups_limit_the_cores(tmp_path, monkeypatch, membership, files, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: _MANY)
    assert usable_cores(group_tree(tmp_path, membership, files)) == cores


def test_the_affinity_mask_limits_the_cores():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from esrgan_video.engine.cores import usable_cores; print(usable_cores())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "1"


def test_what_the_user_has_set_stays():
    environment = {"GOMP_SPINCOUNT": "5", "OMP_NUM_THREADS": "3"}
    prepare_threads(None, environment)
    assert environment == {"GOMP_SPINCOUNT": "5", "OMP_NUM_THREADS": "3"}


def test_threads_that_are_asked_for_go_before_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7,3")
    assert threads_for(None) == 7
    assert threads_for(2) == 2
    with pytest.raises(UsageError, match="threads must be at least 1, got 0"):
        EngineOptions(threads=0)


def test_openmp_of_the_command_has_the_threads_that_were_asked_for_and_lets_them_sleep(tmp_path):
    """The library itself says with what it was loaded."""
    Image.new("RGB", (8, 8)).save(tmp_path / "small.png")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    ended = subprocess.run(
        [sys.executable, "-m", "esrgan_video.cli.main", "upscale", "small.png", "-o", "large.png", "--threads", "3"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment | {"OMP_DISPLAY_ENV": "true"},
    )
    assert ended.returncode == 0, ended.stderr
    if "OPENMP DISPLAY ENVIRONMENT" not in ended.stderr:
        pytest.skip("torch was not built with OpenMP")
    assert re.search(r"OMP_WAIT_POLICY = 'PASSIVE'", ended.stderr)
    assert re.search(r"OMP_NUM_THREADS = '3'", ended.stderr)


def _plain(loaded, images):
    with torch.inference_mode():
        return torch.cat([loaded.network(image[None]) for image in images])


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(1, 3, 9, 11), (5, 3, 9, 11), (3, 3, 70, 80)])
def test_however_many_threads_share_a_pass_the_result_is_the_network_s(threads, shape):
    loaded, images = small_rrdb(), torch.rand(*shape)
    upscaler = Upscaler(loaded, EngineOptions(device="cpu", dtype="float32", threads=threads))
    torch.testing.assert_close(upscaler(images), _plain(loaded, images), rtol=0, atol=1e-6)


def test_pictures_are_computed_at_the_same_time_and_keep_their_order():
    meeting = threading.Barrier(3, timeout=60)

    def work(images):
        meeting.wait()  # nobody passes unless three are here
        return images + 1

    images = torch.rand(3, 1, 64, 64)
    assert torch.equal(Workers(3)(work, images), images + 1)


def test_the_number_of_threads_of_the_caller_and_of_new_threads_stays():
    before = torch.get_num_threads()
    found = []
    Workers(before + 1)(lambda images: images, torch.rand(2, 1, 64, 64))
    other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert torch.get_num_threads() == before
    assert found == [before]


def test_an_error_in_a_worker_reaches_the_caller():
    def work(_images):
        raise MemoryError("none left")

    with pytest.raises(MemoryError, match="none left"):
        Workers(2)(work, torch.rand(2, 1, 64, 64))


def test_an_interrupted_pass_in_torch_ends_before_its_next_layer():
    upscaler = Upscaler(small_rrdb(), EngineOptions(backend="torch", device="cpu", dtype="float32", threads=1))
    network = upscaler._backend.network
    computed, interrupted = [], threading.Event()

    def after_first(*_):
        computed.append("conv_first")
        if not interrupted.is_set():  # Ctrl-C, while the caller waits for this thread
            press_ctrl_c()
            interrupted.wait(60)

    network.conv_first.register_forward_hook(after_first)
    network.conv_last.register_forward_hook(lambda *_: computed.append("conv_last"))
    with pytest.raises(KeyboardInterrupt):
        upscaler(torch.rand(1, 3, 8, 8))
    interrupted.set()
    upscaler(torch.rand(1, 3, 8, 8))  # waits for the thread
    assert computed == ["conv_first", "conv_first", "conv_last"]


@pytest.mark.parametrize(
    ("size", "workers", "batch"), [((144, 192), 2, 2), ((144, 192), 8, 8), ((1080, 1920), 8, 2), ((2160, 3840), 8, 1)]
)
def test_a_pass_has_a_picture_for_each_worker_unless_they_are_large(size, workers, batch):
    plan = make_plan(*size, options=EngineOptions(), multiple=1, max_pixels=1 << 40, device_type="cpu", workers=workers)
    assert plan.batch == batch
