"""The reveal section: how a model is made to tell what it knows (arXiv 2509.14624; the search after INSTINCT, arXiv 2310.02905)."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, field_validator, model_validator

from expunge.config.section import Section, pattern
from expunge.oracles import as_plain, make_oracle
from expunge.oracles.embedders import as_plain_embedder, make_embedder

EmbedderSetting = Annotated[Any, BeforeValidator(make_embedder), PlainSerializer(as_plain_embedder)]
OracleSetting = Annotated[Any, BeforeValidator(make_oracle), PlainSerializer(as_plain)]
SLOT = "{instruction}"
Searcher = Literal["neural_ucb", "random", "handwritten", "gepa"]


class RevealSection(Section):
    """How the model is made to tell what it knows."""

    oracle: OracleSetting = Field(
        description="how much a text is of what must go: a name of `expunge ls oracles`, or a mapping with its settings"
    )
    judge: OracleSetting | None = Field(None, description="a second oracle, for the report: the one that searched does not judge")
    wanted: list[str] = Field(
        default_factory=list, description="what the generator is told to write instructions about; several take turns"
    )
    begin: list[str] = Field(
        default_factory=list,
        description="how instructions begin, in turn: a small generator that is left alone writes prose, not questions",
    )
    texts: list[str] = Field(default_factory=list, description="instructions of your own, in the same pool")
    ask: str = Field(SLOT, description="what the target is asked, around each instruction")
    mode: Literal["instructions", "direct"] = Field(
        "instructions", description="direct: soft prompt, wanted text and begin go to the target itself; answers are kept with wanted"
    )
    generator: str | None = Field(None, description="model that writes the instructions; none: the target itself")
    searcher: Searcher = "neural_ucb"
    candidates: int = Field(512, ge=0, description="soft prompts in the pool (INSTINCT: 10,000)")
    soft_tokens: int = Field(5, ge=1, description="length of a soft prompt")
    intrinsic: int = Field(10, ge=1, le=1000, description="dimensions that soft prompts vary in")
    spread: float = Field(5.0, gt=0, description="length of a soft token, as a multiple of the model's own token embeddings'")
    budget: int = Field(640, ge=1, description="responses sampled in all")
    samples: int = Field(8, ge=2, description="responses sampled for an instruction")
    temperature: float = Field(1.0, gt=0)
    max_new_tokens: int = Field(64, ge=1, description="longest response")
    starts: int = Field(40, ge=1, description="instructions asked at random before the bandit chooses")
    scan: int = Field(1000, ge=1, description="candidates that the bandit looks at for each choice")
    together: int = Field(4, ge=1, description="instructions that the bandit chooses at a time (INSTINCT: 1), answered in one batch")
    covariance: Literal["full", "diag"] = "full"
    explore: float = Field(1.0, ge=0, description="nu: weight of what the bandit does not know yet")
    ridge: float = Field(0.1, gt=0, description="lambda of the bandit")
    embedder: EmbedderSetting | None = Field(
        None,
        description="what tells responses apart: folder of an encoder (sentence-transformers, say); none: the target's own states",
    )
    diversity_weight: float = Field(0.5, ge=0, le=1, description="alpha: weight of diversity beside relevance in an instruction's score")
    until: str | None = Field(
        None, description="regular expression: of each response what is kept ends with its first match; none: all of it is kept"
    )
    best: int = Field(20, ge=1, description="instructions whose responses are kept")
    floor: float = Field(0.5, ge=0, le=1, description="relevance that a response needs to be kept")
    shortest: int = Field(8, ge=1, description="characters of a response that is kept")
    longest: int = Field(4000, ge=1, description="likewise")
    near: float = Field(0.8, gt=0, le=1, description="overlap of word trigrams from which two responses count as the same")
    fewest: int = Field(8, ge=2, description="responses that must be left; fewer end the run")

    @field_validator("until")
    @classmethod
    def _until_is_a_pattern(cls, given: str | None) -> str | None:
        return pattern(given)

    @model_validator(mode="after")
    def _there_is_something_to_ask(self) -> "RevealSection":
        if not self.wanted and not self.texts:
            raise ValueError("give wanted (what to write instructions about) or texts (instructions)")
        if self.searcher in ("handwritten", "gepa") and not self.texts:
            raise ValueError(f"searcher {self.searcher} asks texts of yours: give texts")
        if SLOT not in self.ask:
            raise ValueError(f"ask needs {SLOT} in it, where the instruction goes")
        if self.mode == "direct" and (self.generator is not None or self.searcher == "gepa"):
            raise ValueError("mode direct: soft prompts go to the target itself; leave out generator and the searcher gepa")
        if self.budget < self.samples:
            raise ValueError(f"budget {self.budget} is less than the {self.samples} samples of one instruction")
        if self.judge == self.oracle:
            raise ValueError("judge: is the oracle that searches; name another, or none")
        return self

    @property
    def soft_prompts(self) -> int:
        """Soft prompts in the pool: none where nothing is said to write about, or only your texts are asked."""
        return self.candidates if self.wanted and self.searcher in ("neural_ucb", "random") else 0


class Revealed(Section):
    """In place of a forget file: what the model itself reveals."""

    reveal: RevealSection
