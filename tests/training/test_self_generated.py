"""What the model makes for its own training, on a tiny random model."""

import re

import pytest

from expunge.config.recipe import make_recipe
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, question_record
from expunge.models.loading import load
from expunge.runs.folder import start_run
from expunge.training.self_generated import TEXTS_WITHOUT_RETAIN, make_retain, neutral_answers


def test_neutral_answers_that_the_oracle_finds_relevant_are_left_out(tiny_model_dir, tmp_path, reveal_settings):
    model, tokenizer = load(tiny_model_dir)
    given = {"model": str(tiny_model_dir), "release": {}}
    settings = {**reveal_settings, "oracle": {"name": "regex", "pattern": "qu?"}, "min_relevance": 0.5}

    def answers(name: str, forget) -> list[str]:
        recipe = make_recipe({**given, "data": {"forget": forget}, "out": str(tmp_path / name)})
        made = neutral_answers(start_run(recipe), recipe, model.eval(), PromptBuilder(tokenizer), Display())
        return [record.answer for record in made]

    every, filtered = answers("all", "forget.jsonl"), answers("filtered", {"reveal": settings})
    assert filtered == [answer for answer in every if not re.search("qu?", answer, re.IGNORECASE)]
    assert 0 < len(filtered) < len(every)


@pytest.mark.parametrize(("forget", "remarks"), [(Record("text", (), "The mill is closed."), 1), (question_record("q", "Who?", "Ana."), 0)])
def test_texts_without_a_retain_set_get_one_remark(tiny_model_dir, tmp_path, capsys, forget, remarks):
    model, tokenizer = load(tiny_model_dir)
    recipe = make_recipe({"model": str(tiny_model_dir), "data": {"forget": "forget.jsonl"}, "out": str(tmp_path / "run")})
    run = start_run(recipe)
    for _ in range(2):
        assert make_retain(run, recipe, model.eval(), PromptBuilder(tokenizer), Display(), forget=[forget])
    shown = " ".join(capsys.readouterr().err.split())
    assert shown.count(TEXTS_WITHOUT_RETAIN) == remarks
