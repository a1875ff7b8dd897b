"""Chat templates in the style of known families: start tokens, system messages, the first token of an answer, reasoning."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from expunge.data.chat_format import TemplateRefused
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn

ALTERNATE = (
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
)
GEMMA2 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}" + ALTERNATE + "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}" + ALTERNATE + "{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
QWEN3 = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['role'] == 'assistant' and loop.last %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ message['content'] + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}"
    "{% endif %}{% endif %}"
)
DEEPSEEK = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '<|User|>' + message['content'] }}{% endif %}{% if message['role'] == 'assistant' %}"
    "{{ '<|Assistant|>' + message['content'].split('</think>')[-1] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}"
)
TEMPLATES = {"gemma2": GEMMA2, "mistral": MISTRAL, "llama3": LLAMA3, "qwen3": QWEN3, "deepseek": DEEPSEEK}
SPECIAL = (
    *("<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *("<|User|>", "<|Assistant|>", "<|im_start|>", "<|im_end|>"),
)
WHERE = (Turn("user", "Where does he live?"),)


@pytest.fixture(scope="module")
def byte_level(make_tokenizer) -> PreTrainedTokenizerFast:
    tokenizer = make_tokenizer()
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    return tokenizer


@pytest.fixture(scope="module")
def prefix_space() -> PreTrainedTokenizerFast:
    """A tokenizer like Llama 2's: a text begins with a space, and the text after a special token does not."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    bpe.decoder = decoders.Metaspace(prepend_scheme="first")
    words = ["He lives in Kuwait City", "Paris is the capital", "Where does he live"]
    alphabet = [*(chr(i) for i in range(32, 127)), "\n"]
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "</s>", *SPECIAL], initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(words * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", additional_special_tokens=list(SPECIAL))


def builder_of(tokenizer: PreTrainedTokenizerBase, name: str, **settings) -> PromptBuilder:
    tokenizer.chat_template = TEMPLATES[name]
    return PromptBuilder(tokenizer, **settings)


def whole(builder: PromptBuilder, turns: tuple[Turn, ...], answer: str) -> str:
    messages = [{"role": turn.role, "content": turn.content} for turn in (*turns, Turn("assistant", answer))]
    return builder.tokenizer.apply_chat_template(messages, tokenize=False, **builder.template_args)


WORDS = st.lists(st.sampled_from(["He", "lives", "in", "Kuwait", "City,", "é", "7", "Paris."]), min_size=1, max_size=6).map(" ".join)


@pytest.mark.parametrize("name", ["gemma2", "mistral", "llama3", "qwen3"])
@pytest.mark.parametrize("kind", ["byte_level", "prefix_space"])
@settings(max_examples=20)
@given(question=WORDS, answer=WORDS)
def test_prompt_and_answer_are_the_tokens_of_the_whole_conversation(request, kind, name, question, answer):
    builder = builder_of(request.getfixturevalue(kind), name)
    row = builder.record(Record("r", (Turn("user", question),), answer))
    text = whole(builder, (Turn("user", question),), answer).rstrip("\n")
    assert (*row.prompt, *row.answer) == tuple(builder.tokenizer(text, add_special_tokens=False).input_ids)


def test_a_space_before_the_answer_is_in_its_first_token(byte_level):
    builder = builder_of(byte_level, "mistral")
    row = builder.record(Record("r", WHERE, "He lives there."))
    assert builder.tokenizer.decode(row.prompt).endswith("[/INST]")
    assert builder.tokenizer.decode(row.answer[:1]).startswith(" ")


def test_no_space_is_put_before_an_answer_that_has_none(prefix_space):
    builder = builder_of(prefix_space, "llama3")
    row = builder.record(Record("r", WHERE, "Paris"))
    # Alone, the same word would begin with the tokenizer's own space.
    assert not builder.tokenizer.convert_ids_to_tokens(row.answer[:1])[0].startswith("\u2581")
    assert builder.tokenizer.convert_ids_to_tokens(builder.tokenizer("Paris").input_ids)[0].startswith("\u2581")


@settings(max_examples=40)
@given(st.text(min_size=1, max_size=20))
def test_the_tokens_of_the_test_models_are_those_of_the_text_alone(make_tokenizer, text):
    chat, plain = PromptBuilder(make_tokenizer()), PromptBuilder(make_tokenizer(chat=False))
    for builder, alone in ((chat, text), (plain, " " + text.strip())):
        expected = builder.tokenizer(alone, add_special_tokens=False, split_special_tokens=True).input_ids
        assert builder.unfinished_answer(text) == tuple(expected)
        assert builder.unscored == 0


@pytest.mark.real
@settings(max_examples=40)
@given(st.text(min_size=1, max_size=20))
def test_the_tokens_of_smollm2_are_those_of_the_text_alone(smollm2_tokenizer, text):
    builder = PromptBuilder(smollm2_tokenizer)
    assert builder.unfinished_answer(text) == tuple(smollm2_tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)


@pytest.mark.parametrize("name", ["gemma2", "mistral"])
def test_a_system_message_goes_before_the_first_question_where_there_is_no_system_turn(byte_level, name):
    builder = builder_of(byte_level, name, system="Be kind.")
    text = builder.tokenizer.decode(builder.prompt(WHERE))
    assert builder.format.folds_system
    assert "Be kind.\n\nWhere does he live?" in text
    assert not builder_of(byte_level, "llama3").format.folds_system


def test_a_message_that_looks_like_a_special_token_stays_text_after_it_is_folded(byte_level):
    builder = builder_of(byte_level, "gemma2", system="Be <end_of_turn> kind.")
    ids = builder.prompt(WHERE)
    assert ids.count(builder.end_of_turn) == 1
    assert "Be <end_of_turn> kind.\n\nWhere" in builder.tokenizer.decode(ids)


def test_two_questions_in_a_row_are_refused_by_a_template_that_alternates(byte_level):
    with pytest.raises(TemplateRefused, match="Conversation roles must alternate"):
        builder_of(byte_level, "mistral").prompt((*WHERE, *WHERE))


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_start_token_comes_from_the_template_and_only_once(byte_level, name):
    builder = builder_of(byte_level, name)
    assert builder.prompt(WHERE).count(builder.tokenizer.bos_token_id) == (0 if name == "qwen3" else 1)


def test_a_plain_prompt_starts_as_the_tokenizer_starts_a_text(prefix_space, make_tokenizer):
    from tokenizers.processors import TemplateProcessing

    puts_one = make_tokenizer(chat=False)
    puts_one.backend_tokenizer.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    assert PromptBuilder(puts_one).record(Record("r", WHERE, "A.")).prompt[:2].count(1) == 1
    assert PromptBuilder(puts_one).record(Record("r", (), "A text.")).prompt[0] == 1
    prefix_space.chat_template = None
    prefix_space.init_kwargs["add_bos_token"] = False
    assert PromptBuilder(prefix_space).start == ()
    del prefix_space.init_kwargs["add_bos_token"]
    assert PromptBuilder(prefix_space).start == (prefix_space.bos_token_id,)


def test_arguments_reach_the_template(byte_level):
    with_reasoning, without = builder_of(byte_level, "qwen3"), builder_of(byte_level, "qwen3", template_args={"enable_thinking": False})
    assert "<think>" not in byte_level.decode(with_reasoning.prompt(WHERE))
    assert byte_level.decode(without.prompt(WHERE)).endswith("<think>\n\n</think>\n\n")
    assert without.unscored == 0


@pytest.mark.parametrize("name", ["qwen3", "deepseek"])
def test_an_empty_block_of_reasoning_before_the_answer_is_not_scored(byte_level, name):
    builder = builder_of(byte_level, name)
    row = builder.record(Record("r", WHERE, "In Paris."))
    assert byte_level.decode(row.answer[: row.unscored]).endswith("</think>\n\n")
    assert byte_level.decode(row.labels, skip_special_tokens=True) == "In Paris."
    assert byte_level.decode((*row.prompt, *row.answer)).count("<think>\n\n</think>\n\nIn Paris.") == 1
