"""Read the tables of names, places, professions and sentences from YAML, and deal their entries out."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import yaml

T = TypeVar("T")


@cache
def table(name: str) -> Any:
    """Return the content of `tables/<name>.yaml`. All callers share it, so do not change it."""
    return yaml.safe_load((Path(__file__).parent / "tables" / f"{name}.yaml").read_text(encoding="utf-8"))


def deal(items: Sequence[T], place: int, seed: str) -> tuple[T, int]:
    """Return the item at a place, and the number of its round, where every round deals all items in a new order.

    No item occurs twice before all have occurred once, and a place does not depend on how many places are used.
    """
    round_number, position = divmod(place, len(items))
    return Random(f"{seed}/{round_number}").sample(items, len(items))[position], round_number
