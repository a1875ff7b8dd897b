"""The verbs that need no training: help, validate, ls, and every way to get the input wrong."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from expunge.auditing.attacks import ATTACKS
from expunge.edits import descriptions
from expunge.edits.manifest import write_manifest
from expunge.files import lock_file
from expunge.metrics import METRICS
from expunge.objectives import OBJECTIVES
from expunge.runs.facts import Facts, facts_text

ROOT = Path(__file__).parents[2]
VERBS = ["demo", "unlearn", "run", "audit", "gate", "compare", "chat", "validate", "verify", "ls"]
Expunge = Callable[..., Any]


def write(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_facts(path: Path, **facts: object) -> None:
    path.write_text(facts_text(Facts(path, facts)), encoding="utf-8")


def trained_run(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    write_facts(folder / "run.json", status="trained")
    (folder / "recipe.yaml").write_text("data: {forget: forget.jsonl}\n", encoding="utf-8")


@pytest.fixture
def forget(tmp_path: Path) -> Path:
    return write(tmp_path / "forget.jsonl", {"prompt": "Who is Ada?", "answer": "A nurse."}, {"prompt": "Who is Bo?", "answer": "A cook."})


@pytest.mark.parametrize("verb", VERBS)
def test_every_verbs_help_shows_an_example(expunge: Expunge, verb: str):
    result = expunge(verb, "--help")
    assert result.code == 0
    assert f"Example: expunge {verb}" in " ".join(result.out.split())


def test_the_help_names_every_verb(expunge: Expunge):
    result = expunge("--help")
    assert result.code == 0
    assert all(f" {verb} " in result.out for verb in VERBS)


def test_validate_counts_what_is_in_a_good_file(expunge: Expunge, forget: Path):
    result = expunge("validate", "forget.jsonl")
    assert (result.code, result.err) == (0, "")
    assert result.out == "forget.jsonl: 2 records (prompt), 0 with a paraphrase, 0 with wrong answers\nThe file is valid.\n"


def test_validate_names_file_and_line_of_a_fault_on_standard_error(expunge: Expunge, tmp_path: Path):
    write(tmp_path / "bad.jsonl", {"prompt": "Who is Ada?", "answer": "A nurse."}, {"prompt": "Who is Bo?", "answer": ""})
    result = expunge("validate", "bad.jsonl")
    assert (result.code, result.out) == (2, "")
    assert result.err == 'expunge: bad.jsonl:2: field "answer" is empty; give the text or remove the line\n'


def test_validate_prints_nothing_of_a_good_file_when_the_other_is_faulty(expunge: Expunge, forget: Path, tmp_path: Path):
    write(tmp_path / "retain.jsonl", {"prompt": "Who is Cy?"})
    result = expunge("validate", "forget.jsonl", "--retain", "retain.jsonl")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("expunge: retain.jsonl:1: ")


def test_validate_refuses_sets_that_overlap(expunge: Expunge, forget: Path, tmp_path: Path):
    write(tmp_path / "retain.jsonl", {"prompt": "who is  ADA?", "answer": "A nurse."})
    result = expunge("validate", "forget.jsonl", "--retain", "retain.jsonl")
    assert result.code == 2
    assert "retain.jsonl:1: the same record as forget.jsonl:1" in result.err


def test_map_names_the_column_of_a_field(expunge: Expunge, tmp_path: Path):
    write(tmp_path / "other.jsonl", {"query": "Who is Ada?", "output": "A nurse."})
    assert expunge("validate", "other.jsonl").code == 2
    assert expunge("validate", "other.jsonl", "--map", "prompt=query", "--map", "answer=output").code == 0


def test_map_to_nothing_ignores_ids_that_are_not_unique(expunge: Expunge, tmp_path: Path):
    write(tmp_path / "twice.jsonl", {"id": 1, "text": "Ada is a nurse."}, {"id": 1, "text": "Bo is a cook."})
    refused = expunge("validate", "twice.jsonl")
    assert refused.code == 2
    assert 'twice.jsonl:2: id "1" is taken by line 1; make the ids unique, or ignore them with --no-ids' in refused.err
    assert expunge("validate", "twice.jsonl", "--map", "id=").code == 0
    assert expunge("validate", "twice.jsonl", "--no-ids").code == 0


def test_map_without_a_column_is_explained(expunge: Expunge, forget: Path):
    result = expunge("validate", "forget.jsonl", "--map", "prompt")
    assert (result.code, result.err) == (2, "expunge: --map prompt: write field=column, such as --map prompt=instruction\n")


def test_an_unknown_objective_is_named_with_those_there_are(expunge: Expunge, forget: Path):
    result = expunge("unlearn", "--forget", "forget.jsonl", "--objective", "amnesia")
    assert (result.code, result.out) == (2, "")
    assert "no objective 'amnesia'" in result.err
    assert all(name in result.err for name in OBJECTIVES)


@pytest.mark.parametrize("setting", ["training.lrr=1", "trainning=1", "training.lr=fast", "training.lr", "edit=prune"])
def test_a_setting_that_cannot_be_is_named_before_anything_is_written(expunge: Expunge, forget: Path, tmp_path: Path, setting: str):
    result = expunge("unlearn", "--forget", "forget.jsonl", setting)
    assert (result.code, result.out) == (2, "")
    assert setting.partition("=")[0] in result.err
    assert not (tmp_path / "runs").exists()


def test_a_recipe_that_is_not_there_is_named(expunge: Expunge):
    result = expunge("run", "none.yaml")
    assert result.code == 2
    assert result.err.startswith("expunge: none.yaml: cannot be read")


def test_a_recipe_with_a_wrong_setting_is_named(expunge: Expunge, tmp_path: Path):
    (tmp_path / "wrong.yaml").write_text("data: {forget: forget.jsonl}\nedit: {name: grun, ranks: 4}\n", encoding="utf-8")
    result = expunge("run", "wrong.yaml")
    assert (result.code, result.err) == (2, "expunge: wrong.yaml: edit.ranks: there is no such setting; see `expunge ls settings`\n")


@pytest.mark.parametrize("verb", ["audit", "chat", "compare"])
def test_a_run_folder_that_is_not_there_is_named(expunge: Expunge, verb: str):
    result = expunge(verb, "runs/none")
    assert (result.code, result.out) == (2, "")
    assert result.err == "expunge: runs/none: not a run folder (it has no run.json)\n"


@pytest.mark.parametrize("verb", ["audit", "chat", "compare"])
def test_a_run_whose_training_was_not_finished_is_refused(expunge: Expunge, tmp_path: Path, verb: str):
    write_facts(tmp_path / "run.json", status="training")
    result = expunge(verb, ".")
    assert result.code == 2
    assert "its training is not complete" in result.err


def test_tasks_without_the_package_name_the_extra(expunge: Expunge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trained_run(tmp_path)
    monkeypatch.delitem(sys.modules, "expunge.auditing.probes.lm_eval_tasks", raising=False)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    result = expunge("audit", ".", "--tasks", "mmlu")
    assert (result.code, result.out) == (2, "")
    assert result.err == "expunge: --tasks: lm-eval tasks need the package lm_eval; pip install 'expunge[lm-eval]'\n"


def test_task_options_need_tasks_and_tasks_exclude_the_gate_evaluation(expunge: Expunge):
    assert expunge("audit", ".", "--task-limit", "4").err == "expunge: --task-files, --task-limit, --task-chat: go with --tasks\n"
    assert expunge("audit", ".", "--tasks", "mmlu", "--gate").err == "expunge: --tasks: run on the whole model; leave out --gate\n"


def test_comparing_a_run_that_was_not_audited_says_how_to_audit_it(expunge: Expunge, tmp_path: Path):
    trained_run(tmp_path / "done")
    edit = tmp_path / "done" / "edit"
    edit.mkdir()
    (edit / "base.json").write_text("{}", encoding="utf-8")
    write_facts(tmp_path / "done" / "run.json", status="trained", edit={"manifest": write_manifest(edit), "written": "2026-01-01"})
    result = expunge("compare", "done")
    assert (result.code, result.err) == (2, "expunge: done: not audited yet; try: expunge audit done\n")


def test_a_folder_locked_by_another_process_is_an_error(expunge: Expunge, forget: Path, tmp_path: Path):
    words = ("unlearn", "--forget", "forget.jsonl", "--retain", "retain.jsonl", "--out", "busy", "--model", "./nothing")
    write(tmp_path / "retain.jsonl", *({"prompt": f"{i} + {i}?", "answer": str(2 * i)} for i in range(8)))
    assert expunge(*words).code == 2
    with lock_file(tmp_path / "busy" / ".lock", "busy"):
        result = expunge(*words)
    assert (result.code, result.err) == (1, "expunge: busy: another expunge process is at work in this folder\n")


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("objectives", OBJECTIVES),
        ("edits", descriptions()),
        ("metrics", METRICS),
        ("attacks", ATTACKS),
        ("suites", ["quick", "full"]),
        ("settings", ["data.forget", "edit.rank", "training.lr"]),
    ],
)
def test_ls_lists_every_name(expunge: Expunge, kind: str, names: list[str]):
    result = expunge("ls", kind)
    assert result.code == 0
    listed = [line.split()[0] for line in result.out.splitlines()]
    assert [name for name in names if name not in listed] == []


def test_ls_shows_the_threat_and_settings_of_an_attack_and_the_parts_of_a_suite(expunge: Expunge):
    (prefill,) = [line for line in expunge("ls", "attacks").out.splitlines() if line.startswith("prefill ")]
    assert prefill.startswith("prefill  API only; Prefill attack: put the beginning of the true answer")
    assert prefill.endswith("Settings: max_records: 32, shares: [0.25, 0.5]")
    (quick,) = [line for line in expunge("ls", "suites").out.splitlines() if line.startswith("quick ")]
    assert "budget 300 s on two cores" in quick
    assert "prefill (max_records: 4, shares: [0.25])" in quick
    assert quick.endswith("membership inference (records: 12)")


def test_ls_recipes_gives_path_and_first_line_of_each(expunge: Expunge, tmp_path: Path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.yaml").write_text("# Forgets two people.\nmodel: m\n", encoding="utf-8")
    (tmp_path / "recipes" / "empty.yaml").write_text("", encoding="utf-8")
    lines = [line.strip() for line in expunge("ls", "recipes").out.splitlines()]
    assert lines == ["recipes/empty.yaml", "recipes/mine.yaml  Forgets two people."]


def test_ls_recipes_lists_what_the_repository_ships(expunge_in: Expunge):
    result = expunge_in(ROOT, "ls", "recipes")
    assert result.code == 0
    assert [path.name for path in (ROOT / "recipes").glob("*.yaml") if f"recipes/{path.name} " not in result.out] == []


def test_ls_recipes_explains_an_empty_list(expunge: Expunge):
    result = expunge("ls", "recipes")
    assert result.code == 0
    assert result.out.startswith("There are no recipes here")


def test_ls_of_an_unknown_kind_names_the_kinds(expunge: Expunge):
    result = expunge("ls", "models")
    assert (result.code, result.out) == (2, "")
    assert "'objectives'" in result.err


def shell(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)


def test_the_command_itself_ends_with_exit_code_two_on_bad_input(tmp_path: Path):
    (tmp_path / "bad.jsonl").write_text('{"prompt": "Who is Ada?"', encoding="utf-8")
    done = shell(tmp_path, "-m", "expunge", "validate", "bad.jsonl")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("expunge: bad.jsonl:1: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_command_itself_ends_with_exit_code_zero_when_all_is_well(tmp_path: Path, forget: Path):
    done = shell(tmp_path, "-m", "expunge", "validate", "forget.jsonl")
    assert (done.returncode, done.stderr) == (0, "")


def test_validate_does_not_import_torch(tmp_path: Path, forget: Path):
    script = "import sys; from expunge.cli.main import main; sys.argv = ['expunge', 'validate', 'forget.jsonl']"
    done = shell(tmp_path, "-c", f"{script}\ntry:\n main()\nfinally:\n print('torch' in sys.modules)")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "False")


def test_the_help_groups_the_verbs_by_purpose(expunge: Expunge):
    out = expunge("--help").out
    headings = ["Start here", "Make a model forget", "Verify that it forgot", "Use the result", "Look up and check"]
    places = [out.index(heading) for heading in headings]
    assert places == sorted(places)


def test_ls_settings_takes_a_section(expunge: Expunge):
    result = expunge("ls", "settings", "release")
    assert result.code == 0
    names = [line.split()[0] for line in result.out.splitlines()]
    assert {"release.rounds", "release.overlap.kind"} <= set(names)
    assert all(name.startswith("release.") for name in names)
    nested = expunge("ls", "settings", "reveal").out.splitlines()
    assert nested
    assert all(line.startswith("data.forget.reveal.") for line in nested)


def test_ls_names_the_sections_if_there_is_no_such_one(expunge: Expunge):
    result = expunge("ls", "settings", "speed")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("expunge: speed: there is no such section; the sections are recipe, data, ")
    other = expunge("ls", "edits", "training")
    assert (other.code, other.err) == (2, "expunge: training: only settings have sections; write `expunge ls edits`\n")
    missing = expunge("ls")
    assert (missing.code, missing.err.count("\n"), "U+000A" in missing.err) == (2, 1, False)
