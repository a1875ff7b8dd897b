"""Attacks that only prompt the model: in other variants, many times, with a prefilled answer."""

import pytest

from expunge.auditing.attacks import Prefill, PromptAttack, Sampling, make_attack
from expunge.auditing.attacks.prompt_attack import hidden_answer
from expunge.data.prompt_templates import PromptTemplate
from expunge.data.records import Record, Turn
from expunge.errors import InputError

HALF = PromptTemplate(turns=("{prompt}",), start="{half}")
TEXT = Record("text", (), "A whole text without a question, of which the end is expected.")


@pytest.fixture
def taught(make_target, learn):
    """A target that knows the answers of its two records by heart."""
    target = make_target()
    del target.forget[2:]
    learn(target, target.forget)
    return target


def written(tmp_path, text: str) -> str:
    (tmp_path / "templates.yaml").write_text(text, encoding="utf-8")
    return str(tmp_path / "templates.yaml")


def test_a_model_reveals_known_answers_to_templates_of_the_users(taught, attack_rows, tmp_path):
    path = written(tmp_path, 'plain: ["{prompt}"]\nprefilled:\n  - {turns: ["{prompt}"], start: "{half}"}\n')
    rows = attack_rows(PromptAttack(templates=path), taught)
    # Of the half that the attacker begins with nothing counts, so that the rest is all there is.
    assert [(row["variant"], row["id"], row["value"]) for row in rows] == [
        (variant, record.id, 1.0) for record in taught.forget for variant in ("plain", "prefilled")
    ]


def test_the_half_of_the_answer_that_a_template_gives_does_not_count():
    record = Record("one", (Turn("user", "Where?"),), "Ada Lund was born in Visby.")
    assert hidden_answer(PromptTemplate(turns=("{prompt}",)), record) == "Ada Lund was born in Visby."
    assert hidden_answer(HALF, record) == "born in Visby."
    assert hidden_answer(HALF, Record("odd", record.turns, "In Visby, Sweden.")) == "Sweden."


def test_a_variant_that_gives_the_answer_or_is_too_long_is_left_out(make_target, attack_rows, tmp_path):
    long = "word " * 3000
    path = written(tmp_path, f'echo: ["Who is meant by {{answer}}?"]\nlong: ["{long}{{prompt}}"]\nplain: ["{{prompt}}"]\n')
    attack, target = PromptAttack(templates=path), make_target()
    assert {row["variant"] for row in attack_rows(attack, target)} == {"plain"}
    assert attack.left_out(target) == {"prompt variant: long": "all prompts are longer than the model's context, 2048 tokens"}


def test_the_shipped_variants_are_used_if_a_record_can_fill_their_slots(make_target, attack_rows):
    rows = attack_rows(PromptAttack(), make_target(max_new_tokens=2))
    variants = {row["variant"] for row in rows}
    assert {"lower_case", "role_play", "cloze", "few_shot", "answer_start", "no_template"} <= variants
    # No record has a paraphrase or wrong answers; a reverse query tells the answer.
    assert not {"paraphrase", "multiple_choice", "reverse_query"} & variants


def test_a_faulty_file_of_templates_is_an_error_before_the_attack_runs(tmp_path):
    path = written(tmp_path, "plain: what")
    with pytest.raises(InputError, match=r"templates\.yaml: plain: is not a list of templates"):
        make_attack({"name": "prompts", "templates": path})


def test_samples_that_state_the_fact_are_counted(taught, make_target, attack_rows):
    for row in attack_rows(Sampling(samples=6), taught):
        assert (row["value"], row["samples"]) == (1.0, 6)
        assert 1 <= row["leaks"] <= 6
    assert all((row["value"], row["leaks"]) == (0.0, 0) for row in attack_rows(Sampling(samples=6), make_target()))


def test_records_without_a_fact_are_not_sampled(make_target, attack_rows):
    echo = Record("echo", (Turn("user", "Is it Visby?"),), "It is Visby.")
    known = Record("known", echo.turns, "No, Oslo.")
    target = make_target(forget=[echo, TEXT, known])
    assert [row["id"] for row in attack_rows(Sampling(samples=2), target)] == ["known"]


def test_a_model_completes_a_prefilled_answer(taught, attack_rows):
    rows = attack_rows(Prefill(shares=(0.2, 0.6)), taught)
    assert [(row["share"], row["id"], row["value"]) for row in rows] == [
        (share, record.id, 1.0) for share in (0.2, 0.6) for record in taught.forget
    ]


def test_an_answer_whose_rest_has_no_word_is_not_prefilled(make_target, attack_rows):
    short = Record("short", (Turn("user", "Where?"),), "x.")
    target = make_target(forget=[short, TEXT])
    assert [row["id"] for row in attack_rows(Prefill(shares=(0.5,)), target)] == ["text"]
