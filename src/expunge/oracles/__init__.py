"""The table of oracles: judges of what a model said, found by their names in recipes."""

from types import FunctionType
from typing import Any, cast

from pydantic import TypeAdapter

from expunge.oracles.base import CallableOracle, Oracle, OwnOracle
from expunge.oracles.classifier import Classifier, Detoxify
from expunge.oracles.json_entities import JsonEntities
from expunge.oracles.llm_judge import LlmJudge
from expunge.oracles.profanity import Profanity
from expunge.oracles.python_code import PythonCode
from expunge.oracles.regex_search import RegexSearch
from expunge.oracles.words import Names, Wordlist
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

OWN = "own"
"""What `as_plain` calls an oracle that is not in the table."""


def make_oracle(given: str | dict[str, Any] | Oracle) -> Oracle:
    """The oracle that a recipe or a caller asks for.

    Args:
        given: a name, a mapping with `name` and settings, or an oracle, which is given back as it is.

    Raises:
        ValueError: there is no such oracle, or a setting is unknown, missing or of the wrong kind.
    """
    if isinstance(given, Oracle):
        return given
    if isinstance(given, dict) and given.get("name") == OWN:
        return OwnOracle(str(given.get("python")))
    return make_named("oracle", ORACLES, given)


def as_plain(oracle: Oracle) -> dict[str, Any]:
    """Plain values that `make_oracle` reads back as an equal oracle.

    Of an oracle of the caller's own only its Python name is kept: what `make_oracle` makes of that cannot judge.
    """
    if isinstance(oracle, OwnOracle):
        return {"name": OWN, "python": oracle.python}
    for name, cls in ORACLES.items():
        if type(oracle) is cls:
            return {"name": name, **TypeAdapter(cls).dump_python(cast(Any, oracle), mode="json")}
    named: Any = oracle.judge if isinstance(oracle, CallableOracle) and isinstance(oracle.judge, FunctionType) else type(oracle)
    return {"name": OWN, "python": f"{named.__module__}.{named.__qualname__}"}


__all__ = [
    "ORACLES",
    "OWN",
    "CallableOracle",
    "Classifier",
    "Detoxify",
    "JsonEntities",
    "LlmJudge",
    "Names",
    "Oracle",
    "OwnOracle",
    "Profanity",
    "PythonCode",
    "RegexSearch",
    "Wordlist",
    "as_plain",
    "make_oracle",
]
