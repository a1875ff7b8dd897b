"""Python problems in HumanEval's format (Chen et al., 2021, arXiv 2107.03374): read them, build programs from answers, pass@k."""

import ast
import gzip
import math
import zlib
from dataclasses import dataclass, fields
from itertools import takewhile
from pathlib import Path

from expunge.data.values import MAX_ID_DIGITS
from expunge.documents import parse_json
from expunge.errors import InputError, quoted
from expunge.files import MAX_DOCUMENT_BYTES
from expunge.oracles.python_code import parse_python
from expunge.sandbox.run import run_test

INDENT = "    "


@dataclass(frozen=True)
class Problem:
    """A function to complete.

    Attributes:
        task_id: unique.
        prompt: imports, signature and docstring.
        canonical_solution: a correct body.
        entry_point: the name of the function.
        test: code that defines `check(candidate)` with assertions.
    """

    task_id: str
    prompt: str
    canonical_solution: str
    entry_point: str
    test: str


def read_programs(path: str) -> list[Problem]:
    """Read a `.jsonl` or `.jsonl.gz` file of problems; other fields and blank lines are ignored.

    Raises:
        InputError: the file cannot be read, or the first fault as `file:line: what is wrong`.
    """
    opened = gzip.open if path.endswith(".gz") else open
    try:
        with opened(Path(path), "rt", encoding="utf-8") as file:
            content = file.read(MAX_DOCUMENT_BYTES + 1)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if len(content) > MAX_DOCUMENT_BYTES:
        # A packed file can be a thousand times larger when it is unpacked.
        raise InputError(f"{path}: cannot be read: it holds more than {MAX_DOCUMENT_BYTES} characters")
    problems: dict[str, Problem] = {}
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            problem = _problem(f"{path}:{number}", line)
            if problem.task_id in problems:
                raise InputError(f"{path}:{number}: task_id {quoted(problem.task_id)} occurs twice")
            problems[problem.task_id] = problem
    if not problems:
        raise InputError(f"{path}:1: the file has no problems")
    return list(problems.values())


def program_of(problem: Problem, body: str) -> str:
    """Return the prompt followed by the body in a model's answer, up to the first line without indentation."""
    # Answers are stripped, so the first line has lost its indentation.
    first, *rest = (body if body.startswith((" ", "\t")) else INDENT + body).split("\n")
    indented = takewhile(lambda line: not line.strip() or line.startswith((" ", "\t")), rest)
    return problem.prompt + "\n".join([first, *indented]) + "\n"


def defines(program: str, name: str) -> bool:
    """Return whether a text is valid Python that defines a function of this name, and the function does something."""
    tree = parse_python(program)
    functions = [] if tree is None else [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return any(node.name == name and not all(map(_does_nothing, node.body)) for node in functions)


def passes(problem: Problem, program: str) -> bool:
    """Return whether a program's function passes the problem's test, in the sandbox."""
    # The test may use the prompt's imports and other functions, so the prompt is run beside it, with a function that does nothing.
    setup, test = f"{problem.prompt.rstrip()}\n{INDENT}pass\n", f"{problem.test}\n\ncheck({problem.entry_point})\n"
    return run_test(program, problem.entry_point, setup, test).ok


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Return the probability that at least one of k drawn programs passes, 1 - C(n - c, k) / C(n, k) (Chen et al., 2021, eq. 1).

    Args:
        samples: n, the programs of a problem.
        passed: c, how many of them pass.
        k: number of programs drawn without replacement, at most n.
    """
    return 1.0 - math.comb(samples - passed, k) / math.comb(samples, k)


def _does_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))


def _problem(where: str, line: str) -> Problem:
    row = parse_json(line, where, "the line", MAX_ID_DIGITS)
    if not isinstance(row, dict):
        raise InputError(f"{where}: each line must be one JSON object")
    names = [field.name for field in fields(Problem)]
    for name in names:
        if not isinstance(row.get(name), str) or not row[name]:
            raise InputError(f"{where}: field {quoted(name)} must be a non-empty text")
    if f"def {row['entry_point']}" not in row["prompt"]:
        raise InputError(f'{where}: the prompt does not contain "def {row["entry_point"]}", the function in entry_point')
    return Problem(**{name: row[name] for name in names})
