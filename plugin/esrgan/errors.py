"""The exception tree. Commands print `str(error)` as one line and end with `exit_code`.

EsrganError
├── UsageError            the call was wrong: an option, a path, a combination        (exit 2)
│   └── MissingExtraError   an optional package is not installed
└── FailedError           the call was right, the work could not be done              (exit 1)
    ├── WeightsError        a weights file that cannot be read, or is refused
    ├── MediaError          an image or video that cannot be read or written
    ├── EngineError         the network cannot run: no memory, no device
    ├── DataError           training data that does not fit
    └── TrainingDiverged    losses or gradients that stay without finite values
"""

from __future__ import annotations


class EsrganError(Exception):
    """Base of all errors that this project raises on purpose. The message is a sentence for the user."""

    exit_code = 1


def one_line(error: BaseException) -> str:
    """The message, and the notes that were added to it on the way: what is kept of the work, for instance."""
    return "; ".join(filter(None, (str(error), *getattr(error, "__notes__", ()))))


class UsageError(EsrganError):
    """The call was wrong. The message names the option, its value and what is allowed."""

    exit_code = 2


class MissingExtraError(UsageError):
    """A feature needs an optional package."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f'{feature} needs an optional package: pip install "esrgan[{extra}]"')


class FailedError(EsrganError):
    """The call was right, but the work could not be done."""


class WeightsError(FailedError):
    """A weights file cannot be read, is not a network that we know, or wants to run code."""


class MediaError(FailedError):
    """An image or video cannot be read or written."""


class EngineError(FailedError):
    """The network cannot run on this device: too little memory even for the smallest tile, or a lost device."""


class DataError(FailedError):
    """Training data that is missing, unreadable or does not fit the options."""


class TrainingDiverged(FailedError):  # noqa: N818 - says what happened, as StopIteration does
    """Training went on without finite losses or gradients. The message names the last good checkpoint."""
