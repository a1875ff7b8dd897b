"""Settings of the LoRA modules that tests train, and readers of what a training leaves."""

import hashlib
import json
from pathlib import Path

from expunge.config import ModuleSection, OverlapSection

# 6 forget records make 2 steps an epoch
SETTINGS = ModuleSection(rank=4, epochs=3, batch_size=3, lr=1e-2, dtype="fp32", save_steps=2)
L1 = OverlapSection(kind="l1", weight=0.01)


def sha256(folder: Path) -> str:
    return hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()


def logged(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
