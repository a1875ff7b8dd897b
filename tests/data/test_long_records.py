"""Long records: answers go on in further records, prompts lose their middle, and nothing else of a forget set is left out."""

import pytest

from expunge.data.long_records import ELLIPSIS, CutCounts, cut_records, needs_cut, remarks
from expunge.data.passages import PassageSize
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn, question_record
from expunge.errors import InputError
from expunge.metrics.leak import fact_of
from tiny_families import tiny_tokenizer

BUILDER = PromptBuilder(tiny_tokenizer(True))
SIZE, LIMIT = PassageSize(64, 32), 200
LONG = " ".join(f"Part {i} of the story is about the sea." for i in range(60))


def cut(*records: Record, to_forget: bool = True):
    return cut_records(lambda: BUILDER, records, SIZE, LIMIT, to_forget, "forget.jsonl")


def test_a_long_answer_goes_on_in_further_records():
    record = Record("q", (Turn("user", "What is the story?"),), LONG, paraphrased_prompt="Tell it.", wrong_answers=(LONG,))
    result = cut(record)
    first, *rest = result.records
    assert (first.id, first.unfinished, first.prompt_chars, first.paraphrased_prompt) == ("q", True, None, "Tell it.")
    assert [part.id for part in rest] == [f"q#{n}" for n in range(2, len(rest) + 2)]
    # Every part of the answer is in exactly one record, and each continues the end of the answer so far.
    so_far = first.answer
    for part in rest:
        assert (part.turns, part.paraphrased_prompt, part.wrong_answers) == (record.turns, None, ())
        assert part.given
        assert so_far.endswith(part.given)
        so_far += part.expected
    assert so_far == LONG
    assert [part.unfinished for part in rest] == [True] * (len(rest) - 1) + [False]
    assert all(BUILDER.max_tokens(part) <= LIMIT for part in result.records)
    assert result.counts == CutCounts(answers=1, continuations=len(rest))


def test_a_continuation_is_encoded_after_its_question_and_the_answer_so_far():
    part = cut(question_record("q", "What is the story?", LONG)).records[-1]
    encoded = BUILDER.record(part)
    question = BUILDER.prompt(part.turns)
    assert encoded.prompt == (*question, *BUILDER.unfinished_answer(part.given))
    assert encoded.prompt + encoded.answer == (*question, *BUILDER.answer(part.answer))
    assert encoded.answer[-1] == BUILDER.end_of_turn
    assert fact_of(part).isdisjoint(fact_of(question_record("q", "", part.given)))


def test_the_rest_of_a_long_retain_answer_is_left_out():
    result = cut(question_record("q", "What is the story?", LONG), to_forget=False)
    assert [(part.id, part.unfinished) for part in result.records] == [("q", True)]
    assert LONG.startswith(result.records[0].answer)


@pytest.mark.parametrize("end", [" Who was it?", ""])
def test_a_long_prompt_loses_its_middle(end):
    result = cut(question_record("q", LONG + end, "Ada."))
    (part,) = result.records
    begin, _, last = part.prompt.partition(ELLIPSIS)
    assert LONG.startswith(begin)
    assert (LONG + end).endswith(last)
    assert min(len(begin), len(last)) > 30
    assert part.answer == "Ada."
    assert BUILDER.max_tokens(part) <= LIMIT
    assert result.counts == CutCounts(prompts=1)


def test_a_long_conversation_loses_its_earliest_turns():
    talk = tuple(Turn(("user", "assistant")[i % 2], f"Message {i}: " + "word " * 10) for i in range(11))
    (part,) = cut(Record("q", (Turn("system", "Be brief."), *talk), "Ada.")).records
    assert part.turns[0].content == "Be brief."
    assert part.turns[1].role == part.turns[-1].role == "user"
    assert part.turns[-1] == talk[-1]
    assert 1 < len(part.turns) < 11
    assert BUILDER.max_tokens(part) <= LIMIT


def test_short_records_stay_as_they_are_and_need_no_tokenizer():
    def never() -> PromptBuilder:
        raise AssertionError("the tokenizer is loaded for short records")

    records = [question_record("q", "Who?", "Ada."), question_record("p", "Where?", "In Oslo.")]
    assert cut_records(never, records, SIZE, LIMIT, True, "f").records == records
    assert needs_cut(Record("t", (), "Once."), LIMIT)


def test_ids_that_are_taken_are_an_error():
    with pytest.raises(InputError, match=r'forget.jsonl: two records have the id "a#2" after long texts were cut; use other ids'):
        cut(Record("a", (), LONG), question_record("a#2", "Who?", "Ada."))


def test_remarks_say_how_many():
    counts = CutCounts(texts=1, passages=30, answers=2, continuations=5, prompts=1)
    assert list(remarks(counts, "forget", PassageSize(128, 64), 1024)) == [
        "1 text of the forget set was cut into 30 passages of 128 tokens (data.passage_tokens), the last of a text of at most 160.",
        "2 answers of the forget set would be longer than 1024 tokens (data.max_tokens) with the question: "
        "the rest is in 5 further records.",
        "1 prompt of the forget set would be longer than 1024 tokens (data.max_tokens): the middle is left out.",
    ]
