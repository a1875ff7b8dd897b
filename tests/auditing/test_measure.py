"""Rows of one model on the audit's sets, how sets are made, and when a measurement is taken again."""

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from math import exp
from pathlib import Path

import pytest
import torch

from expunge.auditing.measure import AuditSets, measure, with_paraphrases
from expunge.auditing.measure_models import measured_once
from expunge.auditing.record_metrics import Settings
from expunge.config import EditSection
from expunge.console import Display, SafeConsole
from expunge.data.prompts import PromptBuilder, collate
from expunge.data.records import Record, Turn
from expunge.edits.apply import apply_edit
from expunge.models.identity import weights_sha256
from expunge.models.loading import load
from expunge.models.scoring import score
from expunge.runs.splits import draw

SETTINGS = Settings(max_new_tokens=4, batch_size=2, show_text=True)
FULL = Record(
    id="full",
    turns=(Turn("user", "Where does Li Wei live?"),),
    answer="Li Wei lives in Oslo.",
    paraphrased_prompt="What is the home of Li Wei?",
    paraphrased_answer="In Oslo lives Li Wei.",
    wrong_answers=("In Rome lives Li Wei.", "In Lima."),
)
BARE = Record(id="bare", turns=(Turn("user", "Who wrote it?"),), answer="Nobody knows.")
TEXT = Record(id="text", turns=(), answer="The author never told anyone the name of the first book about birds.")
ALWAYS = {
    "set",
    "id",
    "nll",
    "tokens",
    "probability",
    "exact_memorization",
    "extraction_strength",
    "rouge",
    "chrf",
    "refusal",
    "degenerate",
    "answer",
    *(f"{column}_{metric}" for column in ("reach", "blind") for metric in ("rouge", "chrf", "degenerate", "refusal", "likelihood")),
}
WITH_WRONG = {"truth_ratio", "probability_options"}


@pytest.fixture
def tiny(make_tiny_model: Callable[..., Path]):
    """(model, prompt builder) of a fresh copy of the tiny Llama."""
    model, tokenizer = load(make_tiny_model("llama"))
    return model, PromptBuilder(tokenizer)


def test_a_row_has_every_metric_that_its_record_allows(tiny):
    rows = measure(*tiny, AuditSets(with_paraphrases({"forget": [FULL, BARE], "retain": [TEXT]})), SETTINGS, lambda done: None)
    columns = {(row["set"], row["id"]): set(row) for row in rows}
    assert columns == {
        ("forget", "full"): ALWAYS | WITH_WRONG,
        ("forget", "bare"): ALWAYS,
        ("forget_paraphrase", "full"): ALWAYS,
        ("retain", "text"): ALWAYS,
    }


def test_the_likelihoods_are_those_of_scoring_each_answer_alone(tiny):
    model, builder = tiny
    (row,) = measure(model, builder, AuditSets({"forget": [FULL]}), SETTINGS, lambda done: None)

    def nll(answer: str) -> tuple[float, int]:
        with torch.no_grad():
            scores = score(model, collate([builder.record(FULL, answer=answer)], builder.pad))
        return scores.nll.item(), int(scores.tokens.item())

    (own, tokens), (paraphrase, n), *wrong = map(nll, (FULL.answer, FULL.paraphrased_answer, *FULL.wrong_answers))
    losses = [loss / length for loss, length in wrong]
    assert (row["nll"], row["tokens"]) == (pytest.approx(own, abs=1e-3), tokens)
    assert row["probability"] == pytest.approx(exp(-own / tokens), rel=1e-3)
    # The wrong answers' losses are averaged before the exponential: exp(mean loss of the right one's paraphrase - that mean).
    assert row["truth_ratio"] == pytest.approx(exp(paraphrase / n - sum(losses) / 2), rel=1e-3)
    shares = [exp(-own / tokens), *(exp(-loss) for loss in losses)]
    assert row["probability_options"] == pytest.approx(shares[0] / sum(shares), rel=1e-3)


def test_rows_do_not_depend_on_the_batch_they_are_measured_in(tiny):
    records = [FULL, BARE, TEXT, replace(BARE, id="long", turns=(Turn("user", "Who wrote it? " * 6),))]
    alone = measure(*tiny, AuditSets({"forget": records}), Settings(4, 1, show_text=True), lambda done: None)
    together = measure(*tiny, AuditSets({"forget": records}), Settings(4, 4, show_text=True), lambda done: None)
    assert [row["answer"] for row in alone] == [row["answer"] for row in together]
    assert [row["nll"] for row in alone] == pytest.approx([row["nll"] for row in together], abs=1e-3)


def test_progress_counts_every_record_twice(tiny):
    done: list[int] = []
    measure(*tiny, AuditSets({"forget": [FULL, BARE, TEXT]}), SETTINGS, done.append)
    assert sum(done) == 6


def test_the_gate_of_an_edited_model_is_in_every_row(tiny):
    model, builder = tiny
    edited = apply_edit(model, EditSection(name="grun", gate_pool="last"), "0" * 64).eval()
    rows = measure(edited, builder, AuditSets({"forget": [FULL], "retain": [BARE, TEXT]}), SETTINGS, lambda done: None)
    assert all(isinstance(row["gate"], float) for row in rows)


def test_paraphrased_questions_are_a_set_of_their_own():
    sets = with_paraphrases({"forget": [FULL, BARE], "retain": [BARE]})
    assert list(sets) == ["forget", "forget_paraphrase", "retain"]
    (reworded,) = sets["forget_paraphrase"]
    assert (reworded.id, reworded.prompt, reworded.answer) == ("full", "What is the home of Li Wei?", "Li Wei lives in Oslo.")


def test_only_the_last_question_of_a_conversation_is_reworded():
    dialogue = replace(FULL, turns=(Turn("user", "Hello."), Turn("assistant", "Hello!"), *FULL.turns))
    (reworded,) = with_paraphrases({"forget": [dialogue]})["forget_paraphrase"]
    assert [turn.content for turn in reworded.turns] == ["Hello.", "Hello!", "What is the home of Li Wei?"]


def test_a_plain_text_has_no_question_to_reword():
    assert list(with_paraphrases({"forget": [replace(TEXT, paraphrased_prompt="What else?")]})) == ["forget"]


def test_a_draw_is_seeded_and_keeps_the_order():
    records = [replace(BARE, id=str(i)) for i in range(50)]
    drawn = draw(records, 10, seed=1)
    assert draw(records, 10, seed=1) == drawn
    assert draw(records, 10, seed=2) != drawn
    assert len(drawn) == 10
    assert [int(record.id) for record in drawn] == sorted(int(record.id) for record in drawn)


@pytest.mark.parametrize("at_most", [None, 50, 51])
def test_a_draw_of_no_fewer_than_there_are_gives_them_all(at_most):
    records = [replace(BARE, id=str(i)) for i in range(50)]
    assert draw(records, at_most, seed=1) == records


@pytest.fixture
def measurements(monkeypatch, tmp_path, tiny):
    """Measures through a cache of its own; the result is the rows, and whether the model was run for them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model, builder = tiny

    def take(sets=None, settings=SETTINGS, system=None):
        output = StringIO()
        prompts = PromptBuilder(builder.tokenizer, system)
        given = AuditSets(sets or {"forget": [FULL, BARE]})
        rows = measured_once(model, weights_sha256(model), prompts, given, settings, Display(SafeConsole(file=output)), "Measuring")
        return rows, "Measuring" in output.getvalue()

    return take


def test_the_same_measurement_is_taken_once(measurements):
    first, ran = measurements()
    again, ran_again = measurements()
    assert (ran, ran_again) == (True, False)
    assert again == first


@pytest.mark.parametrize(
    "change",
    [
        {"sets": {"forget": [replace(FULL, answer="Li Wei lives in Bern."), BARE]}},
        {"sets": {"forget": [replace(FULL, wrong_answers=("In Rome.",)), BARE]}},
        {"sets": {"forget": [replace(FULL, id="other"), BARE]}},
        {"sets": {"retain": [FULL, BARE]}},
        {"settings": Settings(5, 2, show_text=True)},
        {"system": "Be brief."},
    ],
)
def test_other_records_settings_or_prompts_are_measured_again(measurements, change):
    measurements()
    assert measurements(**change)[1]


def test_other_weights_are_measured_again(measurements, tiny):
    before, _ = measurements()
    with torch.no_grad():
        tiny[0].get_output_embeddings().weight[7] += 1.0
    after, ran = measurements()
    assert ran
    assert [row["nll"] for row in after] != [row["nll"] for row in before]


def test_answers_are_stored_only_with_show_text(tiny):
    rows = measure(*tiny, AuditSets({"forget": [FULL]}), Settings(4, 2, show_text=False), lambda done: None)
    assert [row for row in rows if "answer" in row] == []
