"""The naming schemes of ESRGAN weights, and their translation to BasicSR's names.

| layout          | trunk                                  | ends                                               |
|-----------------|----------------------------------------|----------------------------------------------------|
| `basicsr`       | `body.N.rdbK.convJ`, `conv_body`       | `conv_first`, `conv_upN`, `conv_hr`, `conv_last`   |
| `official-2018` | `RRDB_trunk.N.RDBK.convJ`, `trunk_conv`| `conv_first`, `upconvN`, `HRconv`, `conv_last`     |
| `old`           | `model.1.sub.N.RDBK.convJ.0`           | `model.0`, `model.3`, `model.6`, ... (see below)   |
| `compact`       | `body.N` (SRVGGNetCompact)             |                                                    |

ESRGAN+ adds `conv1x1` to each dense block, in any of the first three.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from torch import Tensor

from esrgan.errors import WeightsError

Layout = Literal["basicsr", "official-2018", "old", "compact"]

_NUMBER = r"(0|[1-9]\d{0,3})"  # no leading zero, so that two keys never get one name
_PART = r"\.(weight|bias)"

_SIGNATURES: dict[Layout, re.Pattern[str]] = {
    "basicsr": re.compile(rf"body\.{_NUMBER}\.rdb\d\."),
    "official-2018": re.compile(rf"RRDB_trunk\.{_NUMBER}\.RDB\d\."),
    "old": re.compile(rf"model\.1\.sub\.{_NUMBER}\.RDB\d\."),
}
_COMPACT_KEY = re.compile(rf"body\.{_NUMBER}{_PART}")

_OLD_TRUNK_CONV = re.compile(rf"model\.1\.sub\.{_NUMBER}{_PART}")
_OLD_TAIL = re.compile(rf"model\.{_NUMBER}{_PART}")

_RULES: dict[Layout, tuple[tuple[re.Pattern[str], str], ...]] = {
    "basicsr": (
        (re.compile(rf"body\.{_NUMBER}\.rdb(\d)\.conv(\d|1x1){_PART}"), r"body.\1.rdb\2.conv\3.\4"),
        (re.compile(rf"(conv_first|conv_body|conv_up\d|conv_hr|conv_last){_PART}"), r"\1.\2"),
    ),
    "official-2018": (
        (re.compile(rf"RRDB_trunk\.{_NUMBER}\.RDB(\d)\.conv(\d|1x1){_PART}"), r"body.\1.rdb\2.conv\3.\4"),
        (re.compile(rf"(conv_first|conv_last){_PART}"), r"\1.\2"),
        (re.compile(rf"trunk_conv{_PART}"), r"conv_body.\1"),
        (re.compile(rf"HRconv{_PART}"), r"conv_hr.\1"),
        (re.compile(rf"upconv(\d){_PART}"), r"conv_up\1.\2"),
    ),
    "old": (
        (re.compile(rf"model\.1\.sub\.{_NUMBER}\.RDB(\d)\.conv(\d)\.0{_PART}"), r"body.\1.rdb\2.conv\3.\4"),
        (re.compile(rf"model\.1\.sub\.{_NUMBER}\.RDB(\d)\.conv1x1{_PART}"), r"body.\1.rdb\2.conv1x1.\3"),
    ),
    "compact": ((_COMPACT_KEY, r"body.\1.\2"),),
}


class ForeignKeysError(WeightsError):
    """The names are those of one of our layouts, but some belong to no layout of ours."""


def shown(key: str) -> str:
    """`key` for a message: quoted, control characters escaped, never longer than a line."""
    return repr(key if len(key) <= 80 else f"{key[:77]}...")


def detect(keys: Iterable[str]) -> Layout | None:
    """The layout that `keys` are written in, or `None` when they are of another architecture."""
    names = set(keys)
    for layout, signature in _SIGNATURES.items():
        if any(signature.match(name) for name in names):
            return layout
    in_body = [name for name in names if name.startswith("body.")]
    if "body.0.weight" in names and all(_COMPACT_KEY.fullmatch(name) for name in in_body):
        return "compact"
    return None


def to_canonical(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Rename the keys of `state` from `layout` to BasicSR's names.

    Raises:
        ForeignKeysError: a key that the layout does not have; the message names up to three.
        WeightsError: `old` layout whose numbers fit no scale, or without one trunk convolution.
    """
    rules = _RULES[layout] + (_old_rules(state) if layout == "old" else ())
    renamed: dict[str, Tensor] = {}
    foreign: list[str] = []
    for key, tensor in state.items():
        name = _rename(key, rules)
        if name is None:
            foreign.append(key)
        else:
            renamed[name] = tensor
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        listed = ", ".join(shown(key) for key in foreign[:3])
        raise ForeignKeysError(f"{listed}{more} do not belong to the {layout} layout, which the other names are of")
    return renamed


def _rename(key: str, rules: Iterable[tuple[re.Pattern[str], str]]) -> str | None:
    for pattern, template in rules:
        if found := pattern.fullmatch(key):
            return found.expand(template)
    return None


def _old_rules(state: Mapping[str, Tensor]) -> tuple[tuple[re.Pattern[str], str], ...]:
    """The rules of the old layout that depend on the number of blocks and of upsampling stages.

    The old network was one flat Sequential: `model.0` first convolution, `model.1` trunk, then per
    stage an upsampling layer, a convolution and an activation, then convolution, activation,
    convolution. So s stages have their convolutions at 3, 6, ... 3s, and the last two sit at
    3s + 2 and 3s + 4.
    """
    trunk = _numbers(state, _OLD_TRUNK_CONV)
    if len(trunk) != 1:
        raise WeightsError(f"old layout: expected one trunk convolution model.1.sub.N.weight, found N in {trunk}")
    names = {0: "conv_first", **_old_tail([number for number in _numbers(state, _OLD_TAIL) if number >= 2])}
    rules = [(re.compile(rf"model\.1\.sub\.{trunk[0]}{_PART}"), r"conv_body.\1")]
    rules += [(re.compile(rf"model\.{number}{_PART}"), rf"{name}.\1") for number, name in names.items()]
    return tuple(rules)


def _numbers(state: Mapping[str, Tensor], pattern: re.Pattern[str]) -> list[int]:
    return sorted({int(found[1]) for key in state if (found := pattern.fullmatch(key))})


def _old_tail(numbers: list[int]) -> dict[int, str]:
    stages = len(numbers) - 2
    ups = [3 * stage for stage in range(1, stages + 1)]
    if stages < 0 or numbers != [*ups, 3 * stages + 2, 3 * stages + 4]:
        raise WeightsError(
            f"old layout: the layers after the trunk are model.N with N in {numbers}, which fits no scale "
            "(x1 has 2 and 4, x2 has 3, 5, 7, x4 has 3, 6, 8, 10)"
        )
    return {
        **{number: f"conv_up{stage}" for stage, number in enumerate(ups, start=1)},
        3 * stages + 2: "conv_hr",
        3 * stages + 4: "conv_last",
    }
