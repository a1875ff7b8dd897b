"""What holds for every task: the table, the splits, and figures for every name that is promised."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expunge.data.prompts import collate
from expunge.data.records import question_record
from expunge.errors import InputError
from expunge.metrics.token_nll import neutral_perplexity, neutral_records, record_nll
from expunge.models.scoring import score
from expunge.tasks import TASKS, Code, Ner, People, Toxicity, as_plain, make_task
from expunge.tasks.base import NEUTRAL, parts


def nothing(rows: int) -> None: ...


@pytest.fixture(params=TASKS)
def task(request, conll, humaneval, gsm8k):
    return {
        "people": lambda: People(forget_people=1, retain_people=1, max_new_tokens=2, batch_size=7),
        "ner": lambda: Ner(data=str(conll), max_sentences=5),
        "code": lambda: Code(
            data=str(humaneval), maths=str(gsm8k), max_maths_problems=4, max_maths_answers=2, max_completions=2, max_new_tokens=2
        ),
        "toxicity": lambda: Toxicity(max_prompts=3, samples_per_prompt=2, max_new_tokens=2),
    }[request.param]()


def test_a_task_measures_its_metrics_and_reports_progress(task, tiny):
    done = []
    figures = task.measure(*tiny, done.append)
    assert sum(done) == task.measured_rows
    # pass@k is left out unless code may be run.
    assert figures.keys() | {"pass_at_k"} == task.metrics.keys() | {"pass_at_k"}
    # There is no ORG and no MISC in the sentences.
    assert all(figure.n > 0 for name, figure in figures.items() if name not in ("org_f1", "misc_f1"))


def test_the_same_model_measures_the_same_again(task, tiny):
    assert task.measure(*tiny, nothing) == task.measure(*tiny, nothing)


def test_no_record_is_both_forget_and_retain(task):
    assert task.retain_records()
    assert {r.prompt for r in task.forget_records()}.isdisjoint(r.prompt for r in task.retain_records())


def test_every_task_has_forget_and_retain_metrics():
    for cls in TASKS.values():
        ways = {metric.after for metric in cls.metrics.values()}
        assert "same" in ways
        assert ways & {"lower", "higher"}
        assert NEUTRAL in cls.metrics


def test_plain_values_give_the_same_task_again(task):
    assert make_task(as_plain(task)) == task


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("poetry", "no task 'poetry'; there are people, ner, code, toxicity"),
        ({"retain_people": 2}, "give the task's name, or a mapping with its name and settings"),
        ({"name": "ner"}, "ner.data: Field required"),
        ({"name": "ner", "data": "x", "lines": 3}, "ner has no setting lines; it has seed, batch_size, data, max_sentences"),
        ({"name": "people", "retain_people": 0}, "people.retain_people: Input should be greater than or equal to 1"),
        ({"name": "code", "data": "x", "maths": "y", "k": 2}, "code: pass@2 needs at least that many samples, not 1"),
    ],
)
def test_a_wrong_task_is_an_error_of_one_sentence(given, message):
    with pytest.raises(ValueError) as error:
        make_task(given)
    assert str(error.value) == message


@given(st.integers(10, 200), st.integers(0, 5))
def test_parts_contain_every_item_once(count, seed):
    dealt = parts(range(count), (0.5, 0.1, 0.4), seed, "numbers")
    assert sorted(item for part in dealt for item in part) == list(range(count))
    assert dealt == parts(range(count), (0.5, 0.1, 0.4), seed, "numbers")


def test_too_few_records_are_an_error():
    with pytest.raises(InputError, match="numbers: 2 are too few to split into parts"):
        parts([1, 2], (0.7, 0.1, 0.2), 0, "numbers")


def test_nll_is_the_mean_over_tokens_not_over_records(tiny):
    model, builder = tiny
    records = [question_record("a", "Who?", "He."), question_record("b", "What is it?", "A city on the sea in the first book about birds.")]
    with torch.no_grad():
        alone = [score(model, collate([builder.record(record)], builder.pad)) for record in records]
    expected = sum(s.nll.item() for s in alone) / sum(s.tokens.item() for s in alone)
    figure = record_nll(model, builder, records, 2, nothing)
    assert figure.value == pytest.approx(expected, rel=1e-5)
    assert figure.n == 2


def test_neutral_perplexity_does_not_depend_on_the_batch_size(tiny):
    one, other = (neutral_perplexity(*tiny, batch_size, nothing) for batch_size in (8, 32))
    assert one.value == pytest.approx(other.value, rel=1e-4)
    assert one.n == len(neutral_records()) == 64


def test_a_uniform_model_has_the_size_of_the_vocabulary_as_neutral_perplexity(tiny):
    model, builder = tiny
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    assert neutral_perplexity(model, builder, 16, nothing).value == pytest.approx(320, rel=1e-4)
