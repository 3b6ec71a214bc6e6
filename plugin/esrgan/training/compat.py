"""Makes basicsr 1.4.2 importable beside a current torchvision."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

_REMOVED_MODULE = "torchvision.transforms.functional_tensor"


def patch_torchvision() -> None:
    """Put back the one function that basicsr takes from a module that torchvision 0.17 removed.

    Only the alias module is added, and only where torchvision no longer has it. Must run before the
    first `import basicsr`; a second call does nothing.
    """
    if _REMOVED_MODULE in sys.modules or importlib.util.find_spec(_REMOVED_MODULE) is not None:
        return
    from torchvision.transforms.functional import rgb_to_grayscale

    alias = ModuleType(_REMOVED_MODULE)
    alias.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[_REMOVED_MODULE] = alias
