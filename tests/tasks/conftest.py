"""Small files in the format of each task, and a tiny random model."""

from pathlib import Path

import pytest
from small_files import jsonl, problem, written

from expunge.data.prompts import PromptBuilder
from expunge.models.loading import load

NAMES = ["Ann Lee", "Bo Berg", "Cy Dahl", "Di Falk", "Ed Holm"]
TOWNS = ["Oslo", "Rome", "Bath", "Ghent", "Split"]


@pytest.fixture
def tiny(make_tiny_model):
    """A random model and the prompt builder of its tokenizer."""
    model, tokenizer = load(make_tiny_model())
    return model, PromptBuilder(tokenizer)


@pytest.fixture
def conll(tmp_path) -> Path:
    """40 sentences, every second one with a PER."""
    lines = []
    for i in range(40):
        first, last = NAMES[i % 5].split()
        who = [f"{first} I-PER", f"{last} I-PER"] if i % 2 else ["She O"]
        lines += [*who, "saw O", f"{TOWNS[i % 5]} I-LOC", f"{i} O", ""]
    return written(tmp_path / "mini.conll", "\n".join(lines))


@pytest.fixture
def humaneval(tmp_path) -> Path:
    """Six problems: add k to a number."""
    return jsonl(tmp_path / "problems.jsonl", [problem(k) for k in range(6)])


@pytest.fixture
def gsm8k(tmp_path) -> Path:
    """20 problems of addition."""
    rows = [{"question": f"What is {k} and 2?", "answer": f"It is {k}+2=<<{k}+2={k + 2}>>{k + 2}.\n#### {k + 2}"} for k in range(20)]
    return jsonl(tmp_path / "maths.jsonl", rows)
