"""`benchmarks/gpu.py`, as far as it goes without a GPU."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_one_line_says_so():
    ended = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("gpu.py: no CUDA device")
    assert ended.stderr.count("\n") == 1


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_a_processor_runs_the_ways_that_it_has(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    given = ["--device", "cpu", "--sizes", "6x5", "--blocks", "1", "--features", "16", "--growth", "8", "--rounds", "2"]
    ways = ["torch", "torch, graphs", "triton"]
    files = ["--folder", tmp_path / "work", "-o", tmp_path / "gpu.json"]
    ended = subprocess.run([sys.executable, PROGRAM, *given, *files, "--only", *ways], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "torch, graphs: left out, TorchConfig(graphs=True) needs a CUDA device" in ended.stdout
    rows = json.loads((tmp_path / "gpu.json").read_text())["sizes"]["6x5"]
    assert [row["name"] for row in rows] == ["torch", "triton"]
    assert all(60 < row["psnr"] < 100 for row in rows)  # float16 and no more: neither wrong nor float32
    assert all(len(row["seconds"]) == 2 for row in rows)
