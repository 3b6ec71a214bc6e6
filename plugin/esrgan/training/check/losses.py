"""Whether the losses of a run can be built, and what is odd about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from esrgan.errors import EsrganError
from esrgan.losses.perceptual import PerceptualLoss, feature_magnitude
from esrgan.training.options.binding import Component, thaw
from esrgan.training.options.run_options import OptionsFile
from esrgan.training.parts import full_name

_LARGE = 30.0
"""Mean magnitude of features over which the usual weights of a perceptual loss cannot be meant."""


def losses_problems(options: OptionsFile) -> Iterator[str]:
    """One line for each loss that cannot be built: above all a perceptual loss without its VGG."""
    for name, loss in _losses(options):
        try:
            _build(loss)
        except EsrganError as error:
            yield f"train:{name}: {error}"
        except (
            AttributeError,
            LookupError,
            NotImplementedError,
            OSError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            yield f"train:{name}: {' '.join(str(error).split())}"


def losses_notes(options: OptionsFile) -> Iterator[str]:
    """One line for each perceptual loss whose features are of another order of magnitude than its weights expect."""
    for name, loss in _losses(options):
        try:
            built = _build(loss)
        except Exception:  # noqa: BLE001, S112 - that it cannot be built is a problem, said elsewhere
            continue
        if not isinstance(built, PerceptualLoss) or built.normalise_features:
            continue
        layer, magnitude = max(feature_magnitude(built.vgg).items(), key=lambda item: item[1])
        if magnitude > _LARGE:
            yield (
                f"train:{name}: the features of {layer} are about {magnitude:.0f} in magnitude, as in VGG19 files from "
                "Caffe; published weights are for about 1. `normalise_features: true` brings them there"
            )


def _losses(options: OptionsFile) -> Iterator[tuple[str, Component]]:
    for name, loss in (options.run.train.losses if options.run.train else {}).items():
        if loss is not None:
            yield name, loss


def _build(loss: Component) -> Any:
    from basicsr.losses import build_loss

    return build_loss({**thaw(loss.arguments), "type": full_name("loss", loss.type)})
