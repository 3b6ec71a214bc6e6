"""The order and the augmentation of training data."""

# ruff: noqa: NPY002 - the legacy generator is the one that BasicSR draws from

import contextlib
import pickle
import random
import signal

import numpy as np
import pytest
import torch

from esrgan.errors import DataError, UsageError
from esrgan.training.data.loaders import Position, TrainingData
from esrgan.training.data.sampling import ResumableSampler, SampleKey, SeededDataset
from esrgan.training.launch import Launch
from esrgan.training.options.basicsr_options import dataset_options
from esrgan.training.options.run_options import read_options
from esrgan.training.parts import register_all
from esrgan.training.random_state import random_state, restore_random_state, seed_all, seeded


@pytest.fixture(scope="module", autouse=True)
def parts():
    register_all()


def sampler(**changes):
    return ResumableSampler(7, **{"ratio": 3, "seed": 1, "rank": 0, "world_size": 1, **changes})


def test_an_epoch_goes_through_the_enlarged_set():
    keys = list(sampler())
    assert sorted(key.image for key in keys) == sorted(list(range(7)) * 3)
    assert [key.position for key in keys] == list(range(21))


def test_each_epoch_and_each_seed_has_its_own_order():
    one = sampler()
    first = [key.image for key in one]
    one.start(1)
    second = [key.image for key in one]
    assert first != second
    assert first != [key.image for key in sampler(seed=2)]
    one.start(0)
    assert [key.image for key in one] == first


@pytest.mark.parametrize("skipped", [0, 1, 8, 20, 21, 40])
def test_skipping_gives_the_rest_of_the_epoch(skipped):
    whole = list(sampler())
    one = sampler()
    one.start(0, skipped)
    assert list(one) == whole[skipped:]
    assert len(one) == len(whole[skipped:])


def test_processes_share_an_epoch_without_overlap():
    keys = [key for rank in range(3) for key in sampler(rank=rank, world_size=3)]
    assert sorted(key.position for key in keys) == list(range(21))
    together = {key.position: key.image for key in keys}
    alone = {key.position: key.image for key in sampler()}
    assert together == alone


class Dice:
    """A set whose samples are numbers of all three generators."""

    paths = ("a", "b", "c")

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return index, random.random(), np.random.rand(), torch.rand(1).item()


def test_a_sample_depends_on_its_key_alone():
    dice = SeededDataset(Dice(), seed=5)
    first = dice[SampleKey(1, 0, 3)]
    seed_all(99)
    random.random()
    assert dice[SampleKey(1, 0, 3)] == first
    others = [dice[SampleKey(1, 0, 4)], dice[SampleKey(1, 1, 3)], SeededDataset(Dice(), seed=6)[SampleKey(1, 0, 3)]]
    for other in others:
        assert all(mine != its for mine, its in zip(first[1:], other[1:], strict=True))


def test_a_worker_that_was_not_forked_gets_the_same_set():
    again = pickle.loads(pickle.dumps(SeededDataset(Dice(), seed=5)))
    assert again[SampleKey(1, 0, 3)] == SeededDataset(Dice(), seed=5)[SampleKey(1, 0, 3)]


def test_loading_a_sample_leaves_the_generators_alone():
    seed_all(1)
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    seed_all(1)
    SeededDataset(Dice(), seed=5)[SampleKey(0, 0, 0)]
    with seeded(1, 2):
        torch.rand(3)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected


def test_the_state_of_all_generators_can_be_put_back(tmp_path):
    seed_all(2)
    np.random.standard_normal()  # leaves a second number waiting in numpy's generator
    torch.save(random_state(), tmp_path / "state")
    expected = random.gauss(0, 1), np.random.standard_normal(), torch.randn(2).tolist()
    seed_all(3)
    restore_random_state(torch.load(tmp_path / "state", weights_only=True))
    assert (random.gauss(0, 1), np.random.standard_normal(), torch.randn(2).tolist()) == expected


@pytest.fixture
def data(runs):
    def build(**changes):
        options = read_options(runs.write(**changes), "train")
        return TrainingData(dataset_options(options, "train"), Launch(), seed=3)

    return build


def take(data, count, start=Position()):  # noqa: B008 - frozen
    batches = data.batches(start)
    taken = [next(batches) for _ in range(count)]
    batches.close()
    return taken


@pytest.mark.parametrize("done", [1, 5, 6, 7, 13])
def test_batches_continue_from_any_position(data, done):
    whole = take(data(), 15)
    position = whole[done - 1][1]
    rest = take(data(), 15 - done, position)
    assert [after for _, after in rest] == [after for _, after in whole[done:]]
    for (batch, _), (expected, _) in zip(rest, whole[done:], strict=True):
        assert torch.equal(batch["lq"], expected["lq"])
        assert torch.equal(batch["gt"], expected["gt"])
        assert batch["gt_path"] == expected["gt_path"]


def test_patches_are_cut_from_the_images_that_they_name(data):
    import cv2

    batch, _ = take(data(datasets__train__use_hflip=False, datasets__train__use_rot=False), 1)[0]
    for number, path in enumerate(batch["gt_path"]):
        image = cv2.imread(path)[..., ::-1].astype(np.float32) / 255
        patch = batch["gt"][number].permute(1, 2, 0).numpy()
        places = [(top, left) for top in range(0, 17, 4) for left in range(0, 17, 4)]
        assert any(np.array_equal(image[top : top + 32, left : left + 32], patch) for top, left in places)


def test_copies_to_a_gpu_ahead_need_one(data):
    with pytest.raises(UsageError, match="prefetch_mode: cuda needs a GPU"):
        data(datasets__train__prefetch_mode="cuda", datasets__train__pin_memory=True)


def test_a_set_smaller_than_a_batch_is_refused(data):
    with pytest.raises(DataError, match="raise dataset_enlarge_ratio"):
        data(datasets__train__batch_size_per_gpu=64)


def test_an_image_that_goes_bad_later_is_named(runs, data):
    loader = data()
    for file in (runs.path / "train/hr").iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"cannot use train/hr/00\d.png"):
        take(loader, 1)


@contextlib.contextmanager
def within(seconds):
    """Break off what takes longer. Not by a thread: a worker forked from one frees what PyAV keeps for the others, and
    may wait there for threads that only its parent has.
    """

    def give_up(*_):
        raise TimeoutError(f"still at it after {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("mode", [None, "cpu"])
def test_an_image_that_goes_bad_in_a_worker_is_named_in_one_line(runs, data, mode):
    ahead = {} if mode is None else {"datasets__train__prefetch_mode": mode}
    loader = data(datasets__train__num_worker_per_gpu=1, **ahead)
    for file in (runs.path / "train/hr").iterdir():
        file.write_bytes(b"no image")
    with within(100), pytest.raises(DataError) as caught:  # upstream's way of loading ahead would wait for ever
        take(loader, 1)
    assert str(caught.value).startswith("cannot use train/hr/")
    assert "\n" not in str(caught.value)
