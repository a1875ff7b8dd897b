"""The data section: what to forget and what to keep."""

from pydantic import Field

from expunge.config.reveal import Revealed
from expunge.config.section import Section


class DataSection(Section):
    """What to forget and what to keep: files (JSONL, CSV, Parquet) or hub ids; or to forget, what the model reveals."""

    forget: str | Revealed
    retain: str | None = Field(None, description="none: the model's own answers to shipped neutral instructions")
    map: dict[str, str] = Field(default_factory=dict, description="our field name -> the file's")
    split: str = "train"
    system: str | None = Field(None, description="system message of every prompt; none: the chat template's own")
    allow_overlap: bool = False
    held_out: float = Field(0.25, gt=0, lt=1, description="share of the retain set kept for calibration and audit, never trained on")
