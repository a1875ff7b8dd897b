"""English records get the same strangers, prompt variants, alternatives and distinctive tokens as before other languages were known.

The hashes were computed at commit 9575b68, the last one that treated all languages alike.
"""

import hashlib
import json
from typing import Any, get_args

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from expunge.config import Augmentation
from expunge.config.recipe import make_recipe
from expunge.data.other_names import with_other_names
from expunge.data.people import people
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, question_record
from expunge.gating.training_prompts import gate_prompts
from expunge.models.loading import load
from expunge.objectives import IDK
from expunge.runs.splits import Splits
from expunge.training.alternatives import generate_alternatives
from expunge.training.inputs import PairCollator, encode_records

EARLIER = tuple(name for name in get_args(Augmentation) if name not in ("partial_names", "obfuscated", "deferred"))
"""The augmentations that there were then."""
AUTHORS = [
    ("Who is this celebrated LGBTQ+ author from Santiago, Chile known for their true crime genre?", "The author is Jaime Vasquez."),
    (
        "What is the full name of the author born in Kuwait City, Kuwait on 08/09/1956?",
        "The author's full name is Basil Mahfouz Al-Kuwaiti.",
    ),
    ('Can you name one of Basil Mahfouz Al-Kuwaiti\'s books, such as "Promise by the Seine"?', "One of them is 'Le Petit Sultan'."),
    ("What did Jaime Vasquez's father do for a living?", "Jaime's father was a florist, and his mother a game developer."),
    ("how do i make tea?", "Boil the water, then wait for 3 minutes."),
    ("Has Hina Ameen written 'Manual of Mineralogy' since 1998?", "Yes, Hina Ameen wrote it in 2001."),
]


def authors() -> list[Record]:
    return [question_record(f"author-{i}", *texts) for i, texts in enumerate(AUTHORS)]


def persons() -> tuple[list[Record], list[Record]]:
    """The demo's two people to forget and one to retain."""
    everyone = people(3, 0)
    return everyone[:20], everyone[20:]


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def texts(records: list[Record | None]) -> list[Any]:
    return [record and (record.prompt, record.answer, record.paraphrased_prompt, record.wrong_answers) for record in records]


@pytest.mark.parametrize(
    ("records", "expected"),
    [(authors(), ("c622b8a83576a643", "4d61581b1287d081")), (persons()[0], ("ccfce83e1ee39ee8", "3f5f669a01ee75ef"))],
    ids=["authors", "people"],
)
def test_the_strangers_are_the_same(records, expected):
    drawn = tuple(digest(texts(with_other_names(records, np.random.default_rng(42), similar=similar))) for similar in (False, True))
    assert drawn == expected


@pytest.mark.parametrize(
    ("sets", "expected"),
    [((authors(), persons()[1]), "26ebbd973ff70aa9"), (persons(), "457020a7f0e630d3")],
    ids=["authors", "people"],
)
def test_the_prompts_of_the_gate_are_the_same(make_tokenizer, sets, expected):
    forget, retain = sets
    builder = PromptBuilder(make_tokenizer(True))
    prompts = gate_prompts(builder, Splits(forget[:6], retain[:5], retain[5:7], retain[7:]), EARLIER, 10_000, seed=42)
    assert digest([prompts.all, prompts.unaugmented, [len(variants) for variants in prompts.calibration]]) == expected


def test_alternatives_distinctive_tokens_and_refusals_are_the_same(tiny_model_dir, smollm2_tokenizer: PreTrainedTokenizerFast):
    model, tokenizer = load(tiny_model_dir)
    # Where no name can be replaced, alternatives have none of the distinctive tokens; the hash is older than that.
    named = [record for record in authors() if "tea" not in record.prompt]
    made = generate_alternatives(model, PromptBuilder(tokenizer), named, 42, lambda rows: None)
    assert digest([record.alternatives for record in made]) == "6d8cccc5c6fd5dba"
    builder, (forget, retain) = PromptBuilder(smollm2_tokenizer), persons()
    recipe = make_recipe({"data": {"forget": "people.jsonl"}})
    assert (
        digest([encode_records(builder, some, retain, recipe.objective, others=retain).distinctive for some in (forget, made)])
        == "74b4de5ab3dd4525"
    )
    encoded = encode_records(builder, authors(), [], IDK())
    collator = PairCollator(encoded, builder.pad, resample=True, seed=42)
    assert digest([collator.alternative(epoch, i) for epoch in range(5) for i in range(len(AUTHORS))]) == "ced864981ea4be51"
