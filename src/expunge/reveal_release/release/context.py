"""`RoundContext`: the run, the model and the records that all rounds of a release share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import nn

from expunge.config import ReleaseSection
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.runs.folder import ROUNDS, Run
from expunge.runs.splits import Splits


@dataclass(frozen=True)
class RoundContext:
    """The run, the model and the records that all rounds of a release share.

    Attributes:
        run: the run; all results go to its folder.
        recipe: with a `release` section.
        model: the original, in fp32; changed in place.
        builder: of its tokenizer.
        sets: forget data of the first round; retain records to train on; `calibration`, to choose lambda on.
        neutral: the original's answers to neutral instructions; empty if the retain set consists of such answers.
        display: shows progress.
    """

    run: Run
    recipe: Recipe
    model: nn.Module
    builder: PromptBuilder
    sets: Splits
    neutral: Sequence[Record]
    display: Display

    @property
    def settings(self) -> ReleaseSection:
        """The release section of the recipe."""
        return cast(ReleaseSection, self.recipe.release)

    @property
    def seed(self) -> int:
        """The seed of the recipe."""
        return self.recipe.training.seed

    def folder(self, number: int) -> Path:
        """Return the folder of a round."""
        return self.run.folder / ROUNDS / str(number)
