"""The comparison of several runs: all runs are on the page, and their names are escaped."""

import json

import pytest
from pages import HOSTILE, Page, cell, verdict_row

from expunge.errors import InputError
from expunge.reporting.comparison import compared_metrics, render, verdict_rows
from expunge.reporting.svg import looks
from expunge.runs.folder import AUDIT, Run

MODELS = ("original", "runs/a", "runs/b", "control")
SUMMARY = {
    model: {"forget": {"rouge": cell(forget)}, "retain": {"rouge": cell(0.9)}, "utility": {"model_utility": cell(0.6)}}
    for model, forget in zip(MODELS, (0.95, 0.31, 0.52, 0.3), strict=True)
}
SUMMARY_FILE = {"original": {}, "unlearned": {}}
METHODS = {"runs/a": "grun x npo", "runs/b": "lora x npo"}
VERDICTS = {
    "runs/a": [verdict_row("forget prompts as given", "pass", excess=0.01)],
    "runs/b": [verdict_row("forget prompts as given", "fail", excess=0.22)],
}


def test_all_runs_are_in_the_plot_the_verdicts_and_the_table():
    source = render(SUMMARY, METHODS, VERDICTS, same_forget=True)
    words = Page(source).words
    figure = source[source.index("<svg role") : source.index("</svg>", source.index("<svg role"))]
    assert all(name in figure for name in MODELS)
    assert "runs/a grun x npo 1 pass runs/b lora x npo 1 fail" in words
    assert "forget prompts as given API only ✓ pass +0.010 ✗ fail +0.220" in words
    assert "Metric original runs/a runs/b control" in words
    assert "0.310" in words
    assert "0.520" in words
    assert "cannot be compared" not in words


def test_runs_with_other_forget_records_or_without_a_suite_are_marked():
    words = Page(render(SUMMARY, METHODS, {**VERDICTS, "runs/b": []}, same_forget=False)).words
    assert "do not all forget the same records" in words
    assert "none: the audit had no suite of attacks" in words
    assert "forget prompts as given API only ✓ pass +0.010 not tested" in words


def test_without_a_control_the_figure_has_no_goal_line():
    words = Page(render({name: sets for name, sets in SUMMARY.items() if name != "control"}, METHODS, VERDICTS, True)).words
    assert "no line for the goal" in words


def test_names_of_runs_and_rows_are_escaped():
    summary = {HOSTILE if model == "runs/a" else model: {**sets, HOSTILE: {HOSTILE: cell(0.5)}} for model, sets in SUMMARY.items()}
    source = render(summary, {HOSTILE: HOSTILE, "runs/b": HOSTILE}, {HOSTILE: [verdict_row(HOSTILE, "fail")], "runs/b": []}, True)
    page = Page(source)
    assert page.harmless
    assert "alert(1)" in page.text
    assert "\x1b" not in source
    assert "\u202e" not in source


def test_twelve_runs_look_different():
    assert len(set(looks(f"runs/{i}" for i in range(12)).values())) == 12


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("audit.json", {"original": {}}, "unlearned: Field required"),
        ("audit.json", {"original": {}, "unlearned": {"forget": {"rouge": {"value": "0.1"}}}}, "unlearned.forget.rouge.n: Field required"),
        ("verdict.json", {"suite": {}, "rows": [{"name": "forget prompts as given"}]}, "rows.0.threat: Field required"),
    ],
)
def test_a_malformed_audit_file_is_named_with_its_field(tmp_path, file, content, problem):
    (tmp_path / "audit.json").write_text(json.dumps(SUMMARY_FILE), encoding="utf-8")
    (tmp_path / file).write_text(json.dumps(content), encoding="utf-8")
    run = Run(tmp_path)
    with pytest.raises(InputError) as error:
        (compared_metrics if file == AUDIT else lambda runs: verdict_rows(*runs))([run])
    assert f"{tmp_path / file}: is not what an audit writes: {problem}" in str(error.value)
