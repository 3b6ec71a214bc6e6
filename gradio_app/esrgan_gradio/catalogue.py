"""Which weights a visitor may choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from esrgan.errors import UsageError
from esrgan.weights import load_network
from esrgan.weights.registry import DEFAULT, MODELS, ModelEntry, find_model


@dataclass(frozen=True)
class Catalogue:
    """The models on offer: nothing else is ever opened for a visitor, whatever the request says."""

    sources: Mapping[str, str]
    """Name shown -> name or path for `esrgan.weights`, in the order to show them."""
    scales: Mapping[str, int]
    """Name shown -> size ratio of the network's output to its input."""

    @classmethod
    def of(cls, models: Sequence[str]) -> Catalogue:
        """All models of the registry, or those named; files are read, so that a wrong one is found now.

        Raises:
            UsageError: neither a known name nor a file, or two files of one name.
            WeightsError: a file that cannot be read.
        """
        sources: dict[str, str] = {} if models else {name: name for name in MODELS}
        for model in models:
            name, source = _named(model)
            if sources.setdefault(name, source) != source:
                raise UsageError(f"two models are called {name}: {sources[name]} and {source}; rename one file")
        scales = {name: _scale(source) for name, source in sources.items()}
        return cls(MappingProxyType(sources), MappingProxyType(scales))

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
        """Two models to interpolate at first, that need no download: a pair, or two of one scale, or else one twice."""
        here = [name for name in self.sources if (entry := self.entry(name)) is None or entry.address is None]
        first = next((name for name in here if self.sources[name] == DEFAULT), self.default)
        entry = self.entry(first)
        if entry is not None and entry.gan in here:
            return first, entry.gan
        others = (name for name in here if name != first and self.scales[name] == self.scales[first])
        return first, next(others, first)


def _scale(source: str) -> int:
    return MODELS[source].scale if source in MODELS else load_network(source).facts.scale


def _named(model: str) -> tuple[str, str]:
    entry = find_model(model)
    if entry is not None:
        return entry.name, entry.name
    path = Path(model)
    if not path.is_file():
        raise UsageError(f"{model!r} is neither a weights file nor a known model; `esrgan info` lists the names")
    return path.stem, str(path.resolve())
