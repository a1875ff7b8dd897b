"""The report of a real run of a tiny model: it names the attacks that were run, and those that were not."""

import pyarrow.parquet as pq
import pytest
from pages import Page

from expunge.api import audit
from expunge.auditing.attacks import ATTACKS as TABLE
from expunge.auditing.audit import audit as measure
from expunge.auditing.plan import AuditOptions
from expunge.auditing.suite import Suite
from expunge.console import Display
from expunge.pipeline.unlearn import unlearn
from expunge.reporting import write_report
from expunge.reporting.comparison import comparison_page
from expunge.runs.loaded import open_run

ATTACKS = [{"name": "quantise", "max_records": 3}, {"name": "relearn", "max_records": 4, "max_steps": 2, "measure_every": 1}]
SUITE = Suite(budget_seconds=60, attacks=ATTACKS)


@pytest.fixture
def run(make_recipe_for, tmp_path, monkeypatch):
    """A trained run with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipe = make_recipe_for("people", training={"epochs": 1, "dtype": "fp32"}, audit={"max_new_tokens": 4})
    return unlearn(recipe, Display())


def page_of(run) -> Page:
    return Page((run.folder / "report.html").read_text(encoding="utf-8"))


def test_the_notes_depend_on_the_suite(run, make_tiny_model):
    words = page_of(audit(run, control=str(make_tiny_model("gpt2")), suite=SUITE)).words
    attacked = len({row["id"] for row in pq.read_table(run.folder / "attacks.parquet").to_pylist()})
    assert attacked < 6
    assert "Request forget 6 records, retain 10" in words
    assert "Method lora x npo; the edit is stored beside the weights" in words
    assert f"Attacks quantise, relearn; {attacked} records" in words
    # Every attack of the table is named but those of the suite; the attack by prompts has two parts, that by evasions three.
    left_out = [part for name, cls in TABLE.items() if name not in ("quantise", "relearn") for part in cls.untested([])]
    assert left_out[:3] == ["the answers to adversarial prompts", "other languages", "partial names"]
    assert f"Not tested: {', '.join(left_out)}, membership inference." in words
    assert "what hidden states give away, leaving the edit out" in words
    assert f"The attacks used {attacked} of the 6 forget records" in words
    for heading in ("All rows of the verdict", "What relearning recovers", "What quantisation recovers"):
        assert heading in words
    words = page_of(audit(run)).words
    assert (
        "Not tested: the answers to adversarial prompts, other languages, partial names, disguised spellings, questions over several "
        "turns, sampling at temperature 1, prefilled answers, relearning,"
    ) in words
    assert "All rows of the verdict" not in words
    assert "forget: ROUGE-L" in words


def test_the_prompts_attack_also_tests_other_languages(run):
    words = page_of(audit(run, suite=Suite(budget_seconds=60, attacks=[{"name": "prompts", "max_records": 1}]))).words
    assert "Not tested: partial names, disguised spellings, questions over several turns, sampling at temperature 1" in words
    assert "other languages" not in words


def test_a_comparison_has_the_verdicts_of_the_run(run):
    page = Page(comparison_page([audit(run, suite=SUITE)]))
    assert "lora x npo" in page.words
    assert "quantised: nf4 weights released ? not shown" in page.words


def test_a_report_written_from_the_run_folder_alone_is_the_same(run):
    result = measure(open_run(run.folder), AuditOptions(show_text=True, suite=SUITE), Display())
    first = write_report(result.run, result.records).read_bytes()
    assert b"Answers side by side" in first
    assert write_report(open_run(run.folder), result.records).read_bytes() == first
