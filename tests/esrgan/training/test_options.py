"""Options files: what is accepted, what is refused, and how it is said."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from esrgan.errors import UsageError
from esrgan.training.folders import RunFolders
from esrgan.training.launch import Launch
from esrgan.training.options.basicsr_options import basicsr_options
from esrgan.training.options.run_options import read_options
from esrgan.training.options.yaml_file import read_document
from esrgan.training.parts import register_all

OPTIONS = Path(__file__).resolve().parents[3] / "options"


@pytest.fixture(scope="module", autouse=True)
def parts():
    register_all()


@pytest.fixture
def refused(runs):
    """The message with which options are refused, as one string; the file is `tiny.yml`."""

    def refuse(*overrides, **changes):
        file = runs.write(**changes)
        with pytest.raises(UsageError) as caught:
            read_options(file, "train", overrides=overrides)
        return str(caught.value)

    return refuse


@pytest.mark.parametrize("file", sorted(OPTIONS.glob("*.yml")), ids=lambda file: file.name)
def test_every_file_that_comes_with_the_project_is_accepted(file):
    task = "test" if file.name.startswith("test_") else "train"
    assert (read_options(file, task).run.train is None) == (task == "test")


def test_the_files_that_the_project_promises_are_there():
    names = {file.name for file in OPTIONS.glob("*.yml")}
    assert names >= {"rrdb_psnr.yml", "esrgan.yml", "esrgan_x2.yml", "finetune.yml", "tiny_psnr.yml", "tiny_gan.yml"}


def test_the_papers_recipe_is_in_its_file():
    run = read_options(OPTIONS / "esrgan.yml", "train").run
    assert run.train.losses["gan_opt"].arguments["loss_weight"] == 5e-3
    assert run.train.losses["pixel_opt"].arguments["loss_weight"] == 1e-2
    assert run.train.losses["perceptual_opt"].arguments["layer_weights"] == {"conv5_4": 1}
    assert run.train.optimisers["optim_g"].arguments["betas"] == (0.9, 0.999)
    assert run.train.scheduler.arguments["milestones"] == (50000, 100000, 200000, 300000)
    assert run.datasets["train"].gt_size == 128


@pytest.mark.parametrize(
    ("override", "path", "near"),
    [
        ("datasets:train:gt_sise=32", "datasets:train:gt_sise", "gt_size"),
        ("network_g:num_blok=1", "network_g:num_blok", "num_block"),
        ("train:total_iters=5", "train:total_iters", "total_iter"),
        ("train:precison=float32", "train:precison", "precision"),
        ("train:pixel_opt:loss_wieght=1", "train:pixel_opt:loss_wieght", "loss_weight"),
        ("train:optim_g:learning=1", "train:optim_g:learning", None),
        ("train:scheduler:gama=0.5", "train:scheduler:gama", "gamma"),
        ("val:val_frec=5", "val:val_frec", "val_freq"),
        ("logger:print_frequ=5", "logger:print_frequ", "print_freq"),
        ("path:pretrained_network_g=x", "path:pretrained_network_g", "pretrain_network_g"),
        ("model_typ=SRModel", "model_typ", "model_type"),
        ("model_type=SRModl", "model_type", "SRModel"),
        ("network_g:type=RRDBNt_esrgan", "network_g:type", "RRDBNet_esrgan"),
        ("datasets:train:type=PairedImageDatset", "datasets:train:type", "PairedImageDataset"),
        ("train:pixel_opt:type=L1Los", "train:pixel_opt:type", "L1Loss"),
        ("train:optim_g:type=Adaam", "train:optim_g:type", "Adam"),
        ("train:scheduler:type=MultiStepLRR", "train:scheduler:type", "MultiStepLR"),
    ],
)
def test_an_unknown_name_is_refused_with_its_path_and_the_nearest_known_one(refused, override, path, near):
    message = refused(override)
    assert f"{path}:" in message
    assert near is None or repr(near) in message


def test_an_unknown_argument_of_a_metric_is_refused(refused):
    psnr = {"type": "calculate_psnr", "crop_border": 4, "test_y_chanel": True}
    assert "val:metrics:psnr:test_y_chanel: unknown key; did you mean 'test_y_channel'?" in refused(
        val__metrics={"psnr": psnr}
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train:total_iter=many", "train:total_iter: must be a whole number (without quotes), got 'many'"),
        ("train:total_iter=1.5", "train:total_iter: must be a whole number, got 1.5"),
        ("train:total_iter=true", "train:total_iter: must be a whole number, got True"),
        ("train:ema_decay=.inf", "train:ema_decay: must be a number, got inf"),
        ("datasets:train:use_rot=1", "datasets:train:use_rot: must be true or false, got 1"),
        ("datasets:train:io_backend=disk", "datasets:train:io_backend: must hold keys of its own, got 'disk'"),
        ("datasets:train:io_backend:type=disc", "datasets:train:io_backend:type: must be one of disk, lmdb"),
        ("train:optim_g=Adam", "train:optim_g: must hold keys of its own, got 'Adam'"),
        ("network_g:num_feat=wide", "network_g:num_feat: must be a whole number"),
        ("train:precision=half", "train:precision: must be one of float32, bfloat16, float16, got 'half'"),
        ("name=3", "name: must be text, got 3"),
        ("train:optim_g:lr=fast", "train:optim_g:lr: must be a number"),
    ],
)
def test_a_wrong_type_is_refused_with_its_value(refused, override, expected):
    assert expected in refused(override)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("datasets:train:gt_size=30", "is 30, which is no multiple of the scale 4"),
        ("network_g:scale=2", "network_g:scale: is 2, but the data's scale is 4"),
        ("scale=2", "network_g:scale: is 4 (its default; add `scale: 2`), but the data's scale is 2"),
        ("train:total_iter=0", "train:total_iter: must be at least 1"),
        ("datasets:train:prefetch_mode=cpu", "cpu needs num_worker_per_gpu of at least 1"),
        ("datasets:train:prefetch_mode=cuda", "cuda needs `pin_memory: true`"),
        ("datasets:train:persistent_workers=true", "needs num_worker_per_gpu of at least 1"),
        ("train:accumulate=3", "train:accumulate: must divide batch_size_per_gpu (2), got 3"),
        ("train:accumulate=0", "train:accumulate must be at least 1"),
        ("train:ema_decay=1", "train:ema_decay: must be at least 0 and under 1"),
        ("datasets:train:dataroot_gt=x.lmdb", "an .lmdb folder needs `io_backend: {type: lmdb}`"),
        ("datasets:train:io_backend:type=lmdb", "a folder named *.lmdb"),
        ("manual_seed=-1", "manual_seed: must be at least 0"),
        ("name=a/b", "must be usable as the name of a folder"),
        ("logger:print_freq=0", "logger:print_freq: must be at least 1"),
        ("datasets:valid:name=x", "datasets:valid: "),
        ("train:gan_opt:type=GANLoss", "train:gan_opt"),
        ("logger:wandb:project=x", "logger:wandb: gets what TensorBoard gets: it needs `use_tb_logger: true`"),
    ],
)
def test_a_combination_that_cannot_work_is_refused(refused, override, expected):
    assert expected in refused(override)


def test_a_schedule_that_ends_before_the_run_is_refused(refused):
    scheduler = {"type": "CosineAnnealingRestartLR", "periods": [5, 5], "restart_weights": [1, 1]}
    assert "train:scheduler:periods: add up to 10, but total_iter is 12" in refused(train__scheduler=scheduler)
    scheduler["restart_weights"] = [1]
    assert "has 1 values, but periods has 2" in refused(train__scheduler=scheduler)


def test_a_discriminator_of_another_patch_size_is_refused(refused):
    gan = {
        "model_type": "RaGANModel_esrgan",
        "network_d": {"type": "VGGStyleDiscriminator_esrgan"},
        "train__optim_d": {"type": "Adam", "lr": 1e-3},
        "train__gan_opt": {"type": "RelativisticGANLoss_esrgan"},
    }
    assert "network_d:input_size: is 128, but gt_size is 32" in refused(**gan)
    shifted = {**gan, "train__loss_shift": 8, "datasets__train__gt_size": 128}
    assert "network_d:input_size: is 128, but gt_size is 128 and loss_shift 8: add `input_size: 120`" in refused(
        **shifted
    )
    unet = {**gan, "network_d": {"type": "UNetDiscriminatorSN_esrgan", "num_in_ch": 3}, "datasets__train__gt_size": 36}
    assert "gt_size is 36: UNetDiscriminatorSN_esrgan needs sides that 8 divides" in refused(**unet)


def test_what_loss_shift_leaves_is_the_side_that_a_discriminator_sees(runs):
    runs.write(
        model_type="RaGANModel_esrgan",
        network_d={"type": "VGGStyleDiscriminator_esrgan", "num_in_ch": 3},
        train__optim_d={"type": "Adam", "lr": 1e-3},
        train__gan_opt={"type": "RelativisticGANLoss_esrgan"},
        train__loss_shift=8,
        datasets__train__gt_size=136,
    )
    assert read_options(runs.path / "tiny.yml", "train").run.datasets["train"].gt_size == 136


def test_a_patch_that_cannot_be_unshuffled_is_refused(refused):
    x2 = {"scale": 2, "network_g__scale": 2, "datasets__train__gt_size": 34}
    assert "datasets:train:gt_size: is 34, but must be a multiple of 4: the network unshuffles" in refused(**x2)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("name", "the key 'name' is missing"),
        ("datasets__train", "the set 'train' is missing"),
        ("datasets__train__dataroot_lq", "datasets:train: the key 'dataroot_lq' is missing"),
        ("datasets__train__gt_size", "datasets:train: the key 'gt_size' is missing"),
        ("datasets__train__batch_size_per_gpu", "the key 'batch_size_per_gpu' is missing"),
        ("network_g", "the key 'network_g' is missing"),
        ("train", "the section 'train' is missing"),
        ("train__optim_g", "the key 'optim_g' is missing"),
        ("train__optim_g__lr", "the key 'lr' is missing"),
        ("train__pixel_opt__type", "train:pixel_opt: the key 'type' is missing"),
    ],
)
def test_a_missing_key_is_named(refused, missing, expected):
    assert expected in refused(**{missing: None})


def test_all_problems_are_said_at_once_each_with_its_line(runs):
    file = runs.write(train__total_iter="many", datasets__train__gt_sise=3)
    with pytest.raises(UsageError) as caught:
        read_options(file, "train")
    lines = str(caught.value).splitlines()
    text = file.read_text().splitlines()
    assert len(lines) == 1  # types first: names are looked up once they are right
    assert f"tiny.yml:{1 + text.index('  total_iter: many')}: train:total_iter" in lines[0]
    file = runs.write(datasets__train__gt_sise=3, val__val_frec=3)
    with pytest.raises(UsageError) as caught:
        read_options(file, "train")
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x\ntrain:\n\ttotal_iter: 3\n", "bad.yml:3: a tab"),
        ("name: [1, 2\nscale: 4\n", "bad.yml:2: "),
        ("- a\n- b\n", "holds a list"),
        ("just text", "holds a str"),
        ("", "is empty"),
        ("name: x\nscale: 2\nname: y\n", "bad.yml:3: name is given twice; it is already on line 1"),
        ("a: !!float abc\n", "bad.yml: "),
        ("a: !!python/object/apply:os.system ['exit 1']\n", "bad.yml:1: "),
        ("a: &x\n  b: *x\n", "a:b"),
    ],
)
def test_a_file_that_is_no_options_is_refused_in_one_line(tmp_path, text, expected):
    file = tmp_path / "bad.yml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_options(file, "train")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(UsageError, match="options file not found"):
        read_document(tmp_path / "no.yml")
    with pytest.raises(UsageError, match="cannot be read"):
        read_document(tmp_path)
    (tmp_path / "latin.yml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(UsageError, match="UTF-8"):
        read_document(tmp_path / "latin.yml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-1", -1),
        ("2E5", 2e5),
        ("1.5e+3", 1500.0),
        ("!!float 5e3", 5000.0),
        ("0.99", 0.99),
        ("[0.9, 0.999]", [0.9, 0.999]),
        ("true", True),
        ("~", None),
        ("none", None),
        ("None", None),
        ("RRDBNet", "RRDBNet"),
        ("a=b", "a=b"),
        ("'1e-4'", "1e-4"),
        ("e5", "e5"),
        ("", None),
        ("__import__('os').getcwd()", "__import__('os').getcwd()"),
    ],
)
def test_values_of_the_command_line_are_yaml_and_never_run(tmp_path, text, value):
    file = tmp_path / "a.yml"
    file.write_text("a:\n  b: 1\n")
    read = read_document(file, [f"a:b={text}"]).values["a"]["b"]
    assert read == value
    assert type(read) is type(value)


def test_numbers_in_a_file_are_those_of_yaml_1_2(tmp_path):
    file = tmp_path / "a.yml"
    file.write_text("lr: 1e-4\nplain: 3\nnegative: -1\nversion: 1.2.3\nword: 1e-4x\n")
    values = read_document(file).values
    assert values == {"lr": 1e-4, "plain": 3, "negative": -1, "version": "1.2.3", "word": "1e-4x"}


@pytest.mark.parametrize("entry", ["train", "=3", "train:=3", ":a=3", "name:inner=3"])
def test_an_entry_that_cannot_be_applied_is_refused(runs, entry):
    file = runs.write()
    with pytest.raises(UsageError, match="--force_yml"):
        read_document(file, [entry])


def test_a_new_key_can_be_given(runs):
    file = runs.write()
    run = read_options(file, "train", overrides=["path:pretrain_network_g=x.pth", "val:save_img=true"]).run
    assert run.path.pretrained["pretrain_network_g"] == "x.pth"
    assert run.val.save_img is True


STOCK = """\
name: stock
model_type: ESRGANModel
scale: 4
num_gpu: 1  # set num_gpu: 0 for cpu mode
manual_seed: 0
datasets:
  train:
    name: DIV2K
    type: PairedImageDataset
    dataroot_gt: datasets/DIV2K/DIV2K_train_HR_sub
    dataroot_lq: datasets/DIV2K/DIV2K_train_LR_bicubic/X4_sub
    filename_tmpl: '{}'
    io_backend:
      type: disk
    gt_size: 128
    use_hflip: true
    use_rot: true
    use_shuffle: true
    num_worker_per_gpu: 6
    batch_size_per_gpu: 16
    dataset_enlarge_ratio: 100
    prefetch_mode: ~
  val:
    name: Set14
    type: PairedImageDataset
    dataroot_gt: datasets/Set14/GTmod12
    dataroot_lq: datasets/Set14/LRbicx4
    io_backend:
      type: disk
network_g: {type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feat: 64, num_block: 23}
network_d: {type: VGGStyleDiscriminator, num_in_ch: 3, num_feat: 64}
path:
  pretrain_network_g: experiments/051/models/net_g_1000000.pth
  strict_load_g: true
  resume_state: ~
train:
  ema_decay: 0.999
  optim_g: {type: Adam, lr: !!float 1e-4, weight_decay: 0, betas: [0.9, 0.99]}
  optim_d: {type: Adam, lr: !!float 1e-4, weight_decay: 0, betas: [0.9, 0.99]}
  scheduler: {type: MultiStepLR, milestones: [50000, 100000, 200000, 300000], gamma: 0.5}
  total_iter: 400000
  warmup_iter: -1
  pixel_opt: {type: L1Loss, loss_weight: !!float 1e-2, reduction: mean}
  perceptual_opt:
    type: PerceptualLoss
    layer_weights:
      'conv5_4': 1
    vgg_type: vgg19
    use_input_norm: true
    range_norm: false
    perceptual_weight: 1.0
    style_weight: 0
    criterion: l1
  gan_opt: {type: GANLoss, gan_type: vanilla, real_label_val: 1.0, fake_label_val: 0.0, loss_weight: !!float 5e-3}
  net_d_iters: 1
  net_d_init_iters: 0
val:
  val_freq: !!float 5e3
  save_img: true
  metrics:
    psnr: {type: calculate_psnr, crop_border: 4, test_y_channel: false}
    niqe: {type: calculate_niqe, crop_border: 4, better: lower}
logger:
  print_freq: 100
  save_checkpoint_freq: !!float 5e3
  use_tb_logger: true
  wandb: {project: ~, resume_id: ~}
dist_params: {backend: nccl, port: 29500}
"""


def test_options_written_for_basicsr_are_accepted_and_passed_on_unchanged(tmp_path):
    file = tmp_path / "stock.yml"
    file.write_text(STOCK)
    options = read_options(file, "train")
    assert options.run.val.val_freq == 5000
    opt = basicsr_options(options, Launch(), RunFolders.of_training(tmp_path, "stock"), seed=0)
    given = yaml.safe_load(STOCK)
    for section in ("network_g", "network_d", "train", "val", "logger"):
        for key, value in given[section].items():
            assert opt[section][key] == value
    assert opt["datasets"]["train"]["phase"] == "train"
    assert opt["datasets"]["val"]["scale"] == 4


def test_a_misspelt_key_that_only_one_stock_model_reads_is_refused(tmp_path):
    text = (Path(__file__).parent / "stock_realesrgan.yml").read_text()
    file = tmp_path / "stock.yml"
    file.write_text(
        text.replace("UNetDiscriminatorSN_esrgan", "UNetDiscriminatorSN").replace("jpeg_range2", "jpg_range2")
    )
    with pytest.raises(UsageError) as caught:
        read_options(file, "train")
    assert "jpg_range2: unknown key; did you mean 'jpeg_range2'?" in str(caught.value)


def test_options_are_frozen_and_every_builder_gets_its_own_dictionary(runs):
    options = read_options(runs.write(), "train")
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.run.name = "other"
    with pytest.raises(TypeError):
        options.run.networks["network_g"].arguments["num_feat"] = 8
    with pytest.raises(TypeError):
        options.values["train"]["total_iter"] = 3
    folders = RunFolders.of_training(runs.path, "tiny")
    first = basicsr_options(options, Launch(), folders, seed=0)
    first["train"]["optim_g"].pop("type")
    assert basicsr_options(options, Launch(), folders, seed=0)["train"]["optim_g"]["type"] == "Adam"


def test_debug_shortens_the_intervals_and_marks_the_name(runs):
    run = read_options(runs.write(logger__print_freq=100), "train", debug=True).run
    assert run.name == "debug_tiny"
    assert (run.val.val_freq, run.logger.print_freq, run.logger.save_checkpoint_freq) == (8, 1, 8)
