"""GRUN and ReFT as PEFT methods (Ren et al., 2025, arXiv 2502.17823). Importing this package registers both with PEFT."""

from expunge.edits.grun.config import GrunConfig, ReftConfig
from expunge.edits.grun.layer import GrunLayer, retract
from expunge.edits.grun.model import GrunModel, ReftModel
from expunge.edits.grun.register import register

register()

__all__ = ["GrunConfig", "GrunLayer", "GrunModel", "ReftConfig", "ReftModel", "retract"]
