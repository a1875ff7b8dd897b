"""The sections of a recipe: the one home of every setting and its default."""

from expunge.sections.base import Section
from expunge.sections.data import DataSection
from expunge.sections.edit import DEFAULT_LESSONS, POSITIONS, POSITIONS_PATTERN, EditSection, Gate, GatePool, Lesson
from expunge.sections.release import OverlapSection, PemSection, ReleaseSection
from expunge.sections.reveal import Revealed, RevealSection
from expunge.sections.training import AuditSection, TrainingSection

__all__ = [
    "DEFAULT_LESSONS",
    "POSITIONS",
    "POSITIONS_PATTERN",
    "AuditSection",
    "DataSection",
    "EditSection",
    "Gate",
    "GatePool",
    "Lesson",
    "OverlapSection",
    "PemSection",
    "ReleaseSection",
    "RevealSection",
    "Revealed",
    "Section",
    "TrainingSection",
]
