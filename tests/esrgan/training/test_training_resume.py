"""A run that is interrupted and continued is the run that was not."""

import random
import shutil
import signal

import pytest


@pytest.mark.slow
def test_a_run_killed_twice_has_the_losses_of_one_that_was_not(runs):
    runs.write(
        train__total_iter=50,
        train__scheduler__milestones=[20, 35],
        logger__save_checkpoint_freq=3,
        val__val_freq=10,
        datasets__train__num_worker_per_gpu=1,
    )
    whole = runs.basicsr("train", "-opt", "tiny.yml")
    assert whole.returncode == 0, whole.stderr
    expected = runs.losses()
    shutil.rmtree(runs.path / "experiments")

    for at in sorted(random.sample(range(4, 40), 2)):
        with runs.started("train", "-opt", "tiny.yml", "--auto_resume") as process:
            runs.wait_for_losses(at, process)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
    finished = runs.basicsr("train", "-opt", "tiny.yml", "--auto_resume")
    assert finished.returncode == 0, finished.stderr
    assert "continues after iteration" in finished.stderr
    assert runs.losses() == expected
