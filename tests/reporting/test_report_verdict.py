"""The report of an audit with a suite: its verdict by threat model, and the results of attacks."""

from dataclasses import replace

import pytest
from pages import HOSTILE, Page, cell, verdict_row

from expunge.auditing.attacks import PromptAttack, Quantise, Relearn, SwitchOff
from expunge.reporting import ReportData
from expunge.reporting.attack_figures import attack_figure
from expunge.reporting.attack_tables import AttackResults, WorstRecord
from expunge.reporting.html import NO_CONTROL_ROWS, render
from expunge.reporting.verdict_table import count_verdicts, groups, scale, short_reason, signed

ROWS = [
    verdict_row("utility: retain", "pass", "", 0.0, against="original"),
    verdict_row("prompt variant: typos", "pass", excess=0.01),
    verdict_row("prompt variant: cross_lingual", "fail", excess=0.3),
    verdict_row("prompt variant: few shot", "fail", excess=0.2),
    verdict_row("forget prompts as given", "not shown", excess=0.1),
    verdict_row("edit switched off", "fail", "weights released", 0.6),
]
ATTACKS = {attack.label: attack for attack in (PromptAttack(), Quantise(), Relearn(max_steps=2), SwitchOff())}


@pytest.fixture
def data() -> ReportData:
    summary = {model: {"forget": {"rouge": cell(value)}} for model, value in (("original", 0.9), ("unlearned", 0.4), ("control", 0.3))}
    return ReportData("A run", "today", "model: tiny\n", {}, summary, facts={"Request": "forget 6 records"}, verdict_rows=ROWS)


def hit(model: str, attack: str, name: str, value: float, **other) -> dict:
    return {"model": model, "attack": attack, "id": name, "value": value, **other}


def test_a_verdict_is_shown_with_words_and_signs_by_threat_model(data):
    page = Page(render(data))
    assert "Verdict: 2 pass, 3 fail, 1 not shown" in page.words
    assert "✗ fail prompt variant: cross lingual worst of 3: 1 pass, 2 fail 0.50 0.30 0.90 +0.300 +0.250 to +0.350" in page.words
    assert "compared with the control: beyond the tolerance" in page.words
    assert "? not shown forget prompts as given" in page.words
    titles = ["No attack: side effects", "API only", "Fine-tuning API", "Weights released"]
    places = [page.words.index(title) for title in titles]
    assert places == sorted(places)
    assert "the attacker also trains the model on data of their own not tested" in page.words
    assert "forget 6 records" in page.words
    assert page.harmless


def test_the_first_table_has_the_worst_of_similar_rows_and_the_second_has_all():
    (_, api, tuned, released) = groups(ROWS)
    assert [line.row["name"] for line in api.lines] == ["prompt variant: cross_lingual", "forget prompts as given"]
    assert [row["name"] for row in api.rows] == [row["name"] for row in ROWS[1:5]]
    assert (tuned.lines, tuned.rows) == ([], [])
    assert [(line.row["name"], line.stands_for) for line in released.lines] == [("edit switched off", "")]


def test_without_a_control_rows_that_need_one_give_the_reason(data):
    without = {model: sets for model, sets in data.summary.items() if model != "control"}
    rows = [verdict_row("forget prompts as given", "not shown", excess=None)]
    page = Page(render(replace(data, summary=without, verdict_rows=rows)))
    assert NO_CONTROL_ROWS in page.words
    assert "? not shown forget prompts as given 0.50 – 0.90 – – there is no control to compare with" in page.words


def test_counts_reasons_and_signed_numbers():
    assert count_verdicts([]) == ""
    assert count_verdicts(ROWS) == "2 pass, 3 fail, 1 not shown"
    assert (
        short_reason(verdict_row("x", "not shown", excess=0.1)) == "compared with the control: the interval includes the tolerance, n = 12"
    )
    assert [signed(value) for value in (0.0496, -0.2, -0.0001)] == ["+0.050", "\u22120.200", "+0.000"]


def test_a_blind_row_and_a_contradiction_give_their_reason_in_words(data):
    blind = "blind: 12 of 12 records cannot be judged, such as forget/f3: the tokenizer cannot write the true answer"
    contradiction = "text and likelihood disagree: the answers look forgotten, but the probability is near the original's"
    rows = [
        verdict_row("forget prompts as given", "not shown", excess=0.01, reason=blind),
        verdict_row("cross-check: forget prompts as given, probability", "fail", excess=0.3, reason=contradiction),
        verdict_row("utility: retain", "not shown", "", excess=0.01, reason="the control is unfit: it is the original"),
    ]
    words = Page(render(replace(data, verdict_rows=rows))).words
    assert all(row["reason"] in words for row in rows)


def test_the_axis_of_the_forest_plot_holds_all_intervals():
    drawn = scale([verdict_row("x", "fail", excess=0.6), verdict_row("y", "pass", excess=-0.3)])
    assert (drawn.low, drawn.high) == (pytest.approx(-0.35), pytest.approx(0.65))
    assert (drawn.x(drawn.low), drawn.x(drawn.high)) == (8, 212)
    assert scale([verdict_row("x", "not shown", excess=None)]).high == pytest.approx(0.1)
    # Perplexity may rise many times over; on its scale the others would be a pixel wide.
    risen = scale([verdict_row("x", "fail", excess=4.4)])
    assert (risen.high, risen.x(4.4)) == (1.0, risen.x(1.0))


def test_results_of_attacks_are_escaped(data):
    rows = [verdict_row(HOSTILE, "fail", excess=0.3, reason=HOSTILE), verdict_row(HOSTILE, "not shown", excess=None, reason=HOSTILE)]
    worst = [WorstRecord(HOSTILE, HOSTILE, 0.4, {"unlearned": 0.5, "control": 0.1})]
    source = render(replace(data, verdict_rows=rows, worst=worst, texts={HOSTILE: (HOSTILE, HOSTILE)}, facts={HOSTILE: HOSTILE}))
    page = Page(source)
    assert page.harmless
    assert page.text.count("alert(1)") >= 9
    assert "{{ 7 * 7 }}" in page.text
    assert "\x1b" not in source
    assert "\u202e" not in source


def test_curves_have_every_step_of_every_model():
    leaks = {("unlearned", 0): (0.1, 0.3), ("unlearned", 2): (0.5, 0.9), ("control", 0): (0.2, 0.2)}
    rows = [hit(m, "relearn part", f"f{i}", v, step=step) for (m, step), values in leaks.items() for i, v in enumerate(values)]
    (plot,) = AttackResults(ATTACKS, rows).plots({}, set())
    panel = "from part of the forget set"
    assert list(plot.series) == [panel]
    assert {step: number["value"] for step, number in plot.series[panel]["unlearned"].items()} == pytest.approx({0: 0.2, 2: 0.7})
    svg = attack_figure(plot)
    assert "from part of the forget set (n = 2)" in svg
    assert "training steps" in svg


def test_bars_begin_with_what_the_same_questions_got_before():
    results = AttackResults(ATTACKS, [hit("unlearned", "quantise nf4", name, 0.8) for name in ("f0", "f1", "text")])
    measured = [{"set": "forget", "id": name, "rouge": value} for name, value in (("f0", 0.1), ("f1", 0.3), ("f2", 0.9), ("text", 0.9))]
    (plot,) = results.plots({"unlearned": measured}, {"f0", "f1", "f2"})
    # of the records that were quantised for, f0 and f1 are questions: (0.1 + 0.3) / 2
    assert {kind: models["unlearned"][0]["value"] for kind, models in plot.series.items()} == pytest.approx({"before": 0.2, "nf4": 0.8})
    assert "nf4" in attack_figure(plot)
    assert AttackResults(ATTACKS, []).plots({"unlearned": measured}, {"f0"}) == []


def test_the_worst_records_name_the_attack_that_gets_most_over_the_control():
    results = AttackResults(
        ATTACKS,
        [
            *(hit(model, "prompts", "f0", value, variant="few_shot") for model, value in (("unlearned", 0.9), ("control", 0.2))),
            *(hit(model, "quantise nf4", "f0", value) for model, value in (("unlearned", 1.0), ("control", 0.9))),
            *(hit(model, "quantise nf4", "f1", value) for model, value in (("unlearned", 0.2), ("control", 0.9))),
            *(hit(model, "switch_off", "f2", value) for model, value in (("unlearned", 1.0), ("control", 0.0))),
            *(hit(model, "relearn part", "f3", value, step=1) for model, value in (("unlearned", 1.0), ("control", 0.0))),
        ],
    )
    (worst,) = results.worst
    assert (worst.id, worst.attack, worst.excess) == ("f0", "prompt variant: few shot", pytest.approx(0.7))
    assert results.names == ["prompts", "quantise", "relearn", "switch_off"]
    assert AttackResults(ATTACKS, [hit("unlearned", "quantise nf4", "f0", 1.0)]).worst == []


def test_questions_of_the_worst_records_are_shown_only_with_texts(data):
    worst = [WorstRecord("f7", "quantised: nf4", 0.4, {"unlearned": 0.5, "control": 0.1})]
    hidden = Page(render(replace(data, worst=worst)))
    assert "f7 quantised: nf4 0.50 0.10 – +0.400" in hidden.words
    assert "shown by --show-text" in hidden.words
    assert "f7 Who? Ann Lee quantised: nf4" in Page(render(replace(data, worst=worst, texts={"f7": ("Who?", "Ann Lee")}))).words
