"""Call a function in another process by value: the test's process and the function's process exchange plain values as JSON.

The function's process runs code that a model wrote. The test's process runs only the test: it gets texts from the other process, so that
no object of the tested code, with an `__eq__` that is always true for example, and no exit code of it can pass the test.
"""

import builtins
import json
import os
from collections.abc import Callable
from typing import Any

LONGEST = 1 << 20
"""Most bytes of one call or one answer."""
_SEQUENCES = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


def encode(value: Any) -> Any:
    """Return a plain value as JSON values; raise `TypeError` for any other, objects of derived classes included."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind.__name__ in _SEQUENCES and kind is _SEQUENCES[kind.__name__]:
        return [kind.__name__, [encode(item) for item in value]]
    if kind is dict:
        return ["dict", [[encode(key), encode(item)] for key, item in value.items()]]
    if kind is bytes:
        return ["bytes", list(value)]
    if kind is complex:
        return ["complex", [value.real, value.imag]]
    raise TypeError(f"a {kind.__name__} is not a plain value")


def decode(value: Any) -> Any:
    """Return the plain value of what `encode` returned; raise `ValueError` for anything else."""
    if not isinstance(value, list):
        if isinstance(value, dict):
            raise ValueError("not an encoded value")
        return value
    kind, items = value
    if kind in _SEQUENCES:
        return _SEQUENCES[kind](decode(item) for item in items)
    if kind == "dict":
        return {decode(key): decode(item) for key, item in items}
    if kind == "bytes":
        return bytes(items)
    if kind == "complex":
        return complex(*items)
    raise ValueError("not an encoded value")


def serve(function: Callable[..., Any], calls: int, answers: int) -> None:
    """Answer calls until there are no more.

    Args:
        function: the function that is called.
        calls: file descriptor of the calls, one a line.
        answers: file descriptor of the answers.
    """
    with os.fdopen(calls, "rb") as lines, os.fdopen(answers, "wb") as out:
        for line in lines:
            try:
                arguments, named = json.loads(line)
                answer = ["value", encode(function(*decode(arguments), **decode(named)))]
            except Exception as error:
                answer = ["error", type(error).__name__, str(error)[:1000]]
            out.write(json.dumps(answer).encode() + b"\n")
            out.flush()


def remote(calls: int, answers: int) -> Callable[..., Any]:
    """Return a function that calls the one that another process serves.

    It raises the built-in exception that the other function raised, and `RuntimeError` for any other or if that process ended.
    """
    out, lines = os.fdopen(calls, "wb"), os.fdopen(answers, "rb")

    def call(*arguments: Any, **named: Any) -> Any:
        try:
            out.write(json.dumps([encode(list(arguments)), encode(named)]).encode() + b"\n")
            out.flush()
            line = lines.readline(LONGEST)
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            raise RuntimeError("the function's process ended, or its answer is too long")
        kind, *content = json.loads(line)
        if kind == "value":
            return decode(content[0])
        error = getattr(builtins, str(content[0]), RuntimeError)
        raise (error if isinstance(error, type) and issubclass(error, Exception) else RuntimeError)(str(content[1]))

    return call
