"""The data section of a recipe: forget set, retain set and how to read them."""

from pydantic import Field, field_validator

from expunge.config.reveal import Revealed
from expunge.config.section import Section


class DataSection(Section):
    """Forget set and retain set: files (JSONL, CSV, Parquet) or hub ids. The forget set may also be revealed by the model."""

    forget: str | Revealed
    retain: str | None = Field(None, description="none: the model's own answers to shipped neutral instructions")
    map: dict[str, str] = Field(
        default_factory=dict, description="record field -> column of the file; null or empty: ignore this optional field"
    )
    split: str = "train"
    system: str | None = Field(None, description="system message of every prompt; none: the chat template's own")
    allow_overlap: bool = False
    held_out: float = Field(0.25, gt=0, lt=1, description="share of the retain set reserved for calibration and audit, never trained on")

    @field_validator("map", mode="before")
    @classmethod
    def _null_ignores_a_field(cls, value: object) -> object:
        return {field: "" if column is None else column for field, column in value.items()} if isinstance(value, dict) else value
