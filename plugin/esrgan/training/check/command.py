"""`basicsr check`: what would go wrong in a run, and how long it will take, before it starts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from esrgan.errors import EsrganError
from esrgan.training.check.data import set_problems
from esrgan.training.check.estimate import Measured, measure_steps, memory_needed
from esrgan.training.check.losses import losses_notes, losses_problems
from esrgan.training.check.weights import weights_problems
from esrgan.training.launch import Launch, launched
from esrgan.training.logs import duration, logging_to_terminal
from esrgan.training.options.run_options import OptionsFile, Task, read_options
from esrgan.training.options.yaml_file import read_document


def check(file: Path, *, overrides: Iterable[str] = (), steps: int = 3) -> int:
    """Check an options file and all that it names; writes one line for each problem, then the estimates.

    Args:
        file: the options file, for `train` if it has a section of that name, else for `test`.
        overrides: entries of `--force_yml`.
        steps: iterations to measure the time of; 0 for none.

    Returns:
        The exit code: 0 when the run can start, 1 when there is a problem.

    Raises:
        UsageError: the file cannot be read, or is no YAML.
        OptionsError: options that cannot be used, one line each.
    """
    overrides = list(overrides)
    task: Task = "train" if "train" in read_document(file, overrides).values else "test"
    options = read_options(file, task, overrides=overrides)
    with logging_to_terminal(speaks=False):
        problems = list(_problems(options))
        for line in problems:
            sys.stderr.write(f"basicsr: {line}\n")
        _say(f"{file}: {_count(problems)}")
        for line in losses_notes(options):
            _say(f"note: {line}")
        if task == "train" and (needed := memory_needed(options)) is not None:
            _say(f"memory: the networks and one batch hold {_size(needed)}; allow half as much again")
        if task == "train" and steps > 0 and not problems:
            problems += _try(options, steps)
    return 1 if problems else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**28 else f"{count / 2**20:.1f} MiB"


def _count(problems: list[str]) -> str:
    return "no problems found" if not problems else f"{len(problems)} problem{'s'[: len(problems) != 1]}"


def _problems(options: OptionsFile) -> Iterator[str]:
    for name in options.sets():
        yield from set_problems(options, name, thorough=True, progress="auto")
    yield from weights_problems(options)
    yield from losses_problems(options)
    state = options.run.path.resume_state
    if state is not None and not Path(state).is_file():
        yield f"path:resume_state: the checkpoint {state} does not exist"


def _try(options: OptionsFile, steps: int) -> list[str]:
    try:
        with launched("none", options.run.num_gpu) as launch:
            measured = measure_steps(options, launch, steps)
            _report_time(options, measured, launch)
    except EsrganError as error:
        line = " ".join(str(error).split())
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # Whatever parts that know nothing of each other raise in a step.
        line = f"the first iterations fail: {' '.join(str(error).split()) or type(error).__name__}"
    else:
        return []
    sys.stderr.write(f"basicsr: {line}\n")
    return [line]


def _report_time(options: OptionsFile, measured: Measured, launch: Launch) -> None:
    assert options.run.train is not None
    total = options.run.train.total_iter
    where = "GPU" if launch.num_gpu else "process"
    _say(f"memory: the {where} held {_size(measured.peak_bytes)} at most")
    _say(
        f"time: {measured.seconds:.3g} s an iteration; {total:,} iterations take "
        f"{duration(measured.seconds * total)}, without validations"
    )
