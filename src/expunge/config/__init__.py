"""The sections of a recipe: every setting with its default and meaning. `recipe.py` reads recipe files."""

from expunge.config.audit import AuditSection
from expunge.config.data import DataSection
from expunge.config.edit import DEFAULT_AUGMENTATIONS, EDIT_PRESETS, POSITIONS, POSITIONS_PATTERN, Augmentation, EditSection, Gate, GatePool
from expunge.config.release import ModuleSection, OverlapSection, ReleaseSection
from expunge.config.reveal import Revealed, RevealSection
from expunge.config.section import Section
from expunge.config.training import TrainingSection

__all__ = [
    "DEFAULT_AUGMENTATIONS",
    "EDIT_PRESETS",
    "POSITIONS",
    "POSITIONS_PATTERN",
    "AuditSection",
    "Augmentation",
    "DataSection",
    "EditSection",
    "Gate",
    "GatePool",
    "ModuleSection",
    "OverlapSection",
    "ReleaseSection",
    "RevealSection",
    "Revealed",
    "Section",
    "TrainingSection",
]
