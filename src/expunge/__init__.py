"""expunge: LLM unlearning you can verify.

run = expunge.unlearn("smollm2-135m", forget="forget.jsonl")
expunge.audit(run)
model, prompts = expunge.load(run)
"""

# The package `expunge.audit` comes first: imported later, it would take the name of the function.
import expunge.audit  # noqa: F401
from expunge.api import audit, load, unlearn

__version__ = "0.1.0"
__all__ = ["audit", "load", "unlearn"]
