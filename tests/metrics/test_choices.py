"""Multiple-choice accuracy: each option is scored as in lm-evaluation-harness."""

import json

import pytest
import torch

import expunge
from expunge.data.questions import Question, read_questions
from expunge.metrics.choices import by_letters, by_text, is_right, option_nll

CAPITALS = {"France": "Paris", "Japan": "Tokyo", "Kenya": "Nairobi", "Peru": "Lima", "Norway": "Oslo", "Egypt": "Cairo"}
NAMES = list(CAPITALS.values())


@pytest.fixture
def questions_file(tmp_path):
    path = tmp_path / "capitals.jsonl"
    rows = []
    for i, (country, capital) in enumerate(CAPITALS.items()):
        others = [name for name in NAMES if name != capital][:3]
        choices = [*others[: i % 4], capital, *others[i % 4 :]]
        rows.append({"question": f"What is the capital of {country}?", "choices": choices, "answer": i % 4})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_length_decides_by_text_and_not_by_letters():
    question = Question("q", "Which?", ("one", "three"), 1)
    # Per character 6/3 = 2 against 9/5 = 1.8; as they are 6 against 9.
    assert is_right(question, by_text, torch.tensor([6.0, 9.0]))
    assert not is_right(question, by_letters, torch.tensor([6.0, 9.0]))


def test_prompts_equal_those_of_the_harness():
    question = Question("q", " Which? ", ("one", "three"), 0)
    assert by_letters(question) == ("Which?\nA. one\nB. three\nAnswer:", [" A", " B"], [1, 1])
    assert by_text(question) == ("Question:  Which? \nAnswer:", [" one", " three"], [3, 5])


@pytest.mark.real
@pytest.mark.parametrize(
    ("form", "metric", "task"),
    [
        (
            by_letters,
            "acc",
            {
                "doc_to_text": "{{question.strip()}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}\nAnswer:",
                "doc_to_choice": ["A", "B", "C", "D"],
            },
        ),
        pytest.param(
            by_text,
            "acc_norm",
            {"doc_to_text": "Question: {{question}}\nAnswer:", "doc_to_choice": "{{choices}}"},
            marks=pytest.mark.long,
        ),
    ],
)
def test_each_choice_equals_that_of_lm_eval(smollm2, questions_file, tmp_path, monkeypatch, form, metric, task):
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.models.huggingface import HFLM

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    model, tokenizer = smollm2
    questions = read_questions(questions_file)
    data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(questions_file)}}, "test_split": "test"}
    metrics = [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")]
    config = {"task": "capitals", "output_type": "multiple_choice", "doc_to_target": "answer", "metric_list": metrics, **data, **task}
    found = lm_eval.simple_evaluate(HFLM(pretrained=model, tokenizer=tokenizer), tasks=[config], bootstrap_iters=0)
    rows = found["samples"]["capitals"]
    nll = option_nll(model, tokenizer, questions, form, tokenizer.pad_token_id, batch_size=4)
    for question, of_question, row in zip(questions, nll, rows, strict=True):
        assert of_question.tolist() == pytest.approx([-float(logprob) for logprob, _ in row["filtered_resps"]], rel=1e-4)
        assert is_right(question, form, of_question) == (row[metric] == 1.0)


def test_an_audit_counts_right_answers_of_forget_and_other_questions(tiny_model_dir, tiny_data, questions_file, tmp_path):
    files = {"forget_capitals": str(questions_file), "capitals": str(questions_file)}
    gate = {"name": "grun", "false_positive_rate": 0.5}
    settings = {"training": {"epochs": 1, "batch_size": 3}, "audit": {"questions": files, "max_new_tokens": 2, "max_records": 4}}
    run = expunge.audit(
        expunge.unlearn(tiny_model_dir, forget=tiny_data[0], retain=tiny_data[1], out=tmp_path / "run", edit=gate, **settings)
    )
    found = run.summary["unlearned"]
    assert set(found["capitals"]) == {"accuracy_letters", "accuracy_text"}
    # Four of six questions were drawn; the same ones of both sets.
    assert found["capitals"]["accuracy_text"]["n"] == 4
    assert found["forget_capitals"] == found["capitals"]
    low, high = found["capitals"]["accuracy_text"]["ci95"]
    assert 0 <= low <= found["capitals"]["accuracy_text"]["value"] <= high <= 1
    assert "Accuracy by option text" in (run.folder / "report.html").read_text()
