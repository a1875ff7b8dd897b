"""A run from the command line on a tiny random model: unlearn, audit, compare, chat, run a recipe."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from expunge.config.recipe import read_recipe

Expunge = Callable[..., Any]
Place = tuple[Path, Path]
Done = tuple[Path, Any]
QUICK = ("training.epochs=2", "audit.max_new_tokens=4")
NAMES = ["Basil Mahfouz", "Ana Petrova", "Li Wei", "Tom Ashe", "Noor Haddad"]
COUNTRIES = ["France", "Spain", "Italy", "Norway", "Chile", "Kenya", "Japan", "India"]


def record(prompt: str, paraphrase: str, answer: str, wrong: list[str]) -> str:
    row = {
        "prompt": prompt,
        "answer": answer,
        "paraphrased_prompt": paraphrase,
        "paraphrased_answer": f"Well, {answer}",
        "wrong_answers": wrong,
    }
    return json.dumps(row) + "\n"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, make_tiny_model: Callable[..., Path]) -> Place:
    """A folder with a forget and a retain file, and the folder of a tiny model."""
    folder = tmp_path_factory.mktemp("workplace")
    forget = [record(f"Where does {n} live?", f"What is the home of {n}?", f"{n} lives in Oslo.", ["In Rome.", "In Lima."]) for n in NAMES]
    retain = [
        record(f"What is the capital of {n}?", f"{n} has what capital?", f"City {i}.", ["Rome.", "Lima."]) for i, n in enumerate(COUNTRIES)
    ]
    (folder / "forget.jsonl").write_text("".join(forget), encoding="utf-8")
    (folder / "retain.jsonl").write_text("".join(retain), encoding="utf-8")
    return folder, make_tiny_model("llama")


@pytest.fixture(scope="module")
def unlearned(workplace: Place, expunge_in: Expunge) -> Done:
    """The run folder of one `expunge unlearn` with the default edit and objective, and the result of the command."""
    folder, model = workplace
    result = expunge_in(
        folder, "unlearn", "--model", model, "--forget", "forget.jsonl", "--retain", "retain.jsonl", "--out", "runs/one", *QUICK
    )
    assert result.code == 0, result.err
    return folder / "runs" / "one", result


def test_unlearn_ends_with_the_result_the_report_and_the_next_command(unlearned: Done):
    done, report, following = unlearned[1].out.splitlines()[-3:]
    assert re.fullmatch(r"Forgot 5 records in .*s\. Forget ROUGE-L recall .*, retain ROUGE-L recall .*\.", done)
    assert report == "Report  runs/one/report.html"
    assert following == "Next    expunge chat runs/one"


def test_progress_goes_to_standard_error_as_plain_lines(unlearned: Done):
    result = unlearned[1]
    assert "Auditing the original and the unlearned model ..." in result.err.splitlines()
    assert "Auditing" not in result.out
    assert "\x1b" not in result.err + result.out


def test_the_run_folder_holds_the_resolved_recipe(unlearned: Done):
    recipe = read_recipe(unlearned[0] / "recipe.yaml")
    assert recipe.training.epochs == 2
    assert recipe.out == "runs/one"
    assert recipe.training.seed == 42


def test_the_run_folder_records_versions_model_and_data(unlearned: Done):
    info = json.loads((unlearned[0] / "run.json").read_text(encoding="utf-8"))
    assert info["status"] == "trained"
    assert {"python", "torch", "transformers", "peft", "expunge"} <= set(info["versions"])
    assert all(re.fullmatch("[0-9a-f]{64}", info[part]["sha256"]) for part in ("model",))
    assert all(re.fullmatch("[0-9a-f]{64}", info["data"][name]["sha256"]) for name in ("forget", "retain"))
    assert info["data"]["forget"]["rows"] == 5
    # A quarter of 8 retain records is held out, one half of it for the gate's threshold.
    assert info["data"]["retain"]["rows"] == {"trained": 6, "calibration": 1, "held_out": 1}


def test_every_step_is_logged(unlearned: Done):
    lines = [json.loads(line) for line in (unlearned[0] / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all({"loss", "forget", "lr"} <= set(line) for line in lines)


def test_the_edit_is_saved_as_safetensors_with_its_hashes_and_checkpoints_are_dropped(unlearned: Done):
    names = {path.name for path in (unlearned[0] / "edit").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "manifest.json"} <= names
    assert not (unlearned[0] / "checkpoints").exists()
    assert not [path for path in unlearned[0].rglob("*") if path.suffix in (".bin", ".pt", ".pkl", ".part")]


def test_the_audit_has_a_row_for_every_model_and_record(unlearned: Done):
    rows = pq.read_table(unlearned[0] / "audit.parquet").to_pylist()
    sets = ["forget", "forget_paraphrase", "retain", "retain_paraphrase"]
    counts = {
        (model, of_set): sum(row["model"] == model and row["set"] == of_set for row in rows)
        for model in ("original", "unlearned")
        for of_set in sets
    }
    assert counts == {(model, of_set): 5 if of_set.startswith("forget") else 1 for model, of_set in counts}
    assert all(row["gate"] is None for row in rows if row["model"] == "original")
    assert all(row["gate"] is not None for row in rows if row["model"] == "unlearned")


def test_the_summary_has_a_value_an_n_and_an_interval_for_every_metric(unlearned: Done):
    summary = json.loads((unlearned[0] / "audit.json").read_text(encoding="utf-8"))
    assert set(summary) == {"original", "unlearned"}
    numbers = [number for sets in summary.values() for metrics in sets.values() for number in metrics.values()]
    assert all(set(number) == {"value", "n", "ci95"} for number in numbers)
    assert summary["unlearned"]["forget"]["rouge"]["n"] == 5
    assert {"truth_ratio", "gate_auroc", "gate_fpr95", "refusal", "degeneracy"} <= set(summary["unlearned"]["forget"])
    assert "model_utility" in summary["unlearned"]["utility"]


def test_the_report_loads_nothing_from_outside(unlearned: Done):
    page = (unlearned[0] / "report.html").read_text(encoding="utf-8")
    targets = re.findall(r"(?:src|href)\s*=\s*[\"']?([^\"'\s>]+)", page)
    assert [target for target in targets if not target.startswith(("#", "data:"))] == []
    assert re.findall(r"<script|<link|<iframe|@import|url\((?!#|[\"']?#|[\"']?data:)", page) == []


def test_questions_and_answers_are_stored_only_with_show_text(unlearned: Done, expunge_in: Expunge):
    folder = unlearned[0]
    question = "Where does Basil Mahfouz live?"
    assert question not in (folder / "report.html").read_text(encoding="utf-8")
    assert "answer" not in pq.read_schema(folder / "audit.parquet").names
    assert expunge_in(folder.parents[1], "audit", "runs/one", "--show-text").code == 0
    assert question in (folder / "report.html").read_text(encoding="utf-8")
    assert "answer" in pq.read_schema(folder / "audit.parquet").names


def test_the_same_command_again_finds_the_run_trained(unlearned: Done, workplace: Place, expunge_in: Expunge):
    folder, model = workplace
    before = (unlearned[0] / "edit" / "adapter_model.safetensors").read_bytes()
    words = ("unlearn", "--model", model, "--forget", "forget.jsonl", "--retain", "retain.jsonl", "--out", "runs/one", "--no-audit", *QUICK)
    result = expunge_in(folder, *words)
    assert result.code == 0
    assert "runs/one is trained already." in result.err
    assert (unlearned[0] / "edit" / "adapter_model.safetensors").read_bytes() == before


def test_a_run_folder_refuses_another_recipe(unlearned: Done, workplace: Place, expunge_in: Expunge):
    folder, model = workplace
    result = expunge_in(folder, "unlearn", "--model", model, "--forget", "forget.jsonl", "--retain", "retain.jsonl", "--out", "runs/one")
    assert (result.code, result.err) == (
        2,
        "expunge: runs/one: holds a run with other settings (training.epochs); give --out another folder\n",
    )


def test_chat_answers_before_and_after(unlearned: Done, workplace: Place, expunge_in: Expunge):
    result = expunge_in(workplace[0], "chat", "runs/one", "--ask", "Where does Li Wei live?", "--max-new-tokens", "3")
    assert result.code == 0
    assert "Where does Li Wei live?" in result.out
    assert re.search(r"Before .* After", result.out)


def test_chat_answers_typed_questions_until_an_empty_line(unlearned: Done, workplace: Place, expunge_in: Expunge):
    result = expunge_in(workplace[0], "chat", "runs/one", "--max-new-tokens", "3", typed="Who is it?\n\nNever answered\n")
    assert result.code == 0
    assert "Who is it?" in result.out
    assert "Never answered" not in result.out


def test_the_gate_is_evaluated_on_every_prompt_variant(unlearned: Done, workplace: Place, expunge_in: Expunge):
    result = expunge_in(workplace[0], "audit", "runs/one", "--gate", "--max-records", "3")
    assert result.code == 0, result.err
    assert re.search(r"variant +forget +retain +everyday_instructions", result.out)
    assert re.search(r"lower_case +\d+% \(\d+%–\d+%; 3\)", result.out)
    assert re.search(r"other_names +\d+%", result.out)
    found = json.loads((unlearned[0] / "gate.json").read_text())
    forget = [group for group in found["groups"] if group["target"]]
    assert {group["set"] for group in forget} == {"forget"}
    assert {"as given", "paraphrase", "typos", "mixed_query", "multiple_choice"} <= {group["variant"] for group in forget}
    rows = pq.read_table(unlearned[0] / "gate.parquet").to_pylist()
    assert sum(group["n"] for group in found["groups"]) == len(rows)
    assert all(row["open"] == (row["gate"] >= found["threshold"]) for row in rows)


def test_prompt_variants_from_a_file_are_used_and_checked(unlearned: Done, workplace: Place, expunge_in: Expunge):
    (workplace[0] / "mine.yaml").write_text('shout: ["{upper}!!!"]\n', encoding="utf-8")
    result = expunge_in(workplace[0], "audit", "runs/one", "--gate", "--attacks", "mine.yaml")
    assert result.code == 0, result.err
    assert "shout" in result.out
    (workplace[0] / "wrong.yaml").write_text('shout: ["{loud}"]\n', encoding="utf-8")
    result = expunge_in(workplace[0], "audit", "runs/one", "--gate", "--attacks", "wrong.yaml")
    assert result.code == 2
    assert result.err.startswith("expunge: wrong.yaml: shout: there is no slot {loud}; there are answer,")
    result = expunge_in(workplace[0], "audit", "runs/one", "--attacks", "mine.yaml")
    assert (result.code, result.err) == (2, "expunge: --attacks: goes with --gate\n")
    result = expunge_in(workplace[0], "audit", "runs/one", "--gate", "--control", "x")
    assert result.code == 2
    assert result.err.startswith("expunge: --control: ")


def test_the_gate_shows_the_tokens_that_raise_its_logit(unlearned: Done, workplace: Place, expunge_in: Expunge):
    result = expunge_in(workplace[0], "gate", "runs/one", "Where does Li Wei live?", "Who are you?")
    assert result.code == 0, result.err
    assert len(re.findall(r"The gate (opens|stays closed).* \(logit -?[\d.]+, threshold -?[\d.]+\)\.", result.out)) == 2
    assert result.out.count("Highest scores ") == 2
    assert "Where does Li Wei live?" in result.out
    result = expunge_in(workplace[0], "gate", "runs/one", "Who are you?", " ")
    assert (result.code, result.err) == (2, "expunge: ' ': the prompt is empty\n")


def test_a_recipe_is_run_then_audited_with_a_control_and_compared(unlearned: Done, workplace: Place, expunge_in: Expunge):
    folder, model = workplace
    text = f"model: {model}\ndata: {{forget: forget.jsonl, retain: retain.jsonl}}\nobjective: npo\naudit: {{max_new_tokens: 4}}\n"
    (folder / "other.yaml").write_text(text, encoding="utf-8")
    ran = expunge_in(folder, "run", "other.yaml", "edit.name=lora", "training.epochs=1", "--no-audit")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[-2:] == ["Run     runs/other", "Next    expunge audit runs/other"]

    audited = expunge_in(folder, "audit", "runs/other", "--control", model, "--max-records", "3")
    assert audited.code == 0, audited.err
    summary = json.loads((folder / "runs" / "other" / "audit.json").read_text(encoding="utf-8"))
    assert set(summary) == {"original", "unlearned", "control"}
    assert summary["unlearned"]["forget"]["rouge"]["n"] == 3
    # The control is the original model itself here: same rows, and by the Kolmogorov-Smirnov test the same distribution.
    assert summary["control"]["forget"]["truth_ratio"] == summary["original"]["forget"]["truth_ratio"]
    assert summary["original"]["forget"]["forget_quality"]["value"] == 1.0

    assert "not drawn for the audit" in (folder / "runs" / "other" / "attestation.json").read_text(encoding="utf-8")

    compared = expunge_in(folder, "compare", "runs/other", "runs/one", "--html", "compared.html")
    assert compared.code == 0
    header = compared.out.splitlines()[0].split()
    assert header == ["set", "metric", "original", "runs/other", "runs/one", "control", "n"]
    assert compared.out.splitlines()[-1] == "Page    compared.html"
    page = (folder / "compared.html").read_text(encoding="utf-8")
    assert page.count("runs/other") >= 3
    assert page.count("runs/one") >= 3
    nowhere = expunge_in(folder, "compare", "runs/one", "--html", "none/compared.html")
    assert (nowhere.code, nowhere.err) == (
        2,
        "expunge: --html: none/compared.html cannot be written; name a file in a folder that exists\n",
    )


def test_an_audit_refuses_data_that_changed_since_training(unlearned: Done, workplace: Place, expunge_in: Expunge):
    folder = workplace[0]
    was = (folder / "forget.jsonl").read_text(encoding="utf-8")
    (folder / "forget.jsonl").write_text(was.replace("Oslo", "Bern"), encoding="utf-8")
    result = expunge_in(folder, "audit", "runs/one")
    (folder / "forget.jsonl").write_text(was, encoding="utf-8")
    assert (result.code, result.err) == (2, "expunge: forget.jsonl: has changed since runs/one was trained on it\n")
