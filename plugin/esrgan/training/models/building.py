"""A model out of BasicSR's registry, with failures in one line."""

from __future__ import annotations

import logging
from typing import Any

from esrgan.errors import EsrganError, FailedError, UsageError

_CUDA_ONLY = ("RealESRGANModel", "RealESRNetModel")
"""Models that call `.cuda()` whatever the options say."""

_log = logging.getLogger(__name__)


def build_model(opt: dict[str, Any]) -> Any:
    """BasicSR's model for these options.

    Raises:
        UsageError: a model of BasicSR's that needs CUDA where there is none.
        FailedError: it cannot be built.
    """
    from basicsr.models import build_model as build
    from basicsr.models.base_model import BaseModel
    from basicsr.utils.registry import MODEL_REGISTRY

    cls = MODEL_REGISTRY.get(opt["model_type"])
    if not opt["num_gpu"] and cls.__name__ in _CUDA_ONLY:
        raise UsageError(f"model_type: BasicSR's {cls.__name__} needs a CUDA device")
    if opt["dist"] and not opt["num_gpu"] and cls.model_to_device is BaseModel.model_to_device:
        raise UsageError(f"model_type: BasicSR's {opt['model_type']} cannot train in several processes on CPUs")
    try:
        return build(opt)
    except EsrganError:
        raise
    except (ArithmeticError, AssertionError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        _log.debug("building the model failed", exc_info=True)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FailedError(f"{opt['model_type']} cannot be built from the options: {reason}") from error
