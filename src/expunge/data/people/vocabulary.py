"""The tables of names, places, professions and sentences, read from YAML once, and how they are dealt out."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import yaml

T = TypeVar("T")


@cache
def table(name: str) -> Any:
    """The content of `tables/<name>.yaml`; shared by all callers, so not to be changed."""
    return yaml.safe_load((Path(__file__).parent / "tables" / f"{name}.yaml").read_text(encoding="utf-8"))


def deal(items: Sequence[T], place: int, seed: str) -> tuple[T, int]:
    """What lies at a place when all items are dealt again and again, each time shuffled anew, and which deal it was.

    Nothing comes twice before everything came once, and a place does not depend on how many are dealt after it.
    """
    again, within = divmod(place, len(items))
    return Random(f"{seed}/{again}").sample(items, len(items))[within], again
