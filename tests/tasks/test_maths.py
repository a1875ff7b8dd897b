"""Maths problems: the file, and which number an answer comes to."""

from decimal import Decimal

import pytest
from small_files import jsonl

from expunge.errors import InputError
from expunge.tasks.maths import exact_match, final_number, read_problems


def test_calculator_calls_are_removed(gsm8k):
    first = read_problems(str(gsm8k))[0]
    assert (first.prompt, first.answer) == ("What is 0 and 2?", "It is 0+2=2.\n#### 2")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("First 3, then 4.\n#### 18", "18"),
        ("#### 1,250 in all, 7 left", "1250"),
        ("She makes $18.", "18"),
        ("3 + 4 = 7, so -7.50 it is.", "-7.5"),
        ("It costs 1,000,000 coins", "1000000"),
        ("in 2, 3", "3"),
        ("about .5", "0.5"),
        ("18.0", "18"),
    ],
)
def test_the_number_after_the_mark_counts_or_else_the_last(text, number):
    assert final_number(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "none at all", "3 and 4\n#### none"])
def test_an_answer_may_have_no_number(text):
    assert final_number(text) is None


def test_exact_match_by_hand(gsm8k):
    problems = read_problems(str(gsm8k))[:4]
    # True: 2, 3, 4, 5
    figure = exact_match(problems, ["#### 2", "It is 3.00.", "4 or 5", ""])
    assert (figure.value, figure.n) == (0.5, 4)


@pytest.mark.parametrize("answer", ["It is 4.", "It is 4.\n#### four", "####"])
def test_an_answer_without_its_number_is_a_fault(tmp_path, answer):
    path = jsonl(tmp_path / "maths.jsonl", [{"question": "q", "answer": "#### 1"}, {"question": "r", "answer": answer}])
    with pytest.raises(InputError) as error:
        read_problems(str(path))
    assert str(error.value) == f'{path}:2: the answer does not end in "#### " and a number'
