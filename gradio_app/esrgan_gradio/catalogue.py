"""Which weights a visitor may choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from esrgan.errors import UsageError
from esrgan.weights.registry import DEFAULT, MODELS, ModelEntry, find_model


@dataclass(frozen=True)
class Catalogue:
    """The models on offer: nothing else is ever opened for a visitor, whatever the request says."""

    sources: Mapping[str, str]
    """Name shown -> name or path for `esrgan.weights`, in the order to show them."""

    @classmethod
    def of(cls, models: Sequence[str]) -> Catalogue:
        """All models of the registry, or those named.

        Raises:
            UsageError: neither a known name nor a file, or two files of one name.
        """
        if not models:
            return cls(MappingProxyType({name: name for name in MODELS}))
        sources: dict[str, str] = {}
        for model in models:
            name, source = _named(model)
            if sources.setdefault(name, source) != source:
                raise UsageError(f"two models are called {name}: {sources[name]} and {source}; rename one file")
        return cls(MappingProxyType(sources))

    @property
    def names(self) -> list[str]:
        """All names, the preselected one first."""
        return list(self.sources)

    @property
    def default(self) -> str:
        """The preselected model."""
        return next(iter(self.sources))

    def source(self, name: object) -> str:
        """What to load for a name that a visitor sent.

        Raises:
            UsageError: not on offer.
        """
        if not isinstance(name, str) or name not in self.sources:
            raise UsageError(f"there is no model {name!r} here; choose one of {', '.join(self.sources)}")
        return self.sources[name]

    def entry(self, name: str) -> ModelEntry | None:
        """What the registry says of a model; `None` for a file."""
        return MODELS.get(self.sources[name])

    def pair(self) -> tuple[str, str]:
        """Two models to interpolate at first: those installed with the package, else the first one twice."""
        installed = [name for name in self.sources if (entry := self.entry(name)) is not None and entry.address is None]
        alike = [name for name in installed if MODELS[self.sources[name]].scale == MODELS[DEFAULT].scale]
        if len(alike) > 1:
            return alike[0], alike[1]
        return self.default, self.default


def _named(model: str) -> tuple[str, str]:
    entry = find_model(model)
    if entry is not None:
        return entry.name, entry.name
    path = Path(model)
    if not path.is_file():
        raise UsageError(f"{model!r} is neither a weights file nor a known model; `esrgan info` lists the names")
    return path.stem, str(path.resolve())
