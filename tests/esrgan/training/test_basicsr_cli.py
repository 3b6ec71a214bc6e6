"""The `basicsr` command: what it takes, what it refuses in one line, and what it runs."""

import os
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from esrgan.training.cli import main
from esrgan.training.launch import launched
from esrgan.training.parts import register_all
from esrgan.weights import load_network


@pytest.fixture(scope="module", autouse=True)
def parts():
    register_all()


@pytest.fixture
def refused(runs, capsys):
    """Run `train`; returns the exit code and the one line. Nothing may have been begun."""

    def refuse(*arguments):
        code = main(["train", "-opt", "tiny.yml", *arguments])
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("basicsr: ")
        assert not (runs.path / "experiments").exists()
        return code, lines[0]

    return refuse


@pytest.mark.parametrize("arguments", [["-h"], ["train", "-h"], ["test", "-h"], ["check", "-h"], ["prepare", "-h"]])
def test_help_is_given(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    assert "usage: basicsr" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["trian"], ["train"], ["train", "-opt"], ["train", "-opt", "a", "--launcher", "x"]]
)
def test_a_wrong_call_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: basicsr" in capsys.readouterr().err


def test_help_needs_no_basicsr():
    code = (
        "import sys; sys.modules['basicsr'] = sys.modules['torch'] = None; from esrgan.training.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, "train", "-h"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--auto_resume" in done.stdout


def test_all_flags_of_upstream_are_taken(runs):
    runs.write(train__total_iter=1, val__val_freq=100)
    call = ["train", "-opt", "tiny.yml", "--launcher", "none", "--auto_resume", "--debug"]
    assert main([*call, "--local_rank", "0", "--force_yml", "train:ema_decay=0", "train:optim_g:lr=1e-5"]) == 0
    assert (runs.path / "experiments/debug_tiny/models/net_g_latest.pth").is_file()
    assert main([*call, "--local-rank=0", "--force_yml", "train:ema_decay=0"]) == 0


def test_a_missing_options_file_is_one_line(refused):
    assert refused() == (2, "basicsr: options file not found: tiny.yml")


def test_a_tab_is_one_line_with_its_number(runs, refused):
    (runs.path / "tiny.yml").write_text("name: x\ntrain:\n\ttotal_iter: 3\n")
    assert refused() == (2, "basicsr: tiny.yml:3: a tab; YAML is indented with spaces only")


def test_a_missing_folder_is_one_line(runs, refused):
    runs.write(datasets__train__dataroot_gt="nowhere")
    assert refused() == (1, "basicsr: datasets:train:dataroot_gt: the folder nowhere does not exist")


def test_an_empty_folder_is_one_line(runs, refused):
    (runs.path / "empty").mkdir()
    runs.write(datasets__train__dataroot_gt="empty")
    assert refused() == (1, "basicsr: datasets:train:dataroot_gt: the folder empty is empty")


def _grey(file):
    with Image.open(file) as image:
        grey = image.convert("L")
    grey.save(file)


def _alpha(file):
    with Image.open(file) as image:
        alpha = image.convert("RGBA")
    alpha.save(file)


def _cut(file):
    os.truncate(file, file.stat().st_size - 30)


def _smaller(file):
    cv2.imwrite(str(file), cv2.imread(str(file))[:47])


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (_grey, "is grey"),
        (_alpha, "has an alpha channel"),
        (_cut, "is damaged or truncated"),
        (_smaller, "is 48x47, no multiple of the scale 4"),
        (lambda file: file.write_bytes(b""), "is empty"),
        (lambda file: file.write_bytes(b"GIF89"), "is not an image"),
        (lambda file: file.rename(file.with_name("009.png")), ""),
        (lambda file: cv2.imwrite(str(file), np.zeros((44, 48, 3), np.uint8)), "not 4 times as large"),
    ],
)
@pytest.mark.parametrize("name", ["train"])
def test_an_image_that_cannot_be_used_is_named_before_the_first_step(runs, capsys, name, damage, expected):
    damage(runs.path / name / "hr" / "002.png")
    runs.write()
    assert main(["train", "-opt", "tiny.yml"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("basicsr: datasets:train: ") for line in lines)
    assert all("002.png" in line or "009.png" in line for line in lines)
    assert expected in lines[0]
    assert not (runs.path / "experiments").exists()


def test_many_bad_images_are_summed_up(runs, capsys):
    for file in (runs.path / "train/hr").iterdir():
        _grey(file)
    runs.write()
    assert main(["train", "-opt", "tiny.yml"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert lines[-1] == "basicsr: ... and 1 more: `basicsr check -opt tiny.yml` names all"


def test_grey_images_are_fine_for_a_grey_network(runs):
    for kind in ("hr", "lr"):
        for name in ("train", "val"):
            for file in (runs.path / name / kind).iterdir():
                _grey(file)
    grey = {"color": "y"}
    options = runs.options(train__total_iter=1, network_g__num_in_ch=1, network_g__num_out_ch=1)
    for name in ("train", "val"):
        options["datasets"][name].update(grey)
    runs.write(options)
    assert main(["train", "-opt", "tiny.yml"]) == 0


def test_a_checkpoint_of_another_network_is_one_line(runs, refused):
    other = {"type": "RRDBNet_esrgan", "num_feat": 8, "num_block": 1, "num_grow_ch": 2}
    from esrgan.archs.rrdbnet import RRDBNet

    state = RRDBNet(**{key: value for key, value in other.items() if key != "type"}).state_dict()
    torch.save({"params": state}, runs.path / "other.pth")
    runs.write(path__pretrain_network_g="other.pth")
    code, line = refused()
    assert code == 1
    assert "path:pretrain_network_g: other.pth" in line
    assert "shape" in line


def test_weights_in_the_folder_that_would_be_renamed_are_refused(runs, capsys):
    runs.write(train__total_iter=1)
    assert main(["train", "-opt", "tiny.yml"]) == 0
    runs.write(train__total_iter=1, path__pretrain_network_g="experiments/tiny/models/net_g_latest.pth")
    assert main(["train", "-opt", "tiny.yml"]) == 2
    assert "choose another name" in capsys.readouterr().err.splitlines()[-1]
    assert (runs.path / "experiments/tiny/models/net_g_latest.pth").is_file()


@pytest.mark.parametrize("data", [b"", b"not weights", b"PK\x03\x04" + bytes(50)])
def test_a_file_that_holds_no_weights_is_one_line(runs, refused, data):
    (runs.path / "bad.pth").write_bytes(data)
    runs.write(path__pretrain_network_g="bad.pth")
    code, line = refused()
    assert code == 1
    assert "bad.pth" in line


def test_missing_weights_are_one_line(runs, refused):
    runs.write(path__pretrain_network_g="nowhere.pth")
    assert "nowhere.pth" in refused()[1]


def test_weights_that_a_stock_model_cannot_read_are_one_line(runs, refused):
    from esrgan.archs.rrdbnet import RRDBNet

    state = RRDBNet(num_feat=4, num_block=1, num_grow_ch=2).state_dict()
    torch.save(state, runs.path / "raw.pth")
    runs.write(model_type="SRModel", path__pretrain_network_g="raw.pth")
    code, line = refused()
    assert code == 1
    assert "esrgan convert" in line


def test_more_gpus_than_there_are_is_one_line(runs, refused, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    runs.write(num_gpu=2)
    code, line = refused()
    assert code == 2
    assert "--force_yml num_gpu=0" in line


@pytest.mark.parametrize(("asked", "used"), [("auto", 1), (2, 2), (0, 0)])
def test_a_single_process_takes_one_gpu_unless_told(monkeypatch, caplog, asked, used):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with launched("none", asked) as launch:
        assert launch.num_gpu == used
    assert ("torchrun --nproc_per_node 2 uses all" in caplog.text) == (asked == "auto")


def test_a_launcher_without_its_variables_is_one_line(runs, refused, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    runs.write()
    assert "start with torchrun" in refused("--launcher", "pytorch")[1]
    assert "start with srun" in refused("--launcher", "slurm")[1]


def test_a_model_that_needs_cuda_says_so(runs, capsys):
    options = runs.options(model_type="RealESRGANModel")
    options.update(network_d={"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 4})
    options["train"]["optim_d"] = {"type": "Adam", "lr": 1e-3}
    runs.write(options)
    assert main(["train", "-opt", "tiny.yml"]) == 2
    assert "needs a CUDA device" in capsys.readouterr().err.splitlines()[-1]


def test_options_with_stock_parts_only_train_and_their_weights_load_in_basicsr(runs):
    network = {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "num_grow_ch": 2}
    runs.write(model_type="SRModel", network_g=network, train__total_iter=3)
    assert main(["train", "-opt", "tiny.yml"]) == 0
    from basicsr.archs.rrdbnet_arch import RRDBNet

    state = torch.load(runs.path / "experiments/tiny/models/net_g_latest.pth", weights_only=True)
    RRDBNet(3, 3, num_feat=4, num_block=1, num_grow_ch=2).load_state_dict(state["params_ema"])
    assert main(["test", "-opt", "tiny.yml"]) == 0


def test_what_train_leaves_is_upscaled_with_unchanged(runs):
    runs.write(train__total_iter=2, train__ema_decay=0)
    assert main(["train", "-opt", "tiny.yml"]) == 0
    loaded = load_network(runs.path / "experiments/tiny/models/net_g_latest.pth")
    assert loaded.facts.scale == 4
    image = torch.rand(1, 3, 8, 9)
    stored = torch.load(runs.path / "experiments/tiny/models/net_g_2.pth", weights_only=True)["params"]
    assert torch.equal(loaded.network.conv_last.weight, stored["conv_last.weight"])
    assert loaded.network(image).shape == (1, 3, 32, 36)


def test_an_lmdb_can_be_trained_from(runs):
    call = ["prepare", "train/hr", "-o", "set", "--crop", "40", "--step", "8", "--lmdb", "--workers", "1"]
    assert main([*call, "--progress", "none"]) == 0
    lmdb = {"dataroot_gt": "set/hr.lmdb", "dataroot_lq": "set/lr.lmdb", "io_backend": {"type": "lmdb"}}
    options = runs.options(train__total_iter=2)
    options["datasets"]["train"].update(lmdb)
    runs.write(options)
    assert main(["train", "-opt", "tiny.yml"]) == 0
    assert len(runs.losses()) == 2


class Plugin:
    """What a plugin of others looks like to the command."""

    def __init__(self, name, function):
        self.name, self.value, self._function = name, f"package:{name}", function

    def load(self):
        return self._function


def test_plugins_are_found_by_their_entry_point(runs, monkeypatch):
    from basicsr.utils.registry import ARCH_REGISTRY

    class Nearest(torch.nn.Module):
        def __init__(self, gain: float = 1.0):
            super().__init__()
            self.gain = torch.nn.Parameter(torch.tensor(gain))

        def forward(self, x):
            return self.gain * torch.nn.functional.interpolate(x, scale_factor=4)

    def register():
        if "Nearest_plugin" not in ARCH_REGISTRY:
            ARCH_REGISTRY.register(Nearest, suffix="plugin")

    found = {"basicsr.plugins": [Plugin("nearest", register)]}
    monkeypatch.setattr("esrgan.training.parts.entry_points", lambda group: found[group])
    runs.write(model_type="SRModel", network_g={"type": "Nearest_plugin", "gain": 0.5}, train__total_iter=2)
    assert main(["train", "-opt", "tiny.yml"]) == 0
    state = torch.load(runs.path / "experiments/tiny/models/net_g_latest.pth", weights_only=True)
    assert state["params"]["gain"].item() == pytest.approx(0.5, abs=0.01)


def test_a_plugin_that_fails_is_named(runs, monkeypatch, refused):
    def register():
        raise RuntimeError("no such part")

    monkeypatch.setattr("esrgan.training.parts.entry_points", lambda **_: [Plugin("broken", register)])
    runs.write()
    code, line = refused()
    assert code == 1
    assert "'broken'" in line
    assert "no such part" in line


def test_this_project_is_a_plugin():
    from importlib.metadata import entry_points

    values = [point.value for point in entry_points(group="basicsr.plugins") if isinstance(point, EntryPoint)]
    assert "esrgan.training.registration:register" in values


def test_the_options_and_the_log_are_kept_beside_the_results(runs):
    file = runs.write(train__total_iter=1)
    assert main(["train", "-opt", "tiny.yml"]) == 0
    kept = (runs.path / "experiments/tiny/tiny.yml").read_text()
    assert kept.endswith(file.read_text())
    (log,) = (runs.path / "experiments/tiny").glob("train_tiny_*.log")
    assert "l_pix" in log.read_text()


def test_nothing_is_written_outside_the_current_folder(runs):
    import basicsr

    packages = Path(basicsr.__file__).parents[1]
    before = sorted(packages.iterdir())
    runs.write(train__total_iter=1)
    assert main(["train", "-opt", "tiny.yml"]) == 0
    assert sorted(packages.iterdir()) == before
    assert {path.name for path in runs.path.iterdir()} == {"train", "val", "tiny.yml", "experiments"}


@pytest.mark.slow
def test_ctrl_c_of_a_terminal_saves_and_ends_with_130(runs):
    runs.write(train__total_iter=100000, datasets__train__num_worker_per_gpu=1, logger__print_freq=1)
    with runs.started("train", "-opt", "tiny.yml") as process:
        runs.wait_for_losses(5, process)
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the workers, too
        assert process.wait(60) == 130
    states = [int(file.stem) for file in (runs.path / "experiments/tiny/training_states").glob("*.state")]
    assert max(states) == runs.losses()[-1]["iter"]


@pytest.mark.slow
def test_torchrun_trains_in_two_processes(runs):
    runs.write(train__total_iter=20, logger__print_freq=10, logger__save_checkpoint_freq=10)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    module = ["-m", "esrgan.training.cli", "train", "-opt", "tiny.yml", "--launcher", "pytorch"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *module], cwd=runs.path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [record["iter"] for record in runs.losses()] == [10, 20]
    state = torch.load(runs.path / "experiments/tiny/training_states/20.state", weights_only=True)
    assert state["world_size"] == len(state["random"]) == 2
    again = [*module, "--auto_resume", "--force_yml", "train:total_iter=30"]
    done = subprocess.run([*command, *again], cwd=runs.path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [record["iter"] for record in runs.losses()] == [10, 20, 30]
