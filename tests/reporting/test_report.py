"""The report: what it shows, what it must not show, and that generated text is escaped."""

from dataclasses import replace
from io import StringIO

import pytest
from pages import HOSTILE, Page, cell
from rich.console import Console

from expunge.console import visible
from expunge.reporting import ReportData, headline, print_table, write_page
from expunge.reporting.figures import gate_figure, tradeoff_figure
from expunge.reporting.html import NO_CONTROL, render
from expunge.reporting.metric_rows import number, rows


@pytest.fixture
def summary() -> dict:
    return {
        "original": {"retain": {"rouge": cell(0.96, 400)}, "forget": {"rouge": cell(0.98), "probability": cell(0.9)}},
        "unlearned": {
            "retain": {"rouge": cell(0.95, 400)},
            "forget": {"probability": cell(0.1), "rouge": cell(0.31), "forget_quality": {"value": 1.2e-7, "n": 40, "ci95": None}},
            "world_facts": {"rouge": cell(0.8, 117), "gate_open": cell(0.02, 117)},
            "utility": {"model_utility": cell(0.6, 117)},
        },
        "control": {"retain": {"rouge": cell(0.97, 400)}, "forget": {"rouge": cell(0.33, 38)}},
    }


@pytest.fixture
def data(summary) -> ReportData:
    return ReportData(
        title="Forget one author",
        created="2025-11-22 10:40 UTC",
        recipe="model: tiny\nedit: {name: grun}\n",
        versions={"expunge": "0.1.0"},
        summary=summary,
        verdict_lines=["Forgotten as far as measured."],
        gate_logits={"retain": [-3.0, -2.0], "forget": [1.0, 2.0, -1.0]},
        samples=[
            {
                "set": "forget",
                "id": "a:1",
                "question": "Who?",
                "truth": "Ann Lee",
                "original": "Ann Lee",
                "unlearned": "",
                "control": HOSTILE,
            }
        ],
        show_text=True,
        notes=["Relearning was not tried."],
    )


def test_the_evaluation_of_a_gate_is_shown_and_its_tokens_are_escaped(data):
    group = {"target": True, "value": 0.95, "n": 20, "ci95": [0.76, 0.99]}
    groups = [{**group, "set": "forget", "variant": variant} for variant in ("as given", "typos", "role_play")]
    worst = [{"set": "forget", "variant": "typos", "id": "a:1", "target": True, "gate": -1.0, "tokens": [[HOSTILE, 2.0], ["b", 0.0]]}]
    gate_eval = {"threshold": 0.0, "groups": groups, "auroc": {"value": 0.987, "n": 5, "ci95": [0.9, 1.0]}, "worst": worst}
    page = Page(render(replace(data, gate_eval=gate_eval, gate_eval_logits=([1.0, 2.0, -1.0], [-3.0, -2.0]))))
    assert "95% (76%–99%; 20)" in page.text
    assert "AUROC 0.987" in page.text
    assert "missed · forget · typos · a:1 · logit -1.00" in page.text
    assert "script" not in page.tags
    assert ("style", "--shade: 155") in page.attributes
    bare = Page(render(replace(data, gate_eval={**gate_eval, "worst": [{**worst[0], "tokens": []}]}, gate_eval_logits=([1.0], [0.0]))))
    assert "The prompts are not shown" in bare.text


def hostile_everywhere(data: ReportData) -> ReportData:
    sample = dict.fromkeys(("set", "id", "question", "truth", "original", "unlearned", "control"), HOSTILE)
    return replace(
        data,
        title=HOSTILE,
        created=HOSTILE,
        recipe=HOSTILE,
        versions={HOSTILE: HOSTILE},
        summary={role: {**sets, HOSTILE: {HOSTILE: cell(0.5)}} for role, sets in data.summary.items()},
        threat_model=[HOSTILE],
        verdict_lines=[HOSTILE],
        gate_logits={"forget": [1.0], HOSTILE: [0.0, 1.0]},
        samples=[sample],
        notes=[HOSTILE],
    )


def test_all_text_is_escaped(data):
    source = render(hostile_everywhere(data))
    page = Page(source)
    assert page.harmless
    assert "alert(1)" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "\x1b" not in source
    assert "\u202e" not in source
    assert "<U+001B>[31mred<U+202E>" in page.text


def test_the_page_loads_nothing_from_outside(data):
    page = Page(render(data))
    assert page.harmless
    assert "@import" not in render(data)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_the_page_shows_result_verdict_and_threat_models(data):
    text = Page(render(data)).text
    assert "Forget ROUGE-L recall 0.98 → 0.31 (control 0.33), retain ROUGE-L recall 0.96 → 0.95 (control 0.97)." in text
    assert "Forgotten as far as measured." in text
    for name in ("API only", "Fine-tuning API", "Weights released", "never certified for “weights released”", "Relearning was not tried."):
        assert name in text
    assert "0.310" in text
    assert "0.260 to 0.360" in text
    assert "1.2e-07" in text
    assert "40 / 40 / 38" in text


def test_without_a_control_there_is_no_verdict(data):
    without = {role: sets for role, sets in data.summary.items() if role != "control"}
    text = Page(render(replace(data, summary=without))).text
    assert NO_CONTROL in text
    assert "Forgotten as far as measured." not in text


def test_texts_are_shown_only_if_allowed(data):
    source = render(replace(data, show_text=False))
    page = Page(source)
    for text in ("Who?", "Ann Lee", "alert(1)"):
        assert text not in source
    assert "a:1" in page.text
    # Truth and original answer are the same text, so they have the same mark. Another report has another mark.
    marks = [word for word in page.text.split() if len(word) == 12 and set(word) <= set("0123456789abcdef")]
    assert marks[1] == marks[2] != marks[0]
    assert marks[1] not in render(replace(data, show_text=False))


def test_the_report_is_written_atomically_and_reproducibly(data, tmp_path):
    path = write_page(tmp_path, data)
    first = path.read_bytes()
    assert write_page(tmp_path, data).read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_an_empty_audit_gives_a_page(data):
    text = Page(render(replace(data, summary={}, gate_logits=None, samples=[], verdict_lines=[]))).text
    assert NO_CONTROL in text
    assert "The gate" not in text


def test_rows_are_ordered_by_group_then_set_then_metric(summary):
    assert [(row.group, row.set, row.metric) for row in rows(summary)] == [
        ("forget", "forget", "probability"),
        ("forget", "forget", "rouge"),
        ("forget", "forget", "forget_quality"),
        ("retain", "retain", "rouge"),
        ("others", "world_facts", "rouge"),
        ("others", "world_facts", "gate_open"),
        ("others", "utility", "model_utility"),
    ]


def test_the_better_direction_depends_on_the_set(summary):
    better = {(row.set, row.metric): row.better for row in rows(summary)}
    assert better["forget", "rouge"] == "lower"
    assert better["retain", "rouge"] == "higher"
    assert better["world_facts", "gate_open"] == "lower"


def test_an_unknown_metric_is_shown_with_its_key():
    (row,) = rows({"unlearned": {"retain": {"new_metric": cell(0.5)}}})
    assert row.label == "new_metric"
    assert row.better is None


def test_the_headline_of_an_audit_without_rouge_and_probability():
    assert headline({"original": {"forget": {"rouge": cell(0.9)}}}) == "Neither ROUGE nor probability was measured on the unlearned model."


@pytest.mark.parametrize(("value", "shown"), [(0.0, "0.000"), (0.3126, "0.313"), (0.0004, "4.0e-04"), (-0.5, "-0.500")])
def test_small_numbers_are_not_rounded_away(value, shown):
    assert number(value) == shown


def test_the_tradeoff_needs_a_utility(summary):
    assert tradeoff_figure(summary).startswith("<svg")
    assert tradeoff_figure({"unlearned": {"forget": {"rouge": cell(0.3)}}}) is None


def test_the_tradeoff_uses_the_retain_set_without_a_utility(summary):
    del summary["unlearned"]["utility"]
    assert "Retain ROUGE-L recall" in tradeoff_figure(summary)


def test_the_gate_figure_shows_the_share_of_prompts_that_open_the_gate():
    # 2 of 3 forget logits reach 1.0, the one at the threshold included
    svg = gate_figure({"forget": [1.0, 2.0, -1.0], "retain": [-3.0]}, 1.0)
    assert "66.7 % open, n = 3" in svg
    assert "0 % open, n = 1" in svg


def test_control_and_format_characters_become_visible():
    assert visible("a\x1b[0m\x07\u200b\u202e\x7f\ud800") == "a<U+001B>[0m<U+0007><U+200B><U+202E><U+007F><U+D800>"
    assert visible("line\r\nnext\tzero\u200cwidth é 语") == "line\nnext\tzero\u200cwidth é 语"


def printed(summary: dict) -> str:
    out = StringIO()
    print_table(Console(file=out, width=120), summary)
    return out.getvalue()


def test_the_terminal_table_shows_value_interval_and_n(summary):
    lines = printed(summary).splitlines()
    assert lines[0].split() == ["set", "metric", "original", "unlearned", "control", "n"]
    rouge = next(line for line in lines if "ROUGE" in line)
    assert " ".join(rouge.split()) == "ROUGE-L recall ↓ 0.980 ± 0.050 0.310 ± 0.050 0.330 ± 0.050 40 / 40 / 38"
    assert "No control" not in printed(summary)


def test_the_terminal_table_without_a_control_mentions_it(summary):
    del summary["control"]
    assert "control" not in printed(summary).splitlines()[0]
    assert "No control was given" in printed(summary)


def test_the_terminal_table_compares_runs_by_name(summary):
    text = printed({"original": summary["original"], "runs/a": summary["unlearned"], "runs/b": summary["unlearned"]})
    assert text.splitlines()[0].split() == ["set", "metric", "original", "runs/a", "runs/b", "n"]


def test_the_terminal_table_escapes_names():
    text = printed({"unlearned": {"[red]\x1b[2J": {"rouge": cell(0.5)}}})
    assert "[red]<U+001B>[2J" in text
    assert "\x1b" not in text
