"""expunge: LLM unlearning you can verify.

run = expunge.unlearn("smollm2-135m", forget="forget.jsonl")
expunge.audit(run)
model, prompts = expunge.load(run)
"""

from expunge.api import audit, export, load, purge, release, reveal, undo, unlearn, verify

__version__ = "0.1.0"
__all__ = ["audit", "export", "load", "purge", "release", "reveal", "undo", "unlearn", "verify"]
