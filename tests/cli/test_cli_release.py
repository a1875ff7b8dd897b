"""Reveal and release from the command line on a tiny random model: the search, the rounds, undo, export, audit, purge."""

import json

import numpy
import pytest
import torch
import yaml

import expunge
from expunge.config.recipe import make_recipe
from expunge.console import Display
from expunge.data.records import read_records
from expunge.errors import InputError
from expunge.pipeline.unlearn import unlearn
from expunge.reveal_release.reveal.select import read_queries
from expunge.runs.loaded import load_run, open_run

MODULE = {"rank": 2, "epochs": 1, "lr": 5e-3, "dtype": "fp32"}


@pytest.fixture(scope="module")
def place(tmp_path_factory, make_tiny_model, reveal_settings):
    """A folder with a retain file and a recipe that reveals and releases."""
    folder = tmp_path_factory.mktemp("release")
    facts = ["France", "Spain", "Italy", "Norway", "Chile", "Kenya", "Japan", "India"]
    rows = [{"prompt": f"What is the capital of {n}?", "answer": f"The city number {i}."} for i, n in enumerate(facts)]
    (folder / "retain.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = {
        "model": str(make_tiny_model("llama")),
        "data": {"forget": {"reveal": reveal_settings}, "retain": "retain.jsonl", "held_out": 0.5},
        "release": {"rounds": 2, "module": MODULE, "lambda_evaluations": 2, "max_utility_drop": 0.5},
        "audit": {"max_new_tokens": 4},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def results(place, expunge_in):
    """The results of the verbs, one after the other on the same run."""
    return {
        "reveal": expunge_in(place, "reveal", "mine.yaml"),
        "release": expunge_in(place, "release", "mine.yaml"),
        "audit": expunge_in(place, "audit", "runs/mine"),
        "report": (place / "runs" / "mine" / "report.html").read_text(encoding="utf-8"),
        "record": (place / "runs" / "mine" / "attestation.json").read_text(encoding="utf-8"),
        "verify": expunge_in(place, "verify", "runs/mine/attestation.json"),
        "undo": expunge_in(place, "undo", "runs/mine", 1),
        "verify undone": expunge_in(place, "verify", "runs/mine/attestation.json"),
        "export": expunge_in(place, "export", "runs/mine"),
        "declined": expunge_in(place, "purge", "runs/mine", typed="n\n"),
        "purge": expunge_in(place, "purge", "runs/mine", "--yes"),
        "again": expunge_in(place, "audit", "runs/mine"),
        "undone": expunge_in(place, "undo", "runs/mine", 0),
        "verify purged": expunge_in(place, "verify", "runs/mine/attestation.json"),
    }


def test_every_verb_has_the_expected_exit_code(results):
    codes = {verb: one.code for verb, one in results.items() if verb not in ("report", "record")}
    assert codes == {**dict.fromkeys(codes, 0), "declined": 2, "again": 2, "undone": 2, "verify undone": 1, "verify purged": 1}, results


def test_the_attestation_of_a_release_does_not_reveal_the_topic(results, reveal_settings):
    assert not any(text in results["record"] for text in (*reveal_settings["instructions"], "[aeiou]"))
    record = json.loads(results["record"])
    assert record["revealed"][0]["records"] == record["counts"]["forget"] == len(record["forget"]["records"])
    assert len(record["rounds"]) == 2
    assert results["verify"].out.splitlines()[-1].startswith("Nothing differs: ")
    assert "ok             forget records" in results["verify"].out
    assert "attestation.json: edit manifest.json differs: its content has changed" in results["verify undone"].err
    assert "not reachable  forget records" in results["verify purged"].out


def test_reveal_shows_scores_hashes_and_the_next_command(place, results, reveal_settings):
    out = results["reveal"].out
    hashes = [one["instruction"] for one in json.loads((place / "runs/mine/reveal/results.json").read_text(encoding="utf-8"))["queries"]]
    assert any(mark in out for mark in hashes)
    assert not any(text in out for text in reveal_settings["instructions"])
    assert "No second oracle judged them: name one as data.forget.reveal.judge." in out
    assert "Next    expunge release mine.yaml --out runs/mine" in out


def test_release_continues_from_the_search_and_shows_the_rounds(results):
    assert "Asking, in" not in results["release"].err
    assert "Released in 2 rounds" in results["release"].out
    assert "validation forget nll" in results["release"].out


def test_the_report_explains_where_the_forget_set_came_from(results, reveal_settings):
    report = results["report"]
    assert "The model itself revealed the forget records" in report
    assert "no second oracle judged them" in report
    assert "This method changed the weights themselves" in report
    assert "Rounds of the release" in report
    assert "increase of retain or neutral perplexity, the larger one" in report
    assert not any(text in report for text in reveal_settings["instructions"][:2])


def test_errors_after_a_purge_explain_it(results):
    assert "revealed.jsonl" in results["purge"].out
    assert "nothing was deleted" in results["declined"].err
    assert "`expunge purge` deletes it" in results["again"].err
    assert "no round can be undone or repeated" in results["undone"].err


def test_show_text_shows_the_instructions(place, expunge_in, reveal_settings):
    out = expunge_in(place, "reveal", "mine.yaml", "--show-text", "--out", "runs/shown").out
    assert any(text in out for text in reveal_settings["instructions"])


def test_a_recipe_with_a_forget_file_reveals_nothing(place, expunge_in):
    ended = expunge_in(place, "reveal", "mine.yaml", "data.forget=retain.jsonl", "--out", "runs/none")
    assert ended.code == 2
    assert "data.forget: is a file" in ended.err


def test_gated_edits_cannot_be_exported(place, expunge_in):
    quick = ("training.epochs=1", "edit=lora", "objective=npo", "release=null", "data.allow_overlap=true")
    assert expunge_in(place, "run", "mine.yaml", "--no-audit", "--out", "runs/lora", *quick).code == 0
    assert expunge_in(place, "export", "runs/lora", "--to", "plain").code == 0
    grun = ("training.epochs=1", "edit=grun-paper", "objective=npo", "release=null")
    assert expunge_in(place, "run", "mine.yaml", "--no-audit", "--out", "runs/grun", *grun).code == 0
    ended = expunge_in(place, "export", "runs/grun")
    assert ended.code == 2
    assert "a grun edit depends on the prompt" in ended.err


def test_any_method_can_be_trained_on_what_was_revealed(place, tmp_path):
    plain = yaml.safe_load((place / "mine.yaml").read_text(encoding="utf-8"))
    del plain["release"]
    data = {**plain["data"], "retain": str(place / "retain.jsonl")}
    given = {**plain, "data": data, "objective": "npo", "edit": "lora", "training": {"epochs": 1}, "out": str(tmp_path / "run")}
    run = unlearn(make_recipe(given), Display())
    assert run.read_info()["data"]["forget"]["source"] == "responses that the model revealed"
    selected = len((run.folder / "reveal" / "revealed.jsonl").read_text(encoding="utf-8").splitlines())
    assert run.read_info()["data"]["forget"]["rows"] == selected >= 2
    load_run(open_run(run.folder))
    assert len(read_records(place / "retain.jsonl")) == 8


def test_settings_that_do_not_matter_to_the_search_may_change_after_it(place, expunge_in):
    quick = ("--out", "runs/two")
    assert expunge_in(place, "reveal", "mine.yaml", "release=null", *quick).code == 0
    assert expunge_in(place, "reveal", "mine.yaml", "release=null", "data.forget.reveal.samples_per_instruction=4", *quick).code == 2
    assert expunge_in(place, "release", "mine.yaml", "release.rounds=1", *quick).code == 0
    assert "release.rounds" in expunge_in(place, "release", "mine.yaml", "release.rounds=2", *quick).err


def test_a_search_with_too_few_responses_resumes_with_a_larger_budget(place, expunge_in):
    few = ("data.forget.reveal.budget=6", "data.forget.reveal.min_responses=7", "--out", "runs/few")
    ended = expunge_in(place, "reveal", "mine.yaml", *few)
    assert ended.code == 1
    assert "raise data.forget.reveal.budget" in ended.err
    before = (place / "runs/few/reveal/search_log.jsonl").read_text(encoding="utf-8")
    assert expunge_in(place, "reveal", "mine.yaml", "--out", "runs/few").code == 0
    assert (place / "runs/few/reveal/search_log.jsonl").read_text(encoding="utf-8").startswith(before)
    assert expunge_in(place, "purge", "runs/few", "--yes").code == 0
    assert not (place / "runs/few/reveal/search_log.jsonl").exists()


def test_a_users_oracle_and_embedder_are_used(place, tmp_path, reveal_settings):
    plain = yaml.safe_load((place / "mine.yaml").read_text(encoding="utf-8"))
    judged = []

    class UserModel:
        def relevance(self, texts):
            judged.extend(texts)
            return [numpy.float32(0.5)] * len(texts)

        def embed(self, texts):
            return torch.eye(len(texts))

    reveal = {**reveal_settings, "oracle": UserModel(), "embedder": UserModel()}
    data = {"forget": {"reveal": reveal}, "retain": str(place / "retain.jsonl"), "held_out": 0.5}
    run = expunge.release({**plain, "data": data, "out": str(tmp_path / "run")})
    assert len(judged) > 24
    # Rows of an identity are as different as can be: 1 / (0.5 / 1 + 0.5 / 0.5).
    assert {round(query.reward, 6) for query in read_queries(run.folder / "reveal")} == {round(2 / 3, 6)}
    with pytest.raises(InputError, match="release: is for"):
        expunge.unlearn(plain["model"], forget="x.jsonl", release={})
    with pytest.raises(InputError, match="release: is not given"):
        expunge.release({**plain, "release": None})
