"""`esrgan verify` as a user types it, and what it may import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import esrgan_video.verify
from break_tools import Change, rewrite
from esrgan_video.cli.main import main


def test_the_command_prints_a_table_and_exits_with_the_verdict(everything, good, tmp_path, capsys):
    assert main(["verify", str(everything), str(good)]) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[0].split() == ["check", "expected", "found", "result"]
    assert table.rstrip().endswith("checks hold")
    broken = rewrite(good, tmp_path / "broken.mkv", Change(without=[1]))
    assert main(["verify", str(everything), str(broken), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert [check["name"] for check in report["checks"] if check["status"] == "failed"] == ["streams"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.mkv", "{good}"], 2, "no such file"),
        (["{source}", "missing.mkv"], 2, "no such file"),
        (["{source}", "{source}"], 2, "is the input itself"),
        (["{source}", "{folder}"], 2, "is a folder"),
        (["{source}", "{pipe}"], 2, "is a pipe or a device"),
        (["{source}", "{text}"], 1, "cannot read"),
        (["{source}", "{empty}"], 1, "cannot read"),
        (["{source}", "{good}", "--start", "100"], 2, "no frame after --start 100 s"),
        (["{source}", "{good}", "--start", "3", "--end", "2"], 2, "--end must be after --start"),
        (["{source}", "{good}", "--frames", "0"], 2, "--frames must be at least 1"),
    ],
)
def test_mistakes_are_one_line(arguments, code, message, everything, good, tmp_path, capsys):
    (tmp_path / "text.mkv").write_text("no video")
    (tmp_path / "empty.mkv").touch()
    os.mkfifo(tmp_path / "pipe.mkv")
    names = {
        "source": everything, "good": good, "folder": tmp_path, "text": tmp_path / "text.mkv",
        "empty": tmp_path / "empty.mkv", "pipe": tmp_path / "pipe.mkv",
    }  # fmt: skip
    assert main(["verify", *(argument.format(**names) for argument in arguments)]) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 1
    assert message in output.err


def test_it_shares_no_code_with_what_reads_and_writes():
    """An error there must not hide itself: neither imports nor copies of the same modules."""
    code = """
import pkgutil, sys, importlib, esrgan_video.verify as package
for module in pkgutil.iter_modules(package.__path__):
    importlib.import_module(f"{package.__name__}.{module.name}")
import esrgan_video.cli.verify
print(sorted(name for name in sys.modules if name.startswith("esrgan_video.") and name.split(".")[1] != "verify"))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(json.loads(result.stdout.replace("'", '"'))) <= {
        "esrgan_video.cli",
        "esrgan_video.cli.verify",
        "esrgan_video.cli.times",
    }
    folder = Path(esrgan_video.verify.__file__).parent
    for path in folder.glob("*.py"):
        imported = [line.split()[1] for line in path.read_text().splitlines() if line.strip().startswith("from esrgan")]
        own = ("esrgan_video.verify", "esrgan.errors", "esrgan.progress")
        assert all(name.startswith(own) for name in imported), path
