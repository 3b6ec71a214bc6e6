"""BasicSR's registries, filled with its own parts and those of all plugins."""

from __future__ import annotations

import logging
import warnings
from importlib.metadata import entry_points
from typing import Any, Literal

from esrgan.errors import FailedError
from esrgan.training.compat import patch_torchvision

PLUGIN_GROUP = "basicsr.plugins"
"""Entry points of this group are functions without arguments that register parts with BasicSR."""

Kind = Literal["arch", "dataset", "loss", "metric", "model"]

_log = logging.getLogger(__name__)


def register_all() -> None:
    """Import BasicSR and let every installed plugin register its parts. A second call does nothing new.

    Raises:
        FailedError: a plugin cannot be loaded.
    """
    patch_torchvision()
    with warnings.catch_warnings():
        # BasicSR imports names that its own dependencies have moved since.
        warnings.simplefilter("ignore", DeprecationWarning)
        import basicsr.archs
        import basicsr.data
        import basicsr.losses
        import basicsr.metrics
        import basicsr.models  # noqa: F401

    for plugin in entry_points(group=PLUGIN_GROUP):
        try:
            plugin.load()()
        except Exception as error:
            raise FailedError(
                f"the BasicSR plugin {plugin.name!r} ({plugin.value}) cannot be loaded: {error}"
            ) from error
        _log.debug("registered the plugin %s", plugin.name)


def registered(kind: Kind) -> dict[str, Any]:
    """All classes or functions of one kind, by the name that an options file gives them."""
    from basicsr.utils import registry

    return dict(iter(getattr(registry, f"{kind.upper()}_REGISTRY")))


def full_name(kind: Kind, name: str) -> str | None:
    """The registered name that BasicSR will find for `name`, or `None`.

    BasicSR registers some of its own parts with the suffix `basicsr` and looks names up with and without it.
    """
    parts = registered(kind)
    return next((key for key in (name, f"{name}_basicsr") if key in parts), None)
