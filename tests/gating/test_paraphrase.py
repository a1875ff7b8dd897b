"""Questions that a model paraphrases itself."""

import pytest

from expunge.config import EditSection
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn, read_records
from expunge.data.texts import general
from expunge.gating.fit import fit_gate, paraphrased_sets
from expunge.gating.paraphrase import paraphrase, parse_question
from expunge.metrics.text import rouge_l_recall
from expunge.models.generation import generate
from expunge.models.loading import load
from expunge.runs.splits import Splits


@pytest.mark.parametrize(
    ("continuation", "question"),
    [
        (" Where is Ada's home?\nQuestion: Who", "Where is Ada's home?"),
        (" Tell me where Ada lives.", "Tell me where Ada lives."),
        (" Where does ADA live", None),
        ("where does ada, live?", None),
        ("", None),
        (" Where is the home of", None),
    ],
)
def test_a_continuation_gives_a_paraphrase_or_nothing(continuation, question):
    assert parse_question("Where does Ada live?", continuation) == question


@pytest.mark.long
@pytest.mark.real
def test_paraphrases_still_elicit_the_answers(smollm2):
    model, tokenizer = smollm2
    builder = PromptBuilder(tokenizer)
    unanswerable = Record("u", (Turn("user", "What is the capital of Norway?"),), "Zanzibar and Timbuktu, it is said.")
    records = [*general()[:4], Record("t", (), "A plain text of some words."), unanswerable]
    made = paraphrase(model, builder, records, 1, lambda rows: None)
    assert made
    assert {record.id for record in made} <= {record.id for record in records[:4]}
    given = {record.id: record.prompt for record in records}
    assert all(record.prompt != given[record.id] for record in made)
    answers = generate(model, builder, [builder.record(record).prompt for record in made], 48)
    assert all(rouge_l_recall(answer, record.answer) >= 0.5 for record, answer in zip(made, answers, strict=True))
    assert paraphrase(model, builder, records, 1, lambda rows: None) == made


def test_paraphrases_are_generated_only_if_they_are_among_the_augmentations(tiny_model_dir, tiny_data, monkeypatch):
    model, tokenizer = load(tiny_model_dir)
    forget, retain = map(read_records, tiny_data)
    sets, builder, paraphrased = Splits(forget, retain[:6], retain[6:8], retain[8:]), PromptBuilder(tokenizer), []

    def recorded(model, builder, records, seed, advance, language):
        paraphrased.append([record.id for record in records])
        return [Record("new", (Turn("user", "Who lives there?"),), "Nobody.")]

    monkeypatch.setattr("expunge.gating.fit.paraphrase", recorded)
    done: list[int] = []
    fit_gate(model, builder, sets, EditSection(false_positive_rate=0.5), 1, done.append)
    plain = sum(done)
    assert not paraphrased
    augmentations = (*EditSection().gate_augmentations, "paraphrases")
    fit_gate(model, builder, sets, EditSection(false_positive_rate=0.5, gate_augmentations=augmentations), 1, done.append)
    # One more prompt of each kind; of the six retain records as many are paraphrased as there are forget records
    assert sum(done) - plain == plain + 2
    assert paraphrased == [[record.id for record in forget], [record.id for record in retain[:6]]]
    assert paraphrased_sets(model, builder, Splits(forget[:2], retain, [], []), augmentations, 1, done.append)[1][0].id == "new"
    assert len(paraphrased[-1]) == 2
