"""Python problems: the file, the program that an answer makes, pass@k by hand and by counting."""

import gzip
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_files import jsonl, problem, written

from expunge.errors import InputError
from expunge.tasks import Code
from expunge.tasks.programs import Problem, defines, pass_at_k, passes, program_of, read_programs

ADD = Problem(**problem(3))


def test_plain_and_gzipped_files_give_the_same_problems(tmp_path, humaneval):
    packed = tmp_path / "problems.jsonl.gz"
    packed.write_bytes(gzip.compress(humaneval.read_bytes()))
    assert read_programs(str(packed)) == read_programs(str(humaneval)) == [Problem(**problem(k)) for k in range(6)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", ":2: the line is not valid JSON (Expecting property name enclosed in double quotes at character 2)"),
        ("[1]", ":2: each line must be one JSON object"),
        (json.dumps({**problem(1), "test": None}), ':2: field "test" must be a non-empty text'),
        (json.dumps({**problem(1), "entry_point": "sub"}), ':2: the prompt does not contain "def sub", the function in entry_point'),
        (json.dumps(problem(0)), ':2: task_id "Mini/0" occurs twice'),
    ],
)
def test_a_fault_names_file_and_line(tmp_path, line, message):
    path = written(tmp_path / "problems.jsonl", f"{json.dumps(problem(0))}\n{line}\n")
    with pytest.raises(InputError) as error:
        read_programs(str(path))
    assert str(error.value) == f"{path}{message}"


@pytest.mark.parametrize(
    ("name", "content"), [("none.jsonl", None), ("text.jsonl.gz", b"{}"), ("cut.jsonl.gz", gzip.compress(b"{}", mtime=0)[:-9])]
)
def test_a_file_that_cannot_be_read_is_an_input_error(tmp_path, name, content):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        read_programs(str(path))


def test_a_body_gets_its_indentation_back_and_ends_at_the_margin():
    answer = "if n:\n        return n + 3\n\n    return 3\n```\nThis adds 3."
    assert program_of(ADD, answer) == ADD.prompt + "    if n:\n        return n + 3\n\n    return 3\n"


@pytest.mark.parametrize(
    ("body", "valid"),
    [
        ("return n + 3", True),
        ("for i in range(3):\n        n += 1\n    return n", True),
        ("return n +", False),
        ("", False),
        ("pass", False),
        ("...", False),
        ("# nothing", False),
        ("Sorry, I cannot do this.", False),
        ("return " + "(" * 10**4, False),
        ("return '\0'", False),
    ],
)
def test_a_function_is_defined_if_it_does_something(body, valid):
    assert defines(program_of(ADD, body), "add_3") is valid


def test_another_function_does_not_count():
    assert not defines("def other(n):\n    return n\n", "add_3")


def test_pass_at_k_by_hand():
    # Of 5 programs 2 pass. Three drawn all fail in 1 of C(5, 3) = 10 ways.
    assert pass_at_k(5, 2, 3) == pytest.approx(0.9)
    assert pass_at_k(5, 2, 1) == pytest.approx(0.4)
    # Four of which three fail cannot be drawn without one that passes.
    assert pass_at_k(5, 2, 4) == 1


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_draws_with_one_that_passes(drawn):
    samples, passed, k = drawn
    draws = list(itertools.combinations(range(samples), k))
    assert pass_at_k(samples, passed, k) == pytest.approx(sum(min(draw) < passed for draw in draws) / len(draws))


def test_the_true_solution_passes_its_test_and_a_wrong_one_does_not():
    assert passes(ADD, program_of(ADD, ADD.canonical_solution))
    assert not passes(ADD, program_of(ADD, "return n"))


def test_a_test_may_use_the_functions_and_imports_of_the_prompt():
    prompt = 'import math\n\ndef double(x):\n    return 2 * x\n\ndef half(x):\n    """Return the half."""\n'
    test = "def check(candidate):\n    assert all(math.isclose(candidate(double(x)), x) for x in (1, 2.5))\n"
    halves = Problem("t", prompt, "    return x / 2\n", "half", test)
    assert passes(halves, program_of(halves, halves.canonical_solution))
    assert not passes(halves, program_of(halves, "return x"))


@pytest.mark.parametrize("body", ["import os; os._exit(87)", "raise SystemExit(87)", "return type('A', (), {'__eq__': lambda *_: True})()"])
def test_an_answer_that_cheats_does_not_pass(body):
    assert not passes(ADD, program_of(ADD, body))


def test_programs_run_only_with_run_code(tiny, humaneval, gsm8k):
    few = {
        "data": str(humaneval),
        "maths": str(gsm8k),
        "max_completions": 2,
        "max_maths_problems": 2,
        "max_maths_answers": 1,
        "max_new_tokens": 3,
    }
    for more, ran in (({}, False), ({"run_code": True}, True), ({"run_code": True, "samples": 2, "k": 2}, True)):
        task, done = Code(**few, **more), []
        figures = task.measure(*tiny, done.append)
        assert ("pass_at_k" in figures) is ran
        assert sum(done) == task.measured_rows
        if ran:
            # A random model writes no program that passes.
            assert (figures["pass_at_k"].value, figures["pass_at_k"].n) == (0, 2)


def test_what_is_measured_is_never_trained_on(tmp_path, humaneval):
    rows = [{"question": f"Question {k}", "answer": f"#### {k}"} for k in range(20)]
    task = Code(data=str(humaneval), maths=str(jsonl(tmp_path / "rows.jsonl", rows)))
    assert (len(task.retain_records()), len(task._maths[1])) == (12, 8)
    used = {r.id for r in (*task.forget_records(), *task.retain_records())}
    assert used.isdisjoint([p.task_id for p in task._problems[1]] + [r.id for r in task._maths[1]])
