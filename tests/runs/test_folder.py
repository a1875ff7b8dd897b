"""The run folder: whose it is, who may work in it, and what a kill leaves there."""

import json
import os
import shutil
from pathlib import Path

import pytest

from expunge.config.recipe import Recipe, make_recipe
from expunge.edits.manifest import write_manifest
from expunge.errors import ExpungeError, InputError
from expunge.files import write_text
from expunge.runs.edit_record import record_edit
from expunge.runs.folder import Run, default_folder, find_run, locked, start_run, started
from expunge.runs.loaded import open_run

SCRIPTS = ("忘却", "消去", "हिन्दी", "हिन्दू", "забыть", "نسيان")


def recipe_for(out: Path | str | None, **sections: object) -> Recipe:
    return make_recipe({"data": {"forget": "forget.jsonl"}, "out": None if out is None else str(out), **sections})


def test_a_fresh_folder_holds_recipe_status_and_versions(tmp_path):
    recipe = recipe_for(tmp_path / "runs" / "a")
    run = start_run(recipe)
    assert run.read_recipe() == recipe
    assert run.read_info()["status"] == "training"
    assert {"python", "torch", "transformers", "peft", "expunge"} <= set(run.read_info()["versions"])
    assert sorted(path.name for path in run.folder.iterdir()) == ["recipe.yaml", "run.json"]


def test_the_same_recipe_resumes_in_its_folder(tmp_path):
    first = start_run(recipe_for(tmp_path / "a"))
    first.update_info(seconds=1.0)
    assert start_run(recipe_for(tmp_path / "a")).read_info() == first.read_info()


@pytest.mark.parametrize("other", [{"training": {"lr": 1e-3}}, {"objective": "dpo"}, {"model": "another"}])
def test_another_recipe_is_refused_once_training_has_started(tmp_path, other):
    run = start_run(recipe_for(tmp_path / "a"))
    (run.folder / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=rf"holds a run with other settings \({next(iter(other))}"):
        start_run(recipe_for(tmp_path / "a", **other))
    assert run.read_recipe() == recipe_for(tmp_path / "a")


def test_audit_settings_may_change_after_training(tmp_path):
    run = start_run(recipe_for(tmp_path / "a"))
    run.update_info(status="trained")
    (run.folder / "metrics.jsonl").write_text("{}\n")
    again = start_run(recipe_for(tmp_path / "a", audit={"max_records": 3}))
    assert again.read_recipe().audit.max_records == 3
    assert again.read_info()["status"] == "trained"


@pytest.mark.parametrize("inside", ["file", "file/sub"])
def test_a_folder_that_cannot_be_made_is_named(tmp_path, inside):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made a folder"):
        start_run(recipe_for(tmp_path / inside))


def test_a_corrected_recipe_replaces_one_that_never_started(tmp_path):
    start_run(recipe_for(tmp_path / "a", model="a-typo")).update_info(seconds=1.0)
    run = start_run(recipe_for(tmp_path / "a"))
    assert run.read_recipe() == recipe_for(tmp_path / "a")
    assert run.read_info()["seconds"] == 0.0


def test_a_recipe_that_another_process_is_about_to_start_stays(tmp_path):
    run = start_run(recipe_for(tmp_path / "a"))
    with (
        locked(run),
        pytest.raises(ExpungeError, match="another expunge process is at work"),
        started(recipe_for(tmp_path / "a", objective="dpo")),
    ):
        pass
    assert run.read_recipe() == recipe_for(tmp_path / "a")


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        start_run(recipe_for(tmp_path / "a"))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["thesis.tex"]
    with pytest.raises(InputError, match="holds something else"), started(recipe_for(tmp_path / "a")):
        pass
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["thesis.tex"]


def test_the_folder_is_locked_before_the_recipe_is_written(tmp_path):
    with started(recipe_for(tmp_path / "a")) as run:
        for other in (recipe_for(tmp_path / "a"), recipe_for(tmp_path / "a", objective="dpo")):
            with pytest.raises(ExpungeError, match="another expunge process is at work"), started(other):
                pass
    assert run.read_recipe() == recipe_for(tmp_path / "a")
    # An empty folder may become a run, but not while another process starts one there.
    (tmp_path / "b").mkdir()
    with locked(Run(tmp_path / "b")), pytest.raises(ExpungeError), started(recipe_for(tmp_path / "b")):
        pass
    assert [path.name for path in (tmp_path / "b").iterdir()] == [".lock"]


def test_a_kill_while_a_recipe_is_replaced_leaves_a_folder_that_can_be_started(tmp_path, monkeypatch):
    run = start_run(recipe_for(tmp_path / "a", model="a-typo"))
    for name in ("retain.jsonl", "neutral.jsonl", "alternatives.jsonl"):
        (run.folder / name).touch()
    for number in range(5):
        copy = tmp_path / f"copy{number}"
        shutil.copytree(run.folder, copy)
        removed = []

        def remove(path, number=number, removed=removed, unlink=os.unlink):
            if len(removed) == number:
                raise KeyboardInterrupt
            removed.append(path)
            unlink(path)

        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", remove)
            with pytest.raises(KeyboardInterrupt):
                start_run(recipe_for(copy))
        assert start_run(recipe_for(copy)).read_recipe() == recipe_for(copy)
        assert sorted(path.name for path in copy.iterdir()) == ["recipe.yaml", "run.json"]


def test_what_a_killed_command_left_is_repaired_when_the_run_is_opened(tmp_path):
    run = start_run(recipe_for(tmp_path / "a"))
    run.update_info(status="trained")
    (run.folder / "edit.7.expunge-old").mkdir()
    (run.folder / "audit.json.7.expunge-part").touch()
    find_run(run.folder)
    assert sorted(path.name for path in run.folder.iterdir()) == [".lock", "edit", "recipe.yaml", "run.json"]


def test_a_run_that_cannot_be_repaired_now_is_opened_nevertheless(tmp_path):
    run = start_run(recipe_for(tmp_path / "a"))
    run.update_info(status="trained")
    with locked(run):
        (run.folder / "audit.json.7.expunge-part").touch()
        assert find_run(run.folder) == run
    assert (run.folder / "audit.json.7.expunge-part").exists()


@pytest.mark.parametrize("left", [[], ["recipe.yaml.1.expunge-part"], ["recipe.yaml"], ["recipe.yaml", "run.json.1.expunge-part"]])
def test_a_start_that_was_killed_can_be_started_again(tmp_path, left):
    whole = start_run(recipe_for(tmp_path / "a"))
    text = (whole.folder / "recipe.yaml").read_text(encoding="utf-8")
    for path in whole.folder.iterdir():
        path.unlink()
    for name in left:
        (whole.folder / name).write_text(text if name == "recipe.yaml" else "{", encoding="utf-8")
    again = start_run(recipe_for(tmp_path / "a"))
    assert again.read_recipe() == recipe_for(tmp_path / "a")
    assert again.read_info()["status"] == "training"


@pytest.mark.parametrize("name", ["../x", "a/../x", "..", ".", "a b", ".a", "a..b", "x" * 65, "-\n", "a\u202eb"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, monkeypatch, name):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match=r"^out: "):
        start_run(recipe_for(name))
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]


def test_a_symbolic_link_is_refused(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(InputError, match="is a symbolic link"):
        start_run(recipe_for(tmp_path / "link"))


def test_the_default_folder_is_named_after_what_is_forgotten_and_how():
    recipe = make_recipe({"data": {"forget": "data/some people.v2.jsonl"}, "edit": {"name": "lora"}, "objective": "npo"})
    assert default_folder(recipe) == "runs/some-people-v2-lora-npo"
    assert default_folder(make_recipe({"data": {"forget": "a.jsonl.gz"}, "objective": "npo"})) == "runs/a-grun-npo"
    assert default_folder(make_recipe({"data": {"forget": "locuslab/TOFU:forget05"}, "objective": "npo"})) == "runs/TOFU-forget05-grun-npo"


def test_forget_files_named_in_any_script_get_folders_of_their_own():
    names = {
        name: default_folder(make_recipe({"data": {"forget": f"{name}.jsonl"}, "edit": {"name": "lora"}, "objective": "npo"}))
        for name in SCRIPTS
    }
    assert names["忘却"] == "runs/忘却-lora-npo"
    assert len(set(names.values())) == len(SCRIPTS)


@pytest.mark.parametrize("name", ["llama-3.1", "忘却-lora-npo", "हिन्दी", "ü"])
def test_a_name_may_have_dots_and_letters_of_any_script(tmp_path, name):
    assert start_run(recipe_for(tmp_path / name)).folder == tmp_path / name


def test_one_process_at_a_time_works_in_a_folder(tmp_path):
    run = start_run(recipe_for(tmp_path / "a"))
    with locked(run), pytest.raises(ExpungeError, match="another expunge process is at work") as error, locked(run):
        pass
    assert error.value.exit_code == 1
    with locked(run):
        pass


def test_a_lock_is_released_when_the_work_fails(tmp_path):
    run = start_run(recipe_for(tmp_path / "a"))
    with pytest.raises(KeyboardInterrupt), locked(run):
        raise KeyboardInterrupt
    with locked(run):
        pass


def test_only_a_trained_run_is_opened(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        open_run(tmp_path)
    run = start_run(recipe_for(tmp_path / "a"))
    with pytest.raises(InputError, match="its training is not complete"):
        open_run(run.folder)
    run.edit.mkdir()
    record_edit(run, write_manifest(run.edit), status="trained")
    opened = open_run(str(run.folder))
    assert (opened.folder, opened.recipe, opened.info) == (run.folder, run.read_recipe(), run.read_info())


def test_a_run_that_was_not_audited_says_how_to_audit_it(tmp_path):
    run = start_run(recipe_for(tmp_path / "a"))
    with pytest.raises(InputError, match=f"try: expunge audit {run.folder}"):
        _ = run.summary
    write_text(run.folder / "audit.json", '{"original": {}, "unlearned": {}}')
    assert run.summary == {"original": {}, "unlearned": {}}


def test_facts_add_up(tmp_path):
    run = start_run(recipe_for(tmp_path / "a"))
    run.update_info(round=2)
    run.update_info(status="trained")
    assert (run.read_info()["round"], run.read_info()["status"]) == (2, "trained")
    assert json.loads((run.folder / "run.json").read_text())["versions"] == run.read_info()["versions"]


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"status": "done"}, "status: "),
        ({"status": "trained", "more": 1}, "more: "),
        ({"status": "trained", "data": None}, "data: must not be null"),
        ({"status": "trained", "data": {"forget": {"source": "f", "sha256": "0" * 64, "rows": -1}}}, r"data\.forget\.rows: "),
        ({"status": "trained", "gate": {"threshold": "high"}}, r"gate\."),
        ([], "all of it: "),
    ],
)
def test_a_crafted_run_json_is_one_sentence_with_its_field(tmp_path, facts, problem):
    run = start_run(recipe_for(tmp_path / "a"))
    write_text(run.folder / "run.json", json.dumps(facts))
    with pytest.raises(InputError, match=rf"^{run.folder / 'run.json'}: {problem}"):
        run.read_info()


def test_a_fact_that_is_missing_is_named(tmp_path):
    info = start_run(recipe_for(tmp_path / "a")).read_info()
    with pytest.raises(InputError, match=r'run\.json: has no field "data"; repeat the command'):
        info["data"]
    assert info.get("data") is None
