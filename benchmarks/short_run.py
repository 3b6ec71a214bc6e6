"""One short training run from random weights: what the comparisons of sizes and of optimisers have in common."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


def train(options: Path, name: str, changes: Mapping[str, Any], iterations: int, validations: int = 1) -> list[Any]:
    """Run `basicsr train`, with the learning rate's cosine ending at `iterations`; one that was interrupted goes on.

    Args:
        options: an options file without its pretrained weights.
        name: of the run, and of its folder in `experiments`.
        changes: what replaces keys of the file, `section:key` to a value.
        iterations: length of the run.
        validations: how many there are, at equal distances.

    Returns:
        The scores of each validation.
    """
    described = copy.deepcopy(yaml.safe_load(options.read_text()))
    described["name"] = name
    described["path"]["pretrain_network_g"] = None
    described["train"] |= {"total_iter": iterations, "warmup_iter": iterations // 20, "ema_decay": 0.99}
    described["train"]["scheduler"] |= {"periods": [iterations], "restart_weights": [1]}
    described["val"]["val_freq"] = iterations // validations
    described["logger"] |= {"save_checkpoint_freq": 100, "print_freq": 100}
    for path, value in changes.items():
        *sections, key = path.split(":")
        section = described
        for each in sections:
            section = section[each]
        section[key] = value
    folder = Path("experiments") / name
    folder.mkdir(parents=True, exist_ok=True)
    changed = folder.with_suffix(".yml")
    changed.write_text(yaml.safe_dump(described))
    command = [str(Path(sys.executable).with_name("basicsr")), "train", "-opt", str(changed), "--auto_resume"]
    subprocess.run(command, check=True)
    return [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
