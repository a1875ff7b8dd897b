"""The oracle `python`: whether a text parses as Python and defines a function. It is never executed."""

import ast
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

_FENCE = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
# CPython's parser can exhaust the stack on huge input instead of raising an error.
_LONGEST = 100_000


@dataclass(frozen=True)
class PythonCode:
    """1 for a text that is Python with a function, or whose first fenced block is, else 0.

    A text that ends in the middle of a statement does not parse.
    """

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """Return 1.0 or 0.0 for each text."""
        return [float(any(_defines_function(tree) for tree in map(parse_python, _candidates(text)) if tree)) for text in texts]


def parse_python(code: str) -> ast.Module | None:
    """Return the syntax tree of a program, or None if it does not parse; safe for hostile texts.

    Code of which the parser only warns, such as an unknown escape in a string, does parse.
    """
    if len(code) > _LONGEST:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # Null bytes and lone surrogates raise ValueError; deep nesting raises one of the last two.
        return None


def _candidates(text: str) -> list[str]:
    fenced = _FENCE.search(text)
    return [text, fenced[1]] if fenced else [text]


def _defines_function(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(tree))
