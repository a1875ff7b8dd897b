"""Other answers that a model makes itself."""

import pytest

from expunge.config.recipe import make_recipe
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn, read_records
from expunge.data.texts import refusals
from expunge.models.loading import load
from expunge.training.alternatives import least_alike, own_alternatives, whole_sentences
from expunge.training.inputs import PairCollator, encode_rows


def test_the_one_is_kept_that_has_least_in_common_with_the_truth():
    truth = "He was born in Lima in 1950."
    # Of the truth's seven words they have 6, -, 7, 1 ("in"), 4 and 1.
    answers = ["He was born in Lima in 1951.", "", truth, "She lives in Rome.", "He was born in Oslo.", "She came in late."]
    assert least_alike(answers, truth) == "She came in late."
    assert least_alike(["", truth], truth) is None


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
def test_a_sentence_that_was_cut_off_is_left_out(text, whole):
    assert whole_sentences(text) == whole


def test_records_get_some_once_and_keep_their_own(tiny_model_dir):
    model, tokenizer = load(tiny_model_dir)
    builder, done = PromptBuilder(tokenizer), []
    own = Record("a", (Turn("user", "Where does Ada Brown live?"),), "In Rome.", alternatives=("In Oslo.",))
    some = [Record(str(i), (Turn("user", f"What did Jorge Quispe write in 19{i}0?"),), "A book.") for i in range(3)]
    made = own_alternatives(model, builder, [own, *some], 1, done.append)
    assert made[0] == own
    assert all(record.alternatives and record.answer not in record.alternatives for record in made[1:])
    assert sum(done) == 12
    assert own_alternatives(model, builder, [own, *some], 1, done.append) == made
    assert own_alternatives(model, builder, [own, *some], 2, done.append) != made


def test_only_the_objectives_that_want_them_see_them(tiny_model_dir, tiny_data):
    _, tokenizer = load(tiny_model_dir)
    builder = PromptBuilder(tokenizer)
    given = [Record("a", (Turn("user", "Who?"),), "Ada.", alternatives=("Ben.", "Cem."))]

    def said(objective):
        chosen = make_recipe({"data": {"forget": str(tiny_data[0])}, "objective": objective}).objective
        rows = encode_rows(builder, given, read_records(tiny_data[1]), chosen)
        collator = PairCollator(rows, builder.pad, resample=chosen.answer == "alternative", seed=0)
        return {collator.alternative(epoch, 0) for epoch in range(20)}

    mine = {builder.answer("Ben."), builder.answer("Cem.")}
    # One of them, for the whole training
    assert len(said("alternatives")) == len(said("dpo")) == 1
    assert said("alternatives") | said("dpo") <= mine
    assert len(said("idk")) > 1
    assert said("idk") <= {builder.answer(text) for text in refusals()}
