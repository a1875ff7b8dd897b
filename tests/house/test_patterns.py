"""A regular expression of a user is only ever searched for within limits: nothing else compiles a pattern that is not in the code."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "expunge"
FUNCTIONS = {"compile", "search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn", "template"}
ESCAPED = {
    "data/evasions/forms.py": "words of the records, escaped",
    "data/evasions/full_names.py": "names of the records, escaped",
    "data/evasions/subjects.py": "names of the records, escaped",
    "data/find_names.py": "names of the records, escaped",
    "data/template_slots.py": "words of a shipped table, escaped",
    "oracles/words.py": "words of a user, escaped",
    "sandbox/search_child.py": "the process that searches within limits",
}
"""File -> why a pattern there is not a constant."""


def patterns_made_of_values(path: Path) -> list[int]:
    """Return the lines that give `re` or `regex` a pattern that is not a constant of the code."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    found = [
        call
        for call in calls
        if isinstance(call.func.value, ast.Name) and call.func.value.id in ("re", "regex") and call.func.attr in FUNCTIONS
    ]
    return [call.lineno for call in found if not _is_constant(call.args[0])]


def _is_constant(pattern: ast.expr) -> bool:
    """Return whether a pattern is made of constants of the code only: literals, and names in capitals."""
    names = {node.id for node in ast.walk(pattern) if isinstance(node, ast.Name)}
    return all(name.isupper() or name in ("re", "regex", "map") for name in names)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_pattern_of_a_user_is_compiled_without_limits(path):
    name = path.relative_to(SOURCE).as_posix()
    lines = patterns_made_of_values(path)
    assert bool(lines) == (name in ESCAPED), f"{name}: lines {lines}: search with expunge.sandbox.search"


def test_a_pattern_that_is_made_of_values_is_recognised(tmp_path):
    calls = ['compile("a")', 'search(given, "b")', 'sub(f"{PREFIX}b", "", "")', 'match(f"{given}", "")', 'fullmatch(settings.modules, "")']
    code = "import re\n" + "\n".join(f"re.{call}" for call in calls)
    (tmp_path / "a.py").write_text(code)
    assert patterns_made_of_values(tmp_path / "a.py") == [3, 5, 6]


def test_functions_of_re_are_called_by_their_module():
    imports = [path for path in SOURCE.rglob("*.py") if "from re import" in path.read_text(encoding="utf-8")]
    assert imports == []
