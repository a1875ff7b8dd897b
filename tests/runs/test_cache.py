"""The cache of measurements: its key covers records, settings and the code that measures, and nothing that only interprets."""

import ast
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from expunge.data.prompts import PromptBuilder
from expunge.data.questions import Question
from expunge.data.records import Record, Turn
from expunge.runs.cache import HASHED_CODE, INTERPRETING_CODE, ROOT, Measurement, code_sha256

MEASURES = (
    *("metrics/text.py", "metrics/likelihood.py", "metrics/token_nll.py", "auditing/attacks/relearn.py", "auditing/attacks/base.py"),
    *("auditing/record_metrics.py", "auditing/measure.py", "auditing/audit.py", "auditing/probes/membership.py"),
    *("data/texts/attacks.yaml", "data/texts/refusals.txt", "data/prompts.py", "models/generation.py"),
)
ELSEWHERE = (
    *("reporting/html.py", "reporting/report.html", "attestation/facts.py", "auditing/verdict.py", "auditing/summary.py"),
    *("auditing/suites/quick.yaml", "gating/eval_prompts.py", "cli/audit.py"),
)
CHOOSE = {
    "expunge",
    "expunge.console",
    "expunge.documents",
    "expunge.errors",
    "expunge.files",
    "expunge.registry",
    "expunge.hub",
    "expunge.config.recipe",
    "expunge.runs.folder",
    "expunge.config",
    "expunge.runs.splits",
    "expunge.version",
}
"""Modules that choose which records are measured (the key has these), or that only show or store."""
MODEL = nn.Linear(1, 1)
ANA = Record("row-1", (Turn("user", "Who is Ana?"),), "Ana paints.", line=1)
QUESTION = Question("1", "Who paints?", ("Ana", "Bo"), 0)


@pytest.fixture
def key_of(make_tokenizer):
    """The key of a measurement, with some of what it depends on changed."""
    tokenizer = make_tokenizer()

    def key(kind="membership", identity="a", model=MODEL, system=None, records=(ANA,), template_args=None, thinking=9, **settings) -> str:
        builder, settings = PromptBuilder(tokenizer, system, template_args, thinking), {"batch_size": 2, **settings}
        return Measurement(kind, identity, model, builder, {"members": records}, **settings).key()

    return key


def test_the_same_measurement_has_the_same_key_wherever_its_records_stand(key_of):
    assert key_of() == key_of(records=[replace(ANA, line=7)])


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "perplexity"},
        {"identity": "b"},
        {"system": "Be brief."},
        {"template_args": {"enable_thinking": False}},
        {"thinking": 10},
        {"model": nn.Linear(1, 1, dtype=torch.bfloat16)},
        {"model": nn.Linear(1, 1, device="meta")},
        {"batch_size": 3},
        {"gradients": True},
        {"records": [ANA, ANA]},
        {"records": [replace(ANA, id="row-2")]},
        # The id came from the line: another record there has the same id.
        {"records": [replace(ANA, answer="Ana sings.")]},
        {"records": [replace(ANA, paraphrased_prompt="Who's Ana?")]},
        {"records": [QUESTION]},
    ],
)
def test_whatever_a_measurement_depends_on_changes_its_key(key_of, change):
    assert key_of(**change) != key_of()


def test_another_answer_to_a_question_changes_the_key(key_of):
    assert key_of(records=[QUESTION]) != key_of(records=[replace(QUESTION, answer=1)])


def test_a_result_is_measured_once(make_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    measurement = Measurement("sets", "a", MODEL, PromptBuilder(make_tokenizer()), {})
    assert not measurement.is_cached
    assert measurement.load_or(lambda: [{"nll": 0.1}]) == [{"nll": 0.1}]
    assert measurement.load_or(lambda: pytest.fail("measured again")) == [{"nll": 0.1}]
    assert measurement.path.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def copied(tmp_path):
    """A copy of the package."""
    shutil.copytree(ROOT, tmp_path / "expunge", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "expunge"


@pytest.mark.parametrize("name", MEASURES)
def test_an_edit_of_what_measures_makes_another_hash(copied, name):
    before = code_sha256(copied)
    assert before == code_sha256()
    with (copied / name).open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    assert code_sha256(copied) != before


@pytest.mark.parametrize("name", ELSEWHERE)
def test_an_edit_of_what_judges_or_writes_does_not(copied, name):
    before = code_sha256(copied)
    with (copied / name).open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    assert code_sha256(copied) == before


def test_whatever_metrics_attacks_and_models_import_is_hashed():
    folders = ("metrics", "auditing/attacks", "data", "edits", "models", "objectives")
    measuring = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    left_out = {(str(path.relative_to(ROOT)), name) for path in measuring for name in imported(path) if not is_hashed(name)}
    assert left_out == set()


def imported(path: Path) -> set[str]:
    """Return the modules of this package that a file imports."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)]
    return {node.module for node in nodes if node.module and node.module.startswith("expunge")} - CHOOSE


def is_hashed(module: str) -> bool:
    """Return whether the file of a module, or of a package, is part of the hash."""
    place = module.removeprefix("expunge.").replace(".", "/")
    name = f"{place}.py" if (ROOT / f"{place}.py").exists() else f"{place}/__init__.py"
    return name.startswith(HASHED_CODE) and not name.startswith(INTERPRETING_CODE)
