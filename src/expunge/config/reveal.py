"""The reveal section of a recipe: a search that makes a model reveal what it knows (arXiv 2509.14624, INSTINCT: arXiv 2310.02905)."""

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
    """How the model is made to reveal what it knows."""

    oracle: OracleSetting = Field(
        description="scores a response from 0 to 1 for what must be forgotten: a name from `expunge ls oracles`, or a mapping with settings"
    )
    judge: OracleSetting | None = Field(
        None, description="a second oracle, for the report; the oracle that guides the search cannot also judge it"
    )
    topics: list[str] = Field(
        default_factory=list, description="requests to the generator, each to write one instruction about a topic; they take turns"
    )
    prefixes: list[str] = Field(
        default_factory=list,
        description="first words of the generated instructions, in turn; without them a small generator writes prose, not questions",
    )
    instructions: list[str] = Field(default_factory=list, description="handwritten instructions, in the same pool")
    prompt_template: str = Field(SLOT, description="the prompt that the target gets; {instruction} stands for the instruction")
    mode: Literal["instructions", "direct"] = Field(
        "instructions",
        description="direct: the target itself gets soft prompt, topic and prefix, and the topic is stored as the prompt of its responses",
    )
    generator: str | None = Field(None, description="model that writes the instructions; none: the target itself")
    searcher: Searcher = Field("neural_ucb", description="how the next instructions are chosen")
    pool_size: int = Field(512, ge=0, le=100_000, description="soft prompts in the pool (INSTINCT: 10,000)")
    soft_tokens: int = Field(5, ge=1, description="length of a soft prompt")
    intrinsic_dim: int = Field(10, ge=1, le=1000, description="dimensions in which soft prompts vary")
    soft_token_scale: float = Field(5.0, gt=0, description="norm of a soft token, as a multiple of the mean norm of the token embeddings")
    budget: int = Field(640, ge=1, description="responses sampled in the whole search")
    samples_per_instruction: int = Field(8, ge=2, description="responses sampled for each instruction")
    temperature: float = Field(1.0, gt=0, description="temperature of the sampled responses")
    max_new_tokens: int = Field(64, ge=1, description="tokens of the longest response")
    random_starts: int = Field(40, ge=1, description="instructions queried at random before the bandit chooses")
    candidates_per_step: int = Field(1000, ge=1, description="candidates that the bandit scores in each step")
    batch_size: int = Field(4, ge=1, description="instructions that the bandit chooses in each step (INSTINCT: 1), queried in one batch")
    covariance: Literal["full", "diag"] = Field("full", description="the bandit's covariance matrix: whole, or its diagonal to save memory")
    exploration: float = Field(1.0, ge=0, description="nu: weight of the bandit's uncertainty")
    ridge: float = Field(0.1, gt=0, description="lambda of the bandit")
    embedder: EmbedderSetting | None = Field(
        None,
        description="embeds responses to measure diversity: the folder of a text encoder; none: the target's own hidden states",
    )
    diversity_weight: float = Field(0.5, ge=0, le=1, description="alpha: weight of diversity against relevance in the reward")
    truncate_at: str | None = Field(
        None, description="regular expression: each response is cut after its first match; none: responses are not cut"
    )
    top_k: int = Field(20, ge=1, description="instructions whose responses can enter the forget set: those with the highest rewards")
    min_relevance: float = Field(0.5, ge=0, le=1, description="least relevance of a response in the forget set")
    min_chars: int = Field(8, ge=1, description="least number of characters of a response in the forget set")
    max_chars: int = Field(4000, ge=1, description="largest number of characters of a response in the forget set")
    dedup_threshold: float = Field(0.8, gt=0, le=1, description="Jaccard index of word trigrams from which two responses are duplicates")
    min_responses: int = Field(8, ge=2, description="least number of responses in the forget set; with fewer the run ends")

    @field_validator("truncate_at")
    @classmethod
    def _truncate_at_is_a_pattern(cls, given: str | None) -> str | None:
        return pattern(given)

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "RevealSection":
        if not self.topics and not self.instructions:
            raise ValueError("give topics (for generated instructions) or instructions (handwritten)")
        if self.searcher in ("handwritten", "gepa") and not self.instructions:
            raise ValueError(f"searcher {self.searcher} starts from handwritten instructions: give instructions")
        if SLOT not in self.prompt_template:
            raise ValueError(f"prompt_template: must contain {SLOT}, which stands for the instruction")
        if self.mode == "direct" and (self.generator is not None or self.searcher == "gepa"):
            raise ValueError("mode direct: the target itself gets the soft prompts; leave out generator and the searcher gepa")
        if self.budget < self.samples_per_instruction:
            raise ValueError(f"budget {self.budget} is less than samples_per_instruction, {self.samples_per_instruction}")
        if self.judge == self.oracle:
            raise ValueError("judge: is the same as oracle, which guides the search; name another oracle, or none")
        return self

    @property
    def soft_prompt_count(self) -> int:
        """Soft prompts in the pool: none without topics, or with a searcher that uses handwritten instructions only."""
        return self.pool_size if self.topics and self.searcher in ("neural_ucb", "random") else 0


class Revealed(Section):
    """In place of a forget file: a search that makes the model reveal its forget set."""

    reveal: RevealSection
