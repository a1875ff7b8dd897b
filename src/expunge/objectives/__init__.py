"""Objectives: the losses that unlearning minimises, one small file of formulas each. Every objective works with every edit."""

from expunge.objectives.base import Objective
from expunge.objectives.grad_ascent import KL, GradAscent, GradDiff
from expunge.objectives.learn import Learn
from expunge.objectives.npo import NPO, SimNPO
from expunge.objectives.preference import DPO, IDK, Alternatives
from expunge.objectives.rmu import RMU

OBJECTIVES: dict[str, type[Objective]] = {
    "grad_ascent": GradAscent,
    "grad_diff": GradDiff,
    "kl": KL,
    "npo": NPO,
    "simnpo": SimNPO,
    "idk": IDK,
    "alternatives": Alternatives,
    "dpo": DPO,
    "rmu": RMU,
    "learn": Learn,
}

__all__ = ["DPO", "IDK", "KL", "NPO", "OBJECTIVES", "RMU", "Alternatives", "GradAscent", "GradDiff", "Learn", "Objective", "SimNPO"]
