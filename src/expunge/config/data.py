"""The data section: the forget set and the retain set."""

from pydantic import Field, field_validator

from expunge.config.reveal import Revealed
from expunge.config.section import Section


class DataSection(Section):
    """The forget set and the retain set: files (JSONL, CSV, Parquet) or hub ids. The forget set may also be revealed by the model."""

    forget: str | Revealed = Field(description="the forget set: a file, a hub id, or {reveal: …} to let the model reveal it")
    retain: str | None = Field(
        None, description="the retain set: a file or a hub id; none: the model's own answers to shipped neutral instructions"
    )
    map: dict[str, str] = Field(
        default_factory=dict, description="record field -> column of the file; null or empty: ignore this optional field"
    )
    split: str = Field("train", description="the split of a hub id")
    system: str | None = Field(None, description="the system message of every prompt; none: the default of the chat template")
    allow_overlap: bool = Field(False, description="accept records that are in both sets")
    held_out: float = Field(0.25, gt=0, lt=1, description="share of the retain set for calibration and audit; it is never trained on")

    @field_validator("map", mode="before")
    @classmethod
    def _null_ignores_a_field(cls, value: object) -> object:
        return {field: "" if column is None else column for field, column in value.items()} if isinstance(value, dict) else value
