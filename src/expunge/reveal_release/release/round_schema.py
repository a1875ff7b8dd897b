"""The schemas of the files of a round: round.json and measured.json. Anybody may have written them."""

from typing import Self

from pydantic import Field, model_validator

from expunge.documents import Closed

Module = Field(None, pattern=r"^rounds/[0-9]+/[a-z_]+$")


class Metrics(Closed):
    """Validation metrics, see `ValidationMetrics`."""

    forget_nll: float
    retain_perplexity: float = Field(gt=0)
    neutral_perplexity: float = Field(gt=0)


class _Evaluation(Closed):
    lambda_f: float
    metrics: Metrics
    utility_drop: float


class _Records(Closed):
    training: int
    validation: int
    sha256: str


class _Manifests(Closed):
    forget_module: str
    retain_module: str | None


class OriginalJson(Closed):
    """All fields of the round.json of round 0: the metrics of the original."""

    metrics: Metrics


class RoundJson(Closed):
    """All fields of the round.json of a later round; one that trained nothing has the first four."""

    lambda_f: float
    lambda_r: float
    stop: str | None
    metrics: Metrics | None
    forget_module: str | None = Module
    retain_module: str | None = Module
    manifests: _Manifests | None = None
    chosen: _Evaluation | None = None
    evaluations: list[_Evaluation] = Field(default_factory=list)
    max_utility_drop: float | None = None
    records: _Records | None = None
    angles: dict[str, float] | None = None
    seconds: float = 0.0

    @model_validator(mode="after")
    def _names_what_it_adds(self) -> Self:
        for name, coefficient in (("forget_module", self.lambda_f), ("retain_module", self.lambda_r)):
            if coefficient and (getattr(self, name) is None or self.manifests is None or getattr(self.manifests, name) is None):
                raise ValueError(f"{name} is missing")
        return self


class Figure(Closed):
    """A number of a task, and the count of records behind it."""

    value: float
    n: int
