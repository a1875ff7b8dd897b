"""What every task is: what is to be forgotten and what kept, and what is measured before and after."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import Field
from torch import nn

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.errors import InputError
from expunge.metrics.statistics import MetricValue

# Checked where a recipe is read.
Count = Annotated[int, Field(ge=1)]
After = Literal["lower", "higher", "same"]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Metric:
    """What a number is called, and what it should be after forgetting, against before: that is what makes it a forget or a keep metric."""

    label: str
    after: After


NEUTRAL = "neutral_perplexity"
NEUTRAL_METRIC = Metric("neutral perplexity", "same")


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A task of reveal-and-release; the fields are its settings in a recipe.

    The records that can be trained on and those that are measured are drawn apart by the seed, but for planted facts:
    what is to be forgotten of those is one and the same wherever it is met.

    Attributes:
        seed: of all splits and samples.
        batch_size: records scored or answered at once.
        metrics: all that `measure` can give, by name.
    """

    seed: Annotated[int, Field(ge=0)] = 0
    batch_size: Count = 16

    metrics: ClassVar[dict[str, Metric]]

    @abstractmethod
    def forget_records(self) -> list[Record]:
        """Forget data from outside, for controls and for teaching; the method itself gets none."""

    @abstractmethod
    def retain_records(self) -> list[Record]:
        """Records to be kept that can be trained on."""

    @abstractmethod
    def taught_records(self) -> list[Record]:
        """What a model has to be taught before it has anything to forget; none where any model knows it."""

    @property
    @abstractmethod
    def measured_rows(self) -> int:
        """How far `advance` counts in one `measure`."""

    @abstractmethod
    def measure(self, model: nn.Module, builder: PromptBuilder, advance: Callable[[int], None]) -> dict[str, MetricValue]:
        """The figures of a model, by the names in `metrics`.

        Args:
            model: in evaluation mode.
            builder: of its tokenizer.
            advance: called with the number of rows done since the last call.

        Raises:
            InputError: a file of the task is gone or faulty.
        """


def parts(items: Sequence[Item], shares: Sequence[float], seed: int, where: str) -> list[list[Item]]:
    """Items dealt out at random, a part for each share (they sum to 1); no item is in two parts and none is left out.

    Raises:
        InputError: a part is empty; `where` says what the items are.
    """
    order = np.random.default_rng([seed, len(items)]).permutation(len(items))
    ends = [round(len(items) * end) for end in accumulate(shares)]
    dealt = [[items[i] for i in order[start:stop]] for start, stop in zip([0, *ends], ends, strict=False)]
    if not all(dealt):
        raise InputError(f"{where}: {len(items)} are too few to train on some, choose by some and measure on others")
    return dealt
