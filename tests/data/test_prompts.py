"""`PromptBuilder`: the token ids of records, without special tokens from their text; masks and padding of batches."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expunge.data.prompts import Encoded, PromptBuilder, collate
from expunge.data.records import Record, Turn, data_hash, read_records
from expunge.errors import InputError

SHARED = Path(__file__).resolve().parents[3] / "shared"
SPECIAL = ("<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|im_end|>\n<|im_start|>system\n")


@pytest.fixture(scope="module")
def chat(make_tokenizer) -> PromptBuilder:
    return PromptBuilder(make_tokenizer())


@pytest.fixture(scope="module")
def base(make_tokenizer) -> PromptBuilder:
    return PromptBuilder(make_tokenizer(chat=False))


def question_record(question: str, answer: str = "Paris.") -> Record:
    return Record("r", (Turn("user", question),), answer)


def test_a_chat_prompt_is_the_template_up_to_the_answer(chat):
    row = chat.record(question_record("Where?"))
    assert chat.tokenizer.decode(row.prompt) == "<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\n"
    assert chat.tokenizer.decode(row.answer) == "Paris.<|im_end|>"


def test_a_base_prompt_is_the_plain_template_after_the_start_token(base):
    row = base.record(question_record("Where?"))
    assert base.tokenizer.decode(row.prompt) == "<|endoftext|>Question: Where?\nAnswer:"
    assert base.tokenizer.decode(row.answer) == " Paris.<|endoftext|>"


def test_a_base_prompt_of_several_turns_writes_all_answers_in_the_same_way(base):
    turns = (Turn("system", "Be brief."), Turn("user", "A?"), Turn("assistant", "B."), Turn("user", "C?"))
    text = "<|endoftext|>Be brief.\n\nQuestion: A?\nAnswer: B.\nQuestion: C?\nAnswer:"
    assert base.tokenizer.decode(base.prompt(turns)) == text


def test_a_system_message_goes_before_records_that_have_none(make_tokenizer):
    builder = PromptBuilder(make_tokenizer(), system="Be kind.")
    own = (Turn("system", "Be brief."), Turn("user", "A?"))
    assert builder.tokenizer.decode(builder.prompt(own[1:])).startswith("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user")
    assert "Be kind." not in builder.tokenizer.decode(builder.prompt(own))


def test_another_wording_replaces_the_last_question_only(chat):
    record = Record("r", (Turn("user", "A?"), Turn("assistant", "B."), Turn("user", "C?")), "D.")
    row = chat.record(record, answer="E.", prompt="F?")
    assert chat.tokenizer.decode(row.answer) == "E.<|im_end|>"
    text = chat.tokenizer.decode(row.prompt)
    assert "A?" in text
    assert "F?" in text
    assert "C?" not in text


@given(st.lists(st.sampled_from([*SPECIAL, "Where", " is", "é\n", "ü", "{content}", "{{x}}"]), min_size=1).map("".join))
def test_no_text_of_a_record_becomes_a_special_token(chat, base, text):
    # The chat template opens three turns and closes two, the plain one has its start token
    for builder, of_template in ((chat, 5), (base, 1)):
        special = {builder.tokenizer.convert_tokens_to_ids(token) for token in SPECIAL[:3]}
        row = builder.record(Record("r", (Turn("system", text), Turn("user", text)), text))
        assert sum(token in special for token in row.prompt) == of_template
        assert [token for token in row.answer if token in special] == [builder.end_of_turn]


@given(st.lists(st.sampled_from([*SPECIAL, "Where", " is", "é\n"]), min_size=1).map("".join))
def test_text_that_looks_special_still_reads_the_same(chat, text):
    row = chat.record(question_record(text, text))
    assert chat.tokenizer.decode(row.prompt) == f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    assert chat.tokenizer.decode(row.answer) == text + "<|im_end|>"


def test_special_tokens_in_a_plain_text_are_text_too(chat):
    row = chat.record(Record("r", (), "one <|im_end|> two <|im_end|> three"))
    assert chat.end_of_turn not in (*row.prompt, *row.answer)


def test_no_end_of_turn_follows_an_unfinished_answer(chat):
    whole = Record("a", (Turn("user", "Who?"),), "Ada")
    unfinished = replace(whole, unfinished=True)
    assert chat.record(unfinished).answer == chat.record(whole).answer[:-1]
    # Another answer in its place is a whole one.
    assert chat.record(unfinished, answer="Bob") == chat.record(whole, answer="Bob")
    assert data_hash([unfinished]) != data_hash([whole])


def test_the_end_of_turn_is_read_from_the_template(chat, base):
    assert chat.end_of_turn == chat.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert base.end_of_turn == base.tokenizer.convert_tokens_to_ids("<|endoftext|>")


def test_the_end_of_turn_need_not_be_the_end_of_sequence(make_tokenizer):
    tokenizer = make_tokenizer()
    tokenizer.eos_token = "<|endoftext|>"
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") not in tokenizer.all_special_ids
    assert PromptBuilder(tokenizer).end_of_turn == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_the_last_fifth_of_a_plain_text_is_its_answer(chat):
    # Ten letters that no merge joins: ten tokens, eight of them prompt after the start token
    row = chat.record(Record("r", (), "QZQZQZQZQZ"))
    assert row.prompt[0] == chat.tokenizer.bos_token_id
    assert chat.tokenizer.decode(row.prompt[1:]) == "QZQZQZQZ"
    assert chat.tokenizer.decode(row.answer) == "QZ"


def test_the_shortest_plain_text_still_has_an_answer(chat, make_tokenizer):
    assert [len(part) for part in _parts(chat.record(Record("r", (), "Q")))] == [1, 1]
    tokenizer = make_tokenizer()
    tokenizer.bos_token = None
    startless = PromptBuilder(tokenizer)
    assert [len(part) for part in _parts(startless.record(Record("r", (), "QZ")))] == [1, 1]
    with pytest.raises(InputError, match='record "r": a text of one token'):
        startless.record(Record("r", (), "Q"))


def _parts(row: Encoded) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return row.prompt, row.answer


def test_prompts_are_padded_on_the_left_and_answers_on_the_right():
    batch = collate([Encoded((1, 2, 3), (4,)), Encoded((5,), (6, 7))], pad=0, record_ids=("a", "b"))
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 0], [0, 0, 5, 6, 7]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 0], [0, 0, 1, 1, 1]]
    assert batch.prompt_length == 3
    assert batch.record_ids == ("a", "b")


def test_masks_and_positions_of_a_batch():
    batch = collate([Encoded((1, 2, 3), (4,)), Encoded((5,), (6, 7))], pad=0)
    assert batch.labelled.tolist() == [[True, False], [True, True]]
    assert batch.prompt_mask.tolist() == [[True, True, True, False, False], [False, False, True, False, False]]
    # a pad has some position, a real token counts from its row's first real one
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 3], [0, 0, 0, 1, 2]]


def test_a_pad_token_inside_a_row_is_not_padding():
    # many tokenizers pad with the end of sequence, which is also the last token of an answer
    batch = collate([Encoded((1, 2), (3, 2)), Encoded((1,), (2,))], pad=2)
    assert batch.labelled.tolist() == [[True, True], [True, False]]
    assert torch.equal(batch.attention_mask.sum(-1), torch.tensor([4, 2]))


@pytest.mark.real
@pytest.mark.skipif(not (SHARED / "reference").is_dir(), reason="the reference values are not at ../shared/reference")
@pytest.mark.parametrize("name", ["forget10", "world_facts"])
def test_prompts_are_as_long_as_openunlearnings(smollm2_tokenizer, name):
    builder = PromptBuilder(smollm2_tokenizer)
    records = read_records(SHARED / "data" / "tofu" / f"{name}_perturbed.jsonl")
    expected = json.loads((SHARED / "reference" / f"openunlearning_tofu_{name}.json").read_text(encoding="utf-8"))
    ours = {row: builder.record(records[row]) for row in (reference["row"] for reference in expected)}
    assert {row: (len(e.prompt), len(e.answer)) for row, e in ours.items()} == {
        reference["row"]: (reference["prompt_tokens"], reference["answer_tokens"]) for reference in expected
    }
