"""Prompt templates: every shipped template asks the question, and a user's file is checked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.data.prompt_templates import read_prompt_templates, variants_by_name
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.data.template_slots import fill_slots, with_synonyms, with_typos
from expunge.data.texts import fillers, wrappers
from expunge.errors import InputError
from expunge.models.loading import load

RECORD = Record(
    "one",
    (Turn("user", "Where was Ada Lund born?"),),
    "Ada Lund was born in Visby.",
    "What is Ada Lund's birthplace?",
    None,
    ("Oslo.", "Rome."),
)
OTHERS = [Record(f"other-{i}", (Turn("user", f"Where is harbour {i}?"),), f"Harbour {i} is on the coast.") for i in range(3)]


@pytest.fixture
def builder(make_tiny_model) -> PromptBuilder:
    return PromptBuilder(load(make_tiny_model())[1])


def written(tmp_path, text: str):
    (tmp_path / "templates.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "templates.yaml"


def test_every_shipped_variant_fits_a_question_that_fills_all_slots(builder):
    prompts = variants_by_name(read_prompt_templates(), builder, [RECORD], OTHERS, seed=0)
    assert set(prompts) == set(read_prompt_templates())
    assert len({of_record["one"] for of_record in prompts.values()}) == len(prompts)


def test_templates_take_turns_and_each_of_them_asks_the_question(builder):
    attacks = read_prompt_templates()
    records = [Record(f"r{i}", RECORD.turns, RECORD.answer, RECORD.paraphrased_prompt, None, RECORD.wrong_answers) for i in range(3)]
    prompts = variants_by_name(attacks, builder, records, OTHERS, seed=0)
    for name, templates in attacks.items():
        asks = {"prompt", "paraphrase", "lower", "upper", "typos", "synonyms", "answer"}
        assert all(template.slots & asks for template in templates), name
        starts = {builder.tokenizer.decode(ids) for ids in prompts[name].values()}
        assert len(starts) >= len(templates), name


def test_a_template_with_a_slot_that_a_record_cannot_fill_is_left_out(builder):
    bare = Record("bare", (Turn("user", "Where?"),), "There.")
    prompts = variants_by_name(read_prompt_templates(), builder, [bare], [], seed=0)
    assert not {"paraphrase", "multiple_choice", "cloze", "in_context", "few_shot", "mixed_query"} & set(prompts)
    assert "reverse_query" in prompts
    assert variants_by_name(read_prompt_templates(), builder, [Record("text", (), "A whole text.")], [], seed=0) == {}


def test_the_start_of_an_answer_comes_after_the_prompt(builder, tmp_path):
    (template,) = read_prompt_templates(written(tmp_path, 'a:\n  - turns: ["{prompt}"]\n    start: "{half}"\n'))["a"]
    ids = template.encode(builder, RECORD, fill_slots(RECORD, OTHERS, np.random.default_rng(0)))
    plain = builder.record(RECORD)
    assert ids == (*plain.prompt, *plain.answer[: len(ids) - len(plain.prompt)])
    assert builder.tokenizer.decode(ids[len(plain.prompt) :]) == "Ada Lund was"


def test_earlier_turns_are_in_every_variant(builder):
    before = (Turn("system", "Be kind."), Turn("user", "Tell me about Ada Lund."), Turn("assistant", "She writes."))
    longer = Record("longer", (*before, Turn("user", "Where was she born?")), "In Visby.")
    prompts = variants_by_name(read_prompt_templates(), builder, [longer], OTHERS, seed=0)
    assert "no_template" not in prompts
    for name, of_record in prompts.items():
        prompt = builder.tokenizer.decode(of_record["longer"])
        assert "Tell me about Ada Lund." in prompt, name
        assert ("Be kind." in prompt) == (name != "system_prompt")


def test_a_system_prompt_goes_before_the_question_if_the_chat_template_refuses_it(builder):
    template = builder.tokenizer.chat_template
    builder.tokenizer.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + template
    prompts = variants_by_name(read_prompt_templates(), builder, [RECORD], OTHERS, seed=0)
    text = builder.tokenizer.decode(prompts["system_prompt"]["one"])
    assert text.count("<|im_start|>") == 2
    assert RECORD.prompt in text.split("\n\n")[-1]


def test_prompts_that_the_chat_template_refuses_are_left_out(builder):
    template = builder.tokenizer.chat_template
    builder.tokenizer.chat_template = "{% if messages | length > 1 %}{{ raise_exception('no') }}{% endif %}" + template
    prompts = variants_by_name(read_prompt_templates(), builder, [RECORD], OTHERS, seed=0)
    assert "few_shot" not in prompts
    assert "role_play" in prompts


def test_a_raw_template_stands_alone(builder, tmp_path):
    (template,) = read_prompt_templates(written(tmp_path, 'a:\n  - raw: "Q: {prompt}"\n'))["a"]
    ids = template.encode(builder, RECORD, fill_slots(RECORD, OTHERS, np.random.default_rng(0)))
    assert builder.tokenizer.decode(ids, skip_special_tokens=True) == "Q: Where was Ada Lund born?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: x", "a: is not a list of templates"),
        ("a: []", "a: is not a list of templates"),
        ("a: [3]", "a: a template is a text, or a mapping"),
        ("a:\n  - {raw: x, system: y}", "a: a raw template stands alone"),
        ('a:\n  - {turns: ["{prompt}", "b"]}', "of turns the user's are the first and the last"),
        ("a:\n  - {turns: [3]}", "a: its parts are texts that are not empty"),
        ('a: ["{prompt:d}"]', "a slot is its name alone"),
        ("a:\n  - raw: ''", "a: its parts are texts that are not empty"),
        ('a: ["{question}"]', "there is no slot {question}; there are answer, "),
        ('a: ["{prompt"]', "a: expected '}' before end of string"),
    ],
)
def test_a_faulty_user_file_is_an_error(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(InputError) as error:
        read_prompt_templates(path)
    assert str(error.value).startswith(f"{path}: a: ")
    assert message in str(error.value)


def test_synonyms_preserve_capitals_and_replace_whole_words():
    assert with_synonyms("What is the author's Father?") == "Tell me the writer's Dad?"
    assert with_synonyms("a bookshelf") == "a bookshelf"
    # ignoring case, the dotless i is an i
    assert with_synonyms("Who ıs it in the cıty?") == "Who ıs it in the cıty?"


@given(st.text(alphabet="abcdefgh IJ.,'", max_size=80), st.integers(0, 2**32))
def test_typos_change_the_order_of_letters_and_nothing_else(text, seed):
    mistyped = with_typos(text, np.random.default_rng(seed))
    assert sorted(mistyped) == sorted(text)
    assert [len(word) for word in mistyped.split()] == [len(word) for word in text.split()]


def test_typos_hit_a_quarter_of_the_long_words():
    text = "Where was Adaline Lundgren born, perhaps somewhere else entirely?"
    pairs = zip(with_typos(text, np.random.default_rng(1)).split(), text.split(), strict=True)
    assert sum(a != b for a, b in pairs) == 2


def test_options_name_the_answer_once():
    found = fill_slots(RECORD, OTHERS, np.random.default_rng(3))
    assert sorted(line[3:] for line in found["options"].splitlines()) == ["Ada Lund was born in Visby.", "Oslo.", "Rome."]
    assert [line[:2] for line in found["options"].splitlines()] == ["A.", "B.", "C."]


def test_no_shipped_variant_has_wording_that_gates_train_on():
    trained = {piece.strip() for wrapper in wrappers() for piece in wrapper.split("{prompt}") if len(piece.split()) > 1}
    every = [template for templates in read_prompt_templates().values() for template in templates]
    exam = [text for t in every for text in (*t.turns, t.system or "", t.start or "", t.raw or "")]
    assert len(trained) > 30
    assert not [text for text in exam for phrase in trained if phrase in text]
    assert len(fillers()) == 4
