"""Problems and files for the tests of tasks."""

import json
from pathlib import Path


def problem(k: int) -> dict[str, str]:
    return {
        "task_id": f"Mini/{k}",
        "prompt": f'def add_{k}(n):\n    """Add {k}."""\n',
        "canonical_solution": f"    return n + {k}\n",
        "entry_point": f"add_{k}",
        "test": f"def check(candidate):\n    assert candidate(1) == {k + 1}\n",
    }


def jsonl(path: Path, rows: list) -> Path:
    return written(path, "".join(json.dumps(row) + "\n" for row in rows))


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
