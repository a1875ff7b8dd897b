"""An audit with a suite, on tiny random models: attacked once, gone on where it was killed, never answered for something else."""

import json
import shutil
import sys
from functools import partial

import pyarrow.parquet as pq
import pytest

import expunge
from expunge.api import audit
from expunge.auditing.attacks import PromptAttack, Quantise
from expunge.auditing.suite import Suite
from expunge.auditing.verdict import read_verdict
from expunge.console import Display
from expunge.edits import EDITS
from expunge.edits.manifest import write_manifest
from expunge.errors import InputError, WrongBase
from expunge.models.loading import load
from expunge.pipeline.unlearn import unlearn
from expunge.runs.edit_record import record_edit

ATTACKS = [
    {"name": "prompts", "max_records": 2},
    {"name": "quantise", "max_records": 3},
    {"name": "relearn", "max_records": 4, "max_steps": 2, "measure_every": 1},
    {"name": "switch_off", "max_records": 2},
]
SUITE = Suite(budget_seconds=60, attacks=ATTACKS)


@pytest.fixture
def run_of(make_recipe_for, tmp_path, monkeypatch):
    """Trains a run with a cache of its own: `run_of(edit, model=None, **settings of the audit)`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def make(edit: str = "lora", model: str | None = None, **settings):
        training, measured = {"epochs": 1, "dtype": "fp32"}, {"max_new_tokens": 4, **settings}
        base, out = ({}, edit) if model is None else ({"model": model}, f"{edit}-of-another")
        return unlearn(make_recipe_for(out, **base, edit=edit, objective="npo", training=training, audit=measured), Display())

    return make


@pytest.fixture
def attacked(monkeypatch):
    """How often each quantisation was run, in records."""
    counts, run = [], Quantise.run

    def counted(attack, target, advance):
        counts.append(len(target.forget))
        yield from run(attack, target, advance)

    monkeypatch.setattr(Quantise, "run", counted)
    return counts


def test_the_verdict_has_a_row_for_each_thing_tried_with_all_three_models(run_of, make_tiny_model):
    run = audit(run_of(), control=str(make_tiny_model("gpt2")), suite=SUITE)
    rows = {row["name"]: row for row in read_verdict(run)}
    assert {
        "forget prompts as given",
        "utility: retain",
        "quantised: nf4",
        "relearned from part of the forget set, 2 steps",
        "edit switched off",
    } <= set(rows)
    assert any(name.startswith("prompt variant: ") for name in rows)
    assert all(rows["quantised: nf4"][model]["n"] == 3 for model in ("unlearned", "control", "original"))
    assert rows["weights released"]["verdict"] == "fail"
    assert json.loads((run.folder / "attestation.json").read_text(encoding="utf-8"))["attacks"]["rows"] == list(rows.values())


def test_weights_that_were_changed_have_nothing_to_switch_off_and_do_not_fail_for_it(run_of):
    rows = {row["name"]: row for row in read_verdict(audit(run_of("full"), suite=SUITE))}
    assert "quantised: nf4" in rows
    assert not {"edit switched off", "weights released"} & set(rows)
    assert rows["quantised: nf4"]["reason"] == "there is no control to compare with"


def test_a_second_audit_attacks_nothing_again_and_one_of_something_else_does(run_of, attacked):
    run = audit(run_of(), suite=SUITE)
    first = read_verdict(run)
    assert attacked == [3, 3]
    assert read_verdict(audit(run, suite=SUITE)) == first
    assert attacked == [3, 3]
    audit(run, suite=Suite(budget_seconds=60, attacks=[{"name": "quantise", "max_records": 3, "kind": "int8"}]))
    assert attacked == [3, 3, 3, 3]
    another_edit(run, "adapter_model.safetensors")
    audit(run, suite=SUITE)
    # The original is the same.
    assert attacked == [3, 3, 3, 3, 3]


def another_edit(run, weights: str) -> None:
    """Replace the run's edit by one with another last bit, as another training would."""
    raw = bytearray((run.edit / weights).read_bytes())
    raw[-1] ^= 1
    (run.edit / weights).write_bytes(raw)
    record_edit(run, write_manifest(run.edit))


def heard(calls: list[str], name: str, function, *args):
    """Notes a call and makes it."""
    calls.append(name)
    return function(*args)


@pytest.mark.parametrize(("edit", "weights"), [("lora", "adapter_model.safetensors"), ("full", "weights.safetensors")])
def test_a_second_audit_measures_nothing_again_and_one_of_another_edit_its_own_model_alone(run_of, monkeypatch, edit, weights):
    measured, engine = [], sys.modules["expunge.auditing.measure_models"]
    for name in ("measure", "measure_both"):
        monkeypatch.setattr(engine, name, partial(heard, measured, name, getattr(engine, name)))
    run = audit(run_of(edit))
    first, taken = run.summary, list(measured)
    assert taken == (["measure_both"] if edit == "lora" else ["measure", "measure"])
    assert audit(run).summary == first
    assert measured == taken
    another_edit(run, weights)
    audit(run)
    assert measured == [*taken, "measure"]


def test_changed_templates_under_the_same_name_are_run_again(run_of, tmp_path, monkeypatch):
    attacked_records, run = [], PromptAttack.run

    def counted(attack, target, advance):
        attacked_records.append(len(target.forget))
        yield from run(attack, target, advance)

    monkeypatch.setattr(PromptAttack, "run", counted)
    templates = tmp_path / "mine.yaml"
    templates.write_text('please: ["Please: {prompt}"]\n', encoding="utf-8")
    suite = Suite(budget_seconds=60, attacks=[{"name": "prompts", "max_records": 2, "templates": str(templates)}])
    trained = audit(run_of(), suite=suite)
    audit(trained, suite=suite)
    assert attacked_records == [2, 2]
    templates.write_text('please: ["Tell me: {prompt}"]\n', encoding="utf-8")
    audit(trained, suite=suite)
    assert attacked_records == [2, 2, 2, 2]


def test_a_killed_audit_resumes(run_of, attacked, monkeypatch):
    run, suite = run_of(batch_size=2), Suite(budget_seconds=60, attacks=[{"name": "quantise", "max_records": 6}])
    whole, done = Quantise.run, []

    def killed(attack, target, advance):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(None)
        yield from whole(attack, target, advance)

    monkeypatch.setattr(Quantise, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        audit(run, suite=suite)
    assert attacked == [2, 2, 2, 2]
    monkeypatch.setattr(Quantise, "run", whole)
    audit(run, suite=suite)
    assert attacked == [2] * 6


def test_an_audit_without_a_suite_leaves_no_verdict_of_an_earlier_one(run_of):
    run = audit(audit(run_of(), suite=SUITE))
    with pytest.raises(InputError, match="has no verdict; try: expunge audit"):
        read_verdict(run)


@pytest.fixture
def another_base(tiny_model_dir, tmp_path):
    """The tiny model with one weight another."""
    model, tokenizer = load(str(tiny_model_dir))
    next(model.parameters()).data.view(-1)[0] += 1
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "another")
    return str(tmp_path / "another")


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_of_another_base_fails_on_the_row_that_says_so(run_of, another_base, edit):
    run, other = run_of(edit), run_of(edit, model=another_base)
    shutil.rmtree(run.edit)
    shutil.copytree(other.edit, run.edit)
    record_edit(run, write_manifest(run.edit))
    (run.folder / "report.html").write_text("of an earlier model", encoding="utf-8")
    with pytest.raises(WrongBase, match="was trained on another base model"):
        audit(run, suite=SUITE)
    assert not (run.folder / "report.html").exists()
    (row,) = read_verdict(run)
    assert (row["name"], row["verdict"]) == ("the edit is of this base model", "fail")


def test_an_edit_that_does_not_say_of_which_base_it_is_is_not_audited(run_of):
    run = run_of("lora")
    (run.edit / "base.json").unlink()
    record_edit(run, write_manifest(run.edit))
    with pytest.raises(WrongBase, match="does not record the base model that it was trained on"):
        audit(run, suite=SUITE)


@pytest.fixture
def holdout(tmp_path):
    """Records that no model saw."""
    path = tmp_path / "holdout.jsonl"
    rows = [{"prompt": f"Where does stranger {i} live?", "answer": f"Stranger {i} lives in town {i}."} for i in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


MEMBERSHIP = Suite(budget_seconds=60, membership_records=4, membership_gradients=True)


def test_forget_records_are_looked_for_among_those_that_no_model_saw(run_of, holdout, make_tiny_model):
    run = audit(run_of(holdout=str(holdout)), control=str(make_tiny_model("llama")), suite=MEMBERSHIP)
    for model in ("original", "unlearned", "control"):
        found = run.summary[model]["forget"]
        assert all(0 <= found[f"mia_{name}"]["value"] <= 1 for name in ("loss", "zlib", "min_k", "min_k_plus_plus", "grad_norm"))
        assert found["mia_min_k"]["n"] == 8
    # The control is the original here, and the edit has hardly been trained.
    assert run.summary["control"]["forget"]["mia_min_k"] == run.summary["original"]["forget"]["mia_min_k"]
    (row,) = [row for row in read_verdict(run) if "PrivLeak" in row["name"]]
    assert row["excess"]["value"] == run.summary["unlearned"]["forget"]["privleak"]["value"]


def test_the_original_as_its_own_control_fails_and_passes_nothing(run_of, tiny_model_dir, tmp_path):
    model, tokenizer = load(str(tiny_model_dir))
    tokenizer.chat_template = tokenizer.chat_template.replace("user", "you").replace("<|im_start|>assistant", "<|im_start|>I")
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "renamed")
    for control in (tiny_model_dir, tmp_path / "renamed"):
        first, *others = read_verdict(audit(run_of(), control=str(control), suite=Suite(budget_seconds=60)))
        assert (first["name"], first["verdict"]) == ("the control never saw the forget set", "fail")
        assert "it is the original, which saw the forget set" in first["reason"]
        assert not [row for row in others if row["against"] == "control" and row["verdict"] == "pass"]


def test_without_a_control_there_is_no_privleak_and_without_a_holdout_nothing_is_inferred(run_of, holdout):
    found = read_verdict(audit(run_of(holdout=str(holdout)), suite=MEMBERSHIP))
    (row,) = [row for row in found if "PrivLeak" in row["name"]]
    assert (row["verdict"], row["excess"]) == ("not shown", None)
    assert "give one as the control" in row["reason"]
    (row,) = [row for row in read_verdict(audit(run_of("reft"), suite=MEMBERSHIP)) if "PrivLeak" in row["name"]]
    assert (row["verdict"], row["unlearned"]) == ("not shown", None)
    assert row["reason"] == "It is not known which records the original never saw; give such records as a holdout."


def test_the_original_on_never_seen_records_is_a_control(run_of, holdout, attacked):
    run = audit(run_of(holdout=str(holdout)), control="auto", suite=SUITE)
    assert attacked == [3, 3, 3]
    rows = pq.read_table(run.folder / "audit.parquet").to_pylist()
    control_ids = {row["id"] for row in rows if row["model"] == "control"}
    assert len(control_ids) == 4
    assert not control_ids & {row["id"] for row in rows if row["model"] != "control"}
    assert {row["set"] for row in rows if row["model"] == "control"} == {"forget"}
    (row,) = [row for row in read_verdict(run) if row["name"] == "forget prompts as given"]
    assert row["excess"]["value"] == pytest.approx(row["unlearned"]["value"] - row["control"]["value"])
    assert row["excess"]["n"] == 6 + 4
    # The run remembers it, and PrivLeak wants a model.
    (row,) = [row for row in read_verdict(audit(run, suite=MEMBERSHIP)) if "PrivLeak" in row["name"]]
    assert (row["verdict"], row["control"]) == ("not shown", None)
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "the original, on records that no model saw" in page


def test_without_never_seen_records_there_is_no_such_control(run_of):
    with pytest.raises(InputError, match="--control auto: It is not known which records the original never saw"):
        audit(run_of(), control="auto")


def test_what_is_nearest_to_the_forgotten_is_judged_and_measured(run_of):
    run = audit(run_of(), suite=SUITE)
    (row,) = [row for row in read_verdict(run) if row["name"] == "utility: nearest to the forget set"]
    assert row["unlearned"]["n"] == run.summary["unlearned"]["retain"]["neighbour_utility"]["n"] >= 1


def test_a_holdout_that_was_trained_on_is_refused(run_of, tiny_data):
    with pytest.raises(InputError, match="is also trained on; a holdout may only hold records that no model ever saw"):
        audit(run_of(holdout=str(tiny_data[1])), suite=MEMBERSHIP)


def test_python_takes_what_is_for_the_record_as_the_command_line_does(run_of, tmp_path):
    run = audit(run_of())
    other = tmp_path / "other.json"
    other.write_bytes((run.folder / "attestation.json").read_bytes())
    (tmp_path / "request.yaml").write_text("id: 17\n", encoding="utf-8")
    expunge.audit(run, request=tmp_path / "request.yaml", previous=str(other), max_records=2)
    record = json.loads((run.folder / "attestation.json").read_text(encoding="utf-8"))
    assert (record["request"]["id"], record["follows"]["path"]) == ("17", str(other))
    assert run.summary["unlearned"]["forget"]["rouge"]["n"] == 2
