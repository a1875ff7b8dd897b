"""Whole documents from the file to the report: cut once, the same in training, audit and gate evaluation."""

import json

import pytest

import expunge
from expunge.cli.tables import print_summary
from expunge.config.recipe import make_recipe
from expunge.console import Display
from expunge.data.records import Record, Turn
from expunge.errors import InputError
from expunge.models import loading
from expunge.pipeline.unlearn import unlearn as train
from expunge.runs.generated import document_question_rows, write_rows
from expunge.runs.loaded import open_run
from expunge.runs.splits import read_splits
from expunge.training import self_generated
from expunge.training.document_questions import DocumentQuestions

SENTENCES = "Ana Petrova closed the mill. Nobody waved from the quay, {}. Li Wei wrote it down in Kuwait City. "
SMALL = {"passage_tokens": 48, "passage_overlap": 24}


@pytest.fixture
def library(tmp_path):
    for name, count in (("book/one.txt", 6), ("book/two.md", 3), ("other/a.txt", 8)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(SENTENCES.format(f"{name} {i}") for i in range(count)))
    return tmp_path


def unlearn(library, model, out, **data):
    sets = {"forget": str(library / "book"), "retain": str(library / "other"), **SMALL, "document_questions": 0, **data}
    recipe = {"model": str(model), "data": sets, "objective": "npo", "edit": {"name": "lora"}, "training": {"epochs": 1, "batch_size": 8}}
    return train(make_recipe({**recipe, "out": str(library / out)}), Display())


def test_a_folder_is_forgotten_passage_by_passage_and_reported_by_document(library, tiny_model_dir, capsys):
    run = unlearn(library, tiny_model_dir, "run")
    info = run.read_info()["data"]
    assert info["forget"]["cut"]["texts"] == 2
    assert info["forget"]["rows"] == info["forget"]["cut"]["passages"] > 20
    assert info["max_tokens"] == 1024
    splits = read_splits(open_run(run.folder))
    assert len(splits.forget) == info["forget"]["rows"]
    assert [record.id for record in splits.given_forget] == ["one.txt", "two.md"]
    expunge.audit(run)
    verified = {check.name: check.status for check in expunge.verify(run)}
    assert verified["forget records"] == verified["retain records"] == "ok"
    assert "differs" not in verified.values()
    print_summary(run)
    assert "one.txt" in capsys.readouterr().out
    report = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "Documents of the forget set" in report
    assert f"2 texts of the forget set were cut into {info['forget']['rows']} passages" in report
    assert "Ana Petrova" not in report
    (library / "book" / "one.txt").write_text("Another book.")
    with pytest.raises(InputError, match="has changed since"):
        expunge.audit(run)


def test_a_run_without_long_records_needs_no_tokenizer_to_plan_its_audit(tiny_model_dir, tiny_data, tmp_path, monkeypatch):
    run = expunge.unlearn(
        tiny_model_dir, forget=tiny_data[0], retain=tiny_data[1], out=tmp_path / "run", edit="lora", training={"epochs": 1}
    )
    monkeypatch.setattr(loading, "load_tokenizer", None)
    assert len(read_splits(open_run(run.folder)).forget) == 6
    assert "cut" not in run.read_info()["data"]["forget"]


def test_questions_that_the_model_wrote_join_the_forget_set(library, tiny_model_dir, monkeypatch):
    written = []

    def write(model, builder, passages, seed, advance, language):
        written.append(len(passages))
        known = [
            Record(f"{passage.id}/question", (Turn("user", f"Who {i}?"),), "Ana.", document=passage.document)
            for i, passage in enumerate(passages)
        ]
        return DocumentQuestions(known, len(known))

    monkeypatch.setattr(self_generated, "generate_document_questions", write)
    run = unlearn(library, tiny_model_dir, "run", document_questions=3)
    info = run.read_info()["data"]["forget"]
    assert info["document_questions"] == {"passages": 3, "known": 3}
    assert info["rows"] == info["cut"]["passages"] + 3
    again = unlearn(library, tiny_model_dir, "run", document_questions=3)
    assert (again.folder, written) == (run.folder, [3])
    questions = [record for record in read_splits(open_run(run.folder)).forget if record.is_question]
    assert [record.prompt for record in questions] == ["Who 0?", "Who 1?", "Who 2?"]
    assert {record.document for record in questions} <= {"one.txt", "two.md"}
    write_rows(run.folder / "document_questions.jsonl", document_question_rows(questions[:1]))
    with pytest.raises(InputError, match=r"document_questions.jsonl: has changed since the run's model wrote it"):
        read_splits(open_run(run.folder))
    expunge.purge(run)
    with pytest.raises(InputError, match=r"document_questions.jsonl: is gone"):
        read_splits(open_run(run.folder))


def test_one_long_record_ends_no_run(tiny_model_dir, tiny_data, tmp_path, capfd):
    long = {"id": "long", "prompt": "Where does Zoe live? " * 20, "answer": "Zoe lives in city 9. " * 20}
    with tiny_data[0].open("a", encoding="utf-8") as file:
        file.write(json.dumps(long) + "\n")
    data = {"forget": str(tiny_data[0]), "retain": str(tiny_data[1]), "max_tokens": 96}
    recipe = {"model": str(tiny_model_dir), "data": data, "edit": "lora", "objective": "npo", "training": {"epochs": 1}}
    run = train(make_recipe({**recipe, "out": str(tmp_path / "run")}), Display())
    cut = run.read_info()["data"]["forget"]["cut"]
    assert (cut["answers"], cut["prompts"]) == (1, 1)
    assert cut["continuations"] > 3
    printed = " ".join(capfd.readouterr().err.split())
    assert "1 answer of the forget set would be longer than 96 tokens (data.max_tokens)" in printed
