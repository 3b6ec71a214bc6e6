"""Memory that is left, with control groups written out as the kernel's documents describe their files."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest

from control_group_tree import group_tree
from esrgan.system_memory import available_bytes

_MACHINE = 10_000_000
_SECOND = "anon 350000\nfile 350000\ninactive_file 300000\nactive_file 50000\n"
_FIRST = "cache 1\ninactive_file 1\ntotal_inactive_file 300000\n"


def second(folder, limit):
    """Files of version 2."""
    return {f"{folder}memory.max": limit, f"{folder}memory.current": "700000\n", f"{folder}memory.stat": _SECOND}


def first(folder, limit):
    """Files of version 1."""
    return {
        f"{folder}memory.limit_in_bytes": limit,
        f"{folder}memory.usage_in_bytes": "700000\n",
        f"{folder}memory.stat": _FIRST,
    }


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", second("", "1000000\n"), 1_000_000 - (700_000 - 300_000)),
        ("0::/\n", second("", "200000\n"), 0),
        ("0::/\n", second("", "max\n"), _MACHINE),
        ("0::/\n", second("", "90000000\n"), _MACHINE),
        ("0::/a/b\n", {**second("a/b/", "max\n"), **second("a/", "500000\n")}, 100_000),
        ("4:memory:/docker/f0\n3:cpu:/docker/f0\n", first("memory/", "600000\n"), 200_000),
        ("4:cpu,memory:/x\n", first("cpu,memory/x/", "800000\n"), 400_000),
        ("4:memory:/x\n", first("memory/x/", "9223372036854771712\n"), _MACHINE),
        ("0::/\n", {"memory.max": "1000000\n"}, _MACHINE),
        ("", {}, _MACHINE),
    ],
    ids=[
        "what could be reclaimed is free",
        "over the limit",
        "no limit",
        "a limit over what the machine has",
        "the limit of a group above",
        "version 1, in Docker",
        "version 1, two controllers together",
        "version 1, no limit",
        "a limit, and nothing else",
        "no control groups",
    ],
)
def test_the_tightest_limit_counts(tmp_path, monkeypatch, membership, files, expected):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=_MACHINE))
    assert available_bytes(group_tree(tmp_path, membership, files)) == expected
