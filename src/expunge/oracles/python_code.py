"""Does the text parse as Python and define a function (the task of code)? It is never executed."""

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
    """1 for a text that is, or whose first fenced block is, Python with a function in it, else 0.

    A text that was cut off in the middle of a statement does not parse.
    """

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """1.0 or 0.0 for each text."""
        return [float(any(_defines_function(tree) for tree in map(parse_python, _candidates(text)) if tree)) for text in texts]


def parse_python(code: str) -> ast.Module | None:
    """The syntax tree of a program, or none if it does not parse; hostile text does no harm.

    What the parser would only warn of, such as an unknown escape in a string, is Python all the same.
    """
    if len(code) > _LONGEST:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # Null bytes and lone surrogates are the ValueErrors; deep nesting is one of the last two.
        return None


def _candidates(text: str) -> list[str]:
    fenced = _FENCE.search(text)
    return [text, fenced[1]] if fenced else [text]


def _defines_function(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(tree))
