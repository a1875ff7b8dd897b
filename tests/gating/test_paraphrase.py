"""Questions that a model puts in other words itself."""

import pytest

from expunge.config import EditSection
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn, read_records
from expunge.data.texts import general
from expunge.gating.fit import fit_gate, reworded_sets
from expunge.gating.paraphrase import own_paraphrases, reworded
from expunge.metrics.text import rouge_l_recall
from expunge.models.generation import generate
from expunge.models.loading import load
from expunge.runs.splits import Sets


@pytest.mark.parametrize(
    ("said", "question"),
    [
        (" Where is Ada's home?\nQuestion: Who", "Where is Ada's home?"),
        (" Tell me where Ada lives.", "Tell me where Ada lives."),
        (" Where does ADA live", None),
        ("where does ada, live?", None),
        ("", None),
        (" Where is the home of", None),
    ],
)
def test_what_a_model_goes_on_with_is_a_question_in_other_words_or_nothing(said, question):
    assert reworded("Where does Ada live?", said) == question


@pytest.mark.real
def test_questions_in_other_words_still_get_their_answers(smollm2):
    model, tokenizer = smollm2
    builder = PromptBuilder(tokenizer)
    unanswerable = Record("u", (Turn("user", "What is the capital of Norway?"),), "Zanzibar and Timbuktu, it is said.")
    records = [*general()[:8], Record("t", (), "A plain text of some words."), unanswerable]
    made = own_paraphrases(model, builder, records, 1, lambda rows: None)
    assert made
    assert {record.id for record in made} <= {record.id for record in records[:8]}
    given = {record.id: record.prompt for record in records}
    assert all(record.prompt != given[record.id] for record in made)
    answers = generate(model, builder, [builder.record(record).prompt for record in made], 48)
    assert all(rouge_l_recall(answer, record.answer) >= 0.5 for record, answer in zip(made, answers, strict=True))
    assert own_paraphrases(model, builder, records, 1, lambda rows: None) == made


def test_a_gate_without_paraphrases_asks_for_none(tiny_model_dir, tiny_data, monkeypatch):
    model, tokenizer = load(tiny_model_dir)
    forget, retain = map(read_records, tiny_data)
    sets, builder, asked = Sets(forget, retain[:6], retain[6:8], retain[8:]), PromptBuilder(tokenizer), []

    def noted(model, builder, records, seed, advance):
        asked.append([record.id for record in records])
        return [Record("new", (Turn("user", "Who lives there?"),), "Nobody.")]

    monkeypatch.setattr("expunge.gating.fit.own_paraphrases", noted)
    done: list[int] = []
    fit_gate(model, builder, sets, EditSection(false_positive_rate=0.5), 1, done.append)
    plain = sum(done)
    assert not asked
    lessons = (*EditSection().gate_augmentations, "paraphrases")
    fit_gate(model, builder, sets, EditSection(false_positive_rate=0.5, gate_augmentations=lessons), 1, done.append)
    # One prompt more of each kind; of the six retain records as many were asked for as there are to forget
    assert sum(done) - plain == plain + 2
    assert asked == [[record.id for record in forget], [record.id for record in retain[:6]]]
    assert reworded_sets(model, builder, Sets(forget[:2], retain, [], []), lessons, 1, done.append)[1][0].id == "new"
    assert len(asked[-1]) == 2
