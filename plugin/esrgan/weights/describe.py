"""Facts of a network as lines for people."""

from __future__ import annotations

from esrgan.weights.facts import NetworkFacts

_SAID_ALREADY = ("scale", "upscale", "num_in_ch", "num_out_ch")


def describe(facts: NetworkFacts) -> list[tuple[str, str]]:
    """Label and value, in the order to print them."""
    halves = [
        name
        for name, supported in (("float16", facts.supports_float16), ("bfloat16", facts.supports_bfloat16))
        if supported
    ]
    multiple = facts.size_multiple
    return [
        ("architecture", facts.architecture),
        ("layout of the file", facts.layout),
        ("scale", f"x{facts.scale}"),
        ("channels", f"{facts.in_channels} in, {facts.out_channels} out"),
        ("input size", "any" if multiple == 1 else f"multiples of {multiple}"),
        ("parameters", f"{facts.parameters:,}"),
        ("half precision", ", ".join(halves) or "none"),
        *((name, str(value)) for name, value in facts.config.items() if name not in _SAID_ALREADY),
    ]
