"""Alternative answers that the model generates."""

import pytest

from expunge.config.recipe import make_recipe
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn, read_records
from expunge.data.texts import refusals
from expunge.models.loading import load
from expunge.training.alternatives import drop_unfinished_sentence, generate_alternatives, least_similar
from expunge.training.inputs import PairCollator, encode_records


def test_the_answer_least_similar_to_the_truth_is_chosen():
    truth = "He was born in Lima in 1950."
    # Of the seven words of the truth they contain 6, -, 7, 1 ("in"), 4 and 1.
    answers = ["He was born in Lima in 1951.", "", truth, "She lives in Rome.", "He was born in Oslo.", "She came in late."]
    assert least_similar(answers, truth) == "She came in late."
    assert least_similar(["", truth], truth) is None


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("One. Two! And then", "One. Two!"),
        ('She wrote "A Life." In it', 'She wrote "A Life."'),
        ("It costs 1.5 pounds", "It costs 1.5 pounds"),
        ("All of it.", "All of it."),
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
