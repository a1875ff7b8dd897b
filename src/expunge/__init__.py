"""expunge: LLM unlearning you can verify.

run = expunge.unlearn("smollm2-135m", forget="forget.jsonl")
expunge.audit(run)
model, prompts = expunge.load(run)
"""

import logging

from expunge.api import audit, export, load, purge, release, reveal, undo, unlearn, verify
from expunge.version import __version__

# Where bitsandbytes is installed, peft imports it, and it warns of a missing kernel that expunge does not use.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

__all__ = ["__version__", "audit", "export", "load", "purge", "release", "reveal", "undo", "unlearn", "verify"]
