"""expunge: LLM unlearning you can verify.

run = expunge.unlearn("smollm2-135m", forget="forget.jsonl")
expunge.audit(run)
model, prompts = expunge.load(run)
"""

from expunge.api import audit, load, unlearn
from expunge.run import Run

__version__ = "0.1.0"
__all__ = ["Run", "audit", "load", "unlearn"]
