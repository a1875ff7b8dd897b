"""What the model makes for its own training, on a tiny random model."""

import re

from expunge.config.recipe import make_recipe
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.models.loading import load
from expunge.runs.folder import start_run
from expunge.training.self_generated import neutral_answers


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
