"""The way from a recipe to a trained edit: on every architecture, after every interruption, and only on what was agreed."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

import expunge
from expunge.attestation import verify
from expunge.config.recipe import make_recipe
from expunge.console import Display
from expunge.data.prompts import collate
from expunge.data.records import Record, Turn, read_records
from expunge.edits import edit_of
from expunge.edits.active import edits_off
from expunge.edits.manifest import find_damage
from expunge.edits.requests import REQUEST, requests
from expunge.errors import Damaged, InputError
from expunge.models.generation import generate
from expunge.models.loading import load
from expunge.models.scoring import score
from expunge.pipeline.unlearn import unlearn
from expunge.runs.loaded import open_run
from expunge.runs.splits import read_splits, split
from expunge.training import self_generated

# With 32 random dimensions the gate cannot reach the default of 3 %.
GATED = {"name": "grun", "false_positive_rate": 0.5}
SHORT = {"epochs": 1, "batch_size": 3}


@pytest.mark.parametrize("tiny_model_dir", ["llama", "qwen3", "gemma3", "gpt2", "gpt_neox"], indirect=True)
def test_a_model_and_a_forget_file_are_enough(tiny_model_dir, tiny_data, tmp_path):
    run = expunge.unlearn(tiny_model_dir, forget=tiny_data[0], out=tmp_path / "run")
    assert run.read_info()["status"] == "trained"
    assert run.read_info()["data"]["forget"]["rows"] == 6
    # 72 of the 120 instructions that got an answer are held out, half of them for the gate, whose 3 % need at least 33
    rows = run.read_info()["data"]["retain"]["rows"]
    assert rows["calibration"] == rows["held_out"] == 36
    assert rows["trained"] == len((run.folder / "retain.jsonl").read_text(encoding="utf-8").split("\n")) - 1 - 72
    assert find_damage(run.edit) is None
    assert not (run.folder / "checkpoints").exists()
    model, prompts = expunge.load(run)
    assert not model.training
    (answer,) = generate(model, prompts, [prompts.prompt((Turn("user", "Where?"),))], 4)
    assert isinstance(answer, str)


def test_a_second_request_is_added_to_the_first(tiny_model_dir, tiny_data, tmp_path):
    first = expunge.unlearn(tiny_model_dir, forget=tiny_data[0], retain=tiny_data[1], out=tmp_path / "first", edit=GATED, training=SHORT)
    (tmp_path / "more.jsonl").write_text('{"prompt": "Who is Zoe Park?", "answer": "Zoe Park is a diver."}\n')
    more = {"forget": tmp_path / "more.jsonl", "retain": tiny_data[1]}
    second = expunge.unlearn(first.folder, **more, out=tmp_path / "second", edit=GATED, objective="npo", training=SHORT)
    once, builder = expunge.load(first)
    twice, _ = expunge.load(second)
    assert requests(twice) == ["request1", REQUEST]
    batch = collate([builder.record(record) for record in read_records(tiny_data[0])], builder.pad)
    with torch.no_grad(), edits_off(twice, REQUEST):
        assert torch.equal(score(twice, batch).nll, score(once, batch).nll)
    # The second run holds its own module alone, and the audit's original is the model that it was trained on.
    assert set(load_file(second.edit / "adapter_model.safetensors")) == set(load_file(first.edit / "adapter_model.safetensors"))
    expunge.audit(second)
    assert set(second.summary) == {"original", "unlearned"}
    assert all(check.status != "differs" for check in verify(second.folder / "attestation.json"))
    card = (first.edit / "README.md").read_bytes()
    (first.edit / "README.md").write_text("another", encoding="utf-8")
    assert [c.name for c in verify(second.folder / "attestation.json") if c.status == "differs"] == [
        f"earlier edit {first.folder} README.md"
    ]
    with pytest.raises(Damaged, match=r"README\.md: does not have the hash it was saved with"):
        expunge.unlearn(first.folder, **more, out=tmp_path / "third", edit="lora")
    (first.edit / "README.md").write_bytes(card)
    with pytest.raises(InputError, match="lora cannot be added to earlier requests"):
        expunge.unlearn(first.folder, **more, out=tmp_path / "third", edit="lora")


def test_a_request_on_top_of_an_edit_other_than_reft_and_grun_is_refused(make_recipe_for, tiny_data, tmp_path):
    first = unlearn(make_recipe_for("first"), Display())
    with pytest.raises(InputError, match="only reft and grun edits can be added to a model"):
        expunge.unlearn(first.folder, forget=tiny_data[0], out=tmp_path / "second")


def test_a_base_model_without_a_chat_template_is_enough_too(make_tiny_model, tiny_data, tmp_path):
    folder = make_tiny_model("llama", chat=False)
    run = expunge.unlearn(folder, forget=tiny_data[0], retain=tiny_data[1], out=tmp_path / "run", edit="reft", training=SHORT)
    assert run.read_info()["status"] == "trained"


def test_the_same_recipe_gives_the_same_edit_whatever_went_before(make_recipe_for, edit_sha256):
    torch.manual_seed(1)
    first = unlearn(make_recipe_for("first"), Display())
    torch.manual_seed(2)
    second = unlearn(make_recipe_for("second"), Display())
    assert edit_sha256(first) == edit_sha256(second)
    assert first.read_info()["data"] == second.read_info()["data"]
    assert first.read_info()["model"] == second.read_info()["model"]


def test_another_seed_gives_another_edit(make_recipe_for, edit_sha256):
    training = {**make_recipe_for("x").training.model_dump(), "epochs": 1}
    runs = [unlearn(make_recipe_for(str(seed), training={**training, "seed": seed}), Display()) for seed in (1, 2)]
    assert edit_sha256(runs[0]) != edit_sha256(runs[1])


def test_faulty_data_is_reported_before_anything_is_written(make_recipe_for, tiny_data, tmp_path):
    forget, retain = tiny_data
    lines = retain.read_text(encoding="utf-8").splitlines(keepends=True)
    retain.write_text("".join(lines[:3]), encoding="utf-8")
    with pytest.raises(InputError, match=r"retain\.jsonl: 3 records are too few"):
        unlearn(make_recipe_for("run"), Display())
    retain.write_text("".join(lines) + forget.read_text(encoding="utf-8").splitlines()[0], encoding="utf-8")
    with pytest.raises(InputError, match=r"retain\.jsonl:11: the same record as .*forget\.jsonl:1"):
        unlearn(make_recipe_for("run"), Display())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "edit", [{"name": "grun", "blocks": [4]}, {"name": "lora", "modules": "nothing"}, {"name": "full", "modules": "nothing"}]
)
def test_an_edit_that_does_not_fit_the_model_is_bad_input(make_recipe_for, edit):
    with pytest.raises(InputError, match=r"^edit"):
        unlearn(make_recipe_for("run", edit=edit), Display())


def test_answers_of_the_models_own_are_read_back_whatever_is_in_them(make_recipe_for, tiny_data, monkeypatch):
    # U+2028 and U+0085 end a line for `str.splitlines`, not for JSON
    recipe = make_recipe_for("run", data={"forget": str(tiny_data[0])})
    answers = ["a\u2028b", "c\u0085d", "e\x1cf", "<|im_end|>", "\x1b[31m"]
    records = [Record(f"n{i}", (Turn("user", "Say it."),), text) for i, text in enumerate(answers)]
    monkeypatch.setattr(self_generated, "answer_instructions", lambda *_: records)
    run = unlearn(recipe, Display())
    sets = read_splits(open_run(run.folder))
    assert sorted(record.answer for record in (*sets.retain, *sets.held_out)) == sorted(answers)


@pytest.mark.parametrize("edit", [{"name": "lora"}, {"name": "grun"}])
@pytest.mark.parametrize("count", [4, 10, 101])
def test_no_record_is_both_trained_on_and_held_out(edit, count):
    retain = [Record(f"r{i}", (Turn("user", str(i)),), "a") for i in range(count)]
    recipe = make_recipe({"data": {"forget": "f", "retain": "r"}, "edit": edit})
    sets = split([], retain, recipe)
    parts = [sets.retain, sets.calibration, sets.held_out]
    assert sorted(record.id for part in parts for record in part) == sorted(record.id for record in retain)
    assert len(sets.calibration) + len(sets.held_out) == max(2, round(count / 4))
    assert bool(sets.calibration) == edit_of(recipe).trains_gate_first(recipe.edit)
    assert sets.held_out
    assert split([], retain, recipe) == sets


@pytest.fixture
def short_gpt2(make_tiny_model, tmp_path):
    """Folder of a tiny GPT-2 that takes 64 tokens."""
    model, tokenizer = load(make_tiny_model("gpt2"))
    config = GPT2Config.from_dict({**model.config.to_dict(), "n_positions": 64})
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "short")
    tokenizer.save_pretrained(tmp_path / "short")
    return tmp_path / "short"


def test_a_model_of_short_context_is_enough(short_gpt2, tmp_path):
    (tmp_path / "forget.jsonl").write_text('{"prompt": "Who?", "answer": "Ana."}\n{"prompt": "Where?", "answer": "Here."}\n')
    run = expunge.unlearn(short_gpt2, forget=tmp_path / "forget.jsonl", out=tmp_path / "run", edit=GATED, training=SHORT)
    # The answers that the model made to give instead may still say what is to be forgotten
    assert not (run.folder / "alternatives.jsonl").exists()
    expunge.audit(run)
    assert run.summary["unlearned"]["forget"]["rouge"]["n"] == 2


@pytest.mark.parametrize(
    ("audit", "message"),
    [
        ({"sets": {"more": "nowhere.jsonl"}}, "nowhere.jsonl: cannot be read"),
        ({"questions": {"more": "nowhere.jsonl"}}, "nowhere.jsonl: cannot be read"),
        ({"control": "./nowhere"}, "not a model folder"),
    ],
)
def test_missing_files_of_the_audit_are_reported_before_training(make_recipe_for, tmp_path, audit, message):
    with pytest.raises(InputError, match=message):
        unlearn(make_recipe_for("run", audit=audit), Display())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["forget", "utility", "some_paraphrase"])
def test_a_set_of_the_audits_own_name_is_refused(make_recipe_for, name):
    with pytest.raises(InputError, match=f"a set cannot be called '{name}'"):
        make_recipe_for("run", audit={"sets": {name: "file.jsonl"}})


def test_the_control_of_the_last_audit_stays(make_recipe_for, tiny_model_dir):
    run = unlearn(make_recipe_for("run"), Display())
    expunge.audit(run, control=tiny_model_dir)
    assert "control" in expunge.audit(run).summary


def test_a_run_records_its_language_and_its_sets_are_read_back_with_it(tiny_model_dir, tmp_path):
    sets = {
        "forget": [("林晓雨", "苏州"), ("许梦洁", "洛阳")],
        "retain": [("焦大勇", "南宁"), ("秦燕", "吉林"), ("严平", "烟台"), ("常娥", "宜昌")],
    }
    for name, people in sets.items():
        rows = [{"prompt": f"{person}住在哪里？", "answer": f"{person}住在{town}。"} for person, town in people]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    files = {name: tmp_path / f"{name}.jsonl" for name in sets}
    run = expunge.unlearn(tiny_model_dir, **files, out=tmp_path / "run", edit={"name": "lora"}, objective="idk", training=SHORT)
    assert run.read_info()["data"]["language"] == {"code": "zh", "rule": "detected in 2 of 2 records"}
    assert read_splits(open_run(run.folder)).language.name == "Chinese"
