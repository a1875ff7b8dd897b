"""expunge: LLM unlearning you can verify.

run = expunge.unlearn("smollm2-135m", forget="forget.jsonl")
expunge.audit(run)
model, prompts = expunge.load(run)
"""

from expunge.api import audit, export, load, purge, release, reveal, undo, unlearn, verify
from expunge.version import __version__

__all__ = ["__version__", "audit", "export", "load", "purge", "release", "reveal", "undo", "unlearn", "verify"]
