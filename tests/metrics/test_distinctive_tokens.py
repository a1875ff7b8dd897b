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


def test_parts_of_characters_are_told_apart(smollm2_tokenizer):
    builder = PromptBuilder(smollm2_tokenizer)
    record = Record("r", (Turn("user", "她住在哪里？"),), "她住在成都。")
    # Answers with other characters do not make all parts of characters common.
    others = [Record(f"o{i}", (Turn("user", "谁？"),), "鼻龜齉") for i in range(3)]
    (distinctive,) = distinctive_tokens(builder, [record], others)
    tokens = builder.record(record).answer
    assert "\ufffd" in smollm2_tokenizer.decode([tokens[0]])
    assert any(distinctive)
    in_question = set(builder.record(record).prompt)
    assert not any(flag for token, flag in zip(tokens, distinctive, strict=True) if token in in_question)
