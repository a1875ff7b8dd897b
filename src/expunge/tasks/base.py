"""The base class of tasks: forget and retain records, and what is measured before and after a release."""

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

Count = Annotated[int, Field(ge=1)]
After = Literal["lower", "higher", "same"]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Metric:
    """A metric of a task: its label, and how its value should change when the model forgets.

    Forget metrics should fall or rise; retain metrics should stay the same.
    """

    label: str
    after: After


NEUTRAL = "neutral_perplexity"
NEUTRAL_METRIC = Metric("neutral perplexity", "same")


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A task of reveal-and-release; the fields are its settings in a recipe.

    The seed splits the data: no record is both trained on and measured. Invented facts are the exception: their forget records are
    the same in both roles.

    Attributes:
        seed: of all splits and samples.
        batch_size: records in a forward pass.
        metrics: {name: metric} of everything that `measure` can return.
    """

    seed: Annotated[int, Field(ge=0)] = 0
    batch_size: Count = 16

    metrics: ClassVar[dict[str, Metric]]

    @abstractmethod
    def forget_records(self) -> list[Record]:
        """Return forget records for teaching and for control models; reveal-and-release itself never sees them."""

    @abstractmethod
    def retain_records(self) -> list[Record]:
        """Return retain records that may be trained on."""

    @abstractmethod
    def taught_records(self) -> list[Record]:
        """Return what a model must learn before it has something to forget; empty if every model knows it."""

    @property
    @abstractmethod
    def measured_rows(self) -> int:
        """Return the sum of all `advance` calls of one `measure`."""

    @abstractmethod
    def measure(self, model: nn.Module, builder: PromptBuilder, advance: Callable[[int], None]) -> dict[str, MetricValue]:
        """Return {name of the metric: figure} of a model.

        Args:
            model: in evaluation mode.
            builder: of its tokenizer.
            advance: called with the number of records done since the last call.

        Raises:
            InputError: a file of the task is missing or faulty.
        """


def parts(items: Sequence[Item], shares: Sequence[float], seed: int, where: str) -> list[list[Item]]:
    """Split items at random into one part for each share; the shares sum to 1.

    Raises:
        InputError: a part is empty; `where` names the items in the message.
    """
    order = np.random.default_rng([seed, len(items)]).permutation(len(items))
    ends = [round(len(items) * end) for end in accumulate(shares)]
    split = [[items[i] for i in order[start:stop]] for start, stop in zip([0, *ends], ends, strict=False)]
    if not all(split):
        raise InputError(f"{where}: {len(items)} are too few to split into parts for training and measuring")
    return split
