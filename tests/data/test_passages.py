"""Texts that are cut into passages: cuts worked out by hand, and what every cut of any text must keep."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from expunge.data.passages import PassageSize, overlapping_passages, separate_passages, token_spans
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from tiny_families import tiny_tokenizer

SIZE = PassageSize(passage=16, overlap=8)
BYTES = PromptBuilder(tiny_tokenizer(True))
TEXTS = st.text(st.sampled_from("abc de\n.,é漢字가🙂ع ह"), min_size=1, max_size=400)


def word_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer for which every word is one token."""
    tokenizer = Tokenizer(models.WordLevel({"?": 0, "</s>": 1}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?", eos_token="</s>")


WORDS = PromptBuilder(word_tokenizer())


def numbered(count: int) -> Record:
    return Record("t", (), " ".join(f"w{i}" for i in range(count)))


def words(record: Record) -> list[tuple[list[int], list[int]]]:
    """Return the numbers of the words of prompt and continuation."""
    return tuple([int(word[1:]) for word in part.split()] for part in (record.given, record.expected))


def span(first: int, last: int) -> list[int]:
    return list(range(first, last))


def test_passages_by_hand():
    # The first prompt has 8 words; continuations of 16 - 8 = 8 words follow, each with the 8 words before it as its prompt.
    parts = overlapping_passages(WORDS, numbered(40), SIZE)
    assert [words(part) for part in parts] == [(span(i - 8, i), span(i, i + 8)) for i in (8, 16, 24, 32)]
    assert [part.id for part in parts] == ["t#1", "t#2", "t#3", "t#4"]
    assert {part.document for part in parts} == {"t"}


def test_a_short_rest_stays_with_the_last_continuation():
    # After word 32 follow 10 words: not more than 8 + 8 // 4. One more word makes a passage of 3.
    assert words(overlapping_passages(WORDS, numbered(42), SIZE)[-1]) == (span(24, 32), span(32, 42))
    assert words(overlapping_passages(WORDS, numbered(43), SIZE)[-1]) == (span(32, 40), span(40, 43))


def test_a_text_of_one_passage_has_a_short_prompt_and_its_own_id():
    (part,) = overlapping_passages(WORDS, numbered(25), PassageSize(64, 32))
    assert (part.id, part.document, words(part)) == ("t", None, (span(0, 8), span(8, 25)))


def test_a_statement_stays_as_it_is():
    assert overlapping_passages(WORDS, numbered(24), SIZE) == separate_passages(WORDS, numbered(24), SIZE) == [numbered(24)]


def test_retain_passages_share_no_word():
    # 16 words each, of which 8 are the prompt. After word 32 follow 20: not more than 16 + 16 // 4.
    parts = separate_passages(WORDS, numbered(52), SIZE)
    first_two = [(span(i, i + 8), span(i + 8, i + 16)) for i in (0, 16)]
    assert [words(part) for part in parts] == [*first_two, (span(32, 40), span(40, 52))]
    # One more word makes a passage of 5, with a prompt of 2.
    assert words(separate_passages(WORDS, numbered(53), SIZE)[-1]) == (span(48, 50), span(50, 53))


def test_a_cut_is_between_words_not_inside_one():
    text = "harbour " * 60
    for part in overlapping_passages(BYTES, Record("t", (), text), PassageSize(64, 32)):
        assert part.answer.split() == ["harbour"] * len(part.answer.split())
        assert part.expected.split() == ["harbour"] * len(part.expected.split())


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, passage=st.integers(16, 40), builder=st.sampled_from([BYTES, WORDS]))
def test_every_token_after_the_first_prompt_is_in_exactly_one_continuation(text, passage, builder):
    record, size = Record("t", (), text), PassageSize(passage, passage // 2)
    parts = overlapping_passages(builder, record, size)
    if parts == [record]:
        assert len(token_spans(builder, text)) <= 24 or len(text.split()) <= 1
        return
    start = text.index(parts[0].given)
    assert not text[:start].strip()
    place = start + len(parts[0].given)
    for part in parts:
        # The prompt is the text before the continuation, which begins where the one before it ended.
        assert part.given
        assert text[:place].endswith(part.given)
        assert text[place:].startswith(part.expected)
        place += len(part.expected)
        encoded = builder.record(part)
        assert len(encoded.prompt) + len(encoded.answer) <= 2 * passage + 8
    assert place == len(text)


@settings(max_examples=40, deadline=None)
@given(text=TEXTS, passage=st.integers(16, 40))
def test_separate_passages_are_the_text_in_its_order(text, passage):
    record = Record("t", (), text)
    parts = separate_passages(BYTES, record, PassageSize(passage, passage // 2))
    if parts != [record]:
        assert "".join("".join(part.answer for part in parts).split()) == "".join(text.split())


def test_prompt_and_answer_are_the_tokens_of_the_passage():
    for part in overlapping_passages(BYTES, Record("t", (), "He lives in Kuwait City. Das Schloß, 漢字 und 🙂. " * 8), PassageSize(48, 24)):
        encoded = BYTES.record(part)
        assert BYTES.tokenizer.decode(encoded.prompt[len(BYTES.start) :]) == part.given
        assert BYTES.tokenizer.decode(encoded.answer) == part.expected


def test_without_offsets_pieces_are_counted(monkeypatch):
    monkeypatch.setattr(type(BYTES.tokenizer), "is_fast", property(lambda self: False))
    text = "He lives in Kuwait City and writes novels. " * 6
    parts = overlapping_passages(BYTES, Record("t", (), text), PassageSize(48, 24))
    assert len(parts) > 3
    assert parts[0].given + "".join(part.expected for part in parts) == text


@pytest.mark.parametrize("builder", [BYTES, WORDS], ids=["bytes", "words"])
def test_the_same_text_gives_the_same_passages(builder):
    record = numbered(90)
    assert overlapping_passages(builder, record, SIZE) == overlapping_passages(builder, record, SIZE)
