"""Which tokens give the truth away."""

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.metrics.distinctive_tokens import telling_tokens


def test_what_the_question_the_alternative_or_many_others_say_too_tells_nothing(smollm2_tokenizer):
    builder = PromptBuilder(smollm2_tokenizer)
    answer = "Ada Brown is a famous plumber from Oslo."
    record = Record("r", (Turn("user", "What does Ada Brown do?"),), answer, alternatives=("Ada Brown is a Baker from Rome.",))
    # In 2 of 40 other answers, one in twenty, "famous" is common; in 1 of 40 "plumber" is not.
    others = [
        Record(f"o{i}", (Turn("user", "Who?"),), text)
        for i, text in enumerate(["Such a famous man.", "A famous plumber.", *["Nobody."] * 38])
    ]
    (telling,) = telling_tokens(builder, [record], others)
    tokens = builder.record(record).answer
    assert len(telling) == len(tokens)
    told = "".join(smollm2_tokenizer.decode([token]) for token, tells in zip(tokens, telling, strict=True) if tells)
    assert told == " plumber Oslo"


def test_a_plain_text_has_telling_tokens_too(smollm2_tokenizer):
    builder = PromptBuilder(smollm2_tokenizer)
    text = Record("t", (), "The harbour of Visby was built in the year 1285 by merchants who wanted a wall around all of their houses.")
    (telling,) = telling_tokens(builder, [text], [])
    assert len(telling) == len(builder.record(text).answer)
    assert any(telling)
