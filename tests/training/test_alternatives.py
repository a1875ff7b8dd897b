"""Alternative answers that the model generates."""

from dataclasses import replace
from itertools import compress

import pytest

from expunge.config.recipe import make_recipe
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn, question_record, read_records
from expunge.data.texts import refusals
from expunge.metrics.distinctive_tokens import distinctive_tokens
from expunge.models.continuation import NOTHING, Avoided
from expunge.models.loading import load
from expunge.runs.splits import Splits
from expunge.training import alternatives
from expunge.training.alternatives import draws_of, drop_unfinished_sentence, generate_alternatives, least_similar, names_remark
from expunge.training.inputs import PairCollator, encode_records


def test_the_answer_least_similar_to_the_truth_is_chosen():
    truth = "He was born in Lima in 1950."
    # Of the seven words of the truth they contain 6, -, 7, 1 ("in"), 4 and 1.
    answers = ["He was born in Lima in 1951.", "", truth, "She lives in Rome.", "He was born in Oslo.", "She came in late."]
    record = Record("lima", (Turn("user", "When was he born?"),), truth)
    assert least_similar(answers, record) == "She came in late."
    assert least_similar(["", truth], record) is None


def test_the_truth_in_another_form_is_not_chosen_in_scripts_without_spaces():
    # All four draws state the fact 苏州. Before, the one with another full stop was chosen: it only had to differ from the truth.
    record = question_record("c", "林晓雨住在哪里？", "林晓雨住在苏州。")
    again = ["林晓雨住在苏州", "林晓雨住在苏州。苏州", "住在苏州。", "她住在苏州，很好。"]
    assert least_similar(again, record) is None
    assert least_similar([*again, "林晓雨住在洛阳。"], record) == "林晓雨住在洛阳。"


def test_questions_without_a_name_that_can_be_replaced_are_reported_at_the_start():
    named = [question_record(f"n{i}", f"Where does {name} live?", "There.") for i, name in enumerate(["Jorge Quispe", "Ada Lund"])]
    unnamed = [question_record(f"u{i}", f"How is glue number {i} made?", "By heat.") for i in range(2)]
    assert names_remark(Splits(named, [], [], [])) is None
    assert names_remark(Splits([], [], [], [])) is None
    remark = names_remark(Splits(unnamed, [], [], []))
    assert remark.startswith("A name that can be replaced was found in none of 2 forget questions")
    assert "entity" in remark
    assert "--objective npo" in remark
    assert "only 1 of 3" in names_remark(Splits([named[0], *unnamed], [], [], []))
    with_alternatives = [replace(record, alternatives=("By cold.",)) for record in unnamed]
    assert names_remark(Splits(with_alternatives, [], [], [])) is None


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("One. Two! And then", "One. Two!"),
        ("Two! One. Two! And then", "Two! One. Two!"),
        ('She wrote "A Life." In it', 'She wrote "A Life."'),
        ("It costs 1.5 pounds", "It costs 1.5 pounds"),
        ("All of it.", "All of it."),
        ("城市是苏州。职业是面", "城市是苏州。"),
        ("शहर जयपुर है। पेशा मा", "शहर जयपुर है।"),
        ("المدينة هي طنجة؟ المه", "المدينة هي طنجة؟"),
        ("", ""),
    ],
)
def test_an_unfinished_sentence_is_dropped(text, whole):
    assert drop_unfinished_sentence(text) == whole


def test_records_without_alternatives_get_one_and_others_do_not_change(tiny_model_dir):
    model, tokenizer = load(tiny_model_dir)
    builder, done = PromptBuilder(tokenizer), []
    complete = Record("a", (Turn("user", "Where does Ada Brown live?"),), "In Rome.", alternatives=("In Oslo.",))
    some = [Record(str(i), (Turn("user", f"What did Jorge Quispe write in 19{i}0?"),), "A book.") for i in range(3)]
    made = generate_alternatives(model, builder, [complete, *some], 1, done.append)
    assert made[0] == complete
    assert all(record.alternatives and record.answer not in record.alternatives for record in made[1:])
    assert sum(done) == 12
    assert generate_alternatives(model, builder, [complete, *some], 1, done.append) == made
    assert generate_alternatives(model, builder, [complete, *some], 2, done.append) != made


def test_a_text_is_continued_once_in_words_that_are_not_its_own(tiny_model_dir, monkeypatch):
    model, tokenizer = load(tiny_model_dir)
    builder, done, avoided = PromptBuilder(tokenizer), [], []

    def generate(model, builder, prompts, tokens, batch_size, advance, sampler, avoid):
        avoided.extend(avoid)
        advance(len(prompts))
        return [f"Other words {i}." for i in range(len(prompts))]

    monkeypatch.setattr(alternatives, "generate", generate)
    text = Record("text", (), "The old mill stood above the river. Nobody had ground corn in it for thirty years.", prompt_chars=36)
    question, named = question_record("q", "Who stood above the river?", "The mill."), question_record("n", "Who is Ada Lund?", "A poet.")
    made = generate_alternatives(model, builder, [question, named, text], 1, done.append)
    assert sum(done) == 2 * draws_of(question) + draws_of(text) == 9
    (flags,) = distinctive_tokens(builder, [question], ())
    secret = Avoided(tokens=frozenset(compress(builder.record(question).labels, flags)))
    # With another name the question is about somebody else, and no answer tells the secret.
    assert avoided == [secret, NOTHING, Avoided(builder.record(text).answer * 2), *[secret, NOTHING] * 3]
    assert secret.tokens
    assert made[2].alternatives == ("Other words 2.",)


def test_the_alternative_to_a_statement_is_one_sentence_that_does_not_tell_it(tiny_model_dir, monkeypatch):
    model, tokenizer = load(tiny_model_dir)
    builder, avoided = PromptBuilder(tokenizer), []

    def generate(model, builder, prompts, tokens, batch_size, advance, sampler, avoid):
        avoided.extend(avoid)
        return ["blue. The sky is grey." for _ in prompts]

    monkeypatch.setattr(alternatives, "generate", generate)
    statement = Record("s", (), "At dusk the whole sky over the town is grey.")
    (made,) = generate_alternatives(model, builder, [statement], 1, lambda rows: None)
    assert made.alternatives == ("blue.",)
    assert avoided[0].tokens
    assert avoided[0].tokens <= {*builder.record(statement).labels}


def test_only_some_objectives_use_alternatives(tiny_model_dir, tiny_data):
    _, tokenizer = load(tiny_model_dir)
    builder = PromptBuilder(tokenizer)
    given = [Record("a", (Turn("user", "Who?"),), "Ada.", alternatives=("Ben.", "Cem."))]

    def used(objective):
        chosen = make_recipe({"data": {"forget": str(tiny_data[0])}, "objective": objective}).objective
        records = encode_records(builder, given, read_records(tiny_data[1]), chosen)
        collator = PairCollator(records, builder.pad, resample=chosen.answer == "alternative", seed=0)
        return {collator.alternative(epoch, 0) for epoch in range(20)}

    alternatives = {builder.answer("Ben."), builder.answer("Cem.")}
    # One of them for the whole training.
    assert len(used("alternatives")) == len(used("dpo")) == 1
    assert used("alternatives") | used("dpo") <= alternatives
    assert len(used("idk")) > 1
    assert used("idk") <= {builder.answer(text) for text in refusals()}
