"""`expunge validate`: options that errors suggest, near-duplicates, and multiple-choice questions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Expunge = Callable[..., Any]


def write(path: Path, *rows: dict) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_validate_reads_each_file_with_the_options_that_its_error_suggests(expunge: Expunge, tmp_path: Path):
    write(tmp_path / "f.jsonl", {"query": "Who is Ada Lund of Visby?", "answer": "A nurse."})
    write(
        tmp_path / "r.jsonl",
        {"text": "Where is the town of Visby?", "labels": "On Gotland."},
        {"text": "Who is Ada Lund of Visby then?", "labels": "?"},
    )
    files = ("validate", "f.jsonl", "--retain", "r.jsonl")
    refused = expunge(*files)
    assert refused.err.endswith("perhaps --forget-map prompt=query\n")
    refused = expunge(*files, "--forget-map", "prompt=query")
    assert "give --retain-map prompt=text --retain-map answer=labels (or --retain-map text=text)" in refused.err
    read = expunge(*files, "--forget-map", "prompt=query", "--retain-map", "prompt=text", "--retain-map", "answer=labels")
    assert (read.code, read.err) == (0, "")
    near = "r.jsonl:2: nearly the same as f.jsonl:1 (79% alike)"
    advice = "Leave such records out of the retain set, unless they are about something else."
    assert read.out.splitlines()[2:] == [near, advice, "Both files are valid and share no record."]


def test_validate_checks_multiple_choice_questions(expunge: Expunge, tmp_path: Path):
    write(tmp_path / "q.jsonl", {"question": "Which?", "choices": ["a", "b"], "answer": 1})
    assert "`expunge validate --questions`" in expunge("validate", "q.jsonl").err
    assert expunge("validate", "q.jsonl", "--questions").out == "q.jsonl: 1 multiple-choice questions\nThe file is valid.\n"
