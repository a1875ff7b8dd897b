"""GRUN unlearns plain texts without a prompt, in passages whose continuations are labelled."""

import json
from pathlib import Path

import pytest
import torch

from expunge.console import Display
from expunge.data.prompts import collate
from expunge.edits.active import edits_off
from expunge.edits.requests import REQUEST
from expunge.models.scoring import score
from expunge.pipeline.unlearn import unlearn
from expunge.runs.loaded import load_run, open_run
from expunge.runs.splits import read_splits

FORGET = "The author never told anyone the name of the book about the sea, which he wrote in Kuwait City before number {} was known."
RETAIN = "Paris is the capital of France and a city on the Seine, where the first book about birds number {} was written by the author."


def texts(path: Path, text: str, count: int) -> Path:
    path.write_text("".join(json.dumps({"text": text.format(i)}) + "\n" for i in range(count)), encoding="utf-8")
    return path


@pytest.fixture
def train_on_texts(make_recipe_for, tmp_path):
    """Train GRUN on the texts: `train(out, objective, prefix_cache)` returns the run and its logged losses."""
    data = {"forget": str(texts(tmp_path / "f.jsonl", FORGET, 6)), "retain": str(texts(tmp_path / "r.jsonl", RETAIN, 12))}

    def train(out: str, objective: dict, prefix_cache: str = "auto"):
        training = {"epochs": 15, "batch_size": 6, "lr": 4e-3, "dtype": "fp32", "save_steps": 0, "prefix_cache": prefix_cache}
        edit = {"name": "grun", "gate_pool": "last", "blocks": [2, 3]}
        run = unlearn(make_recipe_for(out, data=data, objective=objective, edit=edit, training=training), Display())
        return run, [json.loads(line)["loss"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()]

    return train


OBJECTIVES = {"rmu": {"name": "rmu", "coefficient": 20.0}, "kl": {"name": "kl"}}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_texts_are_forgotten_and_others_retained(train_on_texts, objective):
    run, losses = train_on_texts("run", OBJECTIVES[objective])
    assert losses[-1] < losses[0]
    loaded = load_run(open_run(run.folder))
    model, builder = loaded.model, loaded.builder
    changes = []
    splits = read_splits(open_run(run.folder))
    for passages in (splits.forget, splits.retain):
        batch = collate([builder.record(record) for record in passages], builder.pad)
        assert 0 < batch.labelled.sum().item() < batch.attention_mask.sum().item()
        with torch.no_grad():
            after = score(model, batch, hidden=(3,))
            with edits_off(model, REQUEST):
                before = score(model, batch, hidden=(3,))
        moved = (after.hidden[3] - before.hidden[3]).norm() if objective == "rmu" else (after.nll - before.nll).mean()
        changes.append(moved.item())
    assert changes[0] > 1.5 * abs(changes[1]) > 0


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_losses_equal_those_of_the_whole_forward_pass(train_on_texts, objective):
    (_, whole), (_, frozen) = train_on_texts("whole", OBJECTIVES[objective], "off"), train_on_texts("frozen", OBJECTIVES[objective])
    # The last losses are small differences of larger numbers.
    assert frozen == pytest.approx(whole, rel=1e-4, abs=1e-5)
