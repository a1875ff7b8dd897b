"""The audit section of a recipe: what an audit measures, and against which control."""

from pydantic import Field, model_validator

from expunge.config.section import Section
from expunge.data.prompts import MAX_THINKING_TOKENS
from expunge.data.set_names import is_reserved


class AuditSection(Section):
    """What an audit measures, and against which control."""

    sets: dict[str, str] = Field(default_factory=dict, description="further sets of records: name -> file")
    questions: dict[str, str] = Field(
        default_factory=dict,
        description="multiple-choice sets (schema of WMDP and MMLU): name -> source; forget_… are forget sets",
    )
    control: str | None = Field(None, description="model that never saw the forget set; auto: the original, on records that no model saw")
    holdout: str | None = Field(None, description="records that no model was ever trained on, for membership inference and `control: auto`")
    max_records: int | None = Field(None, ge=1, description="the most records of a set, drawn by seed; none: all")
    max_new_tokens: int = Field(64, ge=1, description="tokens of the longest answer, without the reasoning before it")
    max_thinking_tokens: int = Field(
        MAX_THINKING_TOKENS, ge=0, description="tokens of the longest reasoning before an answer; they do not count as the answer's"
    )
    batch_size: int = Field(16, ge=1, description="records in a forward pass")
    show_text: bool = Field(False, description="store the answers in audit.parquet and show them, with the questions, in the report")

    @model_validator(mode="after")
    def _names_are_free(self) -> "AuditSection":
        for name in (*self.sets, *self.questions):
            if is_reserved(name) or (name in self.sets and name in self.questions):
                raise ValueError(f"a set cannot be called {name!r}: the audit has one of that name")
        return self
