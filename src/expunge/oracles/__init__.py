"""Oracles score texts for what must be forgotten; `ORACLES` is the table of them by the name that a recipe uses."""

from types import FunctionType
from typing import Any, cast

from pydantic import TypeAdapter

from expunge.oracles.base import CallableOracle, CustomOracle, Oracle
from expunge.oracles.classifier import Classifier
from expunge.oracles.detoxify import Detoxify
from expunge.oracles.json_entities import JsonEntities
from expunge.oracles.llm_judge import LlmJudge
from expunge.oracles.names import Names
from expunge.oracles.profanity import Profanity
from expunge.oracles.python_code import PythonCode
from expunge.oracles.regex_search import RegexSearch
from expunge.oracles.wordlist import Wordlist
from expunge.registry import make_named

ORACLES: dict[str, type] = {
    "json-entities": JsonEntities,
    "python": PythonCode,
    "regex": RegexSearch,
    "names": Names,
    "profanity": Profanity,
    "wordlist": Wordlist,
    "detoxify": Detoxify,
    "classifier": Classifier,
    "llm-judge": LlmJudge,
}

CUSTOM = "custom"
"""Name of a user's own oracle in a recipe file."""
READABLE = {**ORACLES, CUSTOM: CustomOracle}
"""Oracles that `as_plain` may write."""


def make_oracle(given: str | dict[str, Any] | Oracle) -> Oracle:
    """Return an oracle.

    Args:
        given: a name, a mapping with `name` and settings, or an oracle, which is returned unchanged.

    Raises:
        ValueError: there is no such oracle, or a setting is unknown, missing or of the wrong kind.
    """
    if isinstance(given, Oracle):
        return given
    is_custom = isinstance(given, dict) and given.get("name") == CUSTOM
    return make_named("oracle", READABLE if is_custom else ORACLES, given)


def as_plain(oracle: Oracle) -> dict[str, Any]:
    """Return plain values from which `make_oracle` makes an equal oracle.

    Of a user's own oracle they only have its Python name, and `make_oracle` makes a `CustomOracle` of that, which cannot score texts.
    """
    name = next((name for name, cls in READABLE.items() if type(oracle) is cls), None)
    if name is not None:
        return {"name": name, **TypeAdapter(type(oracle)).dump_python(cast(Any, oracle), mode="json")}
    is_function = isinstance(oracle, CallableOracle) and isinstance(oracle.judge, FunctionType)
    source: Any = cast(CallableOracle, oracle).judge if is_function else type(oracle)
    return {"name": CUSTOM, "python": f"{source.__module__}.{source.__qualname__}"}


__all__ = [
    "CUSTOM",
    "ORACLES",
    "CallableOracle",
    "Classifier",
    "CustomOracle",
    "Detoxify",
    "JsonEntities",
    "LlmJudge",
    "Names",
    "Oracle",
    "Profanity",
    "PythonCode",
    "RegexSearch",
    "Wordlist",
    "as_plain",
    "make_oracle",
]
