"""Distinctive tokens: the tokens of an answer that reveal it."""

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.metrics.distinctive_tokens import distinctive_tokens


def test_words_of_the_question_the_alternative_or_many_other_answers_are_not_distinctive(smollm2_tokenizer):
    builder = PromptBuilder(smollm2_tokenizer)
    answer = "Ada Brown is a famous plumber from Oslo."
    record = Record("r", (Turn("user", "What does Ada Brown do?"),), answer, alternatives=("Ada Brown is a Baker from Rome.",))
    # In 2 of 40 other answers, one in twenty, "famous" is common; in 1 of 40 "plumber" is not.
    others = [
        Record(f"o{i}", (Turn("user", "Who?"),), text)
        for i, text in enumerate(["Such a famous man.", "A famous plumber.", *["Nobody."] * 38])
    ]
    (distinctive,) = distinctive_tokens(builder, [record], others)
    tokens = builder.record(record).answer
    assert len(distinctive) == len(tokens)
    text = "".join(smollm2_tokenizer.decode([token]) for token, is_distinctive in zip(tokens, distinctive, strict=True) if is_distinctive)
    assert text == " plumber Oslo"


def test_a_plain_text_has_distinctive_tokens_too(smollm2_tokenizer):
    builder = PromptBuilder(smollm2_tokenizer)
    text = Record("t", (), "The harbour of Visby was built in the year 1285 by merchants who wanted a wall around all of their houses.")
    (distinctive,) = distinctive_tokens(builder, [text], [])
    assert len(distinctive) == len(builder.record(text).answer)
    assert any(distinctive)
