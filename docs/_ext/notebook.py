"""Run a notebook's code cells and return it as Markdown with their output; needs no Jupyter.

python docs/_ext/notebook.py docs/tutorials/python.ipynb
"""

import ast
import hashlib
import io
import json
import sys
import tempfile
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Any

API = Path(__file__).parents[2] / "src" / "expunge" / "api" / "__init__.py"


def executed(notebook: Path, cache: Path) -> str:
    """Return the executed notebook. A build that follows another runs it again only where it or the Python API has changed."""
    content = b"".join(path.read_bytes() for path in (Path(__file__), notebook, API))
    saved = cache / f"{hashlib.sha256(content).hexdigest()}.md"
    if not saved.exists():
        text = run(notebook)
        cache.mkdir(parents=True, exist_ok=True)
        saved.write_text(text, encoding="utf-8")
    return saved.read_text(encoding="utf-8")


def run(notebook: Path) -> str:
    """Run the cells one after another in an empty folder; an error in a cell is raised."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    parts: list[str] = []
    names: dict[str, Any] = {"__name__": "__main__"}
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for cell in cells:
            text = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                parts.append(text)
                continue
            parts.append(f"```python\n{text}\n```")
            if output := run_cell(text, names).rstrip():
                parts.append(f"```text\n{output}\n```")
    return "\n\n".join(parts) + "\n"


def run_cell(text: str, names: dict[str, Any]) -> str:
    """Run one cell and return what it prints, and the value of its last expression."""
    tree, value, printed = ast.parse(text), None, io.StringIO()
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        if value is not None:
            print(repr(value))
    return printed.getvalue()


if __name__ == "__main__":
    print(run(Path(sys.argv[1]).resolve()))
