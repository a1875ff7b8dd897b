"""expunge: LLM unlearning you can verify.

run = expunge.unlearn("smollm2-135m", forget="forget.jsonl")
expunge.audit(run)
model, prompts = expunge.load(run)
"""

# The packages of these names come first: imported later, they would take the names of the functions.
import expunge.audit
import expunge.release
import expunge.reveal  # noqa: F401
from expunge.api import audit, export, load, purge, release, reveal, undo, unlearn, verify

__version__ = "0.1.0"
__all__ = ["audit", "export", "load", "purge", "release", "reveal", "undo", "unlearn", "verify"]
