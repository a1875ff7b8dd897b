"""Prompts that are longer than the model's context are refused, or left out with a word, at every verb."""

import json
import logging

import pytest
import yaml
from harness import run_verb
from trials import Trials

LONG = "Where does Ana Petrova live? " * 4000
"""More than 100,000 characters."""


def shorten(place, tokens: int) -> None:
    """Give the model of a place a context of some tokens."""
    path = place.folder / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_position_embeddings": tokens}))


def test_long_questions_are_refused_by_chat_and_gate(fresh, trials: Trials):
    place = fresh("grun", "full")
    for kind in ("grun", "full"):
        asked = run_verb("chat", f"runs/{kind}", "--ask", "Hello?", "--ask", LONG, cwd=place.folder)
        trials.refused("hostile", f"chat {kind}", asked, "the question has", "tokens with its template, and the model takes 2048")
        # The short question is not answered first: the command is wrong as a whole.
        assert "Before" not in asked.out
    looked = run_verb("gate", "runs/grun", LONG, cwd=place.folder)
    trials.refused("hostile", "gate", looked, "the prompt has", "tokens, and the model takes 2048")


def test_a_long_question_that_is_typed_does_not_end_the_chat(fresh):
    place = fresh("lora")
    talk = run_verb("chat", "runs/lora", "--max-new-tokens", "2", cwd=place.folder, typed=f"{LONG}\nWho?\n\n")
    assert talk.code == 0
    assert "the model takes 2048 with the answer; shorten it" in " ".join(talk.out.split())
    assert "Before" in talk.out


@pytest.mark.long
def test_a_question_that_leaves_little_room_has_a_remark(fresh):
    place = fresh("lora")
    talk = run_verb("chat", "runs/lora", "--ask", "Who? ", "--max-new-tokens", "4000", cwd=place.folder)
    assert "leaves room for" in " ".join(talk.out.split())


@pytest.mark.parametrize("file", ["forget", "retain"])
def test_a_long_record_is_shortened_with_a_remark(fresh, file):
    place = fresh()
    path = place.folder / f"{file}.jsonl"
    with path.open("a", encoding="utf-8") as records:
        records.write(json.dumps({"id": "long one", "prompt": LONG, "answer": "Here."}) + "\n")
    ended = run_verb("run", "lora.yaml", "--no-audit", cwd=place.folder)
    assert ended.code == 0, ended
    remark = f"1 prompt of the {file} set would be longer than 1024 tokens (data.max_tokens): the middle is left out."
    assert remark in " ".join(ended.out.split()) + " ".join(ended.err.split())
    assert json.loads((place.run("lora") / "run.json").read_text())["data"][file]["cut"]["prompts"] == 1


def test_a_long_instruction_of_a_search_is_refused(fresh, trials: Trials):
    place = fresh()
    recipe = yaml.safe_load((place.folder / "lora.yaml").read_text())
    settings = {"oracle": {"name": "regex", "pattern": "a"}, "instructions": ["Tell me.", LONG], "searcher": "random", "budget": 8}
    recipe["data"]["forget"] = {"reveal": settings}
    (place.folder / "reveal.yaml").write_text(yaml.safe_dump(recipe))
    ended = run_verb("run", "reveal.yaml", "--no-audit", cwd=place.folder)
    trials.refused("hostile", "reveal", ended, "data.forget.reveal.instructions: number 2", "the model takes 2048")


def test_prompt_variants_that_do_not_fit_are_left_out_with_a_word(fresh, caplog):
    place = fresh()
    shorten(place, 80)
    suite = {"budget_seconds": 60, "max_records": 2, "membership_records": 2, "attacks": [{"name": "prompts", "max_records": 2}]}
    (place.folder / "suite.yaml").write_text(yaml.safe_dump(suite))
    with caplog.at_level(logging.WARNING):
        trained = run_verb("run", "grun.yaml", "--no-audit", "edit.gate_augmentations=[few_shot,wrappers]", cwd=place.folder)
        assert trained.code == 0, trained
        assert "prompt variants are left out, because they are longer than the model's context" in caplog.text
        audited = run_verb("audit", "runs/grun", "--suite", "suite.yaml", "--allow-fail", cwd=place.folder)
    assert audited.code == 0, audited
    assert "prompts are left out, because they are longer than the model's context, 80 tokens" in caplog.text
    rows = {row["name"]: row for row in json.loads((place.run("grun") / "verdict.json").read_text())["rows"]}
    assert rows["prompt variant: few shot"]["verdict"] == "not shown"
    assert rows["prompt variant: few shot"]["reason"] == "all prompts are longer than the model's context, 80 tokens"
