"""The data section: the forget set and the retain set."""

from typing import Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from expunge.config.reveal import Revealed
from expunge.config.section import Section
from expunge.data.chat_format import RESERVED_ARGS


class DataSection(Section):
    """The forget set and the retain set: files (JSON, CSV, Parquet), documents (text, Markdown, HTML) or hub ids.

    The forget set may also be revealed by the model.
    """

    forget: str | Revealed = Field(
        description="the forget set: a file, a document or a folder of them, a hub id, or {reveal: …} to let the model reveal it"
    )
    retain: str | None = Field(
        None,
        description="the retain set, as forget; none: the model's own answers to shipped neutral instructions",
    )
    map: dict[str, str] = Field(
        default_factory=dict,
        description="record field -> column of both files; a+b joins columns, a[0] and a.b lead into them; null: ignore an optional field",
    )
    split: str = Field("train", description="the split of both hub ids")
    forget_map: dict[str, str] = Field(default_factory=dict, description="like map, for the forget set alone; it comes before map")
    forget_split: str | None = Field(None, description="the split of the forget set; none: split")
    retain_map: dict[str, str] = Field(default_factory=dict, description="like map, for the retain set alone; it comes before map")
    retain_split: str | None = Field(None, description="the split of the retain set; none: split")
    system: str | None = Field(None, description="the system message of every prompt; none: the default of the chat template")
    template_args: dict[str, JsonValue] = Field(
        default_factory=dict, description="variables of the chat template, such as enable_thinking: false of Qwen3"
    )
    template: str | None = Field(
        None, description="a file with a Jinja chat template, for a model that has none or a wrong one; none: the model's own"
    )
    language: Literal["auto", "en", "de", "fr", "es", "pt", "ru", "zh", "ja", "ar", "hi"] = Field(
        "auto",
        description="of the shipped refusals, neutral instructions and prompt variants; auto: the one that most forget records are in",
    )
    allow_overlap: bool = Field(False, description="accept records that are in both sets")
    held_out: float = Field(0.25, gt=0, lt=1, description="share of the retain set for calibration and audit; it is never trained on")
    passage_tokens: int = Field(128, ge=16, description="tokens of each passage that a text is cut into: a prompt and its continuation")
    passage_overlap: int = Field(64, ge=4, description="tokens of a passage that are its prompt: the end of the passage before")
    document_questions: int = Field(
        0,
        ge=0,
        description="passages of documents that the model writes a question about; it forgets those that it can answer without them",
    )
    max_tokens: int = Field(
        1024, ge=64, description="tokens of the longest prompt with its answer, at most the model's context; longer records are cut"
    )

    @property
    def forget_reading(self) -> tuple[dict[str, str], str]:
        """The map and the split that the forget set is read with."""
        return self.map | self.forget_map, self.forget_split or self.split

    @property
    def retain_reading(self) -> tuple[dict[str, str], str]:
        """The map and the split that the retain set is read with."""
        return self.map | self.retain_map, self.retain_split or self.split

    @model_validator(mode="after")
    def _passages_go_on(self) -> "DataSection":
        if self.passage_overlap > self.passage_tokens - 8:
            raise ValueError(
                f"passage_overlap: leaves fewer than 8 of {self.passage_tokens} passage_tokens to forget; give a smaller number"
            )
        return self

    @field_validator("template_args")
    @classmethod
    def _args_are_free(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if taken := sorted(RESERVED_ARGS & value.keys()):
            raise ValueError(f"{taken[0]} is not a variable of a chat template: expunge sets it itself; leave it out")
        return value

    @field_validator("map", "forget_map", "retain_map", mode="before")
    @classmethod
    def _null_ignores_a_field(cls, value: object) -> object:
        return {field: "" if column is None else column for field, column in value.items()} if isinstance(value, dict) else value
