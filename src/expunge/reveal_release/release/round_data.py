"""The records of a release's rounds: forget data, retain data, and validation records to choose lambda on."""

from collections.abc import Sequence

import numpy as np

from expunge.config import Revealed
from expunge.data.records import Record
from expunge.reveal_release.release.context import RoundContext
from expunge.reveal_release.reveal.select import resample, reveal, search_models, top_instructions
from expunge.runs.folder import REVEAL

VALIDATION_SHARE = 0.25
"""Share of the records to choose lambda on."""
MAX_VALIDATION = 48
"""Maximum number of records of each kind to choose lambda on."""


def forget_records(context: RoundContext, number: int) -> list[Record]:
    """Return the forget data of a round; reveal it anew if the recipe refreshes it.

    Raises:
        NothingRevealed: too few responses pass the filters in a later round.
    """
    recipe, refresh = context.recipe, context.settings.refresh
    if number == 1 or refresh == "reuse" or not isinstance(recipe.data.forget, Revealed):
        return context.sets.forget
    settings, folder = recipe.data.forget.reveal, context.folder(number) / REVEAL
    models, seed = search_models(context.model, context.builder, settings), context.seed + number
    if refresh == "research":
        return reveal(models, settings, folder, seed, context.display)
    instructions = top_instructions(context.run.folder / REVEAL, settings)
    return resample(models, settings, instructions, folder, seed, context.display)


def first_validation(context: RoundContext) -> list[Record]:
    """Return the validation part of the first round's forget data."""
    return split_validation(context.sets.forget, context.seed)[1]


def retain_training(context: RoundContext) -> list[Record]:
    """Return the retain records that modules train on."""
    records = context.sets.retain
    order = np.random.default_rng([context.seed, 24]).permutation(len(records))
    return [records[i] for i in sorted(order[: context.settings.retain_max_records])]


def kl_records(context: RoundContext) -> list[Record]:
    """Return the records of the KL term: retain records, and answers to neutral instructions."""
    return [*retain_training(context), *_neutral(context)[0]]


def utility_validation(context: RoundContext) -> tuple[list[Record], list[Record]]:
    """Return the records to choose lambda on: retain records, and answers to neutral instructions."""
    return context.sets.calibration[:MAX_VALIDATION], _neutral(context)[1]


def split_validation(records: Sequence[Record], seed: int) -> tuple[list[Record], list[Record]]:
    """Split records into those to train on and those to choose lambda on."""
    order = np.random.default_rng([seed, 23]).permutation(len(records))
    count = min(MAX_VALIDATION, max(1, round(VALIDATION_SHARE * len(records))))
    training, validation = sorted(order[count:]), sorted(order[:count])
    return [records[i] for i in training], [records[i] for i in validation]


def _neutral(context: RoundContext) -> tuple[list[Record], list[Record]]:
    """Return the answers to neutral instructions: those to train on, and those to choose lambda on."""
    if context.neutral:
        return split_validation(context.neutral, context.seed)
    # The retain set consists of such answers already, so none are added to the training.
    return [], context.sets.calibration[:MAX_VALIDATION]
