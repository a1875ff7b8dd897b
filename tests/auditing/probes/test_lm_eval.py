"""lm-eval tasks: a plain model gets the harness's results, an edited model the same scores as in the audit."""

import json

import pytest
import torch

import expunge
from expunge.api import audit
from expunge.console import Display
from expunge.data.prompts import Encoded, PromptBuilder, collate
from expunge.edits.active import edits_off
from expunge.errors import InputError
from expunge.metrics.statistics import mean_ci, proportion_ci
from expunge.models.generation import generate
from expunge.models.loading import load
from expunge.models.scoring import score
from expunge.runs.loaded import load_base, open_run

pytest.importorskip("lm_eval", reason="an extra: pip install expunge[lm-eval]")

import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from expunge.auditing.probes import ProbedModel, lm_eval_tasks

COUNTRIES = ["France", "Japan", "Kenya", "Peru", "Norway", "Egypt"]
CHOICE = {
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
    "metric_list": [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")],
}
OTHERS = {
    "texts": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{question}}",
        "metric_list": [{"metric": "byte_perplexity", "aggregation": "weighted_perplexity", "higher_is_better": False}],
    },
    "answers": {
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{choices[answer]}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    },
}


@pytest.fixture
def task_files(tmp_path, monkeypatch):
    """A folder with three tasks over six questions: of choices, of texts, of answers."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "tasks"
    folder.mkdir()
    options = ["near", "far away", "in the sea"]
    rows = [{"question": f"Where is {name}?", "choices": options, "answer": i % 3} for i, name in enumerate(COUNTRIES)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}}, "test_split": "test"}
    for name, config in {"choices": CHOICE, **OTHERS}.items():
        # JSON is YAML.
        (folder / f"{name}.yaml").write_text(json.dumps({"task": name, **data, **config}), encoding="utf-8")
    return folder


@pytest.fixture
def edited(tiny_model_dir, tiny_data, tmp_path):
    """A run whose gate opens for some prompts, and its model with the edit on, far from the original."""
    settings = {"training": {"epochs": 2, "batch_size": 3, "lr": 0.1}, "audit": {"max_new_tokens": 2, "max_records": 2}}
    edit = {"name": "grun", "false_positive_rate": 0.5}
    run = expunge.unlearn(tiny_model_dir, forget=tiny_data[0], retain=tiny_data[1], out=tmp_path / "run", edit=edit, **settings)
    loaded = load_base(open_run(run.folder))
    return run, loaded.with_edit().model, loaded.builder


@pytest.mark.parametrize("chat", [False, True])
def test_a_plain_model_gets_what_the_harness_gives_it(tiny_model_dir, task_files, chat):
    model, tokenizer = load(str(tiny_model_dir))
    tasks = lm_eval_tasks.read_tasks(["choices", "texts", "answers"], task_files, 5, chat)
    found = tasks.run(ProbedModel("original", model, PromptBuilder(tokenizer), "tiny"), 2, Display())
    expected = lm_eval.simple_evaluate(
        HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2),
        tasks=tasks.names,
        task_manager=tasks.manager,
        limit=5,
        apply_chat_template=chat,
    )["results"]
    assert set(found) == {"lm-eval choices", "lm-eval texts", "lm-eval answers"}
    for name, of_task in found.items():
        result = expected[name.removeprefix("lm-eval ")]
        assert {metric: number.value for metric, number in of_task.items()} == {
            metric: pytest.approx(result[f"{metric},none"], rel=1e-5) for metric in of_task
        }
        assert all(number.n == 5 for number in of_task.values())


def test_an_edit_acts_where_the_prompt_ends(edited):
    _, model, builder = edited
    wrapped = lm_eval_tasks._PromptAwareLM(model, builder, 2, Display(), "")
    pairs = [([5, 9, 30 + i, 7], list(range(40, 42 + i))) for i in range(5)]
    found = wrapped._loglikelihood_tokens([(None, *pair) for pair in pairs])
    batch = collate([Encoded(tuple(before), tuple(after)) for before, after in pairs], builder.pad)
    with torch.no_grad():
        nll = score(model, batch).nll
        with edits_off(model):
            off = score(model, batch).nll
    assert [logprob for logprob, _ in found] == pytest.approx((-nll).tolist(), rel=1e-4)
    assert not torch.allclose(nll, off)


def test_an_edited_model_generates_as_in_our_own_audit(edited, task_files):
    _, model, builder = edited
    wrapped = lm_eval_tasks._PromptAwareLM(model, builder, 3, Display(), "")
    prompts = [f"Where does {name} live?" for name in COUNTRIES]
    settings = {"until": ["\n"], "max_gen_toks": 4, "do_sample": False}
    requests = [Instance("generate_until", {}, (prompt, settings), i) for i, prompt in enumerate(prompts)]
    ours = generate(model, builder, [tuple(builder.tokenizer(prompt).input_ids) for prompt in prompts], 4)
    with edits_off(model):
        before = wrapped.generate_until(requests)
    after = wrapped.generate_until(requests)
    assert after != before
    assert [answer.strip() for answer in after] == [answer.partition("\n")[0].strip() for answer in ours]


def test_an_audit_has_lm_eval_results_of_all_three_models_with_intervals(edited, task_files, make_tiny_model):
    run, *_ = edited
    audit(run, control=str(make_tiny_model("gpt2")), tasks=["choices"], task_files=task_files)
    for name in ("original", "unlearned", "control"):
        number = run.summary[name]["lm-eval choices"]["acc"]
        assert number == proportion_ci(round(number["value"] * 6), 6).as_dict()
    assert "lm-eval choices" in (run.folder / "report.html").read_text(encoding="utf-8")


def test_the_attestation_lists_the_lm_eval_tasks_and_detects_a_changed_task_file(edited, task_files):
    run, *_ = edited
    audit(run, tasks=["choices"], task_files=task_files, task_limit=5)
    described = json.loads((run.folder / "attestation.json").read_text(encoding="utf-8"))["lm_eval"]
    assert (described["version"], described["limit"], described["chat"]) == (lm_eval.__version__, 5, False)
    assert [(task["name"], task["examples"]) for task in described["tasks"]] == [("choices", 6)]
    assert len(described["files"]) == 3
    assert not [check for check in expunge.verify(run) if check.status == "differs"]
    path = task_files / "choices.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("Question", "Query"), encoding="utf-8")
    assert [check.name for check in expunge.verify(run) if check.status == "differs"] == [f"tasks {path}"]


def test_lm_eval_results_are_cached_for_the_same_examples_only(edited, task_files, tmp_path, monkeypatch):
    run, *_ = edited
    calls, evaluate = [], lm_eval_tasks.evaluate

    def counted(*args, **kwargs):
        calls.append(None)
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(lm_eval_tasks, "evaluate", counted)
    first = audit(run, tasks=["choices"], task_files=task_files).summary
    assert len(calls) == 2
    assert audit(run, tasks=["choices"], task_files=task_files).summary == first
    assert len(calls) == 2
    rows = tmp_path / "rows.jsonl"
    rows.write_text(rows.read_text(encoding="utf-8").replace("Peru", "Chad"), encoding="utf-8")
    audit(run, tasks=["choices"], task_files=task_files)
    assert len(calls) == 4


def test_shares_have_wilsons_interval_and_other_numbers_the_normal_one():
    shares = {"sample_len": 4, "acc,none": 0.75, "acc_stderr,none": 0.25, "f1,strict": 0.5, "f1_stderr,strict": 0.1, "alias": "x"}
    found = lm_eval_tasks.summaries({**shares, "perplexity,none": float("inf"), "bleu,none": 3.0, "bleu_stderr,none": "N/A"})
    assert found["acc"] == proportion_ci(3, 4)
    # 0.5 -+ 1.959964 * 0.1
    assert found["f1 (strict)"].ci95 == pytest.approx((0.3040036, 0.6959964))
    assert found["bleu"].ci95 is None
    assert set(found) == {"acc", "f1 (strict)", "bleu"}
    # Four values of [0, 1] with the mean 0.75 that are not all 0 or 1.
    assert mean_ci([0.5, 0.5, 1, 1]).value == 0.75
    assert lm_eval_tasks.summaries({"sample_len": 4, "acc,none": 0.75, "acc_stderr,none": (1 / 48) ** 0.5})["acc"] != proportion_ci(3, 4)
    # Of a group the examples that count for a metric; of one example there is no interval.
    group = lm_eval_tasks.summaries({"sample_len": 8, "sample_count": {"acc,none": 4}, "acc,none": 0.75, "acc_stderr,none": 0.2})
    assert group["acc"].n == 4
    assert lm_eval_tasks.summaries({"sample_len": 1, "acc,none": 1.0, "acc_stderr,none": "N/A"})["acc"].ci95 is None


def test_an_unknown_or_faulty_lm_eval_task_is_an_error_before_anything_runs(task_files):
    with pytest.raises(InputError, match=r"lm_eval has no task 'choicse', and neither has .*/tasks; similar names: choices"):
        lm_eval_tasks.read_tasks(["choices", "choicse"], task_files)
    (task_files / "both.yaml").write_text(json.dumps({"group": "both", "task": ["texts", "choices"]}), encoding="utf-8")
    with pytest.raises(InputError, match="choices is requested twice, by choices and by both"):
        lm_eval_tasks.read_tasks(["choices", "both"], task_files)
    written = json.loads((task_files / "answers.yaml").read_text(encoding="utf-8"))
    (task_files / "code.yaml").write_text(json.dumps({**written, "task": "code", "unsafe_code": True}), encoding="utf-8")
    with pytest.raises(InputError, match="code runs code that the model writes, which expunge does not do"):
        lm_eval_tasks.read_tasks(["code"], task_files)
    (task_files.parent / "rows.jsonl").unlink()
    with pytest.raises(InputError, match=r"^--tasks: choices cannot be loaded: FileNotFoundError"):
        lm_eval_tasks.read_tasks(["choices"], task_files)
